//! The command line: parses it, runs one verb, says what went wrong, and turns that into an exit code. The only part of the
//! program that writes to the standard streams by itself. What a verb does is in the file of its name.
//!
//! A new verb is a file `cli/VERB.rs` with a `clap::Args` of the verb's name and its `run`, and a line in `verbs!` below.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use bothost::admin::TlsError;
use bothost::admin::client::ClientError;
use bothost::config::ConfigError;
use bothost::daemon::DaemonError;
use clap::{Command, CommandFactory as _, Parser, Subcommand};
use http::StatusCode;

/// It was not done.
const FAILED: u8 = 1;
/// The command line asks for what cannot be.
const USAGE: u8 = 2;
/// The configuration is not good.
const BAD_CONFIGURATION: u8 = 64;
/// There is no host to ask.
const NOT_RUNNING: u8 = 69;
/// The host is there, and could not do it now.
const TRY_AGAIN: u8 = 75;
/// The host is another user's.
const NOT_ALLOWED: u8 = 77;

mod colour;
mod figure;
mod password;
mod placing;
mod progress;
mod remote;
mod table;
mod target;
mod timeline;

/// Declares the modules of the verbs, the enum that `clap` parses, and the way from one to the other.
macro_rules! verbs {
    ($($module:ident::$verb:ident),+ $(,)?) => {
        $(mod $module;)+

        #[derive(Debug, Subcommand)]
        enum Verb {
            $($verb($module::$verb),)+
        }

        impl Verb {
            fn run(self) -> Result<(), Failure> {
                match self {
                    $(Self::$verb(verb) => verb.run(),)+
                }
            }
        }
    };
}

verbs! {
    run::Run,
    start::Start,
    stop::Stop,
    restart::Restart,
    status::Status,
    watch::Watch,
    systemd_unit::SystemdUnit,
    check::Check,
    inspect::Inspect,
    ps::Ps,
    describe::Describe,
    alerts::Alerts,
    errors::Errors,
    faults::Faults,
    logs::Logs,
    reset::Reset,
    reload::Reload,
    dlq::Dlq,
    outbox::Outbox,
    bots::Bots,
    connectors::Connectors,
    components::Components,
    offers::Offers,
    rentals::Rentals,
    tenants::Tenants,
    events::Events,
    send::Send,
    why::Why,
    metrics::Metrics,
    report::Report,
    config::Config,
    accounts::Accounts,
    tokens::Tokens,
    audit::Audit,
    enable::Enable,
    disable::Disable,
    compile::Compile,
    dev::Dev,
    top::Top,
    doctor::Doctor,
    completions::Completions,
    man::Man,
}

/// One process that hosts many untrusted bots, each a WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "host", version)]
struct Arguments {
    /// When what is shown has colours; auto: on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    color: colour::When,
    #[command(subcommand)]
    verb: Verb,
}

/// Why a verb did not do what it was told to.
#[derive(Debug)]
enum Failure {
    /// The configuration, or what belongs to it, is not good. Never empty.
    Configuration(Vec<ConfigError>),
    /// What the admin side shows is not good.
    Certificate(TlsError),
    /// The bots, or their entries, are not good: a line for each. They were told already.
    Bots { are_entries_bad: bool },
    /// What went wrong was told already. With the exit code.
    Told(u8),
    /// The running host did not answer.
    Client(ClientError),
    /// The daemon was not found, started or stopped.
    Daemon(DaemonError),
    /// The command line asks for what cannot be.
    Usage(String),
    /// No host runs where one was looked for.
    NotRunning(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(vec![error])
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::Daemon(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// Returns what went wrong, on a line.
    fn words(self) -> String {
        match self {
            Self::Configuration(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Self::Certificate(error) => format!("{:#}", anyhow::Error::new(error)),
            Self::Client(error) => format!("{:#}", anyhow::Error::new(error)),
            Self::Daemon(error) => format!("{:#}", anyhow::Error::new(error)),
            Self::Usage(message) | Self::NotRunning(message) => message,
            Self::Other(error) => format!("{error:#}"),
            Self::Bots { .. } | Self::Told(_) => "it was told already".to_owned(),
        }
    }

    /// Tells what went wrong and returns the exit code.
    fn report(self) -> u8 {
        match self {
            Self::Configuration(errors) => {
                errors.iter().for_each(complain);
                BAD_CONFIGURATION
            }
            Self::Certificate(error) => {
                complain(format_args!("host: {:#}", anyhow::Error::new(error)));
                BAD_CONFIGURATION
            }
            Self::Bots { are_entries_bad: true } => BAD_CONFIGURATION,
            Self::Bots { are_entries_bad: false } => FAILED,
            Self::Told(code) => code,
            Self::Client(ClientError::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, detail, .. }) => {
                complain(detail);
                BAD_CONFIGURATION
            }
            Self::Client(error) => {
                let code = client_code(&error);
                complain(format_args!("host: {:#}", anyhow::Error::new(error)));
                code
            }
            Self::Daemon(error) => {
                let code = if error.is_not_allowed() { NOT_ALLOWED } else { FAILED };
                complain(format_args!("host: {:#}", anyhow::Error::new(error)));
                code
            }
            Self::Usage(message) => {
                complain(format_args!("host: {message}"));
                USAGE
            }
            Self::NotRunning(message) => {
                complain(format_args!("host: {message}"));
                NOT_RUNNING
            }
            Self::Other(error) => {
                complain(format_args!("host: {error:#}"));
                FAILED
            }
        }
    }
}

/// Returns the exit code for a host that did not answer, or refused.
fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::NotRunning { .. } => NOT_RUNNING,
        ClientError::NotAllowed { .. } => NOT_ALLOWED,
        ClientError::TimedOut { .. } => TRY_AGAIN,
        ClientError::Refused { status, .. } => match *status {
            StatusCode::UNPROCESSABLE_ENTITY => BAD_CONFIGURATION,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NOT_ALLOWED,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => TRY_AGAIN,
            _ => FAILED,
        },
        _ => FAILED,
    }
}

/// Returns the command line without the verbs that are not for people.
fn visible_command() -> Command {
    let whole = Arguments::command();
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("host")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .args(whole.get_arguments().cloned())
        .subcommands(verbs)
}

/// Runs the verb on the command line and returns what the process should exit with.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help that was asked for is no failure; `clap` knows which of the two it is, and which stream is meant.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
        }
    };
    colour::choose(arguments.color);
    match arguments.verb.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report()),
    }
}

/// Writes a line for the user. Nobody listening is no failure.
fn tell(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes a line about something wrong.
fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes each warning on a line of its own.
fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| complain(format_args!("{warning} (warning)")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_one_and_every_verb_for_people_says_what_it_does() {
        Arguments::command().debug_assert();
        visible_command().debug_assert();
        for verb in visible_command().get_subcommands() {
            assert!(verb.get_about().is_some_and(|about| !about.to_string().is_empty()), "{}", verb.get_name());
        }
        let hidden = ["compile", "watch"];
        assert!(visible_command().get_subcommands().all(|verb| !hidden.contains(&verb.get_name())));
    }

    #[test]
    fn what_a_host_refuses_has_the_exit_code_that_scripts_know() {
        let refused = |status| client_code(&ClientError::Refused { path: "/x".into(), status, detail: "no".into() });
        for (status, code) in [(401, 77), (403, 77), (422, 64), (503, 75), (504, 75), (429, 75), (404, 1), (409, 1)] {
            assert_eq!(refused(StatusCode::from_u16(status).unwrap()), code, "{status}");
        }
    }
}
