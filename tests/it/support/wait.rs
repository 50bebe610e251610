//! Waiting for what must come, and steering the processes that bring it.
//!
//! A wait has one bound, [`PATIENCE`]: so long that only what never comes meets it, on however slow a machine. No test
//! asserts that something took less than a time.

use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;

use super::{World, ledger};

/// What has not come by then never comes.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until something is so; `what` is told when it never is.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    in_time(what, looking).await;
}

/// Waits for an end; `what` is told when it never comes.
pub async fn in_time<T>(what: &str, end: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Replaces a piece of the configuration.
pub fn reconfigure(world: &World, from: &str, to: &str) {
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(world.path("rekeyd.toml"), text.replacen(from, to, 1)).unwrap();
}

/// What all daemons of the world said.
pub fn log(world: &World) -> String {
    std::fs::read_to_string(world.path("serve.log")).unwrap_or_default()
}

/// Waits until the daemons said it so many times.
pub async fn logged(world: &World, what: &str, times: usize) {
    until(what, async || log(world).matches(what).count() >= times).await;
}

/// A daemon that said that it is ready.
pub async fn serve(world: &World) -> Child {
    let before = log(world).matches(" ready database").count();
    let child = world.serve();
    logged(world, " ready database", before + 1).await;
    child
}

pub fn signal(child: &Child, name: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), name).unwrap();
}

/// Stops the program where it stands, but between two transactions: one that is stopped within a write holds the
/// database for as long as it stands, for the test too.
pub async fn freeze(world: &World, child: &Child) {
    until("it is stopped between two transactions", async || {
        signal(child, Signal::SIGSTOP);
        while !stands(child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let resting = ledger::nobody_writes(world).await;
        if !resting {
            signal(child, Signal::SIGCONT);
        }
        resting
    })
    .await;
}

/// Whether all threads of the program are stopped.
fn stands(child: &Child) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id().unwrap())).unwrap();
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// SIGTERM: it ends well, and by itself.
pub async fn stop(mut child: Child) {
    signal(&child, Signal::SIGTERM);
    assert!(in_time("it stops", child.wait()).await.unwrap().success());
}

/// What a command said when it ended, which it does by itself.
pub async fn ended(child: Child) -> Output {
    in_time("the command ends", child.wait_with_output()).await.unwrap()
}

/// Waits until no run is open, and a command says that the rotation is idle.
pub async fn idle(world: &World) {
    until("idle", async || ledger::open_runs(world).await == 0 && world.rotation().await["state"] == "idle")
        .await;
}

/// Waits until nothing runs and, by a schedule of the 29th of February, nothing is due: a due time of the schedule
/// before it is still kept.
pub async fn at_rest(world: &World) {
    until("nothing is due", async || {
        let due = ledger::due(world).await;
        due.is_some_and(|due| due.rfc3339().contains("-02-29T03:"))
    })
    .await;
    idle(world).await;
}
