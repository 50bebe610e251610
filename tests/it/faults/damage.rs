//! Faults 39 and 47: rows of the store that cannot be opened or read.

use rekeyd::sim::fault::{Act, When};

use super::invariants::invariants;
use super::{fault, ledger, rotate, runs_in, serve, stop, until};
use crate::support::{Db, World};

/// Open alerts about what cannot be read, with their severities.
async fn unreadable(world: &World) -> Vec<(String, String)> {
    use sqlx::Row;
    let sql = "SELECT subject, severity FROM alerts WHERE kind = 'key_unreadable' AND resolved_at IS NULL";
    let rows = ledger::rows(world, sql).await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn change(world: &World, sql: &str) {
    ledger::rows(world, sql).await;
}

/// A key that a person keeps, at number 2 of its provider.
async fn keep_another(world: &World) {
    let other = world.openrouter.new_regular_key("other");
    world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], &other).await.ok();
}

fault! {
    async fn fault_39_a_stored_row_that_cannot_be_opened(db: Db) {
        let mut world = World::new(db).await;
        world.waits.tests = "*/2 * * * * *";
        world.configure();
        world.adopt().await;
        keep_another(&world).await;
        let (kept, production) = ("role = 'manual'", "role = 'current'");
        let spoil = |which: &str| format!("UPDATE keys SET name = secret, secret = 'gAAAAABsealed' WHERE {which}");
        let mend = |which: &str| format!("UPDATE keys SET secret = name, name = 'mended' WHERE {which}");
        change(&world, &spoil(kept)).await;
        let daemon = serve(&world).await;
        let told = |severity: &'static str| {
            let world = &world;
            async move || unreadable(world).await.iter().any(|(_, said)| said == severity)
        };
        until("the key is told of", told("warning")).await;
        // Everything else goes on: production's dead key is seen and replaced.
        assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
        until("production is healed", async || runs_in(&world, &["done"]).await == 1).await;
        assert_eq!(unreadable(&world).await.len(), 1);
        change(&world, &mend(kept)).await;
        until("it opens again", async || unreadable(&world).await.is_empty()).await;
        change(&world, &spoil(production)).await;
        until("production's key is told of", told("critical")).await;
        change(&world, &mend(production)).await;
        until("it opens again", async || unreadable(&world).await.is_empty()).await;
        stop(daemon).await;
        invariants(&world, "a row that cannot be opened").await
    }
}

fault! {
    async fn fault_47_a_damaged_row_of_a_living_key(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        keep_another(&world).await;
        change(&world, "UPDATE keys SET settings = '{' WHERE role = 'manual'").await;
        // The answer to a create is lost: a stray is left.
        world.script.once("create_key", When::After, Act::Reset);
        assert_eq!(rotate(&world).await["outcome"], "done", "the rotation goes on");
        let living = || world.living().len();
        assert_eq!(living(), 3, "nothing is called a stray");
        world.rekeyd(&["keys", "test"]).await;
        assert_eq!((unreadable(&world).await.len(), living()), (1, 3));
        change(&world, "UPDATE keys SET settings = '{}' WHERE role = 'manual'").await;
        world.rekeyd(&["keys", "test"]).await.ok();
        assert_eq!((unreadable(&world).await.len(), living()), (0, 2), "it is one, and removed");
        invariants(&world, "a damaged row").await
    }
}

fault! {
    async fn fault_47_a_damaged_row_of_an_effect(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        assert_eq!(rotate(&world).await["outcome"], "done");
        let proof = invariants(&world, "before the damage").await;
        change(&world, "UPDATE effects SET target = target || '?', evidence = '{' WHERE kind = 'create'").await;
        // Its key has no row of its own any more, and no readable journal: ours by name only.
        world.openrouter.new_regular_key(&world.name_of("production", 99).await);
        world.rekeyd(&["keys", "test"]).await;
        let alerts = ledger::alerts(&world).await;
        assert!(alerts.contains(&"key_unreadable".to_owned()), "{alerts:?}");
        assert!(!alerts.contains(&"account_frozen".to_owned()), "nothing is called foreign: {alerts:?}");
        assert_eq!(world.living().len(), 2);
        let sql = "UPDATE effects SET target = REPLACE(target, '?', ''), evidence = '{}' WHERE kind = 'create'";
        change(&world, sql).await;
        world.rekeyd(&["keys", "test"]).await;
        let alerts = ledger::alerts(&world).await;
        assert!(alerts.contains(&"account_frozen".to_owned()), "now it is: {alerts:?}");
        assert!(!alerts.contains(&"key_unreadable".to_owned()), "{alerts:?}");
        proof
    }
}

fault! {
    async fn fault_47_a_damaged_row_of_an_address(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        assert_eq!(rotate(&world).await["outcome"], "done");
        let held = world.in_file();
        change(&world, "UPDATE holdings SET evidence = '{' WHERE destination = 'agent-env'").await;
        let daemon = serve(&world).await;
        let told = async || unreadable(&world).await.iter().any(|(subject, _)| subject.contains("agent.env"));
        until("the address is told of", told).await;
        world.rekeyd(&["rotations", "run", "production"]).await;
        // Everything else goes on.
        until("the other place has the new key", async || world.at_github() != held).await;
        let waits = async || world.rekeyd(&["why", "production"]).await.ok().stdout.contains("cannot be read");
        until("the run says what it waits for", waits).await;
        assert_eq!(world.in_file(), held, "nothing is written over what nobody knows");
        assert_eq!(world.living().len(), 2, "and no key is retired");
        // A person looked at it: the write is a new record, and mends the old one.
        until("published", async || world.rekeyd(&["destinations", "publish", "agent-env"]).await.status == 0).await;
        until("the run ends", async || runs_in(&world, &["done"]).await == 2).await;
        until("it is over", async || unreadable(&world).await.is_empty()).await;
        stop(daemon).await;
        assert_eq!((world.in_file(), world.living().len()), (world.at_github(), 1));
        invariants(&world, "a damaged row of an address").await
    }
}

fault! {
    async fn fault_47_a_damaged_row_of_the_old_key(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "6s";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await;
        // Where it once stood, and whether anything was written there after it, is not known any more.
        let old = "key_id IN (SELECT id FROM keys WHERE role = 'retiring') AND destination = 'agent-env'";
        change(&world, &format!("UPDATE holdings SET level = '?' WHERE {old}")).await;
        let daemon = serve(&world).await;
        let refused = async || {
            let run = world.newest_run().await.to_string();
            run.contains("does not prove that it holds another working key")
        };
        until("the guard refuses", refused).await;
        assert_eq!(world.living().len(), 2, "both keys live");
        change(&world, &format!("UPDATE holdings SET level = 'intended' WHERE {old}")).await;
        until("the run ends", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        invariants(&world, "a damaged row of the old key").await
    }
}
