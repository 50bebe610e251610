//! The database is busy at the commit after a 201: the key is stored later, not lost.

use rekeyd::sim::fault::When;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::*;
use crate::support::ledger;
use crate::support::wait::ended;

/// Longer than the program waits for somebody's lock, and much shorter than the lease.
const OCCUPIED: std::time::Duration = std::time::Duration::from_secs(12);

/// Holds the database so that nobody can store a key, until it is dropped.
async fn occupied(world: &World, db: Db) -> sqlx::AnyConnection {
    let mut connection = ledger::connect(world).await;
    let statements = match db {
        Db::Sqlite => vec!["PRAGMA busy_timeout = 20000", "BEGIN IMMEDIATE"],
        Db::Postgres => vec!["BEGIN", "LOCK TABLE keys IN ACCESS EXCLUSIVE MODE"],
    };
    for statement in statements {
        connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    }
    connection
}

/// Runs a command that makes a key, with the database busy for a while just after it was made.
async fn busy_after_the_201(world: &World, db: Db, args: &[&str]) -> std::process::Output {
    let held = world.script.hold("create_key", When::After);
    let child = world.command(args).spawn().unwrap();
    held.arrived().await;
    let occupier = occupied(world, db).await;
    held.release();
    tokio::time::sleep(OCCUPIED).await;
    occupier.close().await.unwrap();
    ended(child).await
}

on_both_databases! {
    async fn a_key_that_finds_the_database_busy_is_stored_later(db: Db) {
        let mut world = World::new(db).await;
        (world.waits.lease, world.waits.call_timeout) = ("40s", "10s");
        world.configure();
        world.adopt().await;
        let out = busy_after_the_201(&world, db, &["rotations", "run", "production", "--wait"]).await;
        assert!(out.status.success(), "{out:?}");
        assert_eq!(world.openrouter.keys().len(), 2, "made once");
        assert_eq!(world.living().len(), 1);
        let by_hand = ["accounts", "keys", "main", "create"];
        let out = busy_after_the_201(&world, db, &by_hand).await;
        assert!(out.status.success(), "{out:?}");
        let made = world.living().into_iter().find(|key| key.name.contains("/manual/")).unwrap();
        let stored = world.rekeyd(&["keys", "list", "--json"]).await.ok().stdout;
        assert_eq!(world.openrouter.keys().len(), 3, "made once");
        assert!(stored.contains("manual"), "{} is not in {stored}", made.label);
    }
}
