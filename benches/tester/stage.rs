//! A store, a configuration and the real program, all of one scene's own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rekeyd::clock::{Clock, SystemClock};
use rekeyd::crypto::{Ring, fernet};
use rekeyd::domain::time::Span;
use sqlx::{AnyConnection, Connection};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// The folder of a scene and what is in it.
pub struct Stage {
    folder: tempfile::TempDir,
    /// As in `[database] url`.
    pub url: String,
    pub clock: SystemClock,
    /// The encryption key of the store.
    pub ring: Ring,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    pid: u32,
}

impl Stage {
    /// An empty store at this address, else in the folder. `config`: what the scene says beyond the store.
    pub async fn new(url: Option<String>, config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rekeyd-bench-").tempdir()?;
        let url = url.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("rekeyd.db").display()));
        let key = fernet::generate_key();
        let stage = Self { folder, url, clock: SystemClock::default(), ring: Ring::parse(&key)? };
        let path = stage.private("encryption-key", key.expose())?;
        let head = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"env:REKEYD_DATABASE_URL\"\n[encryption]\nkeys = \
             \"file:{}\"\n[log]\nformat = \"text\"\n",
            path.display()
        );
        std::fs::write(stage.path("rekeyd.toml"), format!("{head}{config}"))?;
        stage.rekeyd(&["db", "migrate"], "").await?;
        Ok(stage)
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that only its owner may read.
    pub fn private(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.arg("--config").arg(self.path("rekeyd.toml")).args(args);
        command.env("REKEYD_DATABASE_URL", &self.url).kill_on_drop(true).stdout(Stdio::null());
        command
    }

    /// Runs a command to its end, which must be a good one.
    pub async fn rekeyd(&self, args: &[&str], stdin: &str) -> anyhow::Result<()> {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("stdin is piped")?;
        pipe.write_all(stdin.as_bytes()).await?;
        drop(pipe);
        let done = child.wait_with_output().await?;
        ensure!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// A connection to the store, beside the program.
    pub async fn connect(&self) -> anyhow::Result<AnyConnection> {
        sqlx::any::install_default_drivers();
        Ok(AnyConnection::connect(&self.url).await?)
    }

    /// Starts a daemon and waits for its word that it is ready.
    pub async fn serve(&self, name: &str) -> anyhow::Result<Daemon> {
        let log = self.path(name);
        let mut child = self.command(&["serve"]).stderr(std::fs::File::create(&log)?).spawn()?;
        let pid = child.id().context("a process has a number")?;
        while !std::fs::read_to_string(&log)?.contains(" ready database") {
            ensure!(child.try_wait()?.is_none(), "the daemon ended: {}", std::fs::read_to_string(&log)?);
            self.pause(Span(5)).await;
        }
        Ok(Daemon { child, pid })
    }

    pub async fn pause(&self, span: Span) {
        self.clock.sleep(span).await;
    }

    /// Seconds since this process began.
    pub fn elapsed(&self) -> f64 {
        self.clock.monotonic().to_std().as_secs_f64()
    }
}

impl Daemon {
    /// Seconds of CPU used so far, user and system.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // Fields count from behind the name, which may hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has a name")?;
        let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        // A tick is 10 ms wherever Linux runs (USER_HZ).
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10).as_secs_f64())
    }

    /// Memory in MiB: `VmRSS` now, `VmHWM` the most it ever had.
    pub fn memory(&self, what: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with(what)).context("/proc/PID/status has it")?;
        let kib = line.split_whitespace().nth(1).context("a figure")?.parse::<f64>()?;
        Ok(kib / 1024.0)
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid)?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait().await?;
        Ok(())
    }
}
