//! GitHub finds a key: it is replaced and killed, or people are told, and nothing else is known of what was found.

use std::time::Duration;

use rekeyd::domain::secret::Secret;
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::{AlertRow as Found, Level, Permissions};
use rekeyd::store::{AlertRow, Store};
use tokio::process::Child;

use crate::support::wait::{idle, until};
use crate::support::world::REPOSITORY;
use crate::support::{Db, World, on_both_databases};

const KIND: &str = "openrouter_api_key";
const PLACES: &str = r#"["github-production", "agent-env"]"#;

/// A world that looks for leaks every second, with a token that may do this.
async fn world_with(db: Db, grace: &'static str, secret_scanning_alerts: Level) -> (World, String) {
    let mut world = World::new(db).await;
    world.waits.grace = grace;
    let token = world.github.new_token(Permissions { secret_scanning_alerts, ..Permissions::none() });
    world.private("scanning-token", &token);
    watch(&world, "* * * * * *");
    world.adopt().await;
    (world, token)
}

fn watch(world: &World, schedule: &str) {
    let leaks = format!(
        "[leaks]\nrepositories = [\"{REPOSITORY}\"]\ntoken = \"file:{}\"\nschedule = \"{schedule}\"\napi_url = \"{}\"\n",
        world.path("scanning-token").display(),
        world.github.api_url()
    );
    world.configure_with(&leaks, PLACES);
}

async fn world(db: Db) -> World {
    world_with(db, "1s", Level::Write).await.0
}

fn leak(world: &World, secret: &str) -> u64 {
    world.github.add_alert(REPOSITORY, KIND, secret)
}

fn found(world: &World, number: u64) -> Found {
    world.github.alerts(REPOSITORY).into_iter().find(|alert| alert.number == number).unwrap()
}

fn is_resolved(world: &World, number: u64) -> bool {
    found(world, number).resolution.as_deref() == Some("revoked")
}

async fn alerts(world: &World, kind: &str) -> Vec<AlertRow> {
    let store = Store::open(&world.database.url, 2).await.unwrap();
    let alerts = store.alerts(true).await.unwrap();
    store.close().await;
    alerts.into_iter().filter(|alert| alert.kind == kind).collect()
}

/// How often GitHub was asked for its alerts.
fn asked(world: &World) -> usize {
    world.github.requests().iter().filter(|request| request.label == "list_alerts").count()
}

/// So many whole looks more: each begins with a list of the alerts.
async fn looks(world: &World, more: usize) {
    let before = asked(world);
    until("more looks", async || asked(world) > before + more).await;
}

async fn stop(mut daemon: Child) {
    daemon.kill().await.unwrap();
}

fn deleted(world: &World, secret: &str) -> bool {
    world.openrouter.key_by_hash(&Secret::new(secret.to_owned()).sha256_hex()).unwrap().deleted
}

/// No file of the world (database, log, messages) holds it; those of its own are left out.
fn assert_unknown(world: &World, text: &str) {
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(text),
            "{} holds what is none of our business",
            path.display()
        );
    }
}

on_both_databases! {
    async fn a_leaked_current_key_is_replaced_killed_and_reported(db: Db) {
        let world = world(db).await;
        let numbers = [leak(&world, &world.first), leak(&world, &world.first)];
        let daemon = world.serve();
        until("both alerts resolved", async || numbers.iter().all(|n| is_resolved(&world, *n))).await;
        assert!(deleted(&world, &world.first), "resolved means dead");
        idle(&world).await;
        world.assert_destinations_work("after the leak");
        assert_eq!(world.openrouter.keys().len(), 2, "two alerts are one leak: one new key");
        let runs = world.rekeyd(&["runs", "list", "--json"]).await.ok().json();
        assert_eq!(runs.as_array().unwrap().len(), 1, "and one run: {runs}");
        let comment = found(&world, numbers[0]).resolution_comment.unwrap();
        assert!(comment.contains("rekeyd") && comment.len() < 200, "{comment}");
        let told = alerts(&world, "leak_detected").await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].detail.contains("secret-scanning alert") && told[0].resolved_at.is_some(), "{told:?}");
        let patches = world.github.requests().iter().filter(|request| request.label == "patch_alert").count();
        assert_eq!(patches, 2, "each alert once");
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_retiring_key_is_killed_without_another_create() {
    let (world, _) = world_with(Db::Sqlite, "1h", Level::Write).await;
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    let number = leak(&world, &world.first);
    let daemon = world.serve();
    until("the alert resolved", async || is_resolved(&world, number)).await;
    assert!(deleted(&world, &world.first));
    assert_eq!(world.openrouter.keys().len(), 2, "no third key was made");
    world.assert_destinations_work("after the leak");
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_no_rotation_has_are_reported_and_left_alone() {
    let world = world(Db::Sqlite).await;
    let unknown = world.openrouter.new_regular_key("somebody's");
    let stored = world.openrouter.new_regular_key("stored");
    world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], &stored).await.ok();
    let provisioning = world.provisioning.clone();
    let numbers = [&unknown, &stored, &provisioning].map(|secret| leak(&world, secret));
    let daemon = world.serve();
    until("three alerts", async || alerts(&world, "leak_detected").await.len() == 3).await;
    looks(&world, 2).await;
    let told = alerts(&world, "leak_detected").await;
    let about = |what: &str| told.iter().find(|alert| alert.detail.contains(what)).unwrap().clone();
    assert!(about("which rekeyd does not hold").detail.contains("somebody's"));
    assert!(about("It belongs to no rotation").subject.starts_with("key openrouter"));
    assert_eq!(about("The provisioning key of account main").severity, "critical");
    assert_eq!(told.len(), 3, "once each: {told:?}");
    assert!(world.living().len() == 3, "nothing was touched");
    assert!(numbers.iter().all(|number| found(&world, *number).resolution.is_none()));
    // Somebody deletes the unknown key: that is over.
    world.openrouter.edit_key(&Secret::new(unknown).sha256_hex(), |key| key.deleted = true);
    until("one is over", async || {
        let told = alerts(&world, "leak_detected").await;
        told.iter().filter(|alert| alert.resolved_at.is_some()).count() == 1
    })
    .await;
    stop(daemon).await;
    world.assert_nothing_leaked();
}

on_both_databases! {
    async fn what_is_not_ours_is_neither_kept_nor_named_and_hides_nothing(db: Db) {
        let world = world(db).await;
        let foreign = format!("AKIA{}", "FALSEKEY".repeat(4));
        // The newest come first: ours is on the last of three pages.
        let number = leak(&world, &world.first);
        for _ in 0..120 {
            leak(&world, &foreign);
        }
        let daemon = world.serve();
        until("ours is resolved", async || is_resolved(&world, number)).await;
        looks(&world, 2).await;
        let open = world.github.alerts(REPOSITORY).iter().filter(|alert| alert.resolution.is_none()).count();
        assert_eq!(open, 120);
        assert_eq!(alerts(&world, "leak_detected").await.len(), 1);
        stop(daemon).await;
        world.assert_nothing_leaked();
        assert_unknown(&world, &foreign);
        assert_unknown(&world, &Secret::new(foreign).sha256_hex());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_and_the_kill_does_not_wait_for_it() {
    let (world, token) = world_with(Db::Sqlite, "1s", Level::None).await;
    let number = leak(&world, &world.first);
    let daemon = world.serve();
    let told = async || alerts(&world, "leak_scan_failed").await;
    until("told", async || told().await.len() == 1).await;
    let detail = told().await[0].detail.clone();
    assert!(detail.contains("Secret scanning alerts: read and write"), "{detail}");
    assert!(!deleted(&world, &world.first));
    // It may look now, and not resolve.
    let scanning = |level| Permissions { secret_scanning_alerts: level, ..Permissions::none() };
    world.github.set_permissions(&token, scanning(Level::Read));
    until("killed", async || deleted(&world, &world.first)).await;
    looks(&world, 2).await;
    assert!(!is_resolved(&world, number));
    world.github.set_permissions(&token, scanning(Level::Write));
    until("resolved", async || is_resolved(&world, number)).await;
    until("over", async || told().await.iter().all(|alert| alert.resolved_at.is_some())).await;
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_github_loses_nothing() {
    let world = world(Db::Sqlite).await;
    let number = leak(&world, &world.first);
    world.github.faults().times("list_alerts", 2, When::Before, Act::status(502));
    world.github.faults().times("patch_alert", 2, When::Before, Act::Reset);
    let daemon = world.serve();
    until("resolved", async || is_resolved(&world, number)).await;
    assert!(deleted(&world, &world.first));
    assert!(alerts(&world, "leak_scan_failed").await.is_empty(), "two failures are no news");
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_that_stays_away_is_told_and_forgotten_when_it_is_back() {
    let world = world(Db::Sqlite).await;
    world.github.faults().always("list_alerts", When::Before, Act::status(502));
    let daemon = world.serve();
    let told = async || alerts(&world, "leak_scan_failed").await;
    until("told", async || !told().await.is_empty()).await;
    assert!(asked(&world) >= 3, "not at the first failure");
    assert!(told().await[0].detail.contains(REPOSITORY), "{:?}", told().await);
    world.github.faults().clear();
    until("over", async || told().await[0].resolved_at.is_some()).await;
    assert_eq!(told().await.len(), 1, "told once");
    stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_key_that_was_not_even_published_is_replaced_before_it_is() {
    let mut world = world(Db::Sqlite).await;
    world.waits.propagation = "1h";
    watch(&world, "* * * * * *");
    world.openrouter.settings(|settings| settings.fresh_key_refused_for = Duration::from_hours(1));
    let mut child = world.command(&["rotations", "run", "production"]).spawn().unwrap();
    until("a new key", async || world.openrouter.keys().len() == 2).await;
    until("it is stored", async || world.newest_run().await["state"] == "verifying").await;
    child.kill().await.unwrap();
    world.openrouter.settings(|settings| settings.fresh_key_refused_for = Duration::ZERO);
    let candidate = world.openrouter.issued_secrets().pop().unwrap();
    let number = leak(&world, &candidate);
    let daemon = world.serve();
    until("resolved", async || is_resolved(&world, number)).await;
    assert!(deleted(&world, &candidate));
    idle(&world).await;
    world.assert_destinations_work("after the leak");
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_that_a_person_ended_is_not_started_again() {
    let world = world(Db::Sqlite).await;
    world.openrouter.settings(|settings| settings.fresh_key_refused_for = Duration::from_hours(1));
    let number = leak(&world, &world.first);
    let daemon = world.serve();
    until("a run", async || {
        !world.rekeyd(&["runs", "list", "--json"]).await.json().as_array().unwrap().is_empty()
    })
    .await;
    let id = world.newest_run().await["id"].as_str().unwrap().to_owned();
    world.rekeyd(&["runs", "abort", &id]).await;
    until("why it waits", async || {
        let told = alerts(&world, "leak_detected").await;
        told.iter().any(|alert| alert.detail.contains("a person ended its emergency"))
    })
    .await;
    looks(&world, 3).await;
    assert_eq!(world.newest_run().await["id"], id.as_str(), "no other run");
    assert!(!is_resolved(&world, number) && !deleted(&world, &world.first));
    world.assert_destinations_work("while the leak is open");
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_that_could_not_begin_is_started_again() {
    let world = world(Db::Sqlite).await;
    let number = leak(&world, &world.first);
    world.openrouter.faults().times("list_keys", 2, When::Before, Act::status(503));
    let daemon = world.serve();
    until("resolved", async || is_resolved(&world, number)).await;
    assert!(deleted(&world, &world.first));
    world.assert_destinations_work("after the leak");
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_account_is_told_and_asked_again() {
    let world = world(Db::Sqlite).await;
    // A key of this database that its journal does not know: it was restored.
    let stranger = world.openrouter.new_regular_key(&world.name_of("production", 9).await);
    world.rekeyd(&["accounts", "keys", "main"]).await;
    world.rekeyd(&["rotations", "run", "production"]).await;
    leak(&world, &world.first);
    let daemon = world.serve();
    until("why it waits", async || {
        alerts(&world, "leak_detected").await.iter().any(|alert| alert.detail.contains("is frozen"))
    })
    .await;
    looks(&world, 1).await;
    assert_eq!(world.living().len(), 2, "nothing was made or killed");
    assert!(!deleted(&world, &world.first) && !deleted(&world, &stranger));
    // After the thaw nobody but a person knows which key production uses.
    world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
    until("why it still waits", async || {
        let told = alerts(&world, "leak_detected").await;
        told.iter().any(|alert| alert.detail.contains("needs to know its current key again"))
    })
    .await;
    assert!(!deleted(&world, &world.first) && world.living().len() == 2);
    stop(daemon).await;
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_replica_keep_the_schedule() {
    let world = world(Db::Sqlite).await;
    // Once a year: only the first look ever is due.
    watch(&world, "0 0 3 29 2 *");
    let daemons = [world.serve(), world.serve()];
    let log = || std::fs::read_to_string(world.path("serve.log")).unwrap_or_default();
    until("both are ready", async || log().matches(" ready database").count() == 2).await;
    let store = Store::open(&world.database.url, 2).await.unwrap();
    until("the look is remembered", async || {
        !store.memory::<serde_json::Value>("leaks").await.unwrap().is_null()
    })
    .await;
    store.close().await;
    // Their passes are at work for the length of a rotation.
    world.rekeyd(&["rotations", "run", "production"]).await;
    idle(&world).await;
    assert_eq!(asked(&world), 1, "one look of two daemons");
    for mut daemon in daemons {
        let pid = i32::try_from(daemon.id().unwrap()).unwrap();
        let term = nix::sys::signal::Signal::SIGTERM;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), term).unwrap();
        daemon.wait().await.unwrap();
    }
    let daemon = world.serve();
    world.rekeyd(&["rotations", "run", "production"]).await;
    idle(&world).await;
    assert_eq!(asked(&world), 1, "one look in all");
    stop(daemon).await;
}
