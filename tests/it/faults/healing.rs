//! Faults 45, 49 and 52: what healing and leaks must not wait for, and what healing must not believe.

use std::time::Duration;

use rekeyd::sim::fault::{Act, Rule, When};
use rekeyd::sim::openrouter::KeyRow;
use sqlx::Row;

use super::invariants::{Proof, invariants};
use super::{alerts, fault, ledger, reconfigure, rotate, runs_in, serve, stop, until};
use crate::support::{Db, World};

/// Tests every two seconds. A new key is refused until somebody lets it work.
async fn world(db: Db, propagation: &'static str) -> World {
    world_with(db, propagation, "1s").await
}

async fn world_with(db: Db, propagation: &'static str, confirm_after: &'static str) -> World {
    let mut world = World::new(db).await;
    (world.waits.tests, world.waits.propagation) = ("*/2 * * * * *", propagation);
    world.waits.confirm_after = confirm_after;
    world.configure();
    world.adopt().await;
    refuse_new_keys(&world, true);
    world
}

fn refuse_new_keys(world: &World, refused: bool) {
    let span = if refused { Duration::from_hours(1) } else { Duration::ZERO };
    world.openrouter.settings(|settings| settings.fresh_key_refused_for = span);
}

fn creates(world: &World) -> usize {
    world.openrouter.requests().iter().filter(|request| request.label == "create_key").count()
}

fn made(world: &World) -> Vec<KeyRow> {
    world.openrouter.keys().into_iter().filter(|key| key.name.starts_with("rekeyd/")).collect()
}

async fn reaches(world: &World, state: &str) {
    until(state, async || runs_in(world, &[state]).await == 1).await;
}

fn dies(world: &World) {
    assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
}

async fn healed(world: &World) {
    until("healed", async || {
        let done = "SELECT id FROM runs WHERE state = 'done' AND cause = 'heal'";
        ledger::rows(world, done).await.len() == 1 && world.living().len() == 1
    })
    .await;
    world.assert_destinations_work("healed");
}

/// The new key of an ordinary run is not accepted yet when the old one dies: it is the one that is brought in.
async fn while_it_verifies(db: Db) -> Proof {
    let world = world(db, "1h").await;
    let mut running = world.command(&["rotations", "run", "production"]).spawn().unwrap();
    reaches(&world, "verifying").await;
    running.kill().await.unwrap();
    let daemon = serve(&world).await;
    dies(&world);
    until("taken over", async || runs_in(&world, &["superseded"]).await == 1).await;
    refuse_new_keys(&world, false);
    healed(&world).await;
    stop(daemon).await;
    assert_eq!(creates(&world), 1, "the key that was there already is the new one");
    invariants(&world, "healing inherits a candidate").await
}

/// A person holds the kill steps of a run that aborts: production does not wait for that person.
async fn while_it_aborts_on_hold(db: Db) -> Proof {
    let world = world(db, "2s").await;
    let daemon = serve(&world).await;
    let mut running = world.command(&["rotations", "run", "production"]).spawn().unwrap();
    until("a new key", async || made(&world).len() == 1).await;
    world.rekeyd(&["rotations", "pause", "production"]).await.ok();
    reaches(&world, "aborting").await;
    running.kill().await.unwrap();
    until("two looks at it", async || {
        let doc =
            ledger::rows(&world, "SELECT id FROM keys WHERE role = 'candidate' AND verdict <> 'valid'").await;
        doc.len() == 1
    })
    .await;
    refuse_new_keys(&world, false);
    dies(&world);
    healed(&world).await;
    stop(daemon).await;
    assert!(creates(&world) <= 2, "{}", creates(&world));
    invariants(&world, "healing beside an abort on hold").await
}

fault! {
    async fn fault_45_healing_while_a_run_verifies_or_aborts(db: Db) {
        let (proof, ..) = tokio::join!(while_it_verifies(db), while_it_aborts_on_hold(db));
        proof
    }
}

fault! {
    async fn fault_45_healing_that_a_person_holds_is_told_and_goes_on_when_he_lets_go(db: Db) {
        let world = world(db, "4s").await;
        refuse_new_keys(&world, false);
        world.rekeyd(&["rotations", "pause", "production", "--healing"]).await.ok();
        let daemon = serve(&world).await;
        dies(&world);
        let told = "SELECT id FROM alerts WHERE kind = 'key_invalid' AND severity = 'critical'
                    AND detail LIKE '%its healing is paused%' AND resolved_at IS NULL";
        until("told", async || ledger::rows(&world, told).await.len() == 1).await;
        let why = world.rekeyd(&["why", "production"]).await.ok();
        assert!(why.stdout.contains("its healing too"), "{}", why.stdout);
        assert_eq!((creates(&world), ledger::open_runs(&world).await), (0, 0));
        world.rekeyd(&["rotations", "resume", "production"]).await.ok();
        healed(&world).await;
        until("over", async || !alerts(&world).await.contains(&"key_invalid".to_owned())).await;
        stop(daemon).await;
        invariants(&world, "healing on hold").await
    }
}

fault! {
    async fn fault_49_a_provider_that_forgets_every_key_for_a_while(db: Db) {
        let world = world(db, "4s").await;
        refuse_new_keys(&world, false);
        let daemon = serve(&world).await;
        let incident = |on: bool| world.openrouter.settings(|settings| settings.knows_no_regular_key = on);
        incident(true);
        until("believed dead", async || alerts(&world).await.contains(&"key_invalid".to_owned())).await;
        let looked = || world.openrouter.requests().iter().filter(|request| request.label == "read_key").count();
        let before = looked();
        until("the account is asked again and again", async || looked() >= before + 2).await;
        incident(false);
        until("believed again", async || !alerts(&world).await.contains(&"key_invalid".to_owned())).await;
        stop(daemon).await;
        assert_eq!((creates(&world), ledger::runs(&world).await.len()), (0, 0), "nothing was gone");
        assert_eq!(world.at_github(), Some(world.first.clone()));
        invariants(&world, "a provider that forgets").await
    }
}

fault! {
    async fn fault_49_a_404_buries_no_key_on_its_way_out(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "20s";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        let path = format!("keys/{}", world.first_hash());
        world.script.add(Rule::new("read_key", When::Before, Act::status(404)).path(&path));
        let daemon = serve(&world).await;
        let asked = |label: &str| world.openrouter.requests().iter().filter(|r| r.label == label).count();
        let before = asked("read_key");
        until("it is asked for", async || asked("read_key") >= before + 2).await;
        let kept = "SELECT id FROM keys WHERE generation = 1 AND role = 'retiring' AND secret IS NOT NULL";
        assert_eq!(ledger::rows(&world, kept).await.len(), 1, "the account lists it");
        world.script.clear();
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        invariants(&world, "a 404 for a living key").await
    }
}

fault! {
    async fn fault_49_gone_is_asked_twice_before_a_key_is_made(db: Db) {
        let world = world_with(db, "1h", "3s").await;
        refuse_new_keys(&world, false);
        world.script.always("read_key", When::Before, Act::status(500));
        let daemon = serve(&world).await;
        dies(&world);
        until("believed dead", async || alerts(&world).await.contains(&"key_invalid".to_owned())).await;
        world.script.clear();
        let before = world.openrouter.requests().len();
        healed(&world).await;
        stop(daemon).await;
        let asked = world.openrouter.requests().split_off(before);
        let create = asked.iter().position(|request| request.label == "create_key").unwrap();
        let answered = asked[..create].iter().filter(|request| request.label == "read_key" && request.status == Some(404));
        assert!(answered.count() >= 2, "{asked:?}");
        invariants(&world, "gone, twice").await
    }
}

/// Production's rotation and four more, each with a key and a file of its own.
async fn five_rotations(world: &World) -> Vec<String> {
    let names: Vec<String> = (1..5).map(|n| format!("agent{n}")).collect();
    let keys: Vec<String> = names.iter().map(|name| world.openrouter.new_regular_key(name)).collect();
    let mut more = String::new();
    for (name, key) in names.iter().zip(&keys) {
        let path = world.private(&format!("{name}.env"), &format!("KEY={key}\n"));
        more += &format!(
            "[[rotations]]\nname = \"{name}\"\naccount = \"main\"\nevery = \"30d\"\ndestinations = [\"{name}\"]\n\
             grace = \"1s\"\nquiet = \"1s\"\nobserve = \"1s\"\n[[destinations]]\nname = \"{name}\"\ntype = \"file\"\n\
             path = \"{}\"\nformat = \"env\"\nvariable = \"KEY\"\n",
            path.display()
        );
    }
    world.configure_with(&more, r#"["github-production", "agent-env"]"#);
    for (name, key) in names.iter().zip(&keys) {
        world.rekeyd_with(&["rotations", "adopt", name, "--secret-stdin"], key).await.ok();
    }
    keys
}

/// A disable of production's old key can neither be answered nor read; a key of another rotation leaks.
async fn a_kill_that_nobody_can_see(db: Db) -> Proof {
    let world = world(db, "1h").await;
    refuse_new_keys(&world, false);
    let keys = five_rotations(&world).await;
    let path = format!("keys/{}", world.first_hash());
    let unseen = |label: &str, act| world.script.add(Rule::new(label, When::Before, act).path(&path));
    let held = world.script.hold("patch_key", When::Before);
    unseen("patch_key", Act::Reset);
    let daemon = serve(&world).await;
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    held.arrived().await;
    unseen("read_key", Act::status(500));
    held.release();
    let leaked = rekeyd::domain::secret::Secret::new(keys[0].clone()).sha256_hex();
    let mut emergency = world.command(&["rotations", "run", "agent1", "--leaked", "--wait"]).spawn().unwrap();
    until("the leaked key is gone", async || world.openrouter.key_by_hash(&leaked).unwrap().deleted).await;
    emergency.wait().await.unwrap();
    world.script.clear();
    until("all is over", async || ledger::open_runs(&world).await == 0).await;
    stop(daemon).await;
    invariants(&world, "a kill that nobody can see").await
}

fault! {
    async fn fault_52_a_kill_that_cannot_be_read_beside_a_leak(db: Db) {
        a_kill_that_nobody_can_see(db).await
    }
}

fault! {
    async fn fault_49_many_dead_keys_wait_for_the_first_new_one(db: Db) {
        let world = world_with(db, "1h", "5s").await;
        let keys = five_rotations(&world).await;
        dies(&world);
        for key in &keys {
            let hash = rekeyd::domain::secret::Secret::new(key.clone()).sha256_hex();
            assert!(world.openrouter.edit_key(&hash, |key| key.deleted = true));
        }
        let daemon = serve(&world).await;
        let told = "SELECT id FROM alerts WHERE kind = 'key_invalid' AND detail LIKE '%must be verified first%'
                    AND resolved_at IS NULL";
        // Three are not many yet: so many may have begun before the fourth was seen.
        let wait = async || ledger::rows(&world, told).await.len();
        until("the others wait", async || wait().await + ledger::runs(&world).await.len() == 5).await;
        assert!(creates(&world) <= 3 && wait().await >= 2, "{} created", creates(&world));
        refuse_new_keys(&world, false);
        until("all are healed", async || runs_in(&world, &["done"]).await == 5).await;
        stop(daemon).await;
        assert_eq!(creates(&world), 5);
        invariants(&world, "many dead keys at once").await
    }
}

fault! {
    async fn fault_45_a_dead_key_is_healed_whoever_saw_it_last(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        dies(&world);
        // No daemon is there, and none of the tests by schedule is due: a person's publish sees it twice.
        for looks in 1..=2 {
            let out = world.rekeyd(&["destinations", "publish", "agent-env"]).await;
            assert!(out.status == 3 && out.stderr.contains("not tested valid"), "{out:?}");
            let seen = format!("SELECT id FROM observations WHERE outcome = 'invalid' LIMIT {looks}");
            assert_eq!(ledger::rows(&world, &seen).await.len(), looks);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let invalid = "SELECT id FROM keys WHERE verdict = 'invalid'";
        assert_eq!(ledger::rows(&world, invalid).await.len(), 1);
        let daemon = serve(&world).await;
        healed(&world).await;
        stop(daemon).await;
        invariants(&world, "a person saw that the key was dead").await
    }
}

/// What the first generation is, and whether its secret is kept.
async fn first(world: &World) -> (String, bool) {
    let row = &ledger::rows(world, "SELECT role, secret FROM keys WHERE generation = 1").await[0];
    (row.get(0), row.get::<Option<String>, _>(1).is_some())
}

fault! {
    async fn fault_49_a_key_that_was_gone_and_is_seen_again_is_alive_again(db: Db) {
        let mut world = World::new(db).await;
        (world.waits.tests, world.waits.observe) = ("*/2 * * * * *", "1h");
        world.configure();
        world.adopt().await;
        dies(&world);
        let daemon = serve(&world).await;
        healed(&world).await;
        stop(daemon).await;
        assert_eq!(first(&world).await, ("dead".to_owned(), true), "its secret is kept");
        // The provider had only forgotten it.
        assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = false));
        world.rekeyd(&["accounts", "keys", "main"]).await.ok();
        assert_eq!(first(&world).await, ("retiring".to_owned(), true), "it lives");
        reconfigure(&world, "observe = \"1h\"", "observe = \"1s\"");
        rotate(&world).await;
        assert_eq!(world.living().len(), 1, "the next run retired it with the others");
        assert_eq!(first(&world).await, ("dead".to_owned(), false));
        invariants(&world, "a key that was gone came back").await
    }
}
