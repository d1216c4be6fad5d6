//! What a person types.

mod attempt;
mod check;
mod client;
mod daemon_socket;
mod decode;
mod demo;
mod dry_run;
mod env;
mod exec;
mod explain;
mod get;
mod health;
mod install;
mod log;
mod mfa;
mod order;
mod output;
mod pretend_aws;
mod reload;
mod screen;
mod sdk_environment;
mod serve;
mod status;
mod terminal;
mod token;
mod whoami;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::authz::TokenName;
use crate::environment::Environment;
use crate::identity::IdentityName;
use crate::os::init::{self, Role};
use crate::os::{memory, process, users};

/// Keeps AWS credentials fresh and hands them to local programs, so that none of them holds
/// long-lived keys.
#[derive(Debug, Parser)]
#[command(name = "credd", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(ServeArguments),
    /// Run a program with credd as its source of credentials
    Exec(ExecArguments),
    /// Print credentials as a `credential_process` does
    Get(GetArguments),
    /// Print shell commands that make credd the source of credentials
    Env(EnvArguments),
    /// Show how each identity is doing
    Status(StatusArguments),
    /// Obtain credentials anew, now
    Refresh(RefreshArguments),
    /// Drop the credentials of an identity, until somebody asks for them
    ///
    /// With them go those of whatever it is derived from that has no name of its own, such as the
    /// MFA session of a profile: the next to ask may have to type a code. What else is derived from
    /// that keeps its credentials until they are due. An identity that the config names, and this
    /// one is derived from, keeps its own: forget that one, too.
    Forget(ForgetArguments),
    /// Have the daemon read its config anew, and show what has changed
    Reload(ReportArguments),
    /// Show what waits for an MFA code, and send the code, which is asked for or read from standard
    /// input
    Mfa(MfaArguments),
    /// Show the tokens, replace one, or take one back
    Token(TokenArguments),
    /// Exit with 0 if every identity has credentials, or one
    Health(HealthArguments),
    /// Show what the daemon logs, or change it while it runs
    Log(LogArguments),
    /// Show why an identity has the credentials that it has, or why a program does not use credd
    Explain(ExplainArguments),
    /// Say whom AWS takes an identity for
    Whoami(WhoamiArguments),
    /// Decode the message of a denied request, as EC2 and others encode them
    Decode(DecodeArguments),
    /// Check the config file, and cite every problem in it
    Check(CheckArguments),
    /// Copy this program, for containers that use it and have no other way to get it
    Install(InstallArguments),
    /// Try everything against a pretend AWS; needs no account
    Demo,
}

impl Command {
    /// Whether it is what a container is started for, and has programs of its own beneath it.
    fn runs_on(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Exec(_) | Self::Demo)
    }
}

/// Which daemon is meant.
#[derive(Debug, Args)]
struct Place {
    /// The daemon's runtime directory [default: this user's own, then /run/credd]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// The config file [default: that in `CREDD_CONFIG`, the text in `CREDD_CONFIG_CONTENT`, your own
    /// config, or /etc/credd/credd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Also resolve each identity once, in the environment of this command, and ask AWS who it is
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Where sockets and token files go [default: that in `RUNTIME_DIRECTORY`, /run/credd for
    /// root, credd below `XDG_RUNTIME_DIR` for others]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// What to log: a level, or levels by target [default: that in `CREDD_LOG`, or info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How to write log lines: with fields to the journal if that is where stderr goes, else as
    /// text on stderr, unless said otherwise
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Auto,
    Text,
    Json,
    Journal,
}

#[derive(Debug, Args)]
struct ExecArguments {
    /// The identity [default: the only one, or `default`]
    identity: Option<IdentityName>,
    #[command(flatten)]
    place: Place,
    /// Leave the profile files to the program, although credentials in them outrank credd
    #[arg(long)]
    keep_profiles: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct GetArguments {
    /// The identity [default: the only one, or `default`]
    identity: Option<IdentityName>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct EnvArguments {
    /// The identity [default: the only one, or `default`]
    identity: Option<IdentityName>,
    #[command(flatten)]
    place: Place,
    /// Print the credentials themselves, for programs that know nothing else; they will expire
    #[arg(long)]
    credentials: bool,
}

#[derive(Debug, Args)]
struct RefreshArguments {
    /// The identity [default: all]
    identity: Option<IdentityName>,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct ForgetArguments {
    /// The identity
    identity: IdentityName,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct MfaArguments {
    /// An identity, or the serial of a device [default: the only one that waits for a code]
    identity: Option<String>,
    /// Read the code from standard input even if that is a terminal
    #[arg(long)]
    code_stdin: bool,
    /// Show all sessions that take a code, and send none
    #[arg(long, conflicts_with = "code_stdin")]
    list: bool,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct TokenArguments {
    #[command(subcommand)]
    command: Option<TokenCommand>,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a new one; the one before stays valid for its overlap
    Rotate(WhichTokenArguments),
    /// Make a new one; the one before is refused from now on
    Revoke(WhichTokenArguments),
}

#[derive(Debug, Args)]
struct WhichTokenArguments {
    /// The token's name
    token: TokenName,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct ReportArguments {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HealthArguments {
    /// The identity [default: all]
    identity: Option<IdentityName>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct LogArguments {
    /// What to log from now on: a level, or levels by target, as in `info,credd::refresh=debug`
    filter: Option<String>,
    /// Go back to what the daemon was started with
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct StatusArguments {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Go on showing, once a second
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
struct ExplainArguments {
    /// The identity [default: all, or none with --pid or --environment]
    identity: Option<IdentityName>,
    /// Look at the environment of this process: does its SDK come as far as credd?
    #[arg(long, value_name = "PID", conflicts_with = "environment")]
    pid: Option<u32>,
    /// The same for the environment in a file: lines of NAME=VALUE, or as /proc/PID/environ is
    #[arg(long, value_name = "FILE")]
    environment: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct WhoamiArguments {
    /// The identity [default: the only one, or `default`]
    identity: Option<IdentityName>,
    #[command(flatten)]
    report: ReportArguments,
}

#[derive(Debug, Args)]
struct InstallArguments {
    /// The directory of a volume, or a file there
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct DecodeArguments {
    /// The encoded message, or an error text that holds it [default: what stands on standard input]
    message: Option<String>,
    /// Whose permission to decode is used [default: the only one, or `default`]
    #[arg(long, value_name = "NAME")]
    identity: Option<IdentityName>,
    #[command(flatten)]
    place: Place,
}

/// A command that failed: what to tell the person, if anything, and the exit code.
#[derive(Debug)]
struct Failed {
    message: String,
    code: u8,
    /// Whether the daemon has refused, which says why and not what.
    is_refused: bool,
}

impl Failed {
    fn new(message: impl std::fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            code: 1,
            is_refused: false,
        }
    }

    fn refused(why: String) -> Self {
        Self {
            is_refused: true,
            ..Self::new(why)
        }
    }
}

type Outcome = Result<ExitCode, Failed>;

/// All that can be typed, for manual pages and completions.
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap's word for --help and --version too.
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            if error.use_stderr() {
                output::note(error.to_string().trim_end());
            } else {
                let _ = output::data(error.to_string().as_bytes());
            }
            return ExitCode::from(code);
        }
    };
    memory::limit_arenas();
    users::load_no_modules();
    if arguments.command.runs_on() {
        match init::divide() {
            Ok(Role::Program) => {}
            Ok(Role::First(first)) => {
                process::hide_memory();
                Environment::wipe_original();
                return ExitCode::from(first.wait());
            }
            Err(error) => {
                output::error(&format!(
                    "cannot start a process in this container: {error}"
                ));
                return ExitCode::FAILURE;
            }
        }
    }
    let environment = Environment::of_process();
    let attempt = arguments.command.attempt();
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments, environment),
        Command::Exec(arguments) => exec::run(&arguments, &environment),
        Command::Get(arguments) => get::run(&arguments, &environment),
        Command::Env(arguments) => env::run(&arguments, &environment),
        Command::Status(arguments) => status::run(&arguments, &environment),
        Command::Refresh(arguments) => order::refresh(&arguments, &environment),
        Command::Forget(arguments) => order::forget(&arguments, &environment),
        Command::Reload(arguments) => reload::run(&arguments, &environment),
        Command::Mfa(arguments) => mfa::run(&arguments, &environment),
        Command::Token(arguments) => token::run(&arguments, &environment),
        Command::Health(arguments) => health::run(&arguments, &environment),
        Command::Log(arguments) => log::run(&arguments, &environment),
        Command::Explain(arguments) => explain::run(&arguments, &environment),
        Command::Whoami(arguments) => whoami::run(&arguments, environment),
        Command::Decode(arguments) => decode::run(&arguments, environment),
        Command::Check(arguments) => check::run(&arguments, environment),
        Command::Install(arguments) => install::run(&arguments),
        Command::Demo => demo::run(&environment),
    };
    outcome.unwrap_or_else(|failed| {
        if failed.is_refused {
            output::error(&format!("cannot {attempt}: {}", failed.message));
        } else if !failed.message.is_empty() {
            output::error(&failed.message);
        }
        ExitCode::from(failed.code)
    })
}

/// Where sysfs is.
const SYS: &str = "/sys";

/// Threads for name lookups and file reads, each there for moments. One that hangs, on a dead file
/// server, must not keep the others from their work.
const BLOCKING_THREADS: usize = 16;

/// Runs `work` on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failed::new(format!("cannot start the event loop: {error}")))?;
    let outcome = runtime.block_on(work);
    // A lookup that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_defined() {
        definition().debug_assert();
    }
}
