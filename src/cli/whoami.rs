//! `credd whoami`: whom AWS takes an identity for.

use std::process::ExitCode;
use std::sync::Arc;

use super::daemon_socket::DaemonSockets;
use super::{Failed, Outcome, WhoamiArguments, block_on, output};
use crate::aws::sts::CallerIdentity;
use crate::clock::SystemClock;
use crate::daemon::surroundings;
use crate::environment::Environment;
use crate::os::process;
use crate::providers::sts::Sts;

pub(super) fn run(arguments: &WhoamiArguments, environment: Environment) -> Outcome {
    process::hide_memory();
    let sockets = DaemonSockets::locate(&arguments.report.place, &environment);
    let caller = block_on(async {
        let clock = Arc::new(SystemClock::new());
        let identity = arguments.identity.as_ref();
        let credentials = sockets.credentials(&*clock, identity).await?;
        let sts = Sts::of_environment(surroundings(Arc::new(environment), Vec::new(), clock));
        sts.caller_identity(&credentials).await.map_err(Failed::new)
    })?;
    let CallerIdentity {
        account,
        arn,
        user_id,
    } = caller;
    if arguments.report.json {
        let json = serde_json::json!({ "account": account, "arn": arn, "user-id": user_id });
        output::line(&json.to_string())?;
    } else {
        output::line(&format!(
            "arn      {arn}\naccount  {account}\nuser id  {user_id}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
