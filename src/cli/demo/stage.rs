//! The stage: simulators, a folder, a configuration, and the real daemon as a process of its own.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::agents::{Agents, key_in};
use super::application::Application;
use super::guard::Guard;
use crate::cli::output::say;
use crate::clock::{Clock, SystemClock};
use crate::crypto::fernet;
use crate::domain::time::Span;
use crate::sim::github::{GitHub, Permissions, Scope};
use crate::sim::openrouter::OpenRouter;
use crate::sim::smtp::Mailbox;
use crate::sim::vercel::{Progress, Vercel};

pub(super) const SECRET: &str = "OPENROUTER_API_KEY";
const REPOSITORY: &str = "acme/app";
const PROJECT: &str = "acme-app";
/// The destination of the application's database.
const APPLICATION: &str = "app-database";

/// What a command printed and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Everything that the story plays on.
pub(super) struct Stage {
    // First: what it writes goes after it has ended.
    daemon: Child,
    folder: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    pub(super) openrouter: OpenRouter,
    pub(super) github: GitHub,
    pub(super) vercel: Vercel,
    pub(super) mailbox: Mailbox,
    pub(super) agents: Agents,
    /// Where PostgreSQL is installed.
    pub(super) application: Option<Application>,
    /// The key that production uses when the story begins.
    pub(super) first: String,
    // Last: until everything else has ended.
    _guard: Guard,
}

impl Stage {
    /// Raises the curtain: everything runs when this returns.
    pub(super) async fn open(port: u16) -> anyhow::Result<Self> {
        let mut guard = Guard::start()?;
        let folder = tempfile::Builder::new().prefix("rekeyd-demo-").tempdir()?;
        guard.folder(folder.path())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let openrouter = OpenRouter::start().await;
        let github = GitHub::start().await;
        let vercel = Vercel::start().await;
        let mailbox = Mailbox::start().await;
        let first = openrouter.new_regular_key("made by hand, long ago");
        let secrets = [
            ("encryption-key", fernet::generate_key().expose().to_owned()),
            ("provisioning-key", openrouter.new_provisioning_key()),
            ("spare-provisioning-key", openrouter.new_provisioning_key_of("org-spare")),
            ("github-token", github.new_token(Permissions::secrets_write())),
            ("vercel-token", vercel.new_token()),
        ];
        for (name, secret) in &secrets {
            private(&folder.path().join(name), secret)?;
        }
        production(&folder, &github, &vercel, &first)?;
        // A PostgreSQL that does not start here is no reason to show nothing.
        let application = Application::start(&mut guard).unwrap_or_else(|error| {
            say!("PostgreSQL does not start: {error:#}");
            None
        });
        let mut config = configuration(
            folder.path(),
            port,
            &openrouter,
            &github,
            &vercel,
            &mailbox,
            application.is_some(),
        );
        if let Some(application) = &application {
            private(&folder.path().join("application-url"), application.url())?;
            config.push_str(&destination(folder.path()));
        }
        std::fs::write(folder.path().join("rekeyd.toml"), config)?;
        let agents = Agents::start(&clock, &openrouter, &folder.path().join("agent.env"));
        let daemon = start_daemon(folder.path(), &mut guard)?;
        let mut stage = Self {
            daemon,
            folder,
            clock,
            openrouter,
            github,
            vercel,
            mailbox,
            agents,
            application,
            first,
            _guard: guard,
        };
        if let Err(error) = stage.prepare_application().await {
            stage.close().await;
            return Err(error);
        }
        Ok(stage)
    }

    /// The tables, by rekeyd, and the key in use, by hand.
    async fn prepare_application(&mut self) -> anyhow::Result<()> {
        if self.application.is_none() {
            return Ok(());
        }
        let said = self.quietly(&["destinations", "check", APPLICATION, "--migrate"], None).await?;
        anyhow::ensure!(said.status == 0, "the application's tables: {}", said.stderr);
        let (first, clock) = (self.first.clone(), Arc::clone(&self.clock));
        match &mut self.application {
            Some(application) => application.begin(&first, clock).await,
            None => Ok(()),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("rekeyd.toml")
    }

    pub(super) fn agent_file(&self) -> PathBuf {
        self.folder.path().join("agent.env")
    }

    pub(super) async fn pause(&self, milliseconds: i64) {
        self.clock.sleep(Span(milliseconds)).await;
    }

    /// Seconds since the process began.
    pub(super) fn seconds(&self) -> f64 {
        self.clock.monotonic().to_std().as_secs_f64()
    }

    /// Runs a command as a person would, and shows it.
    pub(super) async fn rekeyd(&self, args: &[&str], stdin: Option<&str>) -> anyhow::Result<Said> {
        say!("$ rekeyd {}", args.join(" "));
        let said = self.quietly(args, stdin).await?;
        for text in said.stderr.lines().chain(said.stdout.lines()) {
            say!("  {text}");
        }
        Ok(said)
    }

    /// Runs a command without a word.
    pub(super) async fn quietly(&self, args: &[&str], stdin: Option<&str>) -> anyhow::Result<Said> {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.config()).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("rekeyd could not be started")?;
        if let Some(mut pipe) = child.stdin.take() {
            // The command may end without reading.
            drop(pipe.write_all(stdin.unwrap_or_default().as_bytes()).await);
        }
        let done = child.wait_with_output().await?;
        Ok(Said {
            status: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }

    /// A command's JSON.
    pub(super) async fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let said = self.quietly(&[args, &["--json"]].concat(), None).await?;
        serde_json::from_str(&said.stdout).with_context(|| format!("{args:?}: {}", said.stderr))
    }

    /// What each place that consumers read holds now.
    pub(super) fn places(&self) -> Vec<(&'static str, Option<String>)> {
        let mut places = vec![
            ("GitHub secret", self.github.secret_value(&Scope::repo(REPOSITORY), SECRET)),
            ("Vercel production", self.vercel.production_sees(PROJECT, SECRET)),
            ("agent.env", std::fs::read_to_string(self.agent_file()).ok().and_then(|text| key_in(&text))),
            ("deploy hook", std::fs::read_to_string(self.folder.path().join("hook.out")).ok()),
        ];
        places.extend(self.application.iter().map(|application| ("PostgreSQL", application.holds())));
        places
    }

    /// Lowers the curtain. Answers the end of the daemon's log.
    pub(super) async fn close(mut self) -> String {
        self.agents.stop();
        drop(self.daemon.start_kill());
        drop(self.daemon.wait().await);
        let log = std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

/// What production looked like before rekeyd came.
fn production(
    folder: &tempfile::TempDir,
    github: &GitHub,
    vercel: &Vercel,
    first: &str,
) -> anyhow::Result<()> {
    github.add_repo(REPOSITORY);
    github.set_clock_offset(-60);
    github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, first);
    github.set_clock_offset(0);
    vercel.add_project(PROJECT);
    vercel.settings(|settings| settings.progress = Progress::Every(std::time::Duration::from_millis(300)));
    vercel.set_by_hand(PROJECT, SECRET, &["production", "preview"], "sensitive", first);
    vercel.deploy_by_hand(PROJECT);
    private(&folder.path().join("agent.env"), &format!("# read by the agents\n{SECRET}={first}\n"))?;
    let hook = folder.path().join("hook.sh");
    std::fs::write(&hook, format!("#!/bin/sh\numask 077\ncat > {}/hook.out\n", folder.path().display()))?;
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

fn private(path: &Path, content: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.as_bytes())?)
}

fn start_daemon(folder: &Path, guard: &mut Guard) -> anyhow::Result<Child> {
    let log = std::fs::File::create(folder.join("serve.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(folder.join("rekeyd.toml")).arg("serve");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(log)).kill_on_drop(true);
    let daemon = command.spawn().context("the daemon could not be started")?;
    daemon.id().map_or(Ok(()), |id| guard.process(id))?;
    Ok(daemon)
}

/// An ordinary configuration, with waits of seconds instead of days.
fn configuration(
    folder: &Path,
    port: u16,
    openrouter: &OpenRouter,
    github: &GitHub,
    vercel: &Vercel,
    mailbox: &Mailbox,
    with_application: bool,
) -> String {
    format!(
        include_str!("rekeyd.toml"),
        folder = folder.display(),
        port = port,
        openrouter = openrouter.base_url(),
        github = github.api_url(),
        vercel = vercel.api_url(),
        smtp = mailbox.url(),
        repository = REPOSITORY,
        project = PROJECT,
        secret = SECRET,
        application = if with_application { format!(", \"{APPLICATION}\"") } else { String::new() },
    )
}

fn destination(folder: &Path) -> String {
    format!(
        "\n[[destinations]]\nname = \"{APPLICATION}\"\ntype = \"postgres\"\nurl = \"file:{}/application-url\"\n",
        folder.display()
    )
}

/// This very program.
pub(super) fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rekeyd"))
}
