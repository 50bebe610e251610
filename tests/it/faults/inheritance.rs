//! Fault 54 and R23: what names the old key by its hash names the new one, whoever else writes there.

use rekeyd::domain::secret::Secret;
use rekeyd::sim::fault::{Act, When};

use super::invariants::{Proof, invariants};
use super::{alerts, fault, ledger, rotate, runs_in, serve, stop, until};
use crate::support::{Db, World};

/// Tests, and with them the watch of the account, every two seconds.
async fn world(db: Db) -> World {
    let mut world = World::new(db).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    world.adopt().await;
    world
}

fn hash_of(secret: &str) -> String {
    Secret::new(secret.to_owned()).sha256_hex()
}

/// A key of a person, by its hash.
fn another(world: &World, name: &str) -> String {
    hash_of(&world.openrouter.new_regular_key(name))
}

/// A guardrail that production's key is assigned to.
fn guarded(world: &World) -> String {
    let guardrail = world.openrouter.new_guardrail();
    world.openrouter.assign_by_hand(&world.first_hash(), Some(&guardrail));
    guardrail
}

/// The hash of what production reads.
fn in_use(world: &World) -> String {
    hash_of(&world.at_github().unwrap())
}

fn made(world: &World) -> usize {
    world.openrouter.keys().iter().filter(|key| key.name.starts_with("rekeyd/")).count()
}

/// The daemon has seen what names the current key.
async fn remembered(world: &World, what: &str) {
    let known =
        format!("SELECT subject FROM provider_health WHERE subject LIKE 'rolls:%' AND doc LIKE '%{what}%'");
    until("remembered", async || ledger::rows(world, &known).await.len() == 1).await;
}

async fn told(world: &World) -> bool {
    alerts(world).await.contains(&"inheritance_failed".to_owned())
}

fault! {
    async fn fault_54_a_list_that_names_a_dead_key(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let guardrail = guarded(&world);
        let (other, dead) = (another(&world, "somebody's"), another(&world, "dead"));
        let workspace = world.openrouter.new_workspace();
        let far = hash_of(&world.openrouter.new_regular_key_in(&workspace, "of another workspace"));
        assert!(world.openrouter.edit_key(&dead, |key| key.deleted = true));
        let list = [world.first_hash(), dead.clone(), other.clone(), far.clone()];
        let (ours, theirs) = (world.openrouter.new_byok(Some(&list)), world.openrouter.new_byok(Some(std::slice::from_ref(&other))));
        let all = world.openrouter.new_byok(None);
        rotate(&world).await;
        let new = in_use(&world);
        assert_eq!(world.openrouter.byok_keys(&ours), Some(vec![other.clone(), far, new.clone()]));
        assert_eq!(world.openrouter.byok_keys(&theirs), Some(vec![other]), "not ours");
        assert_eq!(world.openrouter.byok_keys(&all), None, "it was for all, and still is");
        assert_eq!(world.openrouter.guardrail_of(&new), Some(guardrail));
        let first = |label: &str| {
            let requests = world.openrouter.requests();
            requests.into_iter().find(|request| request.label == label).unwrap().number
        };
        let put = world.github.requests().into_iter().find(|request| request.label == "put_secret").unwrap().number;
        assert!(first("patch_byok") < put && first("assign_keys") < put, "named before anybody has it");
        invariants(&world, "a list that names a dead key").await
    }
}

fault! {
    async fn fault_54_somebody_edits_a_list_at_the_same_time(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let other = another(&world, "somebody's");
        let byok = world.openrouter.new_byok(Some(&[world.first_hash()]));
        world.openrouter.settings(|settings| {
            // The first write is answered and lost, the second one overwritten, and a page is cut.
            (settings.lost_byok_changes, settings.short_pages) = (1, 1);
            settings.byok_editors = vec![other.clone()];
        });
        rotate(&world).await;
        let list = world.openrouter.byok_keys(&byok).unwrap();
        assert!(list.contains(&in_use(&world)) && list.contains(&other), "{list:?}");
        assert!(!list.contains(&world.first_hash()), "{list:?}");
        invariants(&world, "a concurrent editor").await
    }
}

fault! {
    async fn fault_54_the_last_key_of_a_list_stays_there(db: Db) {
        let mut world = World::new(db).await;
        world.waits.observe = "8s";
        world.configure();
        world.adopt().await;
        let old = world.first_hash();
        let byok = world.openrouter.new_byok(Some(std::slice::from_ref(&old)));
        let daemon = serve(&world).await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        until("disabled", async || world.openrouter.key_by_hash(&old).unwrap().disabled).await;
        // Nobody else is on it: without the old key it would be for nobody, and then for everybody.
        world.openrouter.edit_byok(&byok, |keys| *keys = Some(vec![old.clone()]));
        until("deleted", async || world.openrouter.key_by_hash(&old).unwrap().deleted).await;
        until("over", async || ledger::open_runs(&world).await == 0).await;
        stop(daemon).await;
        assert_eq!(world.openrouter.byok_keys(&byok), Some(vec![old]));
        invariants(&world, "the last of a list").await
    }
}

/// The account says that it has neither.
async fn without_the_feature(db: Db) -> Proof {
    let world = World::new(db).await;
    world.openrouter.settings(|settings| {
        (settings.guardrails_refused, settings.byok_refused) = (Some(403), Some(404));
    });
    world.adopt().await;
    rotate(&world).await;
    assert_eq!(runs_in(&world, &["done"]).await, 1);
    invariants(&world, "neither guardrails nor credentials").await
}

/// It says so of what it had a moment ago: that is no answer to a write.
async fn refused_meanwhile(db: Db) -> Proof {
    let world = world(db).await;
    let guardrail = guarded(&world);
    let daemon = serve(&world).await;
    remembered(&world, &guardrail).await;
    world.openrouter.settings(|settings| settings.guardrails_refused = Some(403));
    assert_eq!(world.rekeyd(&["rotations", "run", "production"]).await.status, 1);
    until("aborted", async || runs_in(&world, &["aborted"]).await == 1).await;
    stop(daemon).await;
    assert_eq!(in_use(&world), world.first_hash());
    assert_eq!((made(&world), world.living().len()), (1, 1), "the new key is gone again");
    assert!(alerts(&world).await.contains(&"rotation_failed".to_owned()));
    invariants(&world, "a guardrail of 403").await
}

fault! {
    async fn fault_54_a_guardrail_of_403(db: Db) {
        let (proof, ..) = tokio::join!(refused_meanwhile(db), without_the_feature(db));
        proof
    }
}

fault! {
    async fn fault_54_an_ordinary_run_publishes_nothing_without_its_inheritance(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.openrouter.new_byok(Some(&[world.first_hash()]));
        world.script.always("patch_byok", When::Before, Act::status(500));
        let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
        assert_eq!(out.status, 1, "{out:?}");
        assert_eq!(runs_in(&world, &["aborted"]).await, 1);
        assert_eq!(in_use(&world), world.first_hash());
        assert_eq!(world.living().len(), 1);
        invariants(&world, "an inheritance that cannot be").await
    }
}

fault! {
    async fn fault_54_a_healed_key_inherits_from_one_that_is_gone(db: Db) {
        let world = world(db).await;
        let guardrail = guarded(&world);
        let old = world.first_hash();
        let byok = world.openrouter.new_byok(Some(&[old.clone(), another(&world, "somebody's")]));
        let daemon = serve(&world).await;
        remembered(&world, &byok).await;
        assert!(world.openrouter.edit_key(&old, |key| key.deleted = true));
        until("healed", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        let (new, list) = (in_use(&world), world.openrouter.byok_keys(&byok).unwrap());
        assert_eq!(world.openrouter.guardrail_of(&new), Some(guardrail), "nothing but memory knows it");
        assert!(list.contains(&new) && !list.contains(&old), "{list:?}");
        invariants(&world, "healing inherits from a dead key").await
    }
}

fault! {
    async fn fault_54_an_emergency_goes_on_without_its_inheritance_and_gets_it_later(db: Db) {
        let world = world(db).await;
        let guardrail = guarded(&world);
        let byok = world.openrouter.new_byok(Some(&[world.first_hash()]));
        let daemon = serve(&world).await;
        remembered(&world, &guardrail).await;
        world.script.always("assign_keys", When::Before, Act::status(503));
        world.script.always("patch_byok", When::Before, Act::status(503));
        world.rekeyd(&["rotations", "run", "production", "--leaked"]).await.ok();
        until("published", async || in_use(&world) != world.first_hash()).await;
        until("over", async || runs_in(&world, &["done"]).await == 1).await;
        assert!(world.openrouter.key_by_hash(&world.first_hash()).unwrap().deleted, "the leaked key waits for nothing");
        assert!(told(&world).await);
        let new = in_use(&world);
        assert_eq!(world.openrouter.guardrail_of(&new), None);
        world.script.clear();
        until("no longer told", async || !told(&world).await).await;
        stop(daemon).await;
        assert_eq!(world.openrouter.guardrail_of(&new), Some(guardrail));
        assert!(world.openrouter.byok_keys(&byok).unwrap().contains(&new));
        invariants(&world, "an emergency without its inheritance").await
    }
}

fault! {
    async fn fault_54_a_difference_holds_the_old_key(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "4s";
        world.configure();
        world.adopt().await;
        let guardrail = guarded(&world);
        let daemon = serve(&world).await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        until("grace", async || runs_in(&world, &["grace"]).await == 1).await;
        let new = in_use(&world);
        world.openrouter.assign_by_hand(&new, None);
        until("told", async || told(&world).await).await;
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        assert!(why.contains(&format!("lacks what names the old one: guardrail {guardrail}")), "{why}");
        assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled);
        world.openrouter.assign_by_hand(&new, Some(&guardrail));
        world.rekeyd(&["runs", "resume", world.newest_run().await["id"].as_str().unwrap()]).await.ok();
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        assert!(!told(&world).await);
        invariants(&world, "a difference").await
    }
}

fault! {
    async fn fault_54_a_delete_that_was_not_sent_leaves_a_way_back(db: Db) {
        let mut world = World::new(db).await;
        world.waits.observe = "5s";
        world.configure();
        world.adopt().await;
        let other = another(&world, "somebody's");
        world.openrouter.new_byok(Some(&[world.first_hash(), other]));
        let daemon = serve(&world).await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        until("the old key is disabled", async || runs_in(&world, &["observing"]).await == 1).await;
        world.script.always("list_byok", When::Before, Act::status(500));
        let first = world.first_hash();
        let killed = async |kind: &str| {
            let effects = ledger::Ledger::read(&world).await.effects;
            let mine = effects.into_iter().filter(|effect| effect.kind == kind && effect.target == first);
            mine.map(|effect| effect.status).collect::<Vec<_>>()
        };
        until("its delete is put off", async || killed("delete").await.contains(&"failed".to_owned())).await;
        // Nothing was sent. A person needs the key, and enables it.
        assert!(world.openrouter.edit_key(&first, |key| key.disabled = false));
        world.script.clear();
        until("it ends", async || runs_in(&world, &["done"]).await == 1).await;
        let disabled = killed("disable").await.into_iter().filter(|status| status == "done").count();
        assert_eq!(disabled, 2, "it went quiet and was disabled once more before it was deleted");
        stop(daemon).await;
        invariants(&world, "a delete that was not sent").await
    }
}
