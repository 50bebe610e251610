//! The daemon: it runs by itself, stops well, and reloads. What it survives is in `faults`.

use std::time::Duration;

use nix::sys::signal::Signal;
use rekeyd::sim::fault::When;
use serde_json::Value;
use sqlx::{Connection, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::ledger::{self, alerts, due, held_leases, runs, runs_in};
use crate::support::wait::{at_rest, idle, in_time, log, logged, serve, signal, stop, until};
use crate::support::{Db, World, on_both_databases};

/// Every three seconds, at the full seconds.
const OFTEN: &str = r#"schedule = "*/3 * * * * *"
jitter = "0s""#;
/// Not while a test runs.
const NEVER: &str = r#"schedule = "0 0 3 29 2 *""#;

/// The same configuration with another schedule.
fn reschedule(world: &World, lines: &str) {
    world.configure();
    let path = world.path("rekeyd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("every = \"30d\"", lines)).unwrap();
}

/// Status and body of a GET on the newest daemon.
async fn get(world: &World, path: &str) -> (u16, Value) {
    let text = log(world);
    let address = text.rsplit("http://").next().unwrap().split(['"', ' ', '\n']).next().unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

on_both_databases! {
    async fn a_scheduled_rotation_starts_and_ends_by_itself(db: Db) {
        let world = World::new(db).await;
        reschedule(&world, OFTEN);
        world.adopt().await;
        let daemon = serve(&world).await;
        until("a run that is done", async || runs_in(&world, &["done"]).await > 0).await;
        // From here on nothing is due, so that what is open comes to its end.
        reschedule(&world, NEVER);
        signal(&daemon, Signal::SIGHUP);
        at_rest(&world).await;
        let all = world.rekeyd(&["runs", "list", "--json"]).await.ok().json();
        assert!(all.as_array().unwrap().iter().all(|run| run["trigger"] == "schedule"), "{all:?}");
        let rotation = world.rotation().await;
        assert!(rotation["next_due_at"].is_string(), "the next due time is set: {rotation}");
        assert_eq!(world.living().len(), 1);
        world.assert_destinations_work("after scheduled rotations");
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn missed_ticks_are_caught_up_once(db: Db) {
        let world = World::new(db).await;
        reschedule(&world, OFTEN);
        world.adopt().await;
        // The first daemon only sets the due time, its first call is held; then many are missed.
        let held = world.script.hold_nth(world.script.count() + 1, When::Before);
        let mut daemon = serve(&world).await;
        until("a due time", async || due(&world).await.is_some()).await;
        daemon.kill().await.unwrap();
        drop(held);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let stored = world.rotation().await["next_due_at"].as_str().unwrap().to_owned();
        reschedule(&world, r#"schedule = "0 0 3 1 * *"
jitter = "0s""#);
        let daemon = serve(&world).await;
        until("one run", async || !runs(&world).await.is_empty()).await;
        idle(&world).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(runs(&world).await.len(), 1, "one for all that were missed since {stored}");
        stop(daemon).await;
    }
}

/// A scheduled run, stopped while its key is being made: nothing is in doubt afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_while_a_key_is_made() {
    let world = World::new(Db::Sqlite).await;
    reschedule(&world, OFTEN);
    world.adopt().await;
    let held = world.script.hold("create_key", When::After);
    let daemon = serve(&world).await;
    in_time("a key is made", held.arrived()).await;
    let stopping = tokio::spawn(stop(daemon));
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.release();
    stopping.await.unwrap();
    let run = world.newest_run().await;
    let open = run["effects"].as_array().unwrap().iter().filter(|effect| effect["status"] != "done").count();
    assert_eq!(open, 0, "the call in flight was committed: {run}");
    assert_eq!(held_leases(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_does_not_wait() {
    let world = World::new(Db::Sqlite).await;
    reschedule(&world, OFTEN);
    world.adopt().await;
    let held = world.script.hold("create_key", When::After);
    let mut daemon = serve(&world).await;
    in_time("a key is made", held.arrived()).await;
    signal(&daemon, Signal::SIGTERM);
    logged(&world, "the call in flight is finished first", 1).await;
    signal(&daemon, Signal::SIGINT);
    in_time("at once", daemon.wait()).await.unwrap();
}

/// Signals that the process listens for, by the kernel's word.
fn listens_for(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    caught & (1 << (signal as i32 - 1)) != 0
}

/// Somebody writes to the new database: the daemon waits, and hears meanwhile what it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_before_it_is_ready_is_not_lost() {
    for name in [Signal::SIGHUP, Signal::SIGTERM] {
        let world = World::new(Db::Sqlite).await;
        let path = world.database.url.strip_prefix("sqlite:").unwrap().to_owned();
        let mut writer = sqlx::SqliteConnection::connect(&format!("sqlite://{path}?mode=rwc")).await.unwrap();
        writer.execute("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").await.unwrap();
        let mut daemon = world.serve();
        let pid = daemon.id().unwrap();
        until("it listens", async || listens_for(pid, name)).await;
        signal(&daemon, name);
        if name == Signal::SIGTERM {
            assert!(in_time("it stops", daemon.wait()).await.unwrap().success());
            continue;
        }
        writer.execute("COMMIT").await.unwrap();
        logged(&world, "the configuration was read again", 1).await;
        stop(daemon).await;
    }
}

on_both_databases! {
    async fn a_reload_applies_what_is_valid_and_rejects_the_rest(db: Db) {
        let world = World::new(db).await;
        reschedule(&world, NEVER);
        world.adopt().await;
        let daemon = serve(&world).await;
        until("a due time", async || due(&world).await.is_some()).await;
        let path = world.path("rekeyd.toml");
        let good = std::fs::read_to_string(&path).unwrap();

        std::fs::write(&path, good.replace("max_deletes_per_hour", "max_deletes_per_our")).unwrap();
        signal(&daemon, Signal::SIGHUP);
        logged(&world, "the new configuration was rejected", 1).await;
        std::fs::write(&path, &good).unwrap();
        let rejected = async || {
            let alerts = alerts(&world).await;
            alerts.iter().filter(|kind| *kind == "config_rejected").count()
        };
        until("the alert", async || rejected().await == 1).await;

        // A good one: applied, and what needs a restart is named.
        let listen = good.replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
        std::fs::write(&path, listen.replace(NEVER, OFTEN)).unwrap();
        signal(&daemon, Signal::SIGHUP);
        logged(&world, "the configuration was read again", 1).await;
        logged(&world, "[server] listen", 1).await;
        until("resolved", async || rejected().await == 0).await;
        until("the new schedule starts a run", async || !runs(&world).await.is_empty()).await;
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_pass_that_fails_again_and_again_is_told_until_it_works(db: Db) {
        let world = World::new(db).await;
        reschedule(&world, NEVER);
        let daemon = serve(&world).await;
        until("ready", async || get(&world, "/readyz").await.0 == 200).await;
        let told = async || alerts(&world).await.contains(&"pass_failing".to_owned());
        // Some passes remember something there; the others, and what people are told, do without.
        ledger::rows(&world, "ALTER TABLE provider_health RENAME TO away").await;
        until("people are told", told).await;
        let (status, body) = get(&world, "/readyz").await;
        assert_eq!((status, body["reasons"][0]["what"].as_str()), (503, Some("pass")), "{body}");
        ledger::rows(&world, "ALTER TABLE away RENAME TO provider_health").await;
        until("it works again", async || !told().await).await;
        until("ready again", async || get(&world, "/readyz").await.0 == 200).await;
        stop(daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_makes_it_unready_and_comes_back() {
    let world = World::new(Db::Postgres).await;
    reschedule(&world, NEVER);
    let daemon = serve(&world).await;
    assert_eq!(get(&world, "/healthz").await.0, 200);
    assert_eq!(get(&world, "/readyz").await, (200, serde_json::json!({ "status": "ready" })));
    assert_eq!(get(&world, "/login").await.0, 200, "where the links of mails lead who nobody knows");
    let (server, name) = world.database.url.rsplit_once('/').unwrap();
    let mut admin = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let rename = |from: &str, to: &str| sqlx::AssertSqlSafe(format!("ALTER DATABASE {from} RENAME TO {to}"));
    let away = format!("{name}_away");
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let mut renamed = false;
    for _ in 0..50 {
        admin.execute(sqlx::AssertSqlSafe(end.clone())).await.unwrap();
        renamed = admin.execute(rename(name, &away)).await.is_ok();
        if renamed {
            break;
        }
    }
    assert!(renamed, "the database could not be taken away");
    until("unready", async || {
        let (status, body) = get(&world, "/readyz").await;
        status == 503 && body["reasons"][0]["what"] == "database"
    })
    .await;
    assert_eq!(get(&world, "/healthz").await.0, 200, "it lives");
    admin.execute(rename(&away, name)).await.unwrap();
    until("ready again", async || get(&world, "/readyz").await.0 == 200).await;
    stop(daemon).await;
}
