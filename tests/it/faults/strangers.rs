//! Fault 59: whoever may name keys at the provider names some as ours.

use chrono::{Duration, Utc};

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::openrouter::CreatedBy;

use super::invariants::{Before, invariants, invariants_since};
use super::weather::{copied, restore};
use super::{alerts, fault, ledger, rotate};
use crate::support::{Db, World};

/// A key that a person made now under this name.
fn named(world: &World, name: &str) -> String {
    let secret = world.openrouter.new_regular_key(name);
    rekeyd::domain::secret::Secret::new(secret).sha256_hex()
}

async fn is_frozen(world: &World) -> bool {
    alerts(world).await.contains(&"account_frozen".to_owned())
}

/// How often people were told of names like ours, and how many of those alerts are open.
async fn told(world: &World) -> (usize, usize) {
    let of = |more: &str| format!("SELECT id FROM alerts WHERE kind = 'name_imitated'{more}");
    let all = ledger::rows(world, &of("")).await.len();
    (all, ledger::rows(world, &of(" AND resolved_at IS NULL")).await.len())
}

async fn look(world: &World) {
    world.rekeyd(&["accounts", "keys", "main"]).await.ok();
}

fault! {
    async fn fault_59_a_stranger_names_a_key_as_ours(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        rotate(&world).await;
        let issued = world.living()[0].name.clone();
        let (start, _) = issued.rsplit_once('/').unwrap();
        let sealed = world.name_of("production", 9).await;
        let strange = [
            issued.clone(),
            format!("{start}/9-0123456789abcdef"),
            sealed.replace("/9-", "/10-"),
            format!("{start}/9223372036854775806-0123456789abcdef"),
            format!("{start}/x"),
        ];
        let strangers = strange.map(|name| named(&world, &name));
        // One of them is in use.
        world.openrouter.edit_key(&strangers[0], |key| key.last_used_at = Some(Utc::now()));
        assert_eq!(rotate(&world).await["outcome"], "done", "nothing is frozen, and nothing waits");
        look(&world).await;
        assert_eq!(told(&world).await, (1, 1), "people are told once");
        for hash in &strangers {
            let key = world.openrouter.key_by_hash(hash).unwrap();
            assert!(!key.disabled && !key.deleted, "{} is not ours", key.name);
        }
        for hash in &strangers {
            world.openrouter.edit_key(hash, |key| key.deleted = true);
        }
        look(&world).await;
        assert_eq!((told(&world).await, is_frozen(&world).await), ((1, 0), false));
        invariants(&world, "a stranger's names").await
    }
}

fault! {
    async fn fault_59_a_name_that_was_declared_foreign_is_copied(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let unknown = world.name_of("production", 9).await;
        named(&world, &unknown);
        look(&world).await;
        assert!(is_frozen(&world).await, "only a copy of this database gives such a name");
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        named(&world, &unknown);
        look(&world).await;
        assert!(!is_frozen(&world).await, "the second key of a name is a copy");
        assert_eq!(told(&world).await, (1, 1));
        world.rekeyd_with(&["rotations", "adopt", "production", "--secret-stdin"], &world.first).await.ok();
        assert_eq!(rotate(&world).await["outcome"], "done");
        invariants(&world, "a foreign name").await
    }
}

fault! {
    async fn fault_59_a_database_from_before_names_were_sealed(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let name = world.name_of("production", 9).await;
        let (start, _) = name.rsplit_once('/').unwrap();
        let (old, long_ago) = (format!("{start}/9-0123456789abcdef"), Utc::now() - Duration::days(1));
        ledger::rows(&world, "DELETE FROM meta WHERE name = 'names_sealed_since'").await;
        let backup = copied(&world, db).await;
        // The old form was never given to a key that is younger than the first start of this program.
        let young = named(&world, &old);
        world.openrouter.edit_key(&young, |key| key.created_at = Utc::now() + Duration::hours(1));
        rotate(&world).await;
        assert_eq!((told(&world).await, is_frozen(&world).await), ((1, 1), false));
        world.openrouter.edit_key(&young, |key| key.deleted = true);
        // A backup from before that start knows the sealed names of what came after.
        let (current, lost) = (world.at_github().unwrap(), Before::now(&world));
        restore(&world, db, &backup).await;
        world.rekeyd(&["rotations", "run", "production"]).await;
        assert!(is_frozen(&world).await, "generation 2 is unknown to it");
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        // And the old form of what the lost database made before.
        let made = named(&world, &old);
        world.openrouter.edit_key(&made, |key| key.created_at = long_ago);
        look(&world).await;
        assert!(is_frozen(&world).await, "a key from before may be ours");
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        world.rekeyd_with(&["rotations", "adopt", "production", "--secret-stdin"], &current).await.ok();
        assert_eq!(rotate(&world).await["outcome"], "done");
        invariants_since(&world, &lost, "names from before").await
    }
}

fault! {
    async fn fault_59_the_name_of_a_stray_that_was_removed_is_copied(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.script.once("create_key", When::After, Act::Reset);
        assert_eq!(rotate(&world).await["outcome"], "done");
        let made = world.openrouter.keys().into_iter().filter(|key| key.created_by == CreatedBy::Api);
        let stray = made.min_by_key(|key| key.created_at).unwrap();
        assert!(stray.deleted, "its secret is gone");
        let second = named(&world, &stray.name);
        assert_eq!(rotate(&world).await["outcome"], "done");
        look(&world).await;
        assert_eq!((told(&world).await, is_frozen(&world).await), ((1, 1), false));
        let key = world.openrouter.key_by_hash(&second).unwrap();
        assert!(!key.disabled && !key.deleted, "a create is sent once: it is not ours");
        invariants(&world, "the name of a stray").await
    }
}
