//! placeholder until the reader lands
use crate::identity::IdentityName;
use crate::providers::chain::{self, Link};
use std::collections::BTreeMap;
#[derive(Debug)]
pub struct Config {
    pub serve: crate::serve::Config,
    pub identities: BTreeMap<IdentityName, Vec<Link>>,
}
impl Default for Config {
    fn default() -> Self {
        Self {
            serve: crate::serve::Config {
                http: vec!["127.0.0.1:9169".parse().unwrap()],
                unix: None,
            },
            identities: [(IdentityName::default(), chain::default_chain())].into(),
        }
    }
}

pub fn load(
    _n: Option<&std::path::Path>,
    _e: &crate::environment::Environment,
    _r: bool,
) -> Result<(Option<std::path::PathBuf>, Config), String> {
    Ok((None, Config::default()))
}
