//! All that decides which credentials an identity has, as one mark: where that is the same after a
//! restart, what was obtained before is still what it stands for.
//!
//! That is its links, those of the identities that it is built on, AWS's variables, and what stands
//! in the files that say who it is. What only proves it to somebody else, such as a token that is
//! replaced every hour, is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::chain::{self, Link};
use super::source::SourceIdentity;
use crate::credentials::Warnings;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::files;
use crate::secret_place::SecretPlace;
use crate::state::{Mark, Marker};

/// As much as is read of any of the files, by whoever reads it.
const FILE_BYTES: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Definition {
    /// None for a hop that nobody named: equal ones are one. Named ones are as many as there are
    /// names, however equal they are otherwise: each is refreshed, forgotten and logged by its own.
    pub name: Option<IdentityName>,
    pub links: Vec<Link>,
    /// Whether long-lived keys are turned into a session, as they are before anybody gets them.
    pub is_served: bool,
    /// What it is derived from, all the way down.
    sources: Vec<Self>,
    /// When people are asked, where they are.
    warnings: Option<Warnings>,
}

/// Something beside the config that says who an identity is.
enum Place {
    File(PathBuf),
    Secret(SecretPlace),
}

impl Definition {
    /// That of `source` in a config that has `named` identities, which has no loops, or this would
    /// not end. Those that `feed` others are not served.
    pub fn of(
        source: &SourceIdentity,
        named: &BTreeMap<IdentityName, Vec<Link>>,
        feed: &BTreeSet<IdentityName>,
        warnings: Warnings,
    ) -> Self {
        let (name, links) = match source {
            SourceIdentity::Named(name) => {
                let links = named.get(name).cloned().unwrap_or_default();
                (Some(name.clone()), links)
            }
            SourceIdentity::Unnamed(links) => (None, links.clone()),
        };
        let sources = links.iter().filter_map(Link::from);
        Self {
            is_served: name.as_ref().is_some_and(|name| !feed.contains(name))
                && chain::may_be_long_lived(&links),
            sources: sources
                .map(|it| Self::of(it, named, feed, warnings))
                .collect(),
            warnings: links.iter().any(Link::asks_people).then_some(warnings),
            name,
            links,
        }
    }

    /// Its mark as of now. None where one of the files cannot be read: then nobody can tell.
    pub async fn mark(&self, marker: &Marker, environment: &Environment) -> Option<Mark> {
        let mut contents = Vec::new();
        for link in self.all_links() {
            for place in link.places(environment) {
                contents.push(place.read(environment).await?);
            }
        }
        let is_aws = |(name, _): &(&str, &str)| name.starts_with("AWS_");
        let variables: Vec<_> = environment.variables().filter(is_aws).collect();
        let contents: Vec<&[u8]> = contents.iter().map(|it| it.as_slice()).collect();
        Some(marker.mark(&("definition", self, variables, contents)))
    }

    /// The files whose contents are in it.
    pub fn files(&self, environment: &Environment) -> Vec<PathBuf> {
        let links = self.all_links().into_iter();
        let places = links.flat_map(|link| link.places(environment));
        places.filter_map(|it| it.path(environment)).collect()
    }

    fn all_links(&self) -> Vec<&Link> {
        let of_sources = self.sources.iter().flat_map(Self::all_links);
        self.links.iter().chain(of_sources).collect()
    }
}

impl Place {
    fn path(self, environment: &Environment) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Secret(place) => place.path(environment),
        }
    }

    /// Nothing, where there is no such file.
    async fn read(self, environment: &Environment) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::File(path) => match files::read(path, FILE_BYTES).await {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Some(Zeroizing::default())
                }
                Err(_) => None,
            },
            Self::Secret(place) => {
                let secret = place.read(environment).await.ok()?;
                Some(Zeroizing::new(secret.expose().as_bytes().to_vec()))
            }
        }
    }
}

impl Link {
    fn places(&self, environment: &Environment) -> Vec<Place> {
        match self {
            Self::Profile(config) => config.locations(environment).paths(),
            Self::ProfileKeys(keys) => keys.locations.paths(),
            Self::Keys(config) => {
                let secret = Place::Secret(config.secret_access_key.clone());
                let token = config.session_token.clone().map(Place::Secret);
                return [secret].into_iter().chain(token).collect();
            }
            Self::AssumeRole(config) => config.session_policy.iter().cloned().collect(),
            Self::Environment
            | Self::Process(_)
            | Self::SessionToken(_)
            | Self::WebIdentity(_)
            | Self::Container(_)
            | Self::InstanceMetadata(_) => Vec::new(),
        }
        .into_iter()
        .map(Place::File)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::arn::Arn;
    use crate::aws::profile_file::Locations;
    use crate::providers::{assume_role, keys, profile};

    fn name(text: &str) -> IdentityName {
        IdentityName::parse(text).unwrap()
    }

    fn role(from: SourceIdentity, role: &str) -> Link {
        let arn = format!("arn:aws:iam::123456789012:role/{role}");
        let arn = Arn::parse(&arn).unwrap();
        Link::AssumeRole(assume_role::Config::of(from, arn))
    }

    fn profile(profile: &str) -> Link {
        Link::Profile(profile::Config {
            profile: Some(profile.to_owned()),
            ..profile::Config::default()
        })
    }

    /// The mark of `named["billing"]`.
    fn mark(named: &[(&str, Link)], variables: &[(&str, &str)]) -> Mark {
        let named = named.iter().cloned();
        let named: BTreeMap<_, _> = named.map(|(it, link)| (name(it), vec![link])).collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = variables.iter().map(pair).collect();
        let billing = SourceIdentity::Named(name("billing"));
        let definition = defined(&billing, &named);
        marked(&definition, &environment).unwrap()
    }

    fn defined(source: &SourceIdentity, named: &BTreeMap<IdentityName, Vec<Link>>) -> Definition {
        Definition::of(source, named, &BTreeSet::new(), Warnings::default())
    }

    fn marked(definition: &Definition, environment: &Environment) -> Option<Mark> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(definition.mark(&Marker::new(&[1; 32]), environment))
    }

    #[test]
    fn whatever_an_identity_is_built_on_is_part_of_it_and_nothing_else_is() {
        let from = |source: &str| SourceIdentity::Named(name(source));
        let folder = tempfile::tempdir().unwrap();
        let home = [("HOME", folder.path().to_str().unwrap())];
        let named = [
            ("billing", role(from("middle"), "billing")),
            ("middle", role(from("ops"), "middle")),
            ("ops", profile("ops")),
            ("other", profile("other")),
        ];
        let first = mark(&named, &home);
        assert_eq!(mark(&named, &home), first);
        let with = |index: usize, link: Link| {
            let mut named = named.clone();
            named[index].1 = link;
            mark(&named, &home)
        };
        assert_ne!(with(0, role(from("middle"), "other")), first);
        assert_ne!(with(0, role(from("ops"), "billing")), first);
        assert_ne!(with(1, role(from("ops"), "other")), first);
        assert_ne!(with(2, profile("other")), first);
        assert_eq!(with(3, Link::Environment), first);
        let aws = [home[0], ("AWS_REGION", "eu-west-1")];
        assert_ne!(mark(&named, &aws), first);
        let other = [home[0], ("CREDD_LOG", "debug")];
        assert_eq!(mark(&named, &other), first);

        // The files at the far end of the chain.
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        let mut seen = vec![first];
        for (file, text) in [
            ("config", "[profile ops]\n"),
            ("config", "[profile ops]\nregion = eu-west-1\n"),
            ("credentials", "[profile ops]\n"),
        ] {
            files::write_private(&folder.path().join(".aws").join(file), text.as_bytes()).unwrap();
            let now = mark(&named, &home);
            assert!(!seen.contains(&now), "{file} {text}");
            assert_eq!(mark(&named, &home), now);
            seen.push(now);
        }
    }

    #[test]
    fn a_hop_without_a_name_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let environment = Environment::from_iter([("HOME".to_owned(), home)]);
        let keys = Link::ProfileKeys(profile::ProfileKeys {
            profile: "ops".to_owned(),
            locations: Locations::of(&environment),
        });
        let hop = vec![role(SourceIdentity::Unnamed(vec![keys]), "middle")];
        let links = vec![role(SourceIdentity::Unnamed(hop), "billing")];
        let source = SourceIdentity::Unnamed(links);
        let mark = || {
            let definition = defined(&source, &BTreeMap::new());
            marked(&definition, &environment).unwrap()
        };
        let before = mark();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        let file = folder.path().join(".aws/credentials");
        files::write_private(&file, b"[ops]\n").unwrap();
        assert_ne!(mark(), before);
    }

    #[test]
    fn secrets_and_policies_count_by_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, policy) = (folder.path().join("secret"), folder.path().join("policy"));
        let keys = Link::Keys(keys::Config {
            access_key_id: "AKIAEXAMPLE".to_owned().into(),
            secret_access_key: SecretPlace::File(secret.clone()),
            session_token: None,
        });
        let narrowed = match role(SourceIdentity::Named(name("ops")), "billing") {
            Link::AssumeRole(config) => Link::AssumeRole(assume_role::Config {
                session_policy: Some(policy.clone()),
                ..config
            }),
            other => other,
        };
        let named = [("ops", keys), ("billing", narrowed)];
        let named = named.map(|(it, link)| (name(it), vec![link]));
        let source = SourceIdentity::Named(name("billing"));
        let definition = defined(&source, &named.into());
        let mark = || marked(&definition, &Environment::default());
        // Without the secret nobody can tell.
        assert_eq!(mark(), None);
        let mut seen = Vec::new();
        for (path, text) in [(&secret, "one"), (&secret, "two"), (&policy, "{}")] {
            files::write_private(path, text.as_bytes()).unwrap();
            let now = mark().unwrap();
            assert!(!seen.contains(&now), "{text}");
            seen.push(now);
        }
    }
}
