//! Who besides root and the daemon's user comes to the sockets of the runtime directory.

use std::collections::BTreeMap;

use super::handover::HandedOver;
use super::runtime_directory::{Passage, RuntimeDirectory};
use super::unusable::Unusable;
use crate::authz::{ListenerName, Policy, TokenName};
use crate::config::TokenSettings;
use crate::os::process;
use crate::os::users::{Accounts, HostAccounts};
use crate::serve::{Config, OwnSocket};

/// Who besides root and the daemon's user is let in to the sockets of the runtime directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// Callers on the public one, whom rules may admit.
    pub(super) others: bool,
    /// The group of the admin socket.
    pub(super) admins: Option<u32>,
    pub(super) passage: Passage,
}

impl Admitted {
    /// Those who have something to seek in the runtime directory: callers, readers of tokens, and
    /// the group of operators where the daemon may let it in.
    pub(super) async fn to(
        directory: &RuntimeDirectory,
        config: &Config,
        policy: &Policy,
        tokens: &BTreeMap<TokenName, TokenSettings>,
        handed_over: &HandedOver,
    ) -> Result<Self, Unusable> {
        let owner = process::effective_uid();
        // Whoever has made a socket has decided who may connect.
        let others =
            handed_over.has_public() || policy.may_admit_others(&ListenerName::unix(), owner);
        let group = group_of_admins().await;
        let admins = if handed_over.has_admin() {
            group
        } else {
            let_admins_in(directory, group)?
        };
        let is_in_it = |socket: &OwnSocket| socket.path.starts_with(directory.path());
        let have_own = config.own_sockets.iter().any(is_in_it);
        Ok(Self {
            others,
            admins,
            passage: Passage {
                to_sockets: others || admins.is_some() || have_own,
                to_tokens: tokens.values().any(TokenSettings::lets_others_read),
            },
        })
    }
}

const GROUP: &str = "credd-admin";

/// A directory of users on a network may take its time, and clients must not wait for that.
async fn group_of_admins() -> Option<u32> {
    let looking = tokio::task::spawn_blocking(|| HostAccounts.group(GROUP));
    let found = looking.await.unwrap_or_else(|error| Err(error.into()));
    found.unwrap_or_else(|error| {
        tracing::warn!(group = GROUP, %error, "cannot look up the group of the admin socket");
        None
    })
}

fn let_admins_in(
    directory: &RuntimeDirectory,
    group: Option<u32>,
) -> Result<Option<u32>, Unusable> {
    match directory.let_in_admins(group) {
        Ok(()) => Ok(group),
        Err(error @ Unusable::Group { .. }) => {
            tracing::warn!(group = GROUP, %error, "the admin socket is for root and credd's user alone");
            directory.let_in_admins(None).map(|()| None)
        }
        Err(error) => Err(error),
    }
}
