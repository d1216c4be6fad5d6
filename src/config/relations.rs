//! What identities say of each other: sources that are there, that end somewhere, and that fit.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::identity::Read;
use super::table::Text;
use super::vocabulary::{is_presentable, nearest, quoted};
use crate::aws::sts::limit;
use crate::identity::{DEFAULT, IdentityName};
use crate::providers::chain::Link;

/// A name that is not there is likened to no more than this.
const MOST_LIKENED: usize = 200;

/// The names of all identities, for whatever names one.
pub(super) struct Names<'t>(BTreeSet<&'t str>);

impl<'t> Names<'t> {
    /// Those that are written, or else the default one.
    pub(super) fn of(identities: &[Read<'t>]) -> Self {
        let written: BTreeSet<&str> = identities.iter().map(|identity| identity.name).collect();
        if written.is_empty() {
            Self(BTreeSet::from([DEFAULT]))
        } else {
            Self(written)
        }
    }

    /// The identity that is named there, if there is one.
    pub(super) fn find(&self, text: &Text<'_>, findings: &mut Findings) -> Option<IdentityName> {
        if self.0.contains(text.value) {
            // What is wrong with a name is told where it is given.
            if !is_presentable(text.value) {
                findings.hide(text.span.clone());
            }
            return IdentityName::parse(text.value).ok();
        }
        // After a mistake in syntax, what seems to be missing may be there.
        if !findings.is_incomplete() {
            self.refuse(text, findings);
        }
        None
    }

    fn refuse(&self, text: &Text<'_>, findings: &mut Findings) {
        let names = self.0.iter().copied();
        let names = names.filter(|name| IdentityName::parse(name).is_ok());
        let names: Vec<&str> = names.take(MOST_LIKENED).collect();
        let hint = match nearest(text.value, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "an identity is described below a header such as `[identity.ops]`".to_owned(),
        };
        let message = format!("there is no identity {}", quoted(text.value));
        findings.refuse(text, message).hint(hint);
    }
}

/// Checks each identity against the one that it is derived from.
pub(super) fn check(identities: &[Read<'_>], findings: &mut Findings) {
    // After a mistake in syntax, what seems to be missing may be there.
    if findings.is_incomplete() {
        return;
    }
    let by_name: BTreeMap<&str, &Read<'_>> = identities
        .iter()
        .map(|identity| (identity.name, identity))
        .collect();
    let names = Names::of(identities);
    let in_loops = refuse_loops(&by_name, findings);
    for identity in identities {
        let Some(from) = &identity.from else {
            continue;
        };
        if let Some(source) = by_name.get(from.value) {
            if !in_loops.contains(identity.name) {
                check_source(identity, source, findings);
            }
            continue;
        }
        names.refuse(from, findings);
    }
}

fn check_source(identity: &Read<'_>, source: &Read<'_>, findings: &mut Findings) {
    let (Some([own]), Some(links)) = (identity.links.as_deref(), source.links.as_deref()) else {
        return;
    };
    let name = quoted(source.name);
    match own {
        Link::SessionToken(_) if links.iter().all(is_session) => {
            let Some(from) = &identity.from else { return };
            findings
                .refuse(
                    from,
                    format!(
                        "a session is made of long-lived keys, and {name} has a session itself \
                         (provider `{}`)",
                        source.provider
                    ),
                )
                .hint("name an identity with keys, or build on that one without this session");
        }
        Link::AssumeRole(role) if links.iter().all(is_role) => {
            let longest = *limit::CHAINED_LIFETIME.end();
            let Some(lifetime) = &identity.lifetime else {
                return;
            };
            if role.lifetime.is_some_and(|lifetime| lifetime > longest) {
                findings
                    .refuse(
                        lifetime,
                        format!(
                            "a role that is assumed with another role's session lives for an hour \
                             at most (role chaining, STS API reference, `AssumeRole`), and {name} \
                             is such a session (provider `{}`)",
                            source.provider
                        ),
                    )
                    .hint("write at most `1h`, or assume it with a user's keys or session");
            }
        }
        _ => {}
    }
}

/// Whether it can be nothing but temporary credentials.
fn is_session(link: &Link) -> bool {
    match link {
        Link::Keys(keys) => keys.session_token.is_some(),
        Link::SessionToken(_)
        | Link::AssumeRole(_)
        | Link::WebIdentity(_)
        | Link::Container(_)
        | Link::InstanceMetadata(_) => true,
        Link::Environment | Link::Profile(_) | Link::ProfileKeys(_) | Link::Process(_) => false,
    }
}

/// Whether it can be nothing but a role's session. A container endpoint can have a user's: that of
/// another credd, say.
fn is_role(link: &Link) -> bool {
    matches!(
        link,
        Link::AssumeRole(_) | Link::WebIdentity(_) | Link::InstanceMetadata(_)
    )
}

/// Follows each identity to its sources, once, and cites each loop where it is written first.
/// Returns those that are part of one.
fn refuse_loops<'t>(
    by_name: &BTreeMap<&'t str, &Read<'t>>,
    findings: &mut Findings,
) -> BTreeSet<&'t str> {
    let (mut seen, mut in_loops) = (BTreeSet::new(), BTreeSet::new());
    for start in by_name.values() {
        let mut path: Vec<&Read<'t>> = Vec::new();
        let mut next = Some(*start);
        while let Some(identity) = next {
            if !seen.insert(identity.name) {
                let of_path = path.iter().position(|other| other.name == identity.name);
                if let Some(members) = of_path.and_then(|at| path.get(at..)) {
                    refuse_loop(members, findings);
                    in_loops.extend(members.iter().map(|member| member.name));
                }
                break;
            }
            path.push(identity);
            let from = identity.from.as_ref();
            next = from.and_then(|from| by_name.get(from.value).copied());
        }
    }
    in_loops
}

/// More names than anybody follows.
const MOST_NAMED: usize = 10;

fn refuse_loop(members: &[&Read<'_>], findings: &mut Findings) {
    let starts = members.iter().map(|member| {
        let from = member.from.as_ref();
        from.map_or(usize::MAX, |from| from.span.start)
    });
    let first = starts.enumerate().min_by_key(|(_, start)| *start);
    let at = first.map_or(0, |(index, _)| index);
    let mut turn = members.iter().cycle().skip(at);
    let Some(from) = turn.clone().next().and_then(|member| member.from.as_ref()) else {
        return;
    };
    let turn = turn
        .by_ref()
        .take(members.len() + 1)
        .map(|member| quoted(member.name));
    let mut names: Vec<String> = turn.collect();
    if names.len() > MOST_NAMED {
        let last = names.pop();
        names.truncate(MOST_NAMED - 2);
        names.push("…".to_owned());
        names.extend(last);
    }
    findings
        .refuse(
            from,
            format!("no identity is derived from itself: {}", names.join(" → ")),
        )
        .hint("let one of them begin with credentials of its own");
}
