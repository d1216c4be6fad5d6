//! What a command attempts, in words: a daemon that refuses says why, and not what.

use super::{Command, TokenCommand};
use crate::identity::IdentityName;

impl Command {
    /// As it stands after `cannot`.
    pub(super) fn attempt(&self) -> String {
        match self {
            Self::Serve(_) => "serve".to_owned(),
            Self::Exec(it) => of("run a program with the credentials", it.identity.as_ref()),
            Self::Get(it) => of("get the credentials", it.identity.as_ref()),
            Self::Env(it) => of("say how to get the credentials", it.identity.as_ref()),
            Self::Status(_) => "show how the identities do".to_owned(),
            Self::Refresh(it) => of("refresh the credentials", it.identity.as_ref()),
            Self::Forget(it) => of("drop the credentials", Some(&it.identity)),
            Self::Reload(_) => "have the config read anew".to_owned(),
            Self::Mfa(_) => "pass on an MFA code".to_owned(),
            Self::Token(it) => match &it.command {
                None => "show the tokens".to_owned(),
                Some(TokenCommand::Rotate(it)) => format!("rotate the token {}", it.token),
                Some(TokenCommand::Revoke(it)) => format!("revoke the token {}", it.token),
            },
            Self::Health(it) => of("look at the health", it.identity.as_ref()),
            Self::Log(it) if it.filter.is_none() && !it.reset => "show what is logged".to_owned(),
            Self::Log(_) => "change what is logged".to_owned(),
            Self::Explain(it) => of("explain the chain", it.identity.as_ref()),
            Self::Whoami(it) => of("ask AWS about the credentials", it.identity.as_ref()),
            Self::Decode(it) => of("decode with the credentials", it.identity.as_ref()),
            Self::Check(_) => "check the config".to_owned(),
            Self::Install(_) => "install credd".to_owned(),
            Self::Demo => "show credd at work".to_owned(),
        }
    }
}

/// `get the credentials of identity billing`
fn of(attempt: &str, identity: Option<&IdentityName>) -> String {
    match identity {
        Some(identity) => format!("{attempt} of identity {identity}"),
        None => attempt.to_owned(),
    }
}
