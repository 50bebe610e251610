//! A program of the operator's that takes the key to a place of its own. Exit status 0 is its word, and all
//! the proof there is.
//!
//! - The key is on standard input, exactly its bytes and then the end: no newline, because tools that store
//!   what they read would store it too. It is never in the arguments or the environment.
//! - No shell. The environment is empty but for `PATH`, `REKEYD_ROTATION`, `REKEYD_GENERATION` and
//!   `REKEYD_DESTINATION`; the working folder is `/`.
//! - The program leads a process group of its own. When its time is up, or when nobody waits for it any
//!   more, the whole group is ended: `SIGTERM`, a second, `SIGKILL`.
//! - Of what it prints nothing is shown, since we cannot know what it holds. With `show_output` the last line is,
//!   when it fails: bounded, and without the key in any form that we know.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, User, eaccess, geteuid};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command as Program};
use tokio::time::timeout;

use super::{Delivery, Destination, Look, PlannedCall, Remark, Standing};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::{Secret, redact};
use crate::domain::time::Span;
use crate::net::{Deadline, sentence};

/// Of each output stream this many bytes are kept, the last ones.
const OUTPUT_CAP: usize = 4096;
/// Between `SIGTERM` and `SIGKILL`, and for output that a child of the program still holds open.
const GRACE: Duration = Duration::from_secs(1);
/// Where programs are found when our own environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command destination is made from.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    /// Program and arguments; a name without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// How long it may run.
    pub timeout: Span,
    /// Whether the last line of its output may be shown.
    pub show_output: bool,
}

/// A command destination.
#[derive(Debug, Clone)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    timeout: Span,
    show_output: bool,
}

impl Command {
    /// A destination for `spec`; refuses an empty command.
    pub fn new(spec: CommandSpec) -> Result<Self, Failure> {
        let CommandSpec { command, timeout, show_output } = spec;
        let mut words = command.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| not_sent("`command` names no program"))?;
        Ok(Self { program, arguments: words.collect(), timeout, show_output })
    }

    /// The command line, for people.
    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let quoted = words.map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() });
        redact(&quoted.collect::<Vec<_>>().join(" "), &[])
    }

    /// The file that would be run.
    fn executable(&self) -> Result<PathBuf, Failure> {
        let candidates: Vec<PathBuf> = if self.program.contains('/') {
            vec![PathBuf::from(&self.program)]
        } else {
            std::env::split_paths(&search_path()).map(|folder| folder.join(&self.program)).collect()
        };
        let found = candidates.iter().find(|path| path.is_file());
        let found = found.ok_or_else(|| self.unstartable(&io::ErrorKind::NotFound.into()))?;
        if eaccess(found.as_path(), AccessFlags::X_OK).is_err() {
            return Err(self.unstartable(&io::ErrorKind::PermissionDenied.into()));
        }
        Ok(found.clone())
    }

    fn start(&self, delivery: &Delivery) -> Result<Child, Failure> {
        let mut program = Program::new(&self.program);
        program
            .args(&self.arguments)
            .env_clear()
            .env("PATH", search_path())
            .env("REKEYD_ROTATION", &delivery.rotation)
            .env("REKEYD_GENERATION", delivery.generation.to_string())
            .env("REKEYD_DESTINATION", &delivery.destination)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        program.spawn().map_err(|error| self.unstartable(&error))
    }

    fn unstartable(&self, error: &io::Error) -> Failure {
        let reach = format!("chmod +x it, and let user {} reach it", own_name());
        let (said, hint) = match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound, _) => ("there is no such program", "correct `command`, or install it"),
            (io::ErrorKind::PermissionDenied, _) => ("it is not executable for this user", reach.as_str()),
            (_, Some(nix::libc::ENOEXEC)) => {
                ("it is no program for this machine", "a script needs a first line such as #!/bin/sh")
            }
            _ => ("it cannot be started", "run it by hand as the user that runs rekeyd"),
        };
        not_sent(format!("{}: {said}", self.program)).hint(hint)
    }

    /// What an end other than status 0 means. The program may have done its work all the same.
    fn failed(&self, how: &str, output: &Output, delivery: &Delivery) -> Failure {
        let said = self.show_output.then(|| output.last_line(&delivery.secret)).flatten();
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        let text = sentence(&format!("{} {how}{said}", self.program), &[&delivery.secret]);
        let hint = if self.show_output {
            "run it by hand with a false key on standard input"
        } else {
            "run it by hand with a false key on standard input; show_output = true shows the last line of its output"
        };
        Failure::new(FailureKind::Unclear, text).hint(hint)
    }
}

#[async_trait]
impl Destination for Command {
    fn address(&self) -> String {
        format!("command:{}", self.line())
    }

    async fn preflight(&self, _deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        let path = self.executable()?;
        Ok(vec![Remark::plain(format!(
            "{} is executable for user {}; it is not run before a publish",
            path.display(),
            own_name()
        ))])
    }

    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        let limit = deadline.at_most(self.timeout.to_std());
        if limit.passed() {
            return Err(not_sent("the deadline had passed before the command was started"));
        }
        let mut child = self.start(delivery)?;
        let group = Group::of(&child);
        let mut output = Output::of(&mut child);
        feed(child.stdin.take(), &delivery.secret);
        let status = match tokio::time::timeout_at(limit.0, child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => return Err(self.failed("cannot be waited for", &output, delivery)),
            Err(_) => {
                group.end(&mut child).await;
                return Err(self.failed("did not end in time", &output, delivery));
            }
        };
        group.forget();
        output.settle().await;
        if status.success() {
            return Ok(json!({ "exit": 0, "generation": delivery.generation }));
        }
        Err(self.failed(&ending(status), &output, delivery))
    }

    async fn look(
        &self,
        delivery: &Delivery,
        evidence: &Value,
        _deadline: Deadline,
    ) -> Result<Look, Failure> {
        let proved = evidence["exit"] == 0 && evidence["generation"] == delivery.generation;
        let standing = if proved { Standing::Confirmed } else { Standing::Unprovable };
        Ok(Look { standing, evidence: evidence.clone() })
    }

    fn plan(&self) -> Vec<PlannedCall> {
        let effect = "runs it with the key on standard input; exit status 0 is the proof".to_owned();
        vec![PlannedCall { call: self.line(), effect }]
    }

    fn patience(&self) -> Option<Span> {
        Some(self.timeout)
    }
}

/// Writes the key and closes the stream, beside the wait: a program that does not read must not hold us up,
/// and one that closes its end early has said enough with its exit status.
fn feed(stdin: Option<ChildStdin>, secret: &Secret) {
    let secret = secret.clone();
    tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            stdin.write_all(secret.expose().as_bytes()).await.ok();
        }
    });
}

/// The process group of a running program. Dropped before the program ended, it ends the group.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self { leader: child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) }
    }

    /// The leader was reaped: its number may soon be somebody else's.
    fn forget(mut self) {
        self.leader = None;
    }

    /// Politely, then not. The leader is not reaped in between, even when it has gone: its number keeps the
    /// group's from being given to somebody else before the second signal.
    #[expect(clippy::disallowed_methods, reason = "not a wait for anything, and bounded by a second")]
    async fn end(self, child: &mut Child) {
        self.signal(Signal::SIGTERM);
        tokio::time::sleep(GRACE).await;
        self.signal(Signal::SIGKILL);
        child.wait().await.ok();
        self.forget();
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            killpg(leader, signal).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The ends of what a program prints.
struct Output {
    streams: Vec<(Arc<Mutex<Tail>>, tokio::task::JoinHandle<()>)>,
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    /// Errors first: they say more.
    fn of(child: &mut Child) -> Self {
        let errors = child.stderr.take().map(collect);
        let output = child.stdout.take().map(collect);
        Self { streams: errors.into_iter().chain(output).collect() }
    }

    /// Waits for what is still on its way. A child of the program that keeps a stream open is not waited for.
    async fn settle(&mut self) {
        let closed = async {
            for (_, reader) in &mut self.streams {
                reader.await.ok();
            }
        };
        timeout(GRACE, closed).await.ok();
    }

    /// The last line that says something. The whole text is redacted, since a key may be wrapped over lines.
    fn last_line(&self, secret: &Secret) -> Option<String> {
        self.streams.iter().find_map(|(tail, _)| {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let text = redact(&String::from_utf8_lossy(&tail.bytes), &[secret]);
            // The first line of a cut text may begin inside a key.
            let whole = if tail.cut { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
            whole.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for (_, reader) in &self.streams {
            reader.abort();
        }
    }
}

fn collect(
    mut stream: impl AsyncRead + Unpin + Send + 'static,
) -> (Arc<Mutex<Tail>>, tokio::task::JoinHandle<()>) {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let kept = Arc::clone(&tail);
    let reader = tokio::spawn(async move {
        let mut buffer = [0; OUTPUT_CAP];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..length]);
        }
    });
    (tail, reader)
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let over = self.bytes.len().saturating_sub(OUTPUT_CAP);
        self.cut |= over > 0;
        self.bytes.drain(..over);
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "did not end properly".to_owned(),
    }
}

fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| USUAL_PATH.into())
}

/// As whom programs are run, for people.
fn own_name() -> String {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn not_sent(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotSent, text)
}

#[cfg(test)]
mod tests;
