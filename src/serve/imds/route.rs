//! The paths of the IMDS endpoint, which are those of EC2 (EC2 User Guide, "Instance metadata
//! categories") as far as credd knows what they tell.

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/latest/api/token`
    Token,
    /// The name of the caller's identity, as that of its role.
    Role,
    Credentials(&'a str, Shape),
    /// `iam/info`
    Info,
    /// `placement/region`
    Region,
    /// `/latest/dynamic/instance-identity/document`
    Document,
    Index(Folder),
}

/// What the credentials look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Legacy,
    /// With the account id (SDK specification "IMDS account id").
    Extended,
}

/// What there is below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folder {
    Root,
    Latest,
    Dynamic,
    InstanceIdentity,
    MetaData,
    Iam,
    Placement,
}

/// One part more than the longest route has.
const PARTS: usize = 6;

impl<'a> Route<'a> {
    /// A slash more or less is nothing: clients end paths with one or not, and join them to an
    /// endpoint that may end with one. Of the versions, `latest` is there: every SDK asks for it,
    /// and the others would promise more than credd has.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.take(PARTS).collect();
        Some(match parts.as_slice() {
            [] => Self::Index(Folder::Root),
            ["latest"] => Self::Index(Folder::Latest),
            ["latest", "api", "token"] => Self::Token,
            ["latest", "dynamic", rest @ ..] => match rest {
                [] => Self::Index(Folder::Dynamic),
                ["instance-identity"] => Self::Index(Folder::InstanceIdentity),
                ["instance-identity", "document"] => Self::Document,
                _ => return None,
            },
            ["latest", "meta-data", rest @ ..] => match rest {
                [] => Self::Index(Folder::MetaData),
                ["iam"] => Self::Index(Folder::Iam),
                ["iam", "info"] => Self::Info,
                ["iam", listing, rest @ ..] => {
                    let shape = match *listing {
                        "security-credentials" => Shape::Legacy,
                        "security-credentials-extended" => Shape::Extended,
                        _ => return None,
                    };
                    match rest {
                        [] => Self::Role,
                        [name] => Self::Credentials(name, shape),
                        _ => return None,
                    }
                }
                ["placement"] => Self::Index(Folder::Placement),
                // Not the zone, which credd cannot know.
                ["placement", "region"] => Self::Region,
                _ => return None,
            },
            _ => return None,
        })
    }
}

impl Folder {
    /// What is in it, where anything is.
    pub(super) fn listing(self, is_region_known: bool) -> Option<&'static str> {
        match (self, is_region_known) {
            (Self::Root, _) => Some("latest"),
            (Self::Latest, true) => Some("dynamic\nmeta-data"),
            (Self::Latest, false) => Some("meta-data"),
            (Self::MetaData, true) => Some("iam/\nplacement/"),
            (Self::MetaData, false) => Some("iam/"),
            (Self::Iam, _) => Some("info\nsecurity-credentials/\nsecurity-credentials-extended/"),
            (Self::Placement, true) => Some("region"),
            (Self::Dynamic, true) => Some("instance-identity/"),
            (Self::InstanceIdentity, true) => Some("document"),
            (Self::Placement | Self::Dynamic | Self::InstanceIdentity, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_path_of_ec2_that_credd_answers_is_a_route() {
        use Route::*;
        let meta_data = "/latest/meta-data";
        let credentials = format!("{meta_data}/iam/security-credentials");
        for (path, route) in [
            ("/latest/api/token".to_owned(), Token),
            (credentials.clone(), Role),
            (format!("{credentials}-extended"), Role),
            (
                format!("{credentials}/app"),
                Credentials("app", Shape::Legacy),
            ),
            (
                format!("{credentials}-extended/app"),
                Credentials("app", Shape::Extended),
            ),
            (format!("{meta_data}/iam/info"), Info),
            (format!("{meta_data}/placement/region"), Region),
            (
                "/latest/dynamic/instance-identity/document".to_owned(),
                Document,
            ),
            (String::new(), Index(Folder::Root)),
            ("/latest".to_owned(), Index(Folder::Latest)),
            (meta_data.to_owned(), Index(Folder::MetaData)),
            (format!("{meta_data}/iam"), Index(Folder::Iam)),
            (format!("{meta_data}/placement"), Index(Folder::Placement)),
            ("/latest/dynamic".to_owned(), Index(Folder::Dynamic)),
            (
                "/latest/dynamic/instance-identity".to_owned(),
                Index(Folder::InstanceIdentity),
            ),
        ] {
            assert_eq!(Route::parse(&path), Some(route), "{path}");
            assert_eq!(Route::parse(&format!("{path}/")), Some(route), "{path}/");
            assert_eq!(Route::parse(&format!("/{path}")), Some(route), "/{path}");
        }
    }

    #[test]
    fn every_other_path_is_none() {
        for path in [
            "/1.0/meta-data",
            "/2021-07-15/api/token",
            "/2021-07-15/meta-data/iam/security-credentials/",
            "/Latest/meta-data",
            "/latest/api",
            "/latest/api/token/x",
            "/latest/user-data",
            "/latest/meta-data/instance-id",
            "/latest/meta-data/placement/availability-zone",
            "/latest/meta-data/iam/security-credentials/a/b",
            "/latest/meta-data/iam/security-credentials/a/b/c/d/e/f",
            "/latest/meta-data/iam/security-credentials%2Fapp",
            "/latest/meta-data/iam/../iam/info",
            "/latest/dynamic/instance-identity/signature",
            "/v1/credentials",
            "/v1/lease",
            "*",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    #[test]
    fn whatever_an_index_lists_is_there() {
        for is_region_known in [true, false] {
            let mut folders = vec![String::from("/")];
            while let Some(path) = folders.pop() {
                let Some(Route::Index(folder)) = Route::parse(&path) else {
                    assert!(Route::parse(&path).is_some(), "{path}");
                    continue;
                };
                let listing = folder.listing(is_region_known).unwrap();
                for entry in listing.lines() {
                    folders.push(format!("{path}/{entry}"));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_the_parser_panic(path in "\\PC*") {
            let _ = Route::parse(&path);
        }

        #[test]
        fn a_name_is_asked_for_as_it_stands(name in "[A-Za-z0-9._-]{1,64}") {
            let path = format!("/latest/meta-data/iam/security-credentials/{name}");
            prop_assert_eq!(Route::parse(&path), Some(Route::Credentials(&name, Shape::Legacy)));
        }
    }
}
