//! Writes without a run that a process left open: the next look at their address settles them, and those that nobody
//! can look at any more have an end.

use rekeyd::sim::fault::When;
use rekeyd::store::Store;
use sqlx::Row;

use super::{at_rest, drifts};
use crate::support::wait::{in_time, reconfigure, until};
use crate::support::{Db, World, ledger, on_both_databases};

/// Target, status, attempts, and whether it is over, of each write without a run.
async fn journal(world: &World) -> Vec<(String, String, i64, bool)> {
    let sql =
        "SELECT target, status, attempt, finished_at FROM effects WHERE run IS NULL AND kind = 'publish'";
    let rows = ledger::rows(world, sql).await;
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get::<Option<i64>, _>(3).is_some()))
        .collect()
}

fn row(target: &str, status: &str, attempt: i64, over: bool) -> Vec<(String, String, i64, bool)> {
    vec![(target.to_owned(), status.to_owned(), attempt, over)]
}

/// A person's publish, killed on this side of the effect of its write.
async fn killed_in_publish(world: &World, when: When) {
    let held = world.script.hold("put_secret", when);
    let mut child = world.command(&["destinations", "publish", "github-production"]).spawn().unwrap();
    in_time("the write is sent", held.arrived()).await;
    child.kill().await.unwrap();
    drop(held);
    assert_eq!(journal(world).await, row("github-production generation 2", "intended", 1, false));
}

/// GitHub shows no values: what changed there since the last proved write can only be written again.
async fn is_settled_by_the_next_look(db: Db, when: When, attempts: i64) {
    let world = at_rest(db, "hold").await;
    let current = world.at_github();
    killed_in_publish(&world, when).await;
    let mut daemon = world.serve();
    let settled = row("github-production generation 2", "done", attempts, true);
    until("settled", async || journal(&world).await == settled).await;
    daemon.kill().await.unwrap();
    assert_eq!(world.at_github(), current);
    assert!(drifts(&world).await.is_empty(), "our own write was taken for somebody else's");
    // Another publish is another effect.
    world.rekeyd(&["destinations", "publish", "github-production"]).await.ok();
    assert_eq!(journal(&world).await.len(), 2);
}

on_both_databases! {
    async fn a_publish_that_was_killed_before_its_write_is_settled_by_the_next_look(db: Db) {
        is_settled_by_the_next_look(db, When::Before, 1).await;
    }
}

on_both_databases! {
    async fn a_publish_that_was_killed_after_its_write_is_settled_by_the_next_look(db: Db) {
        is_settled_by_the_next_look(db, When::After, 2).await;
    }
}

on_both_databases! {
    async fn a_look_that_proves_a_write_settles_it_without_another(db: Db) {
        let world = at_rest(db, "hold").await;
        world.rekeyd(&["destinations", "publish", "agent-env"]).await.ok();
        // As a kill between the write and its commit leaves it.
        ledger::rows(&world, "UPDATE effects SET status = 'intended', finished_at = NULL WHERE run IS NULL").await;
        let unproved = "UPDATE holdings SET level = 'intended', checked = NULL WHERE destination = 'agent-env'";
        ledger::rows(&world, unproved).await;
        let address = format!("{{\"address\":\"file:{}#OPENROUTER_API_KEY\"}}", world.path("agent.env").display());
        ledger::rows(&world, &format!("UPDATE effects SET evidence = '{address}' WHERE run IS NULL")).await;
        let mut daemon = world.serve();
        let settled = row("agent-env generation 2", "done", 1, true);
        until("settled", async || journal(&world).await == settled).await;
        daemon.kill().await.unwrap();
    }
}

on_both_databases! {
    async fn a_write_that_nobody_can_look_at_any_more_has_an_end(db: Db) {
        let world = at_rest(db, "hold").await;
        killed_in_publish(&world, When::Before).await;
        reconfigure(&world, r#"["github-production", "agent-env"]"#, r#"["agent-env"]"#);
        let mut daemon = world.serve();
        let ended = row("github-production generation 2", "unknown", 1, true);
        until("it has an end", async || journal(&world).await == ended).await;
        daemon.kill().await.unwrap();
        let store = Store::open(&world.database.url, 2).await.unwrap();
        assert_eq!(store.unknown_effects().await.unwrap(), 0, "nothing is in doubt");
        store.close().await;
    }
}
