//! The decision, and why.

use super::tokens::Scope;
use crate::identity::IdentityName;

/// Whoever asks, as far as the kernel proves it at the moment of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// On a Unix socket, by `SO_PEERCRED`.
    Unix { uid: u32, gid: u32, pid: i32 },
    /// On loopback TCP: anybody, until a token says more.
    Tcp,
}

/// The token of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    Nothing,
    Unknown,
    /// One that is valid, and what it stands for.
    Token(Scope),
}

/// Who is served without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The user whose daemon this is.
    pub owner: u32,
}

const ROOT: u32 = 0;

/// The outcome of an authorization.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Grant),
    Deny(Denial),
}

/// The right to one identity's credentials. Only a decision makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    identity: IdentityName,
}

impl Grant {
    pub fn identity(&self) -> &IdentityName {
        &self.identity
    }
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A user whom the Unix socket does not serve.
    OtherUser,
    NoToken,
    UnknownToken,
    /// The token is bound to another identity.
    OtherIdentity,
    /// Several identities, none of them named or called `default`.
    NoIdentityNamed,
    UnknownIdentity,
}

impl Policy {
    /// Decides for `caller`, who asks for the identity called `asked`, or for whichever is its
    /// only or default one.
    pub fn decide<'a>(
        &self,
        caller: Caller,
        token: &Presented,
        asked: Option<&str>,
        identities: impl Iterator<Item = &'a IdentityName>,
    ) -> Decision {
        let scope = match self.admit(caller, token) {
            Ok(scope) => scope,
            Err(denial) => return Decision::Deny(denial),
        };
        match select(scope, asked, identities) {
            Ok(identity) => Decision::Allow(Grant { identity }),
            Err(denial) => Decision::Deny(denial),
        }
    }

    /// Whether `caller` may be served at all, and with what.
    pub fn admit<'t>(&self, caller: Caller, token: &'t Presented) -> Result<&'t Scope, Denial> {
        match (caller, token) {
            (Caller::Unix { uid, .. }, _) if uid == self.owner || uid == ROOT => Ok(&Scope::All),
            (Caller::Unix { .. }, _) => Err(Denial::OtherUser),
            (Caller::Tcp, Presented::Nothing) => Err(Denial::NoToken),
            (Caller::Tcp, Presented::Unknown) => Err(Denial::UnknownToken),
            (Caller::Tcp, Presented::Token(scope)) => Ok(scope),
        }
    }
}

fn select<'a>(
    scope: &Scope,
    asked: Option<&str>,
    identities: impl Iterator<Item = &'a IdentityName>,
) -> Result<IdentityName, Denial> {
    let mut within = identities.filter(|identity| scope.covers(identity));
    let Some(asked) = asked else {
        let first = within.next().ok_or(Denial::UnknownIdentity)?;
        let Some(second) = within.next() else {
            return Ok(first.clone());
        };
        return [first, second]
            .into_iter()
            .chain(within)
            .find(|identity| identity.is_default())
            .cloned()
            .ok_or(Denial::NoIdentityNamed);
    };
    within
        .find(|identity| identity.as_str() == asked)
        .cloned()
        .ok_or(match scope {
            Scope::All => Denial::UnknownIdentity,
            // Whether it exists is none of this caller's business.
            Scope::Only(_) => Denial::OtherIdentity,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { owner: 1000 };

    fn names(texts: &[&str]) -> Vec<IdentityName> {
        texts
            .iter()
            .map(|text| IdentityName::parse(text).unwrap())
            .collect()
    }

    fn unix(uid: u32) -> Caller {
        Caller::Unix {
            uid,
            gid: 0,
            pid: 1,
        }
    }

    fn outcome(
        caller: Caller,
        token: &Presented,
        asked: Option<&str>,
        identities: &[&str],
    ) -> Result<String, Denial> {
        match POLICY.decide(caller, token, asked, names(identities).iter()) {
            Decision::Allow(grant) => Ok(grant.identity().to_string()),
            Decision::Deny(denial) => Err(denial),
        }
    }

    #[test]
    fn the_unix_socket_serves_its_owner_and_root_and_nobody_else() {
        for (uid, allowed) in [(1000, true), (0, true), (1001, false), (65534, false)] {
            assert_eq!(
                outcome(unix(uid), &Presented::Nothing, None, &["a"]).is_ok(),
                allowed,
                "{uid}"
            );
            let token = &Presented::Token(Scope::All);
            assert_eq!(
                outcome(unix(uid), token, None, &["a"]).is_ok(),
                allowed,
                "{uid}"
            );
        }
    }

    #[test]
    fn tcp_needs_a_token_that_is_known() {
        assert_eq!(
            outcome(Caller::Tcp, &Presented::Nothing, None, &["a"]),
            Err(Denial::NoToken)
        );
        assert_eq!(
            outcome(Caller::Tcp, &Presented::Unknown, None, &["a"]),
            Err(Denial::UnknownToken)
        );
        assert_eq!(
            outcome(Caller::Tcp, &Presented::Token(Scope::All), None, &["a"]),
            Ok("a".into())
        );
    }

    #[test]
    fn a_token_bound_to_one_identity_opens_no_other() {
        let only = Scope::Only(IdentityName::parse("b").unwrap());
        let token = &Presented::Token(only);
        let all = ["a", "b", "default"];
        assert_eq!(outcome(Caller::Tcp, token, None, &all), Ok("b".into()));
        assert_eq!(outcome(Caller::Tcp, token, Some("b"), &all), Ok("b".into()));
        assert_eq!(
            outcome(Caller::Tcp, token, Some("a"), &all),
            Err(Denial::OtherIdentity)
        );
        assert_eq!(
            outcome(Caller::Tcp, token, Some("x"), &all),
            Err(Denial::OtherIdentity)
        );
    }

    #[test]
    fn without_a_name_the_only_or_the_default_identity_is_meant() {
        let caller = unix(1000);
        assert_eq!(
            outcome(caller, &Presented::Nothing, None, &["a"]),
            Ok("a".into())
        );
        assert_eq!(
            outcome(caller, &Presented::Nothing, None, &["a", "default", "z"]),
            Ok("default".into())
        );
        assert_eq!(
            outcome(caller, &Presented::Nothing, None, &["a", "b"]),
            Err(Denial::NoIdentityNamed)
        );
        assert_eq!(
            outcome(caller, &Presented::Nothing, None, &[]),
            Err(Denial::UnknownIdentity)
        );
        assert_eq!(
            outcome(caller, &Presented::Nothing, Some("x"), &["a"]),
            Err(Denial::UnknownIdentity)
        );
    }
}
