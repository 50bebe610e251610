//! What cleans up behind a demo that was killed: a shell that reads until its stdin ends, as it does when the demo
//! does, however that comes. A demo that ended by itself says so, and the shell has nothing to do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;

/// Ends processes first, then removes folders: some try a few times, because what ends may still write.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r what which; do
    [ "$what" != done ] || exit 0
    set -- "$@" "$what" "$which"
done
clean() {
    kind=$1
    shift
    while [ $# -gt 1 ]; do
        case $kind-$1 in
        process-process) kill -KILL "$2" ;;
        server-server) kill -QUIT "$(head -n 1 "$2/postmaster.pid")" ;;
        folder-folder) rm -rf "$2" ;;
        esac
        shift 2
    done
}
for try in 1 2 3; do
    clean process "$@"
    clean server "$@"
    clean folder "$@"
    sleep 1
done
"#;

/// The shell.
pub(super) struct Guard {
    shell: Child,
    stdin: Option<ChildStdin>,
}

impl Guard {
    /// Starts it in a process group of its own: who kills ours does not kill it.
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "rekeyd-demo-guard"]).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = command.spawn().context("sh could not be started")?;
        let stdin = shell.stdin.take();
        Ok(Self { shell, stdin })
    }

    /// From now on this process ends with the demo.
    pub(super) fn process(&mut self, id: u32) -> anyhow::Result<()> {
        self.say("process", &id.to_string())
    }

    /// From now on the PostgreSQL server with this folder of data ends with the demo.
    pub(super) fn server(&mut self, data: &Path) -> anyhow::Result<()> {
        self.say("server", &data.display().to_string())
    }

    /// From now on this folder goes with the demo.
    pub(super) fn folder(&mut self, path: &Path) -> anyhow::Result<()> {
        self.say("folder", &path.display().to_string())
    }

    fn say(&mut self, what: &str, which: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the guard is gone")?;
        writeln!(stdin, "{what} {which}").context("the guard does not listen")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.say("done", ""));
        drop(self.stdin.take());
        drop(self.shell.wait());
    }
}
