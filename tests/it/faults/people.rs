//! Faults 21, 22, 24, 32 to 34 and 53: what persons do while rekeyd works.

use std::time::Duration;

use rekeyd::domain::secret::Secret;
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::openrouter::KeyRow;
use serde_json::Value;
use sqlx::Row;

use super::invariants::{Proof, invariants};
use super::{alerts, ended, fault, ledger, runs_in, serve, stop, until};
use crate::support::{Db, World};

/// Tests every two seconds, waits as long as a test needs.
async fn world(db: Db, grace: &'static str, observe: &'static str) -> World {
    let mut world = World::new(db).await;
    world.waits.tests = "*/2 * * * * *";
    (world.waits.grace, world.waits.observe) = (grace, observe);
    world.configure();
    world.adopt().await;
    world
}

/// Starts a run and leaves it where it waits: in grace, when that is long enough for the slowest machine.
async fn begin(world: &World) -> Value {
    world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json()
}

fn old(world: &World) -> KeyRow {
    world.openrouter.key_by_hash(&world.first_hash()).unwrap()
}

/// The key of this generation, by its name.
fn generation(world: &World, number: u32) -> KeyRow {
    let part = format!("/{number}-");
    world.openrouter.keys().into_iter().find(|key| key.name.contains(&part)).unwrap()
}

/// Nothing is open any more.
async fn over(world: &World) {
    until("over", async || {
        let open = ledger::rows(world, "SELECT id FROM runs WHERE is_open = 1").await;
        open.is_empty() && world.living().len() == 1
    })
    .await;
}

/// A person deletes the new key while the old one still works, or is only disabled.
async fn new_key_deleted(db: Db, observing: bool) -> Proof {
    let case = format!("new key deleted, observing: {observing}");
    let (grace, observe) = if observing { ("1s", "20s") } else { ("20s", "1s") };
    let world = world(db, grace, observe).await;
    begin(&world).await;
    let daemon = serve(&world).await;
    if observing {
        until("observing", async || old(&world).disabled).await;
    }
    world.openrouter.edit_key(&generation(&world, 2).hash, |key| key.deleted = true);
    over(&world).await;
    stop(daemon).await;
    let rotation = world.rotation().await;
    assert_eq!(rotation["current"]["hash"], world.living()[0].hash.as_str(), "{case}: {rotation}");
    assert_eq!(world.at_github(), world.in_file(), "{case}");
    invariants(&world, &case).await
}

fault! {
    async fn fault_21_the_new_key_is_deleted_by_a_person(db: Db) {
        let (grace, observing) = tokio::join!(new_key_deleted(db, false), new_key_deleted(db, true));
        drop(grace);
        observing
    }
}

fault! {
    async fn fault_22_the_old_key_is_enabled_or_deleted_by_a_person(db: Db) {
        let (enabled, deleted) = tokio::join!(enabled_again(db), deleted_already(db));
        drop(deleted);
        enabled
    }
}

/// Somebody needs it: it is not deleted while it is enabled, and gets its grace anew: it is disabled once more before.
async fn enabled_again(db: Db) -> Proof {
    let world = world(db, "1s", "4s").await;
    begin(&world).await;
    let daemon = serve(&world).await;
    until("observing", async || old(&world).disabled).await;
    world.openrouter.edit_key(&world.first_hash(), |key| key.disabled = false);
    over(&world).await;
    stop(daemon).await;
    assert!(old(&world).deleted);
    let hash = world.first_hash();
    let changes =
        world.openrouter.requests().into_iter().filter(|r| r.method != "GET" && r.path.contains(&hash));
    let changes: Vec<&str> = changes.filter(|request| request.applied).map(|request| request.label).collect();
    let expected = ["patch_key", "patch_key", "delete_key"];
    assert_eq!(changes, expected, "a key that somebody enabled is not deleted before it is disabled again");
    invariants(&world, "old key enabled again").await
}

async fn deleted_already(db: Db) -> Proof {
    let world = world(db, "1s", "3s").await;
    begin(&world).await;
    let daemon = serve(&world).await;
    until("observing", async || old(&world).disabled).await;
    world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true);
    over(&world).await;
    stop(daemon).await;
    assert_eq!(runs_in(&world, &["done"]).await, 1);
    invariants(&world, "old key deleted by a person").await
}

/// What stands where the provisioning key was, in grace, for a while; then the right one comes back.
async fn provisioning_changed(
    db: Db,
    case: &str,
    alert: &str,
    change: impl AsyncFnOnce(&World, &str),
) -> Proof {
    let mut world = world(db, "10s", "1s").await;
    let run = begin(&world).await;
    let id = run["id"].as_str().unwrap();
    change(&world, id).await;
    let before = world.openrouter.requests().len();
    let daemon = serve(&world).await;
    until(case, async || alerts(&world).await.iter().any(|kind| kind == alert)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 2, "{case}: both keys live");
    world.assert_destinations_work(case);
    let asked = world.openrouter.requests().split_off(before);
    let writes = asked.iter().filter(|request| request.method != "GET" && request.applied).count();
    assert_eq!(writes, 0, "{case}: nothing was changed at the provider: {asked:#?}");
    world.provisioning = world.openrouter.new_provisioning_key();
    world.private("provisioning-key", &world.provisioning);
    let daemon = serve(&world).await;
    world.rekeyd(&["runs", "resume", id]).await;
    over(&world).await;
    until("it is over", async || !alerts(&world).await.iter().any(|kind| kind == alert)).await;
    stop(daemon).await;
    assert_eq!(runs_in(&world, &["done"]).await, 1, "{case}");
    invariants(&world, case).await
}

fault! {
    async fn fault_24_provisioning_key_revoked_or_of_another_account(db: Db) {
        let revoked = provisioning_changed(db, "revoked", "provisioning_key_invalid", async |world, run| {
            assert!(world.openrouter.revoke_provisioning(&world.provisioning));
            let out = world.rekeyd(&["runs", "watch", run]).await;
            assert_eq!(out.status, 1, "{out:?}");
            assert!(out.stderr.contains("provisioning key of account main"), "{}", out.stderr);
        });
        let foreign = provisioning_changed(db, "another account's", "rotation_parked", async |world, _| {
            world.private("provisioning-key", &world.openrouter.new_provisioning_key_of("org-other"));
        });
        let (revoked, foreign) = tokio::join!(revoked, foreign);
        drop(foreign);
        revoked
    }
}

fault! {
    async fn fault_32_the_only_key_deleted_by_hand_is_healed(db: Db) {
        let world = world(db, "24h", "24h").await;
        world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true);
        let daemon = serve(&world).await;
        until("healed", async || runs_in(&world, &["done"]).await == 1).await;
        over(&world).await;
        stop(daemon).await;
        let run = world.newest_run().await;
        assert_eq!(run["trigger"], "heal", "{run}");
        let dark = alerts(&world).await;
        assert!(!dark.iter().any(|kind| kind == "key_invalid" || kind == "account_without_keys"), "{dark:?}");
        invariants(&world, "healed").await
    }
}

fault! {
    async fn fault_33_abort_while_a_publish_is_in_doubt(db: Db) {
        let world = world(db, "1s", "1s").await;
        let held = world.script.hold("put_secret", When::After);
        world.script.once("put_secret", When::After, Act::Reset);
        let mut child = world.command(&["rotations", "run", "production"]).spawn().unwrap();
        held.arrived().await;
        child.kill().await.unwrap();
        held.release();
        let id = world.newest_run().await["id"].as_str().unwrap().to_owned();
        let daemon = serve(&world).await;
        let out = world.rekeyd(&["runs", "abort", &id]).await;
        let said = format!("{}{}", out.stdout, out.stderr);
        assert!(said.contains("rollback"), "a destination may hold the new key: {said}");
        over(&world).await;
        stop(daemon).await;
        assert_eq!(runs_in(&world, &["aborted"]).await, 0, "it may not be aborted");
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "abort in doubt").await
    }
}

fault! {
    async fn fault_34_emergency_during_grace_and_of_the_retiring_key(db: Db) {
        let (during, ..) = tokio::join!(during_grace(db), of_the_retiring(db), in_a_storm(db));
        during
    }
}

/// The new key is the one that leaked: both of its run are inherited.
async fn during_grace(db: Db) -> Proof {
    let world = world(db, "1h", "1h").await;
    let first = begin(&world).await;
    let out = world.rekeyd(&["rotations", "run", "production", "--leaked", "--json"]).await.ok().json();
    let superseded =
        world.rekeyd(&["runs", "show", first["id"].as_str().unwrap(), "--json"]).await.ok().json();
    assert_eq!(superseded["outcome"], "superseded");
    assert!(generation(&world, 2).deleted, "the leaked generation 2 is gone: {out}");
    assert!(!old(&world).disabled, "generation 1 still waits for quiet");
    assert_eq!(world.at_github(), world.in_file());
    invariants(&world, "emergency during grace").await
}

async fn of_the_retiring(db: Db) -> Proof {
    let world = world(db, "1h", "1h").await;
    begin(&world).await;
    let args = ["rotations", "run", "production", "--leaked", "--generation", "1", "--wait"];
    world.rekeyd(&args).await.ok();
    assert!(old(&world).deleted);
    assert_eq!(world.openrouter.keys().len(), 2, "no third key was made");
    invariants(&world, "emergency of the retiring key").await
}

/// It took over the keys of another run, and the account cannot even be listed: it may not end before it began.
async fn in_a_storm(db: Db) -> Proof {
    let world = world(db, "1h", "1h").await;
    begin(&world).await;
    world.script.always("list_keys", When::Before, Act::rate_limited(None));
    let mut child = world.command(&["rotations", "run", "production", "--leaked"]).spawn().unwrap();
    until("told", async || alerts(&world).await.contains(&"rotation_failed".to_owned())).await;
    child.kill().await.unwrap();
    let run = world.newest_run().await;
    assert_eq!((run["trigger"].as_str(), run["state"].as_str()), (Some("leak"), Some("planned")), "{run}");
    world.script.clear();
    let daemon = serve(&world).await;
    until("the leaked key is gone", async || generation(&world, 2).deleted).await;
    stop(daemon).await;
    assert_eq!(world.at_github(), world.in_file());
    invariants(&world, "emergency in a storm").await
}

fault! {
    async fn fault_20_somebody_deletes_the_new_key_while_we_delete_the_old_one(db: Db) {
        let mut world = World::new(db).await;
        // No test would see it for hours.
        world.waits.tests = "0 0 3 29 2 *";
        world.configure();
        world.adopt().await;
        let held = world.script.hold("delete_key", When::After);
        let running = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        held.arrived().await;
        assert!(world.openrouter.edit_key(&generation(&world, 2).hash, |key| key.deleted = true));
        held.release();
        ended(running).await;
        assert_eq!(world.newest_run().await["trigger"], "heal", "at once, by whoever deleted");
        let daemon = serve(&world).await;
        over(&world).await;
        stop(daemon).await;
        let dark = "SELECT id FROM alerts WHERE kind = 'account_without_keys' AND severity = 'critical'";
        assert_eq!(ledger::rows(&world, dark).await.len(), 1, "people were told at once");
        invariants(&world, "nothing was left after a delete").await
    }
}

/// When something of this kind was intended and settled, in milliseconds.
async fn effect(world: &World, kind: &str) -> (i64, i64) {
    let sql =
        format!("SELECT started_at, finished_at FROM effects WHERE kind = '{kind}' AND status = 'done'");
    let row = &ledger::rows(world, &sql).await[0];
    (row.get(0), row.get(1))
}

fault! {
    async fn fault_53_abort_after_a_hand_out(db: Db) {
        let mut world = World::new(db).await;
        (world.waits.quiet, world.waits.observe) = ("4s", "4s");
        world.configure_with("", r#"["github-production"]"#);
        world.adopt().await;
        // No destination takes the new key, which is current by then, and somebody is given it.
        world.script.always("put_secret", When::Before, Act::status(422));
        world.rekeyd(&["rotations", "run", "production"]).await;
        let given = world.command(&["keys", "get", "openrouter"]).output().await.unwrap().stdout;
        let hash = Secret::new(String::from_utf8(given).unwrap().trim()).sha256_hex();
        assert_eq!(hash, generation(&world, 2).hash);
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        let daemon = serve(&world).await;
        world.rekeyd(&["runs", "abort", &run]).await;
        until("aborted", async || runs_in(&world, &["aborted"]).await == 1).await;
        stop(daemon).await;
        assert!(generation(&world, 2).deleted && !old(&world).disabled);
        let aborting = "SELECT at FROM audit WHERE action = 'run.aborting'";
        let aborting: i64 = ledger::rows(&world, aborting).await[0].get(0);
        let ((disabling, disabled), (deleting, _)) = (effect(&world, "disable").await, effect(&world, "delete").await);
        assert!(disabling - aborting >= 3_900, "it was given time to go quiet: {disabling} {aborting}");
        assert!(deleting - disabled >= 3_900, "it was observed: {deleting} {disabled}");
        invariants(&world, "an abort after a hand-out").await
    }
}
