//! The application's database: a real PostgreSQL of the demo's own, where this machine has the programs of one.
//!
//! The one place that is no simulator: PostgreSQL is not to be imitated.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::task::JoinHandle;

use super::guard::Guard;
use crate::clock::Clock;
use crate::domain::time::Span;

/// Rows as an application kept them before rekeyd came.
const READ: &str = "SELECT api_key FROM public.provider_api_keys ORDER BY key_number LIMIT 1";

/// A running server with one database.
pub(super) struct Application {
    folder: PathBuf,
    programs: PathBuf,
    url: String,
    held: Arc<Mutex<Option<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Application {
    /// Starts a server on a free loopback port; `None` where no programs are installed, or none would run.
    pub(super) fn start(guard: &mut Guard) -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let made = as_server(Path::new("mktemp"), &["-d", "/tmp/rekeyd-demo-db-XXXXXX"])?;
        let folder = PathBuf::from(String::from_utf8(made.stdout)?.trim());
        let data = folder.join("data");
        guard.server(&data)?;
        guard.folder(&folder)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        // From here on, whatever fails removes the folder.
        let server = Self { folder, programs, url, held: Arc::default(), reader: None };
        server.serve(&data.display().to_string(), port)?;
        Ok(Some(server))
    }

    fn serve(&self, data: &str, port: u16) -> anyhow::Result<()> {
        let Self { folder, programs, .. } = self;
        let initdb = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"];
        as_server(&programs.join("initdb"), &initdb)?;
        let options = format!("-p {port} -k {} -c listen_addresses=127.0.0.1 -c fsync=off", folder.display());
        let log = folder.join("log").display().to_string();
        as_server(&programs.join("pg_ctl"), &["start", "-w", "-D", data, "-o", &options, "-l", &log])?;
        Ok(())
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The key that is in use, put there by hand; from now on the table is read as its application would.
    pub(super) async fn begin(&mut self, first: &str, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        connection.execute("INSERT INTO public.providers (provider_name) VALUES ('openrouter')").await?;
        sqlx::query(
            "INSERT INTO public.provider_api_keys (provider_id, key_number, api_key)
             SELECT id, 1, $1 FROM public.providers",
        )
        .bind(first)
        .execute(&mut connection)
        .await?;
        let held = Arc::clone(&self.held);
        self.reader = Some(tokio::spawn(async move {
            loop {
                let row = sqlx::query(READ).fetch_optional(&mut connection).await.ok().flatten();
                let key = row.and_then(|row| row.try_get("api_key").ok());
                *held.lock().unwrap_or_else(PoisonError::into_inner) = key;
                clock.sleep(Span(100)).await;
            }
        }));
        Ok(())
    }

    /// What its application reads now.
    pub(super) fn holds(&self) -> Option<String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
        let data = self.folder.join("data").display().to_string();
        drop(as_server(&self.programs.join("pg_ctl"), &["stop", "-m", "immediate", "-D", &data]));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Where `initdb` and `pg_ctl` are: the newest of Debian's folders, else on the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.splice(0..0, std::env::split_paths(&path));
    found.into_iter().rev().find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
}

/// PostgreSQL refuses to run as root: then it runs as `nobody`.
fn as_server(program: &Path, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "nobody", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    let name = program.display();
    // The server inherits the pipes of whoever starts it, and would keep them open: its own log is a file.
    let quiet = name.to_string().ends_with("pg_ctl");
    command.args(args).current_dir("/").stdin(Stdio::null());
    if quiet {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.with_context(|| format!("{name}"))?.success(), "{name} failed");
        return Ok(Output {
            status: std::process::ExitStatus::default(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        });
    }
    let output = command.output().with_context(|| format!("{name} could not be started"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}
