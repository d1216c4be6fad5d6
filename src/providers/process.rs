//! A program that writes credentials: `credential_process`.
//!
//! AWS SDKs and Tools Reference Guide, "Process credential provider".

use super::{Context, Provider, Providing, Unprovided, providing};
use crate::aws::formats::parse_process;
use crate::credentials::{Failure, Provided, Renewal};
use crate::program::{Command, Limits, Problem, ProgramError};

/// The program. Its minute and its 64 KiB are those of SDKs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    pub command: Command,
}

/// The provider. Public for its tests.
#[derive(Debug)]
pub struct ProcessProvider {
    config: Config,
    context: Context,
}

impl ProcessProvider {
    pub fn new(config: Config, context: Context) -> Self {
        Self { config, context }
    }

    /// Keys without a session token are given as they are: whoever builds on this provider makes
    /// a session of them, or refuses.
    async fn attempt(&self) -> Result<Provided, Unprovided> {
        let command = &self.config.command;
        let (environment, clock) = (&self.context.environment, &self.context.clock);
        let run = command.run(Limits::OF_SDKS, environment, &**clock);
        let output = run.await.map_err(failure)?;
        let program = command.name();
        let credentials = parse_process(&output.stdout).map_err(|problem| {
            Failure::misconfigured(format!(
                "Error retrieving credentials from external process `{program}`, could not parse \
                 response: {problem}"
            ))
        })?;
        Ok(Provided {
            credentials,
            // Without an expiry too: running it costs more than a look at a file.
            renewal: Renewal::Mint,
            issued: None,
            source: format!("process {program}").into(),
        })
    }
}

impl Provider for ProcessProvider {
    fn provide(&mut self) -> Providing<'_> {
        providing(self.attempt())
    }
}

/// With the words of the SDKs where they have some.
fn failure(error: ProgramError) -> Failure {
    let message = match &error.problem {
        Problem::Exit { status, stderr } => {
            let said = if stderr.is_empty() {
                "it wrote nothing to its standard error"
            } else {
                stderr
            };
            format!(
                "Error retrieving credentials: external process `{}` exited with code {status}: \
                 {said}",
                error.program
            )
        }
        _ => format!("Error retrieving credentials from external process: {error}"),
    };
    Failure {
        message,
        ..error.into()
    }
}
