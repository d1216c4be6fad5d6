//! Credentials in the daemon's own environment variables.

use std::sync::Arc;

use super::survey::{Finding, Found};
use super::{Provider, Providing, Unprovided, providing};
use crate::clock::Timestamp;
use crate::credentials::{AccessKeyId, Credentials, Failure, Principal, Provided, Renewal};
use crate::environment::Environment;
use crate::secret::Secret;

#[derive(Debug)]
pub(super) struct EnvironmentProvider {
    pub(super) environment: Arc<Environment>,
}

impl Provider for EnvironmentProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(std::future::ready(read(&self.environment)))
    }
}

/// Which variables are there.
pub(super) fn survey(environment: &Environment) -> Finding {
    const NAMES: [&str; 4] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
    ];
    match read(environment) {
        Ok(provided) => {
            let is_set = |name: &&str| environment.variable(name).is_some();
            let set: Vec<&str> = NAMES.into_iter().filter(is_set).collect();
            Finding::Found(Found {
                what: set.join(", "),
                removal: format!("unset {} in credd's environment", set.join(" ")),
                is_long_lived: provided.credentials.is_long_lived(),
                mfa_serial: None,
            })
        }
        Err(unprovided) => unprovided.into(),
    }
}

fn read(environment: &Environment) -> Result<Provided, Unprovided> {
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    let (access_key_id, secret_access_key) =
        match (environment.variable(id), environment.variable(secret)) {
            (None, None) => {
                return Err(Unprovided::NotConfigured(format!("{id} is not set")));
            }
            (Some(_), None) => return Err(partial(id, secret).into()),
            (None, Some(_)) => return Err(partial(secret, id).into()),
            (Some(access_key_id), Some(secret_access_key)) => (access_key_id, secret_access_key),
        };
    // boto2's name for it, which botocore reads to this day.
    let session_token = environment
        .variable("AWS_SESSION_TOKEN")
        .or_else(|| environment.variable("AWS_SECURITY_TOKEN"));
    let expiry = environment
        .variable("AWS_CREDENTIAL_EXPIRATION")
        .map(|text| {
            Timestamp::parse(text).ok_or_else(|| {
                Failure::misconfigured(
                    "AWS_CREDENTIAL_EXPIRATION is no RFC 3339 time such as 2026-01-31T12:00:00Z",
                )
            })
        })
        .transpose()?;
    Ok(Provided {
        credentials: Credentials {
            access_key_id: AccessKeyId::from(access_key_id.to_owned()),
            secret_access_key: Secret::from(secret_access_key.to_owned()),
            session_token: session_token.map(|token| Secret::from(token.to_owned())),
            expiry,
            account_id: environment.variable("AWS_ACCOUNT_ID").map(str::to_owned),
            role_arn: None,
            principal: Principal::of_keys(session_token.is_none()),
        },
        renewal: Renewal::Reread,
        issued: None,
        source: "environment".into(),
    })
}

fn partial(present: &str, missing: &str) -> Failure {
    Failure::misconfigured(format!(
        "partial credentials in the environment: {present} is set and {missing} is not; set both \
         or neither"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(variables: &[(&str, &str)]) -> Result<Provided, Unprovided> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        read(&variables.collect())
    }

    #[test]
    fn blank_variables_count_as_missing() {
        let blank = [("AWS_ACCESS_KEY_ID", " "), ("AWS_SECRET_ACCESS_KEY", "")];
        assert!(matches!(outcome(&blank), Err(Unprovided::NotConfigured(_))));
        assert!(matches!(outcome(&[]), Err(Unprovided::NotConfigured(_))));
    }

    #[test]
    fn one_key_without_the_other_stops_the_chain() {
        for (name, other) in [
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ] {
            let Err(Unprovided::Failed(failure)) = outcome(&[(name, "x")]) else {
                panic!("{name}");
            };
            assert!(
                failure.message.contains(&format!("{other} is not")),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_session_with_its_expiry_is_read() {
        let provided = outcome(&[
            ("AWS_ACCESS_KEY_ID", "ASIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_CREDENTIAL_EXPIRATION", "2026-01-31T12:00:00+00:00"),
            ("AWS_ACCOUNT_ID", "123456789012"),
        ])
        .unwrap();
        assert!(!provided.credentials.is_long_lived());
        assert_eq!(
            provided.credentials.expiry.unwrap().to_string(),
            "2026-01-31T12:00:00Z"
        );
        assert_eq!(
            provided.credentials.account_id.as_deref(),
            Some("123456789012")
        );
    }

    #[test]
    fn an_expiry_that_cannot_be_read_is_not_ignored() {
        let keys = [
            ("AWS_ACCESS_KEY_ID", "ASIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_CREDENTIAL_EXPIRATION", "tomorrow"),
        ];
        assert!(matches!(outcome(&keys), Err(Unprovided::Failed(_))));
    }
}
