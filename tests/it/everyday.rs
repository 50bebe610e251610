//! What users do every day, by the commands of the README.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::world::SECRET;
use crate::support::{Db, World, on_both_databases};

on_both_databases! {
    async fn a_key_is_adopted_and_rotated_to_two_destinations(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        assert_eq!(world.openrouter.keys().len(), 1, "adopting creates nothing");
        let before = world.rotation().await;
        assert_eq!(before["current"]["generation"], 1);
        assert_eq!(before["state"], "idle");

        let run = world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json();
        assert_eq!(run["outcome"], "done", "{run}");
        assert_eq!(run["generation"], 2);
        let after = world.rotation().await;
        assert_eq!(after["current"]["generation"], 2, "{after}");
        assert_eq!(after["previous"]["state"], "deleted");
        for destination in after["destinations"].as_array().unwrap() {
            assert_eq!(destination["level"], "confirmed", "{destination}");
            assert_eq!(destination["generation"], 2);
        }
        assert_eq!(world.living().len(), 1);
        assert_eq!(world.at_github(), world.in_file());
        assert_ne!(world.at_github().as_deref(), Some(world.first.as_str()));
        world.assert_destinations_work("after the rotation");
        let env = std::fs::read_to_string(world.path("agent.env")).unwrap();
        assert!(env.starts_with("OTHER=1\n"), "other lines of an env file are kept: {env:?}");
        assert!(run["effects"].as_array().unwrap().iter().all(|effect| effect["status"] == "done"), "{run}");
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn the_first_rotation_needs_no_predecessor(db: Db) {
        let world = World::new(db).await;
        let run = world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json();
        assert_eq!(run["outcome"], "done", "{run}");
        assert_eq!(run["previous_generation"], json!(null));
        assert_eq!(world.living().len(), 2, "a key that nobody adopted is never touched (I9)");
        world.assert_destinations_work("after the first rotation");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_carries_on_after_the_command() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.grace = "2s";
    world.configure();
    world.adopt().await;
    let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
    assert_eq!(run["state"], "grace", "without --wait it works until the first timed wait: {run}");
    let mut daemon = world.serve();
    let id = run["id"].as_str().unwrap();
    let done = world.rekeyd(&["runs", "watch", id, "--json"]).await.ok().json();
    assert_eq!(done["outcome"], "done");
    daemon.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_shows_every_call_and_changes_nothing() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let before = world.openrouter.keys();
    let plan = world.rekeyd(&["rotations", "plan", "production", "--json"]).await.ok().json();
    let calls: Vec<&str> =
        plan["calls"].as_array().unwrap().iter().map(|c| c["call"].as_str().unwrap()).collect();
    for expected in
        ["POST /keys", "PATCH /keys/", "DELETE /keys/", &format!("actions/secrets/{SECRET}"), "agent.env"]
    {
        assert!(calls.iter().any(|call| call.contains(expected)), "{expected} is missing: {calls:#?}");
    }
    assert_eq!(world.openrouter.keys(), before);
    assert!(plan["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("guardrails")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_use_is_never_disabled() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let mut child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    // An agent goes on using the old key: its figures keep moving.
    for _ in 0..16 {
        assert!(world.openrouter.use_key(&world.first, 0.01), "the old key was killed while in use");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    let why = world.rekeyd(&["why", "production", "--json"]).await.ok().json();
    assert_eq!(why["state"], "grace", "{why}");
    assert!(why["blockers"].to_string().contains("not quiet"), "{why}");
    // It stops; the run ends.
    let status =
        tokio::time::timeout(std::time::Duration::from_mins(1), child.wait()).await.unwrap().unwrap();
    assert!(status.success());
    assert!(!world.openrouter.use_key(&world.first, 0.01));
}

/// A closed terminal, a service manager: whoever ends the demo, its daemon and its database end too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_ended_leaves_nothing_behind() {
    use nix::sys::signal::{Signal, kill};
    use tokio::io::{AsyncBufReadExt, BufReader};
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        let mut demo = command.args(["demo", "--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.starts_with("Ctrl-C ends the demo")) {
            let line =
                tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await.expect("it comes up");
            said.push(line.unwrap().unwrap_or_else(|| panic!("{said:#?}")));
        }
        let named = |what: &str| said.iter().find_map(|line| line.strip_prefix(what)).map(str::to_owned);
        let folder = named("configuration and store: ").unwrap();
        assert!(std::path::Path::new(&folder).is_dir());
        kill(nix::unistd::Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()), signal).unwrap();
        let ended =
            tokio::time::timeout(Duration::from_mins(1), demo.wait()).await.expect("it ends").unwrap();
        assert!(ended.success(), "{signal}: {ended}");
        assert!(!std::path::Path::new(&folder).exists(), "{signal}: {folder} is still there");
        if let Some(url) = named("the application's PostgreSQL: ") {
            let answer = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await;
            assert!(answer.is_err(), "{signal}: its database still answers at {url}");
        }
    }
}
