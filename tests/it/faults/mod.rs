//! The 34 faults of rotation.md, each under its number, on both databases; after each, the invariants.
//!
//! - `invariants`: I1 to I12, looked at mechanically · `ledger`: the store, read with plain SQL
//! - `kill`: 1, 2, and SIGKILL at every call of a rotation, an emergency, a rollback, a healing
//! - `issuing`: 3 to 8, 10, 11: the new key
//! - `delivery`: 12 to 17, 28: the destinations
//! - `crowd`: 18 to 20, 26: several at once · `replicas`: several daemons on one PostgreSQL
//! - `people`: 21, 22, 24, 32 to 34: what persons do meanwhile
//! - `weather`: 9, 23, 25, 27, 29 to 31: restored stores, lost answers, clocks, storms
//!
//! A test of [`fault!`] returns a [`invariants::Proof`], which only the invariants make: none forgets to look.
//! The proof of a test that passed is a line of `target/faults`; `tests/run.sh faults` prints the table of them
//! and fails when one of the 34 has none.
#![expect(clippy::disallowed_methods, reason = "the binary under test runs on the real clock")]

mod crowd;
mod delivery;
mod invariants;
mod issuing;
mod kill;
mod ledger;
mod people;
mod replicas;
mod weather;

use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;

use crate::support::World;

/// Expands a body that ends in a proof into one test for each database.
macro_rules! fault {
    ($(#[$meta:meta])* async fn $name:ident($db:ident: Db) $body:block) => {
        mod $name {
            use super::*;
            use crate::faults::invariants::Proof as ProofOfIt;

            async fn body($db: Db) -> ProofOfIt $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body(Db::Sqlite).await.write(stringify!($name), Db::Sqlite);
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body(Db::Postgres).await.write(stringify!($name), Db::Postgres);
            }
        }
    };
}
pub(crate) use fault;

/// Waits until something is so; `what` is told when it never is.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(2), looking).await;
    assert!(in_time.is_ok(), "never: {what}");
}

fn signal(child: &Child, name: nix::sys::signal::Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), name).unwrap();
}

/// A daemon that said that it is ready: before, a signal simply ends it.
async fn serve(world: &World) -> Child {
    let ready = || {
        let log = std::fs::read_to_string(world.path("serve.log")).unwrap_or_default();
        log.matches(" ready database").count()
    };
    let before = ready();
    let child = world.serve();
    until("a daemon is ready", async || ready() > before).await;
    child
}

/// What a command said when it ended, which it does by itself.
async fn ended(child: Child) -> std::process::Output {
    let ended = tokio::time::timeout(Duration::from_mins(2), child.wait_with_output()).await;
    ended.expect("the command ends").unwrap()
}

/// SIGTERM: it ends well, and soon.
async fn stop(mut child: Child) {
    signal(&child, nix::sys::signal::Signal::SIGTERM);
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert!(ended.expect("it stops").unwrap().success());
}

/// Runs in these states, by the store itself.
async fn runs_in(world: &World, states: &[&str]) -> usize {
    let all = ledger::Ledger::read(world).await.runs;
    all.iter().filter(|run| states.contains(&run.state.as_str())).count()
}

/// A rotation by the command line, to its end.
async fn rotate(world: &World) -> Value {
    world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json()
}

/// Kinds of the open alerts.
async fn alerts(world: &World) -> Vec<String> {
    use sqlx::Row;
    let rows = ledger::rows(world, "SELECT kind FROM alerts WHERE resolved_at IS NULL").await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Replaces a piece of the configuration.
fn reconfigure(world: &World, from: &str, to: &str) {
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(world.path("rekeyd.toml"), text.replacen(from, to, 1)).unwrap();
}
