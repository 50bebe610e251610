//! The command line: one command group a file. Data goes to stdout, all else to stderr.
//!
//! [`run`] parses, dispatches and turns the error chain into one message with its `hint:` and an exit status:
//! 0 done · 1 failed · 2 usage or configuration · 3 refused by a safety rule (interface.md §2).

mod accounts;
mod alerts;
mod audit;
mod config;
mod database;
mod demo;
mod destinations;
mod doctor;
mod encryption;
mod init;
mod keys;
mod man_pages;
mod output;
mod providers;
mod rotations;
mod run_to_end;
mod runs;
mod serve;
mod tokens;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, Misconfigured};
use crate::config::{ConfigError, Settings, load};
use crate::domain::actor::Actor;
use crate::domain::secret::looks_like_key;
use crate::engine::{Engine, EngineError, commands};
use output::{Output, say};

/// Keeps every LLM API key a team depends on tested, fresh and delivered.
#[derive(Debug, Parser)]
#[command(name = "rekeyd", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; else `$REKEYD_CONFIG`, else /etc/rekeyd/rekeyd.toml
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// Answer every confirmation with yes
    #[arg(long, short = 'y', global = true)]
    yes: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve,
    /// Everything against built-in simulators: no account, no configuration
    Demo(demo::Args),
    /// Write a first configuration with its credentials and the encryption key
    Init(init::Flags),
    /// Look at everything that rekeyd depends on, with the next move for what is wrong; changes nothing
    Doctor,
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Whose keys there can be: the catalog, and names of your own
    #[command(subcommand)]
    Providers(providers::Command),
    /// Stored keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Provider accounts, live
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Rotations: look, plan, run, adopt, roll back, pause
    #[command(subcommand)]
    Rotations(rotations::Command),
    /// Runs: one pass of a rotation each
    #[command(subcommand)]
    Runs(runs::Command),
    /// What is proved, and what still blocks the old key
    Why {
        /// Name of the rotation
        rotation: String,
    },
    /// Places that consumers read keys from
    #[command(subcommand)]
    Destinations(destinations::Command),
    /// What admins are told, and whether it reached them
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Who did what, by which way and from where
    #[command(subcommand)]
    Audit(audit::Command),
    /// People who may log in
    #[command(subcommand)]
    Users(users::Command),
    /// Tokens of programs that call the API
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Encryption at rest
    #[command(subcommand)]
    Encryption(encryption::Command),
    /// The database
    #[command(subcommand)]
    Db(database::Command),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write one page a command into this folder instead
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// What every command gets.
struct Context {
    config: Option<PathBuf>,
    out: Output,
}

impl Context {
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(load(self.config.as_deref())?.settings)
    }

    /// The engine, acting as the person at the keyboard.
    async fn engine(&self) -> anyhow::Result<Engine> {
        app::engine(&self.settings()?, Actor::cli(&person())).await
    }
}

/// Who acts: name and number of the user id, which nobody can make up as they can `$USER`.
fn person() -> String {
    let uid = nix::unistd::Uid::current();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| format!("{} (uid {uid})", user.name))
}

/// Which argument looks like a key. It is not read and not repeated: it would stand in the help of the parser, in our own
/// errors, in the audit.
fn key_among(arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<usize> {
    let is_key = |argument: std::ffi::OsString| {
        let text = argument.to_string_lossy();
        text.split(['=', ':', ',', ' ', '@']).any(looks_like_key) || looks_like_key(&text)
    };
    arguments.map(is_key).position(|found| found)
}

/// Neither a debugger of the same user nor a core dump sees what is in memory.
fn keep_memory_private() -> nix::Result<()> {
    nix::sys::prctl::set_dumpable(false)
}

/// Parses, runs, and reports. The only place where an error chain is printed.
pub fn run() -> ExitCode {
    let guarded = keep_memory_private();
    if let Some(position) = key_among(std::env::args_os().skip(1)) {
        say!("error: argument {} looks like a key, and was not read", position + 1);
        say!(
            "hint: keys come by prompt or pipe; this one stands in the history of your shell now: replace it"
        );
        return ExitCode::from(2);
    }
    if let Err(error) = guarded {
        say!("warning: others of this user may read the memory of this process: {error}");
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { 2 } else { 0 };
            // A closed pipe is not worth a word.
            drop(error.print());
            return ExitCode::from(status);
        }
    };
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        say!("error: the TLS library could not be set up");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say!("error: no threads could be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => report(&error),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let context = Context { config: cli.config, out: Output::new(cli.json, cli.yes) };
    let done = carry_out(&context, cli.command).await;
    if let Err(error) = &done {
        note_refusal(&context, error).await;
    }
    done
}

/// What a safety rule refused is a row of the audit trail, if there is a store to hold it (I12).
async fn note_refusal(context: &Context, error: &anyhow::Error) {
    let is_refusal = error.downcast_ref::<EngineError>().is_some_and(|error| error.exit_status() == 3);
    if !is_refusal {
        return;
    }
    let Ok(engine) = context.engine().await else { return };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let noted =
        commands::note_refusal(&engine, "command.refused", &words.join(" "), &error.to_string()).await;
    if let Err(error) = noted {
        say!("warning: the refusal is not in the audit trail: {error}");
    }
}

async fn carry_out(context: &Context, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve => serve::run(context).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Config(command) => config::run(context, &command),
        Command::Doctor => doctor::run(context).await,
        Command::Init(flags) => init::run(context, flags).await,
        Command::Providers(command) => providers::run(context, command).await,
        Command::Keys(command) => Box::pin(keys::run(context, command)).await,
        Command::Accounts(command) => accounts::run(context, command).await,
        Command::Rotations(command) => rotations::run(context, command).await,
        Command::Runs(command) => runs::run(context, command).await,
        Command::Why { rotation } => rotations::why(context, &rotation).await,
        Command::Destinations(command) => destinations::run(context, command).await,
        Command::Alerts(command) => alerts::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Users(command) => users::run(context, command).await,
        Command::Tokens(command) => tokens::run(context, command).await,
        Command::Encryption(command) => encryption::run(context, command).await,
        Command::Db(command) => database::run(context, command).await,
        Command::Completions { shell } => man_pages::completions(shell).map(|()| 0),
        Command::Man { out } => man_pages::man(out).map(|()| 0),
    }
}

/// Prints the chain once, with its hint, and picks the exit status.
fn report(error: &anyhow::Error) -> ExitCode {
    say!("error: {error:#}");
    let (hint, status) = advice(error);
    if let Some(hint) = hint {
        say!("hint: {hint}");
    }
    ExitCode::from(status)
}

/// The next move after an error, where one is known, and the exit status that it is.
fn advice(error: &anyhow::Error) -> (Option<String>, u8) {
    let mut hint = None;
    let mut status = 1;
    if let Some(error) = error.downcast_ref::<EngineError>() {
        hint = error.hint();
        status = error.exit_status();
    } else if let Some(error) = error.downcast_ref::<Misconfigured>() {
        hint.clone_from(&error.hint);
        status = 2;
    } else if let Some(error) = error.downcast_ref::<ConfigError>() {
        hint = error.hint();
        status = 2;
    }
    (hint, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_looks_like_a_key_is_found_wherever_it_stands() {
        let among = |arguments: &[&str]| key_among(arguments.iter().map(std::ffi::OsString::from));
        let key = format!("sk-or-v1-{}", "0f".repeat(32));
        assert_eq!(among(&["keys", "add", "openrouter", &key]), Some(3));
        assert_eq!(among(&["why", &format!("--name={key}")]), Some(1));
        assert_eq!(among(&[&format!("postgres://u:{key}@db/x")]), Some(0));
        let hash = "0f".repeat(32);
        let usual =
            ["accounts", "keys", "main", "delete", &hash, "--config", "/etc/rekeyd/sk-or/rekeyd.toml"];
        assert_eq!(among(&usual), None);
    }

    #[test]
    fn nobody_else_reads_the_memory_of_this_process() {
        keep_memory_private().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }

    #[test]
    fn who_acts_is_the_user_id() {
        assert!(person().contains(&nix::unistd::Uid::current().to_string()));
    }
}
