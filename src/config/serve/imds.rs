//! `[serve.imds]`: the endpoint in the shape of EC2's instance metadata.

use std::net::SocketAddr;
use std::ops::Range;

use super::address::{Addresses, IMDS};
use crate::authz::{ListenerName, Opens, Rule};
use crate::aws::region::Region;
use crate::config::findings::Findings;
use crate::config::relations::Names;
use crate::config::table::Entry;
use crate::config::vocabulary::{self, Vocabulary};
use crate::identity::IdentityName;
use crate::serve::ImdsConfig;

const VOCABULARY: Vocabulary<'_> = Vocabulary {
    place: vocabulary::IMDS,
    keys: &["listen", "identity", "region"],
};

/// Where the table is, and what rules must open for it to be of any use.
pub(in crate::config) struct Imds {
    header: Range<usize>,
    identity: Option<IdentityName>,
}

/// Reads the table.
pub(super) fn read(
    entry: &Entry<'_>,
    addresses: &mut Addresses,
    names: &Names<'_>,
    findings: &mut Findings,
) -> Option<(Imds, ImdsConfig)> {
    let mut table = entry.table(findings)?;
    let listen = match table.take("listen") {
        Some(listen) => {
            let listen = listen.one_or_more_strings(IMDS.example, findings);
            addresses.read(&listen.unwrap_or_default(), &IMDS, findings)
        }
        None => IMDS.example.parse::<SocketAddr>().into_iter().collect(),
    };
    let identity = table.string("identity", "app", findings);
    let identity = identity.and_then(|text| names.find(&text, findings));
    let region = table.string("region", "eu-west-1", findings);
    let region = region.and_then(|text| match Region::parse(text.value) {
        Ok(region) => Some(region),
        Err(problem) => {
            findings
                .refuse(&text, problem.to_string())
                .hint("it is a name, not a place or an endpoint");
            None
        }
    });
    table.refuse_rest(&VOCABULARY, findings);
    let imds = Imds {
        header: entry.key_span.clone(),
        identity: identity.clone(),
    };
    let config = ImdsConfig {
        listen,
        identity,
        region,
    };
    Some((imds, config))
}

impl Imds {
    /// Reports that nobody would get anything there, if it is so: its clients have no token.
    pub(in crate::config) fn check(&self, rules: &[Rule], findings: &mut Findings) {
        let admits = |rule: &Rule| {
            let listener = rule.caller.listener.as_ref();
            let is_here = listener.is_none_or(|listener| *listener == ListenerName::imds());
            is_here && rule.caller.tcp_without_token
        };
        let opens = |rule: &Rule| match (&self.identity, &rule.opens) {
            (Some(identity), Opens::Only(openings)) => {
                openings.iter().any(|it| it.identity == *identity)
            }
            (None, _) | (_, Opens::All) => true,
        };
        let (message, identity) = match &self.identity {
            _ if rules.iter().any(|rule| admits(rule) && opens(rule)) => return,
            Some(name) => (
                format!(
                    "no rule opens `{name}` to callers of the IMDS endpoint, which have no token"
                ),
                name.as_str(),
            ),
            None => (
                "no rule admits callers of the IMDS endpoint, which have no token".to_owned(),
                "NAME",
            ),
        };
        findings.meaning(self.header.clone(), message).hint(format!(
            "add `[[allow]]` with `caller = {{ user = \"USER\", tcp = \"without-token\" }}` and \
             `identity = [\"{identity}\"]`"
        ));
    }
}
