//! A session of a user's long-lived keys, with or without the code of an MFA device.

use std::sync::Arc;
use std::time::Duration;

use super::mfa_session::MfaSession;
use super::shared_session::{Owner, Session};
use super::source::{News, Source, SourceIdentity};
use super::sts::{Settings, Sts, Unanswered};
use super::{Context, Provider, Providing, Unprovided, mfa_code, mfa_verdict, providing};
use crate::aws::sts;
use crate::challenge::{MfaCode, Verdict};
use crate::clock::Timestamp;
use crate::credentials::{Credentials, Failure, Provided, Renewal};
use crate::program::Command;
use crate::secret::Secret;
use crate::secret_place::SecretPlace;

/// Whose session, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    pub from: SourceIdentity,
    pub mfa: Option<Mfa>,
    /// Twelve hours if absent, as AWS has it.
    pub lifetime: Option<Duration>,
    pub settings: Settings,
}

/// A device, and how its codes are come by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mfa {
    /// Serial number, or ARN of a virtual device.
    pub serial: String,
    pub code: CodeSource,
}

/// How the codes of a device are come by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum CodeSource {
    /// A person types them in.
    #[default]
    Ask,
    /// They are computed from the secret of a virtual device (RFC 6238).
    Totp(SecretPlace),
    /// A program prints them.
    Command(Command),
}

pub(super) struct SessionTokenProvider {
    config: Config,
    context: Context,
    source: Box<dyn Source>,
    sts: Sts,
    /// With a device, once it is known whose keys they are.
    session: Option<MfaSession>,
}

impl SessionTokenProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self {
            source: context.sources.open(&config.from, &context.identity),
            sts: Sts::new(&config.settings, &context),
            config,
            context,
            session: None,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        let keys = match self.keys().await {
            Ok(keys) => keys,
            Err(failure) => {
                self.turn_away(&failure);
                return Err(failure.into());
            }
        };
        let Some(mfa) = self.config.mfa.clone() else {
            let minted = self.mint(&keys, None).await;
            let credentials = minted.map_err(|unanswered| unanswered.failure)?;
            let issued = self.sts.upstream_now();
            return Ok(self.provided(credentials, Renewal::Mint, issued));
        };
        self.join(&keys, &mfa);
        match &mfa.code {
            CodeSource::Ask => self.ask(&keys, &mfa.serial).await,
            automatic => self.by_itself(&keys, &mfa.serial, automatic).await,
        }
    }

    /// The long-lived keys of which a session is made.
    async fn keys(&mut self) -> Result<Arc<Credentials>, Failure> {
        let keys = self.source.credentials().await?;
        if keys.is_long_lived() {
            return Ok(keys);
        }
        Err(Failure::misconfigured(format!(
            "a session is made of long-lived keys, and {} has a session itself; build on that one \
             instead",
            self.source.name()
        )))
    }

    /// Without keys nobody's code can be sent, so nobody should wait.
    fn turn_away(&mut self, failure: &Failure) {
        let answered = self.session.as_ref().and_then(MfaSession::answered_code);
        if let Some(answered) = answered {
            answered.conclude(Verdict::Unsent(failure.message.clone()));
        }
    }

    /// Shares the session of these keys and this device, should anybody else have one.
    fn join(&mut self, keys: &Arc<Credentials>, mfa: &Mfa) {
        let owner = Owner {
            keys: Arc::clone(keys),
            serial: mfa.serial.clone(),
        };
        let has_other_keys = |session: &MfaSession| !session.is_of(&owner);
        if self.session.as_ref().is_none_or(has_other_keys) {
            let is_asked_for = mfa.code == CodeSource::Ask;
            let before = self.session.take();
            let session = MfaSession::join(owner, is_asked_for, &self.context, before);
            self.session = Some(session);
        }
    }

    /// Tries the code that a person has left, if there is one, and asks for one otherwise.
    async fn ask(&mut self, keys: &Credentials, serial: &str) -> Result<Provided, Unprovided> {
        let answered = self.session.as_ref().and_then(MfaSession::answered_code);
        let mut word = None;
        if let Some(answered) = answered {
            match self.mint_with(keys, serial, answered.code()).await {
                Ok(session) => {
                    answered.conclude(Verdict::Accepted {
                        until: session.ends,
                    });
                    return Ok(self.provided_session(&session));
                }
                Err(unanswered) => {
                    answered.conclude(mfa_verdict::for_person(&unanswered));
                    word = Some(unanswered.failure.message);
                }
            }
        }
        let now = self.context.clock.now();
        let warnings = self.context.challenges.warnings();
        let Some(session) = &mut self.session else {
            return Err(Failure::mfa_required(self.context.identity.as_str(), serial).into());
        };
        if let Some(usable) = session.usable(now, warnings) {
            return Ok(self.provided_session(&usable));
        }
        session.ask(now);
        let failure = Failure::mfa_required(session.asked_as(), serial);
        let message = match word {
            Some(word) => format!("{word}; {}", failure.message),
            None => failure.message,
        };
        Err(Failure { message, ..failure }.into())
    }

    /// Comes by a code without anybody, unless another identity has a session by now.
    async fn by_itself(
        &mut self,
        keys: &Credentials,
        serial: &str,
        code: &CodeSource,
    ) -> Result<Provided, Unprovided> {
        let now = self.context.clock.now();
        let another = self.session.as_mut().and_then(|it| it.another(now));
        if let Some(session) = another {
            return Ok(self.provided_session(&session));
        }
        let at = self.sts.upstream_now();
        let (code, claim) = mfa_code::claimed(code, serial, &self.context, at).await?;
        match self.mint_with(keys, serial, &code).await {
            Ok(session) => Ok(self.provided_session(&session)),
            Err(unanswered) => {
                if !unanswered.was_sent {
                    claim.release();
                }
                Err(mfa_verdict::without_person(unanswered, serial).into())
            }
        }
    }

    /// Makes a session with a code, for all that share it.
    async fn mint_with(
        &mut self,
        keys: &Credentials,
        serial: &str,
        code: &MfaCode,
    ) -> Result<Session, Unanswered> {
        let mfa = sts::Mfa {
            serial_number: serial.to_owned(),
            token_code: Secret::from(code.expose().to_owned()),
        };
        let credentials = self.mint(keys, Some(mfa)).await?;
        let issued = self.sts.upstream_now();
        let session = Session {
            ends: credentials.expiry.unwrap_or(issued),
            credentials: Arc::new(credentials),
            issued,
        };
        if let Some(mine) = &mut self.session {
            mine.obtained(session.clone());
        }
        Ok(session)
    }

    async fn mint(
        &mut self,
        keys: &Credentials,
        mfa: Option<sts::Mfa>,
    ) -> Result<Credentials, Unanswered> {
        self.sts.session(keys, self.config.lifetime, mfa).await
    }

    fn provided_session(&self, session: &Session) -> Provided {
        let is_asked_for = self.config.mfa.as_ref().map(|mfa| &mfa.code) == Some(&CodeSource::Ask);
        let renewal = if is_asked_for {
            Renewal::Ask(self.context.challenges.warnings())
        } else {
            Renewal::Mint
        };
        self.provided(session.credentials.copy(), renewal, session.issued)
    }

    fn provided(&self, credentials: Credentials, renewal: Renewal, issued: Timestamp) -> Provided {
        Provided {
            credentials,
            renewal,
            issued: Some(issued),
            source: format!("session of {}", self.source.name()).into(),
        }
    }
}

impl Provider for SessionTokenProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn news(&mut self) -> News<'_> {
        let Self {
            source, session, ..
        } = self;
        Box::pin(async {
            let of_session = async {
                match session {
                    Some(session) => session.news().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = source.news() => {}
                () = of_session => {}
            }
        })
    }

    fn renew(&mut self) {
        self.source.refresh();
        if let Some(session) = &mut self.session {
            session.wish_for_another();
        }
    }

    fn forget(&mut self) {
        self.source.forget_unnamed();
        match &mut self.session {
            Some(session) => session.forget(),
            None => self.context.shared_sessions.forget(&self.context.identity),
        }
    }

    /// Whoever has to ask a person first asks nobody else.
    fn draws_on_shared_quota(&self) -> bool {
        let code = self.config.mfa.as_ref().map(|mfa| &mfa.code);
        code != Some(&CodeSource::Ask)
    }
}
