//! What somebody else put there is held, whoever would write next: a rollback, and the run after next.

use super::{at_rest, drifts, open, write_by_hand};
use crate::support::ledger::{runs, runs_in};
use crate::support::wait::{reconfigure, until};
use crate::support::{Db, World, on_both_databases};

on_both_databases! {
    async fn a_rollback_does_not_write_over_a_held_change(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "1h";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        write_by_hand(&world, "by-hand");
        // The command follows the run for as long as it waits.
        let mut command = world.command(&["rotations", "rollback", "production"]).spawn().unwrap();
        let mut daemon = world.serve();
        until("told", async || open(&drifts(&world).await, "agent-env") == 1).await;
        until("the other one has the old key", async || world.at_github().as_ref() == Some(&world.first)).await;
        // Looks go on, and none of them writes.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        command.kill().await.unwrap();
        daemon.kill().await.unwrap();
        assert_eq!(world.in_file().as_deref(), Some("by-hand"));
        assert_eq!(runs(&world).await, ["rolling_back"]);
        assert_eq!(world.living().len(), 2, "no key is retired meanwhile");
    }
}

on_both_databases! {
    async fn the_run_after_next_does_not_write_over_a_held_change(db: Db) {
        let world = at_rest(db, "hold").await;
        reconfigure(&world, "type = \"file\"\n", "type = \"file\"\nrequired = false\n");
        write_by_hand(&world, "by-hand");
        world.rekeyd(&["rotations", "run", "production"]).await;
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        assert_eq!(open(&drifts(&world).await, "agent-env"), 1);
        // A person lets go of the old key there: no word about what stands there now.
        world.rekeyd(&["runs", "release", &run, "agent-env"]).await.ok();
        let mut daemon = world.serve();
        until("the run ends", async || runs_in(&world, &["done"]).await == 2).await;
        daemon.kill().await.unwrap();
        world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
        assert_eq!(world.in_file().as_deref(), Some("by-hand"), "the key that showed the change is gone");
        assert_eq!(open(&drifts(&world).await, "agent-env"), 1, "and people still know of it");
        // Only a person's word ends it.
        world.rekeyd(&["destinations", "publish", "agent-env"]).await.ok();
        assert_eq!(world.in_file(), world.at_github());
    }
}
