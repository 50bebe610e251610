//! What users do every day, by the commands of the README.

use std::process::Stdio;

use serde_json::json;

use crate::support::wait::{in_time, signal, until};
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
    world.waits.grace = "8s";
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
    assert!(!calls.iter().any(|call| call.contains("/chat/completions")), "nothing is billed by default");
    assert_eq!(world.openrouter.keys(), before);
    assert!(plan["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("guardrails")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_use_is_never_disabled() {
    let mut world = World::new(Db::Sqlite).await;
    // Far longer than the pauses of its user.
    world.waits.quiet = "4s";
    world.configure();
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
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.args(["demo", "--port", "0"]).stderr(Stdio::piped()).kill_on_drop(true);
        let mut demo = command.spawn().unwrap();
        let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.starts_with("Ctrl-C ends the demo")) {
            let line = in_time("it comes up", lines.next_line()).await;
            said.push(line.unwrap().unwrap_or_else(|| panic!("{said:#?}")));
        }
        let named = |what: &str| said.iter().find_map(|line| line.strip_prefix(what)).map(str::to_owned);
        let folder = named("configuration and store: ").unwrap();
        assert!(std::path::Path::new(&folder).is_dir());
        kill(nix::unistd::Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()), signal).unwrap();
        let ended = in_time("it ends", demo.wait()).await.unwrap();
        let folder_left = || std::path::Path::new(&folder).exists();
        if signal == Signal::SIGKILL {
            // It has left that to its guard.
            until("its folder is gone", async || !folder_left()).await;
        } else {
            assert!(ended.success(), "{signal}: {ended}");
            assert!(!folder_left(), "{signal}: {folder} is still there");
        }
        if let Some(url) = named("the application's PostgreSQL: ") {
            let answers = async || <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.is_ok();
            if signal == Signal::SIGKILL {
                until("its database is gone", async || !answers().await).await;
            }
            assert!(!answers().await, "{signal}: its database still answers at {url}");
        }
    }
}

/// Its folder is the first thing that it could leave behind: by then it listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_is_ended_while_it_begins_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let left = || std::fs::read_dir(place.path()).unwrap().count();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command
        .args(["demo", "--port", "0"])
        .env("TMPDIR", place.path())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut demo = command.spawn().unwrap();
    until("it begins", async || left() > 0).await;
    signal(&demo, nix::sys::signal::Signal::SIGTERM);
    let ended = in_time("it ends", demo.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(left(), 0, "its folder is still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_shows_what_a_billed_probe_may_cost() {
    let world = World::new(Db::Sqlite).await;
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let billed = "every = \"30d\"\nprobe = { chat = \"acme/small\" }";
    std::fs::write(world.path("rekeyd.toml"), text.replace("every = \"30d\"", billed)).unwrap();
    world.adopt().await;
    let plan = world.rekeyd(&["rotations", "plan", "production", "--json"]).await.ok().json();
    let calls = plan["calls"].as_array().unwrap();
    let chat = calls.iter().find(|call| call["call"] == "POST /chat/completions").unwrap();
    let effect = chat["effect"].as_str().unwrap();
    assert!(effect.contains("acme/small") && effect.contains("at most 5 tokens"), "{effect}");
    // What the plan says is what the run does.
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    let billed =
        world.openrouter.requests().into_iter().filter(|request| request.path.ends_with("/chat/completions"));
    assert_eq!(billed.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_an_account_are_shown_in_dollars_and_rfc_3339() {
    let world = World::new(Db::Sqlite).await;
    assert!(world.openrouter.use_key(&world.first, 0.25));
    let create = ["accounts", "keys", "main", "create", "--limit", "12.5"];
    world.rekeyd(&create).await.ok();
    let keys = world.rekeyd(&["accounts", "keys", "main", "--json"]).await.ok().json();
    let of = |field: &str, value: serde_json::Value| {
        keys.as_array()
            .unwrap()
            .iter()
            .find(|key| key[field] == value)
            .unwrap_or_else(|| panic!("{field}: {keys}"))
    };
    let limited = of("limit", json!(12.5));
    assert_eq!(limited["limit_remaining"], json!(12.5));
    let used = of("usage", json!(0.25));
    for time in [&used["last_used_at"], &used["created_at"], &limited["created_at"]] {
        let text = time.as_str().unwrap_or_else(|| panic!("a time is text: {keys}"));
        assert!(chrono::DateTime::parse_from_rfc3339(text).is_ok() && text.ends_with('Z'), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placeholder_is_stored_inactive_and_never_tested() {
    let world = World::new(Db::Sqlite).await;
    let out = world.rekeyd_with(&["keys", "add", "openai", "--json"], "your-api-key-here").await.ok();
    assert!(out.stderr.contains("placeholder"), "{}", out.stderr);
    let key = out.json();
    assert_eq!((&key["is_active"], &key["status"]), (&json!(false), &json!("placeholder")), "{key}");
    let tested = world.rekeyd(&["keys", "test", "--all", "--json"]).await.ok().json();
    assert_eq!(tested, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistyped_names_and_priorities_are_usage_errors() {
    let world = World::new(Db::Sqlite).await;
    let out = world.rekeyd(&["keys", "list", "--provider", "opnrouter"]).await;
    assert_eq!(out.status, 2, "{out:?}");
    assert!(out.stderr.contains("the nearest name is openrouter"), "{}", out.stderr);
    for priority in ["300", "101"] {
        let add = ["keys", "add", "openai", "--no-test", "--priority", priority];
        let out = world.rekeyd_with(&add, "sk-proj-not-a-key-0").await;
        assert_eq!(out.status, 2, "{out:?}");
        assert!(out.stderr.contains("100 is production"), "{}", out.stderr);
    }
    let check = world.rekeyd(&["config", "check"]).await.ok();
    assert!(!check.stdout.contains("systemd"), "it has no credentials of systemd: {}", check.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_encryption_key_is_looked_for_where_the_configuration_points() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let other = world.private("other-key", rekeyd::crypto::fernet::generate_key().expose());
    let reference = format!("file:{}", other.display());
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    std::fs::write(world.path("rekeyd.toml"), text.replace("env:BYOK_ENCRYPTION_KEY", &reference)).unwrap();
    let out = world.rekeyd(&["keys", "list"]).await;
    assert_eq!(out.status, 2, "{out:?}");
    assert!(out.stderr.contains(&reference) && !out.stderr.contains("BYOK"), "{}", out.stderr);
}

on_both_databases! {
    async fn adopt_finds_the_key_that_a_destination_holds(db: Db) {
        let world = World::new(db).await;
        // Stored as a backup, and not what production reads.
        let backup = world.openrouter.new_regular_key("backup");
        world.rekeyd_with(&["keys", "add", "openrouter"], &backup).await.ok();
        world.rekeyd(&["rotations", "adopt", "production"]).await.ok();
        let current = world.rotation().await["current"].clone();
        assert_eq!(current["hash"], world.first_hash(), "{current}");
        assert_eq!(current["generation"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopt_does_not_guess() {
    let world = World::new(Db::Sqlite).await;
    world.private("agent.env", &format!("{SECRET}=sk-or-v1-of-nobody\n"));
    let none = world.rekeyd(&["rotations", "adopt", "production"]).await;
    assert_eq!(none.status, 2, "{none:?}");
    // Two readable destinations that hold different keys of the account.
    let other = world.openrouter.new_regular_key("other");
    world.private("agent.env", &format!("{SECRET}={}\n", world.first));
    let raw = world.private("raw", &other);
    let more =
        format!("[[destinations]]\nname = \"raw\"\ntype = \"file\"\npath = {raw:?}\nformat = \"raw\"\n");
    world.configure_with(&more, r#"["agent-env", "raw"]"#);
    let several = world.rekeyd(&["rotations", "adopt", "production"]).await;
    assert_eq!(several.status, 2, "{several:?}");
    assert!(several.stderr.contains("several keys"), "{}", several.stderr);
    world.private("raw", &world.first);
    world.rekeyd(&["rotations", "adopt", "production"]).await.ok();
    assert_eq!(world.rotation().await["current"]["hash"], world.first_hash());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentence_of_the_provider_ends_with_one_dot() {
    let world = World::new(Db::Sqlite).await;
    let backup = world.openrouter.new_regular_key("backup");
    world.rekeyd_with(&["keys", "add", "openrouter"], &backup).await.ok();
    let hash = rekeyd::domain::secret::Secret::new(backup).sha256_hex();
    world.openrouter.edit_key(&hash, |key| key.deleted = true);
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let detail = loop {
        world.rekeyd(&["keys", "test", "openrouter"]).await;
        let alerts = world.rekeyd(&["alerts", "list", "--json"]).await.ok().json();
        if let Some(alert) = alerts.as_array().unwrap().iter().find(|alert| alert["kind"] == "key_invalid") {
            break alert["detail"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < deadline, "nobody was told: {alerts}");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    assert!(detail.contains("User not found. Replace it"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_parks_again_is_not_called_resumed() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.grace = "1h";
    world.configure();
    world.adopt().await;
    let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
    let id = run["id"].as_str().unwrap();
    // The configuration forgets a destination (R14): that parks, and goes on parking.
    world.configure_with("", r#"["agent-env"]"#);
    let parks = world.rekeyd(&["runs", "watch", id]).await;
    assert_eq!(parks.status, 1, "{parks:?}");
    let again = world.rekeyd(&["runs", "resume", id]).await;
    assert_eq!(again.status, 1, "{again:?}");
    assert!(again.stdout.contains("parked") && !again.stderr.contains("resumed"), "{again:?}");
    world.configure();
    let resumed = world.rekeyd(&["runs", "resume", id]).await.ok();
    assert!(resumed.stderr.contains("resumed"), "{resumed:?}");
}
