//! Fault 48: what a leaked key waits for, and what not (guard, rule 2).

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::Scope;

use super::invariants::{Proof, invariants};
use super::{alerts, fault, ledger, reconfigure, rotate, runs_in, serve, stop, until};
use crate::support::world::Out;
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Db, World};

const LEAKED: [&str; 4] = ["rotations", "run", "production", "--leaked"];

/// A person writes what the file has: consumers work again.
fn mended_by_hand(world: &World) {
    let value = world.in_file().unwrap();
    world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &value);
}

async fn told(world: &World, what: &str) -> bool {
    let sql = format!(
        "SELECT id FROM alerts WHERE kind = 'destination_failed' AND severity = 'critical'
         AND subject LIKE '%github-production' AND detail LIKE '%{what}%'"
    );
    !ledger::rows(world, &sql).await.is_empty()
}

fault! {
    async fn fault_48_a_leak_of_a_key_that_a_removed_address_still_holds(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        rotate(&world).await;
        let leaked = rekeyd::domain::secret::Secret::new(world.in_file().unwrap()).sha256_hex();
        reconfigure(&world, r#"["github-production", "agent-env"]"#, r#"["agent-env"]"#);
        let mut emergency = world.command(&LEAKED).spawn().unwrap();
        until("the leaked key is gone", async || world.openrouter.key_by_hash(&leaked).unwrap().deleted).await;
        emergency.wait().await.unwrap();
        until("done", async || runs_in(&world, &["done"]).await == 2).await;
        assert!(told(&world, "will stop working").await);
        mended_by_hand(&world);
        invariants(&world, "a removed address held a leaked key").await
    }
}

/// The same of an address that is there, is not required, and does not answer.
async fn optional_and_away(db: Db) -> Proof {
    let world = World::new(db).await;
    reconfigure(&world, "name = \"github-production\"\n", "name = \"github-production\"\nrequired = false\n");
    world.adopt().await;
    rotate(&world).await;
    let leaked = rekeyd::domain::secret::Secret::new(world.in_file().unwrap()).sha256_hex();
    let puts = || world.github.requests().iter().filter(|call| call.label == "put_secret").count();
    let before = puts();
    world.script.always("put_secret", When::Before, Act::status(500));
    let mut emergency = world.command(&LEAKED).spawn().unwrap();
    until("the leaked key is gone", async || world.openrouter.key_by_hash(&leaked).unwrap().deleted).await;
    emergency.wait().await.unwrap();
    assert!(told(&world, "will stop working").await);
    assert!(puts() > before, "it is written first, if it answers");
    world.script.clear();
    mended_by_hand(&world);
    invariants(&world, "an optional address held a leaked key").await
}

fault! {
    async fn fault_48_a_leak_of_a_key_that_an_optional_address_holds(db: Db) {
        optional_and_away(db).await
    }
}

/// A leak while the required destination is away, by a policy that bears so much.
async fn held_up(db: Db, max_exposure: &str) -> World {
    let world = World::new(db).await;
    reconfigure(&world, "every = \"30d\"", &format!("every = \"30d\"\nmax_exposure = \"{max_exposure}\""));
    world.adopt().await;
    world.script.always("put_secret", When::Before, Act::status(500));
    world.rekeyd(&LEAKED).await;
    world
}

async fn release(world: &World) -> Out {
    let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
    world.rekeyd(&["runs", "release", &run, "github-production"]).await
}

async fn a_moment_ago(db: Db) {
    let world = held_up(db, "1h").await;
    let out = release(&world).await;
    assert!(out.status == 3 && out.stderr.contains("is required"), "{out:?}");
    assert!(!told(&world, "runs release").await);
    assert_eq!(
        world.living().len(),
        2,
        "the leaked key lives while a required destination may have no other"
    );
}

async fn too_long_ago(db: Db) -> Proof {
    let world = held_up(db, "1s").await;
    let daemon = serve(&world).await;
    until("told", async || told(&world, "runs release").await).await;
    assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled, "a person must say so");
    release(&world).await.ok();
    let leaked = world.first_hash();
    until("the leaked key is gone", async || world.openrouter.key_by_hash(&leaked).unwrap().deleted).await;
    until("done", async || runs_in(&world, &["done"]).await == 1).await;
    assert!(!alerts(&world).await.contains(&"leak_detected".to_owned()));
    stop(daemon).await;
    world.script.clear();
    mended_by_hand(&world);
    invariants(&world, "consumers stop, a person accepts it").await
}

fault! {
    async fn fault_48_a_required_destination_is_let_go_of_after_max_exposure(db: Db) {
        let ((), proof) = tokio::join!(a_moment_ago(db), too_long_ago(db));
        proof
    }
}
