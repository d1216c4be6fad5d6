//! A role, assumed with a token that another identity provider has issued, as Kubernetes does.

use std::path::PathBuf;
use std::time::Duration;

use super::session_name::SessionName;
use super::sts::{Settings, Sts};
use super::survey::{Finding, Found};
use super::{Context, Heeding, Provider, Providing, Unprovided, providing};
use crate::aws::arn::Arn;
use crate::aws::sts::limit::LONGEST_WEB_IDENTITY_TOKEN;
use crate::aws::sts::{AssumeRoleWithWebIdentity, Request};
use crate::credentials::{Failure, Provided, Renewal};
use crate::environment::Environment;
use crate::os::{files, process};
use crate::secret::Secret;

const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// Of the token file: what STS takes of a token (API reference, `WebIdentityToken`), and a newline.
const TOKEN_BYTES: usize = LONGEST_WEB_IDENTITY_TOKEN + 2;

/// Where role and token come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Config {
    /// The variables that EKS sets.
    Environment,
    Given(Given),
}

/// What is assumed, and with which token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Given {
    pub role_arn: Arn,
    pub token_file: PathBuf,
    /// One hour if absent, as AWS has it.
    pub lifetime: Option<Duration>,
    pub session_name: Option<SessionName>,
    pub settings: Settings,
}

impl Given {
    /// What the variables say.
    pub(super) fn of(environment: &Environment) -> Result<Self, Unprovided> {
        let missing = |name: &str, other: &str| {
            Failure::misconfigured(format!(
                "{other} is set and {name} is not; set both or neither"
            ))
        };
        let (token_file, role_arn) = match (
            environment.variable(TOKEN_FILE),
            environment.variable(ROLE_ARN),
        ) {
            // A role alone means nothing: other tools set it too.
            (None, _) => {
                return Err(Unprovided::NotConfigured(format!(
                    "{TOKEN_FILE} is not set"
                )));
            }
            (Some(_), None) => return Err(missing(ROLE_ARN, TOKEN_FILE).into()),
            (Some(token_file), Some(role_arn)) => (token_file, role_arn),
        };
        let role_arn = Arn::parse(role_arn).ok().filter(Arn::is_role);
        let session_name = environment.variable(SESSION_NAME);
        let session_name = session_name.map(SessionName::literal).transpose();
        Ok(Self {
            role_arn: role_arn.ok_or_else(|| {
                Failure::misconfigured(format!("{ROLE_ARN} is not the ARN of a role"))
            })?,
            token_file: token_file.into(),
            lifetime: None,
            session_name: session_name
                .map_err(|error| Failure::misconfigured(format!("{SESSION_NAME}: {error}")))?,
            settings: Settings::default(),
        })
    }
}

pub(super) struct WebIdentityProvider {
    config: Config,
    context: Context,
    /// Whether the last attempt gave nothing, or none has been made.
    lacks: bool,
}

impl WebIdentityProvider {
    pub(super) fn new(config: Config, context: Context) -> Self {
        Self {
            config,
            context,
            lacks: true,
        }
    }

    async fn attempt(&mut self) -> Result<Provided, Unprovided> {
        // Also if this is cut short.
        self.lacks = true;
        let given = match &self.config {
            Config::Environment => &Given::of(&self.context.environment)?,
            Config::Given(given) => given,
        };
        let session_name = given.session_name.clone().unwrap_or_default();
        let request = Request::AssumeRoleWithWebIdentity(AssumeRoleWithWebIdentity {
            role_arn: given.role_arn.clone(),
            role_session_name: session_name
                .filled(&process::host_name(), self.context.identity.as_str()),
            duration: given.lifetime,
            web_identity_token: token(given.token_file.clone()).await?,
            policy: None,
            policy_arns: Vec::new(),
        });
        let sts = Sts::new(&given.settings, &self.context);
        let credentials = sts
            .mint(&request, None)
            .await
            .map_err(|unanswered| unanswered.failure)?;
        let role = given.role_arn.role_name();
        self.lacks = false;
        Ok(Provided {
            source: format!("web identity, role {role}").into(),
            credentials,
            renewal: Renewal::Mint,
            issued: Some(sts.upstream_now()),
        })
    }
}

/// Which role, and whether its token can be read. STS is not asked.
pub(super) async fn survey(config: &Config, environment: &Environment) -> Finding {
    let given = match config {
        Config::Environment => Given::of(environment),
        Config::Given(given) => Ok(given.clone()),
    };
    let given = match given {
        Ok(given) => given,
        Err(unprovided) => return unprovided.into(),
    };
    if let Err(failure) = token(given.token_file.clone()).await {
        return Finding::Broken(failure.message);
    }
    let role = given.role_arn.role_name();
    let file = given.token_file.display();
    Finding::Found(Found {
        what: format!("role {role} by the token in {file}"),
        removal: format!("unset {TOKEN_FILE} in credd's environment"),
        is_long_lived: false,
        mfa_serial: None,
    })
}

/// Read anew at each refresh: Kubernetes replaces it when 80 % of its life have passed.
async fn token(path: PathBuf) -> Result<Secret, Failure> {
    let name = path.display().to_string();
    let text = files::read_text(path, TOKEN_BYTES).await.map_err(|error| {
        Failure::misconfigured(format!(
            "cannot read the web identity token {name}: {error}"
        ))
    })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::misconfigured(format!(
            "the web identity token file {name} is empty"
        )));
    }
    Ok(Secret::from(token.to_owned()))
}

impl Provider for WebIdentityProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }

    fn files(&self) -> Vec<PathBuf> {
        let file = match &self.config {
            Config::Environment => {
                let variable = self.context.environment.variable(TOKEN_FILE);
                variable.map(PathBuf::from)
            }
            Config::Given(given) => Some(given.token_file.clone()),
        };
        file.into_iter().collect()
    }

    /// The token only proves who asks: a set that one has brought is as good after the next has come,
    /// as it does every hour.
    fn heeds_files(&mut self) -> Heeding<'_> {
        Box::pin(std::future::ready(self.lacks))
    }

    fn draws_on_shared_quota(&self) -> bool {
        match self.config {
            Config::Environment => Given::of(&self.context.environment).is_ok(),
            Config::Given(_) => true,
        }
    }
}
