//! The command line: one command group a file. Data goes to stdout, all else to stderr.
//!
//! [`run`] parses, dispatches and turns the error chain into one message with its `hint:` and an exit status:
//! 0 done · 1 failed · 2 usage or configuration · 3 refused by a safety rule (interface.md §2).

mod accounts;
mod alerts;
mod config;
mod database;
mod demo;
mod destinations;
mod encryption;
mod init;
mod keys;
mod man_pages;
mod output;
mod rotations;
mod run_to_end;
mod runs;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, Misconfigured};
use crate::config::{ConfigError, Settings, load};
use crate::engine::{Engine, EngineError};
use output::Output;

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
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
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
        app::engine(&self.settings()?, &format!("cli:{}", person())).await
    }
}

/// Who acts: the person behind sudo, else the login name, else the name or number of the user id.
fn person() -> String {
    let named = ["SUDO_USER", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| {
        let uid = nix::unistd::Uid::effective();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    })
}

/// Parses, runs, and reports. The only place where an error chain is printed.
pub fn run() -> ExitCode {
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
        eprintln!("error: the TLS library could not be set up");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads could be started: {error}");
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
    match cli.command {
        Command::Serve => serve::run(&context).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Config(command) => config::run(&context, &command),
        Command::Init(flags) => init::run(&context, flags).await,
        Command::Keys(command) => keys::run(&context, command).await,
        Command::Accounts(command) => accounts::run(&context, command).await,
        Command::Rotations(command) => rotations::run(&context, command).await,
        Command::Runs(command) => runs::run(&context, command).await,
        Command::Why { rotation } => rotations::why(&context, &rotation).await,
        Command::Destinations(command) => destinations::run(&context, command).await,
        Command::Alerts(command) => alerts::run(&context, command).await,
        Command::Encryption(command) => encryption::run(&context, command).await,
        Command::Db(command) => database::run(&context, command).await,
        Command::Completions { shell } => man_pages::completions(shell).map(|()| 0),
        Command::Man { out } => man_pages::man(out).map(|()| 0),
    }
}

/// Prints the chain once, with its hint, and picks the exit status.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
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
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(status)
}
