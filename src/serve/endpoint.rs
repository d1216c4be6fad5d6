//! How a caller on the Unix socket reaches the HTTP endpoint: where it is, and by which token.

use hyper::{HeaderMap, Response, StatusCode};

use super::terms::Visit;
use super::{Body, Peer, Refusal, TokenFile, whole};
use crate::api::EndpointReport;
use crate::authz::{Bearer, Caller, Decision, ListenerName, Presented, Transport, User};
use crate::os::process;

pub(super) fn respond(
    visit: &Visit<'_>,
    peer: &Peer,
    headers: &HeaderMap,
    asked: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let token_file = visit.token_file_for(peer, asked);
    if token_file.is_none() && asked.is_some() {
        // Whoever asks for what is not there, or not theirs, is told so.
        visit.decide(peer, headers, Presented::nothing(), asked)?;
    }
    let report = EndpointReport {
        url: visit.terms.url.clone(),
        token_file: token_file.map(|file| file.path.display().to_string()),
    };
    let report = serde_json::to_vec(&report).unwrap_or_default();
    Ok(whole(StatusCode::OK, report.into()))
}

impl Visit<'_> {
    /// The file of a token that `peer` may read, and that would open the identity `asked` to it, or
    /// anything if it has not said which. The token `default` comes first.
    fn token_file_for(&self, peer: &Peer, asked: Option<&str>) -> Option<&TokenFile> {
        let user = peer.connected().user.as_ref()?;
        let mut files: Vec<&TokenFile> = self.terms.token_files.iter().collect();
        files.sort_by_key(|file| !file.name.is_default());
        files.into_iter().find(|file| {
            file.is_readable_by(user, self.terms.admins.owner) && self.would_open(user, file, asked)
        })
    }

    /// Whether `user`, with that token over TCP, would get what it has `asked` for.
    fn would_open(&self, user: &User, file: &TokenFile, asked: Option<&str>) -> bool {
        let caller = Caller {
            listener: ListenerName::http(),
            transport: Transport::Tcp,
            user: Some(user.clone()),
            process: None,
        };
        let presented = Presented::Bearer(Bearer::Token(file.name.clone()));
        match asked {
            Some(_) => matches!(
                self.terms.policy.decide(&caller, &presented, asked),
                Decision::Allow(_)
            ),
            None => self.terms.policy.admit(&caller, &presented).is_ok(),
        }
    }
}

impl TokenFile {
    /// By the rules of path resolution: root can, and the owner, then the group, then others.
    fn is_readable_by(&self, user: &User, owner: u32) -> bool {
        if user.uid == process::ROOT || user.uid == owner {
            return true;
        }
        let is_in_group = self.group.is_some_and(|group| user.is_in(group));
        let bit = if is_in_group { 0o040 } else { 0o004 };
        self.mode & bit != 0
    }
}
