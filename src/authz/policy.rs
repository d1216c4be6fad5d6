//! The decision, and why.

use std::collections::BTreeSet;
use std::path::Path;

use super::caller::{Caller, Facts, ListenerName, Transport};
use super::rule::{Conditions, Key, Opening, Opens, Rule, RuleName};
use super::tokens::{Bearer, Presented};
use crate::identity::IdentityName;
use crate::os::process::ROOT;

/// Who may have what. Whoever no rule knows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    identities: Vec<IdentityName>,
    facts: Facts,
}

/// The outcome of an authorization.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Grant),
    Deny(Denial),
}

/// The right to one identity's credentials. Only a decision makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    opening: Opening,
    rule: RuleName,
}

impl Grant {
    /// The identity by the name that callers know it by.
    pub fn identity(&self) -> &IdentityName {
        &self.opening.identity
    }

    /// The one whose credentials are handed out.
    pub fn served(&self) -> &IdentityName {
        &self.opening.served
    }

    pub fn rule(&self) -> &RuleName {
        &self.rule
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub reason: Reason,
    /// For the log only.
    pub nearest: Option<Nearest>,
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            nearest: None,
        }
    }
}

/// What a caller is told of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No rule knows the caller.
    Stranger,
    /// On TCP, where most come with a token.
    NoToken,
    UnknownToken,
    /// The caller may have other identities.
    OtherIdentity,
    /// Several identities, none of them named or called `default`.
    NoIdentityNamed,
    UnknownIdentity,
    /// The process that had connected is no longer there, so that nobody can say who asks.
    CallerGone,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "no rule admits this caller",
            Self::NoToken => "no token",
            Self::UnknownToken => "unknown token",
            Self::OtherIdentity => "no rule opens this identity to this caller",
            Self::NoIdentityNamed => "no identity named",
            Self::UnknownIdentity => "unknown identity",
            Self::CallerGone => "the caller's process is gone",
        }
    }
}

/// The rule that would have needed least to admit the caller, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    pub rule: RuleName,
    pub unmet: Vec<Key>,
}

impl Policy {
    /// `rules` in their order, and then those that always hold: `owner`, the daemon's user, and
    /// root have every identity on the public Unix sockets, and whoever holds the token `default`
    /// has them too.
    pub fn new(mut rules: Vec<Rule>, owner: u32, identities: Vec<IdentityName>) -> Self {
        let on_unix = |user| Conditions {
            user: Some(user),
            listener: Some(ListenerName::unix()),
            ..Conditions::default()
        };
        let default_token = Conditions {
            token: Some(IdentityName::default()),
            ..Conditions::default()
        };
        let always = [
            ("owner", on_unix(owner)),
            ("root", on_unix(ROOT)),
            ("token default", default_token),
        ];
        rules.extend(always.map(|(name, caller)| Rule {
            name: name.into(),
            caller,
            opens: Opens::All,
        }));
        let mut facts = Facts::default();
        for rule in &rules {
            let of_rule = rule.caller.facts();
            facts.tcp_user |= of_rule.tcp_user;
            facts.executable |= of_rule.executable;
            facts.cgroup |= of_rule.cgroup;
        }
        Self {
            rules,
            identities,
            facts,
        }
    }

    /// What must be found out about each caller.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Whether a rule is about this executable.
    pub fn names_executable(&self, path: &Path) -> bool {
        let mut named = self.rules.iter().map(|rule| &rule.caller.executable);
        named.any(|named| named.as_deref() == Some(path))
    }

    /// Whether somebody besides root and `owner`, the daemon's user, may be admitted on the Unix
    /// socket called `listener`.
    pub fn may_admit_others(&self, listener: &ListenerName, owner: u32) -> bool {
        self.rules.iter().any(|rule| {
            let Conditions {
                user,
                token,
                listener: wanted,
                ..
            } = &rule.caller;
            let is_there = wanted
                .as_ref()
                .map_or(!listener.is_own(), |wanted| wanted == listener);
            // No token is looked at on a Unix socket.
            is_there && token.is_none() && user.is_none_or(|uid| ![owner, ROOT].contains(&uid))
        })
    }

    /// The users whom a rule names, `owner` and root among them.
    pub fn known_users(&self) -> BTreeSet<u32> {
        let users = self.rules.iter().filter_map(|rule| rule.caller.user);
        users.collect()
    }

    /// Decides for `caller`, who asks for the identity called `asked`, or for whichever is its
    /// only or default one. The first rule that admits the caller to it decides which one is
    /// served.
    pub fn decide(&self, caller: &Caller, presented: &Presented, asked: Option<&str>) -> Decision {
        if let Presented::Bearer(Bearer::Lease(holder, grant)) = presented {
            let leased = grant.identity().as_str();
            return match asked {
                Some(asked) if leased != asked => Decision::Deny(Reason::OtherIdentity.into()),
                // The rules may be others since a reload.
                _ => self.decide(holder, &Presented::Nothing, Some(leased)),
            };
        }
        let decision = match asked {
            Some(asked) => self
                .admitting(caller, presented)
                .find_map(|rule| self.grant(rule, asked)),
            None => match self.only_or_default(caller, presented) {
                Ok(grant) => grant,
                Err(reason) => return Decision::Deny(reason.into()),
            },
        };
        match decision {
            Some(grant) => Decision::Allow(grant),
            None => Decision::Deny(self.denial(caller, presented, asked)),
        }
    }

    /// Whether `caller` may be told anything at all.
    pub fn admit(&self, caller: &Caller, presented: &Presented) -> Result<(), Denial> {
        let is_lease = matches!(presented, Presented::Bearer(Bearer::Lease(..)));
        if is_lease || self.admitting(caller, presented).next().is_some() {
            Ok(())
        } else {
            Err(self.denial(caller, presented, None))
        }
    }

    fn admitting<'a>(
        &'a self,
        caller: &'a Caller,
        presented: &'a Presented,
    ) -> impl Iterator<Item = &'a Rule> {
        let rules = self.rules.iter();
        rules.filter(|rule| rule.caller.are_met(caller, presented))
    }

    fn grant(&self, rule: &Rule, asked: &str) -> Option<Grant> {
        let opening = match &rule.opens {
            Opens::All => {
                let identity = self.identities.iter().find(|it| it.as_str() == asked)?;
                Opening::of(identity.clone())
            }
            Opens::Only(openings) => {
                let mut openings = openings.iter();
                openings.find(|it| it.identity.as_str() == asked)?.clone()
            }
        };
        Some(Grant {
            opening,
            rule: rule.name.clone(),
        })
    }

    fn only_or_default(
        &self,
        caller: &Caller,
        presented: &Presented,
    ) -> Result<Option<Grant>, Reason> {
        let mut first: Option<(&Rule, &IdentityName)> = None;
        let mut default = None;
        let mut are_several = false;
        for rule in self.admitting(caller, presented) {
            for identity in self.opened(rule) {
                let (_, only) = first.get_or_insert((rule, identity));
                are_several |= *only != identity;
                if identity.is_default() {
                    default.get_or_insert((rule, identity));
                }
            }
        }
        let Some(only) = first else { return Ok(None) };
        let (rule, meant) = match default {
            _ if !are_several => only,
            Some(default) => default,
            None => return Err(Reason::NoIdentityNamed),
        };
        Ok(self.grant(rule, meant.as_str()))
    }

    fn opened<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a IdentityName> {
        let (all, only) = match &rule.opens {
            Opens::All => (self.identities.as_slice(), [].as_slice()),
            Opens::Only(openings) => ([].as_slice(), openings.as_slice()),
        };
        all.iter().chain(only.iter().map(|it| &it.identity))
    }

    fn denial(&self, caller: &Caller, presented: &Presented, asked: Option<&str>) -> Denial {
        let mut is_admitted = false;
        let mut has_all = false;
        for rule in self.admitting(caller, presented) {
            is_admitted = true;
            has_all |= rule.opens == Opens::All;
        }
        let reason = match (is_admitted, caller.transport, presented) {
            (true, ..) if has_all => Reason::UnknownIdentity,
            // Whether it exists is none of this caller's business.
            (true, ..) => Reason::OtherIdentity,
            (false, Transport::Tcp, Presented::Nothing) => Reason::NoToken,
            (false, Transport::Tcp, Presented::Unknown) => Reason::UnknownToken,
            (false, ..) => Reason::Stranger,
        };
        Denial {
            reason,
            nearest: self.nearest(caller, presented, asked),
        }
    }

    fn nearest(
        &self,
        caller: &Caller,
        presented: &Presented,
        asked: Option<&str>,
    ) -> Option<Nearest> {
        let opens = |rule: &&Rule| {
            asked.is_none_or(|asked| self.opened(rule).any(|it| it.as_str() == asked))
        };
        let unmet = self.rules.iter().filter(opens).map(|rule| Nearest {
            rule: rule.name.clone(),
            unmet: rule.caller.unmet(caller, presented),
        });
        unmet.min_by_key(|nearest| nearest.unmet.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authz::{Process, User};

    fn name(text: &str) -> IdentityName {
        IdentityName::parse(text).unwrap()
    }

    fn policy(rules: Vec<Rule>, identities: &[&str]) -> Policy {
        Policy::new(rules, 1000, identities.iter().map(|it| name(it)).collect())
    }

    fn rule(caller: Conditions, identities: &[&str]) -> Rule {
        let opens = identities.iter().map(|it| Opening::of(name(it)));
        Rule {
            name: RuleName::of_config(1),
            caller,
            opens: Opens::Only(opens.collect()),
        }
    }

    fn unix(uid: u32) -> Caller {
        Caller {
            listener: ListenerName::unix(),
            transport: Transport::Unix,
            user: Some(User {
                uid,
                gid: Some(uid),
                groups: Arc::new([27, 100]),
            }),
            process: Some(Process::default()),
        }
    }

    fn tcp(uid: Option<u32>) -> Caller {
        let user = uid.map(|uid| User {
            uid,
            gid: None,
            groups: Arc::new([]),
        });
        Caller {
            listener: ListenerName::http(),
            transport: Transport::Tcp,
            user,
            process: None,
        }
    }

    fn token(text: &str) -> Presented {
        Presented::Bearer(Bearer::Token(name(text)))
    }

    fn outcome(
        policy: &Policy,
        caller: &Caller,
        presented: &Presented,
        asked: Option<&str>,
    ) -> Result<String, Reason> {
        match policy.decide(caller, presented, asked) {
            Decision::Allow(grant) => Ok(grant.served().to_string()),
            Decision::Deny(denial) => Err(denial.reason),
        }
    }

    #[test]
    fn without_rules_the_unix_socket_serves_its_owner_and_root_and_nobody_else() {
        let policy = policy(Vec::new(), &["a"]);
        for (uid, allowed) in [(1000, true), (0, true), (1001, false), (65534, false)] {
            let outcome = outcome(&policy, &unix(uid), &Presented::Nothing, None);
            assert_eq!(outcome.is_ok(), allowed, "{uid}");
        }
        let unknown = Caller {
            user: None,
            ..unix(0)
        };
        assert_eq!(
            outcome(&policy, &unknown, &Presented::Nothing, None),
            Err(Reason::Stranger)
        );
    }

    #[test]
    fn tcp_needs_a_token_that_is_known_whoever_asks() {
        let policy = policy(Vec::new(), &["a"]);
        for uid in [None, Some(0), Some(1000)] {
            let caller = tcp(uid);
            assert_eq!(
                outcome(&policy, &caller, &Presented::Nothing, None),
                Err(Reason::NoToken)
            );
            assert_eq!(
                outcome(&policy, &caller, &Presented::Unknown, None),
                Err(Reason::UnknownToken)
            );
            assert_eq!(
                outcome(&policy, &caller, &token("default"), None),
                Ok("a".into())
            );
        }
    }

    #[test]
    fn tcp_without_a_token_takes_a_rule_that_says_so() {
        let by_user = Conditions {
            user: Some(7),
            ..Conditions::default()
        };
        let in_so_many_words = Conditions {
            tcp_without_token: true,
            ..by_user.clone()
        };
        let (silent, said) = (
            policy(vec![rule(by_user, &["a"])], &["a"]),
            policy(vec![rule(in_so_many_words, &["a"])], &["a"]),
        );
        let nothing = Presented::Nothing;
        assert_eq!(
            outcome(&silent, &tcp(Some(7)), &nothing, None),
            Err(Reason::NoToken)
        );
        assert_eq!(outcome(&silent, &unix(7), &nothing, None), Ok("a".into()));
        assert_eq!(
            outcome(&said, &tcp(Some(7)), &nothing, None),
            Ok("a".into())
        );
        for uid in [None, Some(8), Some(0)] {
            assert_eq!(
                outcome(&said, &tcp(uid), &nothing, None),
                Err(Reason::NoToken)
            );
        }
    }

    #[test]
    fn all_conditions_of_a_rule_must_be_met() {
        let caller = Caller {
            process: Some(Process {
                pid: 1,
                executable: Some("/usr/bin/app".into()),
                unit: Some("app.service".into()),
                container: Some("c1".into()),
            }),
            ..unix(7)
        };
        let all = Conditions {
            user: Some(7),
            group: Some(100),
            unit: Some("app.service".into()),
            executable: Some("/usr/bin/app".into()),
            container: Some("c1".into()),
            token: Some(name("worker")),
            listener: Some(ListenerName::unix()),
            tcp_without_token: false,
        };
        let presented = token("worker");
        let admits = |conditions: Conditions| {
            let policy = policy(vec![rule(conditions, &["a"])], &["a"]);
            outcome(&policy, &caller, &presented, None).is_ok()
        };
        assert!(admits(all.clone()));
        let mut others: [Conditions; 7] = std::array::from_fn(|_| all.clone());
        others[0].user = Some(8);
        others[1].group = Some(8);
        others[2].unit = Some("other.service".into());
        others[3].executable = Some("/usr/bin/other".into());
        others[4].container = Some("c2".into());
        others[5].token = Some(name("other"));
        others[6].listener = Some(ListenerName::http());
        for other in others {
            assert!(!admits(other.clone()), "{other:?}");
        }
    }

    #[test]
    fn a_process_of_which_nothing_is_known_meets_no_condition() {
        for conditions in [
            Conditions {
                unit: Some("app.service".into()),
                ..Conditions::default()
            },
            Conditions {
                executable: Some("/usr/bin/app".into()),
                ..Conditions::default()
            },
            Conditions {
                group: Some(7),
                ..Conditions::default()
            },
        ] {
            let policy = policy(vec![rule(conditions, &["a"])], &["a"]);
            for caller in [unix(8), tcp(None)] {
                assert!(outcome(&policy, &caller, &Presented::Nothing, None).is_err());
            }
        }
    }

    #[test]
    fn a_socket_of_its_own_opens_what_it_is_for_and_nothing_else() {
        let own = Conditions {
            listener: Some(ListenerName::own("a")),
            ..Conditions::default()
        };
        let by_user = Conditions {
            user: Some(7),
            ..Conditions::default()
        };
        let rules = vec![rule(own, &["a"]), rule(by_user, &["b"])];
        let policy = policy(rules, &["a", "b"]);
        let nothing = Presented::Nothing;
        for uid in [0, 7, 1000, 4711] {
            let caller = Caller {
                listener: ListenerName::own("a"),
                ..unix(uid)
            };
            assert_eq!(outcome(&policy, &caller, &nothing, None), Ok("a".into()));
            assert_eq!(
                outcome(&policy, &caller, &nothing, Some("b")),
                Err(Reason::OtherIdentity)
            );
        }
        // A name that looks like another listener's is no way in there.
        let named = Caller {
            listener: ListenerName::own("unix"),
            ..unix(0)
        };
        assert!(outcome(&policy, &named, &nothing, None).is_err());
    }

    #[test]
    fn a_lease_opens_its_identity_and_no_other() {
        let policy = policy(Vec::new(), &["a", "b", "default"]);
        let nothing = Presented::Nothing;
        let Decision::Allow(grant) = policy.decide(&unix(0), &nothing, Some("b")) else {
            panic!("root has every identity");
        };
        let holder = Arc::new(unix(0));
        let lease = Presented::Bearer(Bearer::Lease(holder, grant));
        let caller = tcp(None);
        assert_eq!(outcome(&policy, &caller, &lease, None), Ok("b".into()));
        assert_eq!(outcome(&policy, &caller, &lease, Some("b")), Ok("b".into()));
        for other in ["a", "x"] {
            assert_eq!(
                outcome(&policy, &caller, &lease, Some(other)),
                Err(Reason::OtherIdentity)
            );
        }
        // What no rule would grant its holder any more is not granted by it either.
        let others = self::policy(Vec::new(), &["a"]);
        assert_eq!(
            outcome(&others, &caller, &lease, Some("b")),
            Err(Reason::UnknownIdentity)
        );
    }

    #[test]
    fn without_a_name_the_only_or_the_default_identity_is_meant() {
        let nothing = Presented::Nothing;
        let owner = |identities: &[&str], asked| {
            outcome(
                &policy(Vec::new(), identities),
                &unix(1000),
                &nothing,
                asked,
            )
        };
        assert_eq!(owner(&["a"], None), Ok("a".into()));
        assert_eq!(owner(&["a", "default", "z"], None), Ok("default".into()));
        assert_eq!(owner(&["a", "b"], None), Err(Reason::NoIdentityNamed));
        assert_eq!(owner(&[], None), Err(Reason::UnknownIdentity));
        assert_eq!(owner(&["a"], Some("x")), Err(Reason::UnknownIdentity));
    }

    #[test]
    fn identities_of_several_rules_are_counted_once() {
        let by_user = Conditions {
            user: Some(7),
            ..Conditions::default()
        };
        let by_group = Conditions {
            group: Some(100),
            ..Conditions::default()
        };
        let rules = |other: &str| {
            vec![
                rule(by_user.clone(), &["a"]),
                rule(by_group.clone(), &[other]),
            ]
        };
        let nothing = Presented::Nothing;
        let same = policy(rules("a"), &["a", "b", "default"]);
        assert_eq!(outcome(&same, &unix(7), &nothing, None), Ok("a".into()));
        let other = policy(rules("b"), &["a", "b", "default"]);
        assert_eq!(
            outcome(&other, &unix(7), &nothing, None),
            Err(Reason::NoIdentityNamed)
        );
        assert_eq!(outcome(&other, &unix(8), &nothing, None), Ok("b".into()));
        assert_eq!(
            outcome(&other, &unix(8), &nothing, Some("a")),
            Err(Reason::OtherIdentity)
        );
    }

    #[test]
    fn the_first_rule_decides_which_one_is_served() {
        let narrowed = Rule {
            opens: Opens::Only(vec![Opening {
                identity: name("a"),
                served: name("a.narrow"),
            }]),
            ..rule(
                Conditions {
                    user: Some(1000),
                    ..Conditions::default()
                },
                &[],
            )
        };
        let policy = policy(vec![narrowed], &["a"]);
        let nothing = Presented::Nothing;
        for asked in [None, Some("a")] {
            assert_eq!(
                outcome(&policy, &unix(1000), &nothing, asked),
                Ok("a.narrow".into())
            );
            assert_eq!(outcome(&policy, &unix(0), &nothing, asked), Ok("a".into()));
        }
    }

    #[test]
    fn a_denial_names_the_rule_that_was_nearest() {
        let near = Conditions {
            user: Some(7),
            unit: Some("app.service".into()),
            ..Conditions::default()
        };
        let policy = policy(vec![rule(near, &["a"])], &["a", "b"]);
        let nearest = |uid, asked| match policy.decide(&unix(uid), &Presented::Nothing, asked) {
            Decision::Deny(denial) => denial.nearest,
            Decision::Allow(grant) => panic!("{grant:?}"),
        };
        let expected = Nearest {
            rule: RuleName::of_config(1),
            unmet: vec!["unit"],
        };
        assert_eq!(nearest(7, Some("a")), Some(expected));
        let of_owner = nearest(7, Some("b")).unwrap();
        assert_eq!(
            (of_owner.rule.as_str(), of_owner.unmet),
            ("owner", vec!["user"])
        );
    }
}
