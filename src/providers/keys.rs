//! Keys that credd.toml names: the access key id as it is, the secrets by where they are kept.

use super::{Context, Provider, Providing, Unprovided, providing, unreadable};
use crate::credentials::{AccessKeyId, Credentials, Failure, Principal, Provided, Renewal};
use crate::secret::Secret;
use crate::secret_place::SecretPlace;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    pub access_key_id: AccessKeyId,
    pub secret_access_key: SecretPlace,
    /// Absent for long-lived keys.
    pub session_token: Option<SecretPlace>,
}

/// The provider. Public for its tests.
#[derive(Debug)]
pub struct KeysProvider {
    config: Config,
    context: Context,
}

impl KeysProvider {
    pub fn new(config: Config, context: Context) -> Self {
        Self { config, context }
    }

    /// The secrets are read anew each time: whoever replaces them expects it.
    async fn attempt(&self) -> Result<Provided, Unprovided> {
        let Config {
            access_key_id,
            secret_access_key,
            session_token,
        } = &self.config;
        let secret_access_key = self.read(secret_access_key).await?;
        let session_token = match session_token {
            Some(place) => Some(self.read(place).await?),
            None => None,
        };
        Ok(Provided {
            credentials: Credentials {
                principal: Principal::of_keys(session_token.is_none()),
                access_key_id: access_key_id.clone(),
                secret_access_key,
                session_token,
                expiry: None,
                account_id: None,
                role_arn: None,
            },
            renewal: Renewal::Reread,
            issued: None,
            source: "keys".into(),
        })
    }

    async fn read(&self, place: &SecretPlace) -> Result<Secret, Failure> {
        let secret = place.read(&self.context.environment).await;
        secret.map_err(|error| unreadable(&error))
    }
}

impl Provider for KeysProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }
}
