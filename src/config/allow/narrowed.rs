//! Identities that rules narrow: each is one more identity, which nobody can name.

use std::collections::BTreeMap;

use crate::authz::Opening;
use crate::config::findings::Findings;
use crate::config::identity::narrowing::Narrowing;
use crate::config::table::Text;
use crate::config::vocabulary::quoted;
use crate::identity::IdentityName;
use crate::providers::chain::Link;

/// Opens `identity` as `narrowing` leaves it. What is narrowed alike is one identity.
pub(super) fn open(
    text: &Text<'_>,
    identity: &IdentityName,
    narrowing: &Narrowing,
    label: &str,
    identities: &mut BTreeMap<IdentityName, Vec<Link>>,
    findings: &mut Findings,
) -> Option<Opening> {
    // One with problems of its own is not there.
    let links = identities.get(identity)?;
    let [Link::AssumeRole(role)] = links.as_slice() else {
        let message = format!(
            "{} is not an assumed role, and only such can be narrowed",
            quoted(text.value)
        );
        findings
            .refuse(text, message)
            .hint("open it by a rule of its own, or give it `provider = \"assume-role\"`");
        return None;
    };
    let narrowed = match narrowing.of(role, identity.as_str()) {
        Ok(narrowed) => vec![Link::AssumeRole(narrowed)],
        Err(conflict) => {
            findings
                .meaning(conflict.span, conflict.message)
                .hint(conflict.hint);
            return None;
        }
    };
    Some(Opening {
        identity: identity.clone(),
        served: keep(identity, narrowed, label, identities),
    })
}

/// The identity with these links: one that there is, or a new one.
fn keep(
    identity: &IdentityName,
    links: Vec<Link>,
    label: &str,
    identities: &mut BTreeMap<IdentityName, Vec<Link>>,
) -> IdentityName {
    let of_identity = identities.range(identity.clone()..);
    let mut of_identity = of_identity.filter(|(name, _)| name.base() == identity.as_str());
    if let Some((name, _)) = of_identity.find(|(_, other)| **other == links) {
        return name.clone();
    }
    let mut name = identity.narrowed(label);
    for number in 2_u64.. {
        if !identities.contains_key(&name) {
            break;
        }
        // With room for the number, since what is too long is cut at its end.
        name = identity.narrowed(&format!("{label:.20}-{number}"));
    }
    identities.insert(name.clone(), links);
    name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::authz::Opens;
    use crate::config;
    use crate::os::users::HostAccounts;
    use crate::providers::assume_role::Config;

    /// Some of these lines.
    fn some_of(lines: &'static str) -> impl Strategy<Value = String> {
        let lines: Vec<&str> = lines.trim().lines().map(str::trim).collect();
        let most = lines.len();
        prop::sample::subsequence(lines, 0..=most).prop_map(|lines| lines.join("\n"))
    }

    fn role() -> impl Strategy<Value = String> {
        some_of(
            "
            session-name = 'own'
            session-policy = 'own.json'
            policy-arns = ['arn:aws:iam::aws:policy/Own']
            tags = { own = '1', both = '1' }
            source-identity = 'own'
            external-id = 'own'
            lifetime = '2h'
            ",
        )
    }

    fn rules() -> impl Strategy<Value = Vec<String>> {
        let rule = some_of(
            "
            session-name = '{caller}@{identity}'
            session-policy = 'narrow.json'
            policy-arns = ['arn:aws:iam::aws:policy/Narrow']
            tags = { narrow = '2', BOTH = '2' }
            source-identity = '{caller}'
            ",
        );
        prop::collection::vec(rule, 1..4)
    }

    fn config_of<'c>(config: &'c config::Config, name: &IdentityName) -> &'c Config {
        match config.identities[name].as_slice() {
            [Link::AssumeRole(role)] => role,
            links => panic!("{links:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_rule_adds_to_what_narrows_a_role_and_takes_nothing_back(role in role(), rules in rules()) {
            let mut text = format!(
                "[identity.ops]\n[identity.a]\nprovider = 'assume-role'\nfrom = 'ops'\n\
                 role-arn = 'arn:aws:iam::123456789012:role/a'\n{role}\n"
            );
            for rule in &rules {
                // All with one label.
                let caller = "caller = { token = 'worker' }\nidentity = ['a']";
                text = format!("{text}[[allow]]\n{caller}\n{rule}\n");
            }
            let Ok(config) = config::parse(Path::new("credd.toml"), &text, &HostAccounts) else {
                return Ok(());
            };
            let own = config_of(&config, &IdentityName::parse("a").unwrap());
            for (rule, written) in config.allow.iter().zip(&rules) {
                let Opens::Only(openings) = &rule.opens else { unreachable!() };
                let [opening] = openings.as_slice() else { unreachable!() };
                prop_assert_eq!(opening.identity.as_str(), "a");
                prop_assert_eq!(opening.served.is_narrowed(), !written.is_empty());
                let served = config_of(&config, &opening.served);
                prop_assert_eq!(&served.from, &own.from);
                prop_assert_eq!(&served.role_arn, &own.role_arn);
                prop_assert_eq!(&served.external_id, &own.external_id);
                prop_assert_eq!(&served.lifetime, &own.lifetime);
                if own.session_policy.is_some() || !own.policy_arns.is_empty() {
                    prop_assert_eq!(&served.session_policy, &own.session_policy);
                    prop_assert_eq!(&served.policy_arns, &own.policy_arns);
                }
                if own.source_identity.is_some() {
                    prop_assert_eq!(&served.source_identity, &own.source_identity);
                }
                prop_assert!(own.tags.iter().all(|tag| served.tags.contains(tag)));
                let said = |key| written.contains(key);
                let has_policy = served.session_policy == Some("narrow.json".into());
                prop_assert_eq!(has_policy, said("session-policy"));
                prop_assert_eq!(served.source_identity == Some("worker".to_owned()), said("source-identity"));
                prop_assert_eq!(served.tags.contains(&("narrow".to_owned(), "2".to_owned())), said("tags"));
            }
            // Alike is the same, and nothing else is.
            let served = config.allow.iter().map(|rule| match &rule.opens {
                Opens::Only(openings) => openings[0].served.clone(),
                Opens::All => unreachable!(),
            });
            let served: Vec<IdentityName> = served.collect();
            for (one, written) in served.iter().zip(&rules) {
                for (other, also_written) in served.iter().zip(&rules) {
                    prop_assert_eq!(one == other, written == also_written);
                }
            }
        }
    }
}
