//! Tests of stored keys: what they show, what people are told, and what is done about it.
#![expect(clippy::disallowed_methods, reason = "the binary under test runs on the real clock")]

use std::sync::Arc;
use std::time::Duration;

use rekeyd::clock::SystemClock;
use rekeyd::domain::secret::Secret;
use rekeyd::domain::time::Span;
use rekeyd::engine::commands::{self, Which, Why, check_keys};
use rekeyd::engine::passes::{check_tick, watch_tick};
use rekeyd::sim::fault::{Act, Rule, When};
use rekeyd::sim::github::Scope;
use rekeyd::sim::vendors::Vendors;
use rekeyd::store::{AlertRow, Store};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::support::wait::{reconfigure, until};
use crate::support::world::{Out, REPOSITORY, SECRET};
use crate::support::{Ahead, Db, World, ledger, on_both_databases};

const FOR_SCRIPTS: &str = "OPENROUTER_PROVISIONING_KEY";

/// Every alert that ever was, newest first.
async fn alerts(world: &World) -> Vec<AlertRow> {
    let store = Store::open(&world.database.url, 2).await.unwrap();
    let alerts = store.alerts(true).await.unwrap();
    store.close().await;
    alerts
}

async fn of_kind(world: &World, kind: &str) -> Vec<AlertRow> {
    alerts(world).await.into_iter().filter(|alert| alert.kind == kind).collect()
}

async fn add(world: &World, secret: &str, more: &[&str]) -> Out {
    let args = [&["keys", "add", "openrouter", "--secret-stdin"], more].concat();
    world.rekeyd_with(&args, secret).await
}

async fn test(world: &World) -> Out {
    world.rekeyd(&["keys", "test", "--json"]).await
}

/// The same after the time between two looks.
async fn test_again(world: &World) -> Out {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    test(world).await
}

fn hash(secret: &str) -> String {
    Secret::new(secret.to_owned()).sha256_hex()
}

fn status(out: &Out) -> String {
    out.json()[0]["status"].as_str().unwrap_or_else(|| panic!("{out:?}")).to_owned()
}

on_both_databases! {
    async fn nothing_gets_out_is_one_alert_and_no_provider_s(db: Db) {
        let world = World::new(db).await;
        reconfigure(&world, "[tests]", "[tests]\nallow_private_endpoints = true\nhost_spacing = \"0s\"");
        let vendors = Vendors::start().await;
        for (name, kind) in [("nova", "openai"), ("house", "custom"), ("voice", "elevenlabs")] {
            let base = vendors.base_url(kind);
            world.rekeyd(&["providers", "add", name, "--kind", kind, "--base-url", &base]).await.ok();
            world.rekeyd_with(&["keys", "add", name], &vendors.new_key(kind)).await.ok();
        }
        let look = async |minutes: i64| {
            let engine = world.engine(Ahead::by(Span::minutes(minutes))).await;
            let (which, stop) = (Which::All, CancellationToken::new());
            let scope = commands::Scope { which, why: Why::Person };
            check_keys(&engine, &scope, &stop).await.unwrap();
            watch_tick(&engine, &stop).await.unwrap();
            of_kind(&world, "no_egress").await.iter().map(|alert| alert.resolved_at.is_some()).collect::<Vec<bool>>()
        };
        vendors.faults().add(Rule::new("*", When::Before, Act::Reset));
        assert_eq!(look(6).await, [false], "three providers do not answer");
        assert_eq!(look(22).await, [false], "it is told once");
        assert!(of_kind(&world, "provider_unreachable").await.is_empty(), "it says nothing of the providers");
        vendors.faults().clear();
        assert_eq!(look(30).await, [true]);
        let keys = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
        let statuses: Vec<&str> =
            keys.as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["valid"; 3]);
    }
}

on_both_databases! {
    async fn a_lone_401_is_nobodys_death(db: Db) {
        let world = World::new(db).await;
        add(&world, &world.first, &[]).await.ok();
        world.openrouter.faults().once("whoami", When::Before, Act::status(401));
        let out = test(&world).await;
        assert_eq!(out.status, 1, "{out:?}");
        assert_eq!((out.json()[0]["outcome"].as_str(), status(&out).as_str()), (Some("invalid"), "valid"));
        assert_eq!(status(&test_again(&world).await.ok()), "valid");
        assert_eq!(alerts(&world).await.len(), 0);
    }
}

on_both_databases! {
    async fn two_401s_are_one_alert_and_two_good_looks_one_recovery(db: Db) {
        let world = World::new(db).await;
        add(&world, &world.first, &[]).await.ok();
        assert!(world.openrouter.edit_key(&hash(&world.first), |key| key.disabled = true));
        assert_eq!(status(&test(&world).await), "valid", "one look is no proof");
        for _ in 0..2 {
            let out = test_again(&world).await;
            assert_eq!((out.status, status(&out).as_str()), (1, "invalid"));
            let told = of_kind(&world, "key_invalid").await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].severity, "critical", "priority 100");
            assert!(told[0].resolved_at.is_none());
        }
        assert!(world.openrouter.edit_key(&hash(&world.first), |key| key.disabled = false));
        assert_eq!(status(&test(&world).await.ok()), "valid");
        assert!(of_kind(&world, "key_invalid").await[0].resolved_at.is_none(), "one good look closes nothing");
        test(&world).await.ok();
        let told = of_kind(&world, "key_invalid").await;
        assert_eq!(told.len(), 1);
        assert!(told[0].resolved_at.is_some(), "{told:?}");
        world.assert_nothing_leaked();
    }
}

/// Somebody does something to the current key; the daemon replaces it.
async fn healed(db: Db, how: fn(&mut rekeyd::sim::openrouter::KeyRow)) -> World {
    let mut world = World::new(db).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    assert!(world.openrouter.edit_key(&hash(&world.first), |key| {
        (key.limit, key.limit_reset) = (Some(25.0), Some("monthly".to_owned()));
    }));
    world.adopt().await;
    assert!(world.openrouter.edit_key(&hash(&world.first), how));
    let mut daemon = world.serve();
    until("never healed", async || {
        let told = of_kind(&world, "key_healed").await;
        !told.is_empty() && world.newest_run().await["outcome"] == "done"
    })
    .await;
    daemon.kill().await.unwrap();
    world.assert_destinations_work("after the healing");
    assert_eq!(world.at_github(), world.in_file());
    assert_ne!(world.at_github().as_deref(), Some(world.first.as_str()));
    let new = world.openrouter.key_by_hash(&hash(&world.at_github().unwrap())).unwrap();
    let inherited = (new.limit, new.limit_reset.as_deref());
    assert_eq!(inherited, (Some(25.0), Some("monthly")), "also from a key that is gone (R10)");
    assert_eq!(world.newest_run().await["trigger"], "heal");
    let runs = world.rekeyd(&["runs", "list", "--json"]).await.ok().json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "one cause, one run: {runs}");
    let (invalid, healed) = (of_kind(&world, "key_invalid").await, of_kind(&world, "key_healed").await);
    assert_eq!((invalid.len(), healed.len()), (1, 1), "{invalid:?} {healed:?}");
    assert!(invalid[0].opened_at <= healed[0].opened_at && invalid[0].resolved_at.is_some());
    assert_eq!(invalid[0].severity, "critical");
    world.assert_nothing_leaked();
    world
}

on_both_databases! {
    async fn a_key_disabled_by_a_person_is_replaced_and_never_enabled(db: Db) {
        let world = healed(db, |key| key.disabled = true).await;
        let run = world.newest_run().await;
        assert!(run["effects"].as_array().unwrap().iter().all(|effect| effect["kind"] != "enable"), "{run}");
        let old = world.openrouter.key_by_hash(&hash(&world.first)).unwrap();
        assert!(old.disabled || old.deleted);
    }
}

on_both_databases! {
    async fn a_refused_key_that_its_account_shows_alive_is_told_and_kept(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            // Only the key's own question is answered badly, not the account's.
            world.openrouter.faults().once("whoami", When::Before, Act::status(401));
            let out = world.rekeyd(&["keys", "test", "openrouter", "1", "--json"]).await;
            assert_eq!(out.status, 1, "{out:?}");
        }
        assert_eq!(of_kind(&world, "key_invalid").await.len(), 1);
        // The account is asked at each refusal.
        assert_eq!(world.openrouter.requests().iter().filter(|r| r.label == "read_key").count(), 2);
        assert_eq!(world.rekeyd(&["runs", "list", "--json"]).await.ok().json(), serde_json::json!([]));
        assert_eq!(world.openrouter.keys().len(), 1);
    }
}

on_both_databases! {
    async fn a_bad_day_of_the_provider_moves_no_verdict(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        for act in [Act::status(500), Act::rate_limited(Some(1)), Act::Html(502), Act::Html(401)] {
            world.openrouter.faults().always("whoami", When::Before, act);
            for _ in 0..2 {
                let out = test_again(&world).await.ok();
                assert_eq!(status(&out), "valid", "{out:?}");
            }
            world.openrouter.faults().clear();
        }
        assert_eq!(alerts(&world).await.len(), 0);
        assert_eq!(world.rotation().await["last_run"], serde_json::Value::Null, "nothing was healed");
    }
}

on_both_databases! {
    async fn many_bad_keys_at_once_are_one_incident(db: Db) {
        let world = World::new(db).await;
        for n in 0..4 {
            add(&world, &world.openrouter.new_regular_key(&format!("k{n}")), &[]).await.ok();
        }
        world.openrouter.faults().always("whoami", When::Before, Act::status(401));
        test(&world).await;
        let out = test_again(&world).await;
        assert_eq!(status(&out), "invalid");
        assert_eq!(of_kind(&world, "provider_incident").await.len(), 1);
        assert_eq!(of_kind(&world, "key_invalid").await.len(), 0, "the keys' own alerts wait");
        world.openrouter.faults().clear();
        test(&world).await.ok();
        assert!(of_kind(&world, "provider_incident").await[0].resolved_at.is_some());
        assert_eq!(of_kind(&world, "key_invalid").await.len(), 0);
    }
}

on_both_databases! {
    async fn an_outage_seen_key_after_key_is_one_incident(db: Db) {
        let mut world = World::new(db).await;
        world.waits.confirm_after = "3s";
        world.configure();
        for n in 0..6 {
            add(&world, &world.openrouter.new_regular_key(&format!("k{n}")), &[]).await.ok();
        }
        world.openrouter.faults().always("whoami", When::Before, Act::status(401));
        // The tests of a moment ago are forgotten: every key is due.
        crate::support::ledger::rows(&world, "UPDATE keys SET health = NULL, next_look_at = 0").await;
        let mut daemon = world.serve();
        until("the outage is told", async || !of_kind(&world, "provider_incident").await.is_empty()).await;
        let invalid = async || {
            let keys = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
            keys.as_array().unwrap().iter().filter(|key| key["status"] == "invalid").count()
        };
        until("every key is seen twice", async || invalid().await == 6).await;
        daemon.kill().await.unwrap();
        assert_eq!(of_kind(&world, "key_invalid").await.len(), 0, "the keys' own alerts wait");
        assert_eq!(of_kind(&world, "provider_incident").await.len(), 1);
    }
}

on_both_databases! {
    async fn a_dead_key_is_told_while_others_are_still_asked(db: Db) {
        let mut world = World::new(db).await;
        world.waits.confirm_after = "1s";
        world.configure();
        for n in 0..5 {
            add(&world, &world.openrouter.new_regular_key(&format!("k{n}")), &[]).await.ok();
        }
        add(&world, &world.first, &[]).await.ok();
        assert!(world.openrouter.edit_key(&hash(&world.first), |key| key.deleted = true));
        // The tests of a moment ago are forgotten: every key is due.
        crate::support::ledger::rows(&world, "UPDATE keys SET health = NULL, next_look_at = 0").await;
        let mut daemon = world.serve();
        until("it is told", async || of_kind(&world, "key_invalid").await.len() == 1).await;
        daemon.kill().await.unwrap();
        assert_eq!(of_kind(&world, "provider_incident").await.len(), 0);
    }
}

on_both_databases! {
    async fn a_retiring_key_is_never_asked_itself(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "60s";
        world.waits.tests = "*/2 * * * * *";
        world.configure();
        world.adopt().await;
        let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
        assert_eq!(run["state"], "grace");
        // From now on any call with a key's own credential shows in its figures.
        world.openrouter.settings(|settings| settings.whoami_moves_last_used = true);
        let used = |world: &World, secret: &str| world.openrouter.key_by_hash(&hash(secret)).unwrap().last_used_at;
        let before = used(&world, &world.first);
        let new = world.at_github().unwrap();
        let mut daemon = world.serve();
        until("the new key is not tested", async || used(&world, &new).is_some()).await;
        daemon.kill().await.unwrap();
        let out = test(&world).await.ok();
        assert_eq!(used(&world, &world.first), before);
        assert_eq!(out.json().as_array().unwrap().len(), 1, "{out:?}");
    }
}

on_both_databases! {
    async fn one_account_twice_is_told_with_what_to_delete(db: Db) {
        let world = World::new(db).await;
        let other = world.openrouter.new_provisioning_key();
        world.private("other-key", &other);
        let entry = format!(
            "[[accounts]]\nname = \"second\"\nprovider = \"openrouter\"\nprovisioning_key = \"file:{}\"\nbase_url = \"{}\"",
            world.path("other-key").display(),
            world.openrouter.base_url()
        );
        world.configure_with(&entry, r#"["github-production", "agent-env"]"#);
        test(&world).await.ok();
        let told = of_kind(&world, "duplicate_provisioning_key").await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].detail.contains("delete that entry"), "{told:?}");
        world.configure();
        test(&world).await.ok();
        assert!(of_kind(&world, "duplicate_provisioning_key").await[0].resolved_at.is_some());
        // A stored one: its kind could not be proved when it was added.
        world.openrouter.faults().once("whoami", When::Before, Act::status(500));
        let out = add(&world, &other, &["--no-test"]).await.ok();
        assert!(out.stderr.contains("could not be tested"), "{out:?}");
        test(&world).await.ok();
        assert_eq!(of_kind(&world, "wrong_key_kind").await.len(), 1);
        let told = of_kind(&world, "duplicate_provisioning_key").await;
        assert!(told[0].resolved_at.is_none() && told[0].detail.contains("keys delete openrouter 1"), "{told:?}");
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_provisioning_key_revoked_in_the_middle_of_a_run_is_told_and_both_keys_live(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "60s";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        assert_eq!(world.living().len(), 2);
        let listings = || world.openrouter.requests().iter().filter(|request| request.label == "list_keys").count();
        let before = listings();
        let mut daemon = world.serve();
        // The pass that every start begins with is over: the next one is hours away.
        until("no pass", async || listings() > before).await;
        assert!(world.openrouter.revoke_provisioning(&world.provisioning));
        until("nobody is told", async || of_kind(&world, "provisioning_key_invalid").await.len() == 1).await;
        assert_eq!(world.living().len(), 2);
        let told = of_kind(&world, "provisioning_key_invalid").await;
        assert_eq!(told[0].severity, "critical", "{told:?}");
        daemon.kill().await.unwrap();
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn an_account_that_nothing_depends_on_may_be_empty(db: Db) {
        let world = World::new(db).await;
        assert!(world.openrouter.edit_key(&hash(&world.first), |key| key.deleted = true));
        test(&world).await.ok();
        assert_eq!(of_kind(&world, "account_without_keys").await.len(), 0);
    }
}

fn scripts(world: &World, kind: &str) {
    let destination = format!("[[destinations]]\nname = \"scripts\"\nholds = \"provisioning\"\n{kind}\n");
    world.configure_with(&destination, r#"["github-production", "agent-env"]"#);
    reconfigure(
        world,
        "max_deletes_per_hour = 100",
        "max_deletes_per_hour = 100\nprovisioning_destinations = [\"scripts\"]",
    );
}

on_both_databases! {
    async fn scripts_find_the_provisioning_key_at_github_and_nowhere_else(db: Db) {
        let mut world = World::new(db).await;
        let github = format!(
            "type = \"github\"\nrepository = \"{REPOSITORY}\"\nsecret = \"{FOR_SCRIPTS}\"\ntoken = \"file:{}\"\napi_url = \"{}\"",
            world.path("github-token").display(),
            world.github.api_url()
        );
        scripts(&world, &github);
        let place = Scope::repo(REPOSITORY);
        let there = |world: &World| world.github.secret_value(&place, FOR_SCRIPTS);
        test(&world).await.ok();
        assert_eq!(there(&world).as_ref(), Some(&world.provisioning));
        let writes = |world: &World| world.github.requests().iter().filter(|r| r.method == "PUT").count();
        let before = writes(&world);
        test(&world).await.ok();
        assert_eq!(writes(&world), before, "what is proved is not written again");
        // Another key takes its place.
        world.provisioning = world.openrouter.new_provisioning_key();
        world.private("provisioning-key", &world.provisioning);
        test(&world).await.ok();
        assert_eq!(there(&world).as_ref(), Some(&world.provisioning));
        // Deleted there: written again.
        assert!(world.github.delete_secret_by_hand(&place, FOR_SCRIPTS));
        test(&world).await.ok();
        assert_eq!(there(&world).as_ref(), Some(&world.provisioning));
        // Somebody else changes it. That is the address's, and holds the next provisioning key as well (R20).
        world.github.set_clock_offset(60);
        world.github.set_secret_by_hand(&place, FOR_SCRIPTS, "not-a-key");
        test(&world).await.ok();
        world.provisioning = world.openrouter.new_provisioning_key();
        world.private("provisioning-key", &world.provisioning);
        test(&world).await.ok();
        assert_eq!(there(&world).as_deref(), Some("not-a-key"), "on_drift holds it");
        let drift = of_kind(&world, "destination_drift").await;
        assert!(drift.len() == 1 && drift[0].detail.contains("provisioning key of account main"), "{drift:?}");
        world.rekeyd(&["destinations", "publish", "scripts"]).await.ok();
        assert_eq!(there(&world).as_ref(), Some(&world.provisioning));
        assert!(of_kind(&world, "destination_drift").await[0].resolved_at.is_some());
        let record = "SELECT level FROM holdings WHERE writer = 'account:main' AND level = 'confirmed'";
        assert_eq!(ledger::rows(&world, record).await.len(), 1, "what stands there is on record");
        // A regular key where the provisioning key should be is not published, and told.
        world.private("provisioning-key", &world.first);
        test(&world).await.ok();
        assert_eq!(there(&world).as_ref(), Some(&world.provisioning));
        assert_eq!(of_kind(&world, "wrong_key_kind").await.len(), 1);
        // It is never one of the keys.
        world.private("provisioning-key", &world.provisioning);
        let keys = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
        assert_eq!(keys.as_array().unwrap().len(), 0, "{keys}");
        assert_ne!(world.github.secret_value(&place, SECRET).as_ref(), Some(&world.provisioning));
        world.assert_nothing_leaked();
    }
}

/// R8: it works, and manages somebody else's keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioning_key_of_another_account_is_told_and_used_for_nothing() {
    let world = World::new(Db::Sqlite).await;
    let github = format!(
        "type = \"github\"\nrepository = \"{REPOSITORY}\"\nsecret = \"{FOR_SCRIPTS}\"\ntoken = \"file:{}\"\napi_url = \"{}\"",
        world.path("github-token").display(),
        world.github.api_url()
    );
    scripts(&world, &github);
    world.adopt().await;
    test(&world).await.ok();
    world.private("provisioning-key", &world.openrouter.new_provisioning_key_of("org-other"));
    test(&world).await;
    let told = of_kind(&world, "provisioning_key_invalid").await;
    assert_eq!(told.len(), 1);
    assert!(told[0].detail.contains("another account"), "{told:?}");
    let there = || world.github.secret_value(&Scope::repo(REPOSITORY), FOR_SCRIPTS);
    assert_eq!(there().as_ref(), Some(&world.provisioning), "scripts keep the right one");
    assert_eq!(world.rekeyd(&["destinations", "publish", "scripts"]).await.status, 3);
    world.private("provisioning-key", &world.provisioning);
    test(&world).await.ok();
    assert!(of_kind(&world, "provisioning_key_invalid").await[0].resolved_at.is_some());
    assert_eq!(world.rekeyd(&["destinations", "publish", "scripts"]).await.status, 0);
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioning_key_goes_to_no_file() {
    let world = World::new(Db::Sqlite).await;
    let path = world.path("scripts.env");
    scripts(&world, &format!("type = \"file\"\npath = \"{}\"\nformat = \"raw\"", path.display()));
    let out = test(&world).await;
    assert_eq!(out.status, 2, "{out:?}");
    assert!(!path.exists());
}

on_both_databases! {
    async fn a_provisioning_key_is_never_stored_as_a_key(db: Db) {
        let world = World::new(db).await;
        let foreign = world.openrouter.new_provisioning_key_of("org-other");
        for secret in [&world.provisioning, &foreign] {
            for more in [&[][..], &["--no-test"], &["--inactive"]] {
                let out = add(&world, secret, more).await;
                assert_eq!(out.status, 3, "{out:?}");
                let errors: Vec<&str> = out.stderr.lines().filter(|line| line.starts_with("error:")).collect();
                assert_eq!(errors.len(), 1, "{out:?}");
                assert!(errors[0].contains("provisioning key"), "{out:?}");
            }
        }
        let keys = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
        assert_eq!(keys.as_array().unwrap().len(), 0, "{keys}");
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_key_is_asked_before_it_is_stored(db: Db) {
        let world = World::new(db).await;
        let dead = world.openrouter.new_regular_key("dead");
        assert!(world.openrouter.edit_key(&hash(&dead), |key| key.disabled = true));
        let out = add(&world, &dead, &[]).await;
        assert_eq!(out.status, 1, "{out:?}");
        let out = add(&world, &dead, &["--no-test", "--json"]).await.ok();
        assert_eq!(out.json()["status"], "untested");
        world.openrouter.faults().once("whoami", When::Before, Act::Html(502));
        let out = add(&world, &world.openrouter.new_regular_key("later"), &["--json"]).await.ok();
        assert_eq!(out.json()["status"], "untested", "inconclusive");
        assert!(out.stderr.contains("could not be tested"), "{out:?}");
        let out = world.rekeyd(&["keys", "add", "nobody"]).await;
        assert_eq!(out.status, 2, "{out:?}");
    }
}

on_both_databases! {
    async fn two_processes_test_each_key_once(db: Db) {
        let world = World::new(db).await;
        for n in 0..3 {
            add(&world, &world.openrouter.new_regular_key(&format!("k{n}")), &[]).await.ok();
        }
        let asked = |world: &World| world.openrouter.requests().iter().filter(|r| r.label == "whoami").count();
        let before = asked(&world);
        let (one, two) = (world.engine(Arc::new(SystemClock::default())).await, world.engine(Arc::new(SystemClock::default())).await);
        let scope = commands::Scope { which: Which::Provider("openrouter".to_owned()), why: Why::Person };
        let stop = CancellationToken::new();
        let both = tokio::join!(check_keys(&one, &scope, &stop), check_keys(&two, &scope, &stop));
        for report in [both.0.unwrap(), both.1.unwrap()] {
            assert_eq!((report.busy, report.keys.len()), (false, 3));
        }
        // Who asked later may want a look of its own; nobody looks at a key that another is looking at.
        assert!((3..=6).contains(&(asked(&world) - before)));
        // What is due is nobody's in particular.
        crate::support::ledger::rows(&world, "UPDATE keys SET next_look_at = 0").await;
        let before = asked(&world);
        let (one, two) = tokio::join!(check_tick(&one, &stop), check_tick(&two, &stop));
        one.unwrap();
        two.unwrap();
        assert_eq!(asked(&world) - before, 3);
    }
}

on_both_databases! {
    async fn a_start_makes_nothing_due_and_a_new_schedule_what_it_says(db: Db) {
        let mut world = World::new(db).await;
        for n in 0..3 {
            add(&world, &world.openrouter.new_regular_key(&format!("k{n}")), &[]).await.ok();
        }
        let looks = async |world: &World| {
            let each = "SELECT COUNT(*) AS n FROM observations GROUP BY key_id ORDER BY n";
            let rows = crate::support::ledger::rows(world, each).await;
            rows.iter().map(|row| row.get::<i64, _>("n")).collect::<Vec<_>>()
        };
        let listed = |world: &World| world.openrouter.requests().iter().any(|r| r.label == "list_keys");
        let mut daemon = world.serve();
        until("the accounts are watched", async || listed(&world)).await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        daemon.kill().await.unwrap();
        assert_eq!(looks(&world).await, [1, 1, 1], "each was tested when it was added, and is due next year");
        world.waits.tests = "*/2 * * * * *";
        world.configure();
        let mut daemon = world.serve();
        until("each is looked at again and again", async || looks(&world).await[0] >= 3).await;
        daemon.kill().await.unwrap();
    }
}
