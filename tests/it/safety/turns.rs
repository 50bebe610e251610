//! Who works on an account next (R22): in one process, and between two.

use rekeyd::domain::time::Span;
use rekeyd::domain::turn::Class;
use rekeyd::engine::{self, Engine, EngineError};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::wait::{serve, stop, until};
use crate::support::{Ahead, ledger};

/// Somebody of `here` holds the account for an ordinary run; somebody of `there` comes for a dead key.
async fn the_more_urgent_goes_first(here: &Engine, there: &Engine) {
    let runs = engine::wait_for_session(here, "main", Class::Runs).await.unwrap();
    assert!(!runs.gives_way().await.unwrap(), "nobody waits");
    let (tried, has_tried) = tokio::sync::oneshot::channel();
    let urgent = async {
        let healing = engine::wait_for_session(there, "main", Class::Healing).await.unwrap();
        has_tried.await.unwrap();
        assert!(!healing.gives_way().await.unwrap(), "not to an ordinary run");
        healing.close().await.unwrap();
    };
    let ordinary = async {
        until("it hears that somebody waits", async || runs.gives_way().await.unwrap()).await;
        runs.close().await.unwrap();
        // It would go on at once.
        let (class, stop) = (Class::Runs, CancellationToken::new());
        let again = engine::wait_for_session_or_stop(here, "main", class, Span::ZERO, &stop).await;
        assert!(matches!(again, Err(EngineError::Busy(_))), "the other goes first");
        tried.send(()).unwrap();
    };
    tokio::join!(urgent, ordinary);
    let runs = engine::wait_for_session(here, "main", Class::Runs).await.unwrap();
    runs.close().await.unwrap();
}

on_both_databases! {
    async fn a_holder_makes_room_for_the_more_urgent_of_its_process(db: Db) {
        let world = World::new(db).await;
        let engine = world.engine(Ahead::by(Span(0))).await;
        the_more_urgent_goes_first(&engine, &engine).await;
    }
}

on_both_databases! {
    async fn a_holder_makes_room_for_the_more_urgent_of_another_process(db: Db) {
        let world = World::new(db).await;
        let here = world.engine(Ahead::by(Span(0))).await;
        let there = world.engine(Ahead::by(Span(0))).await;
        the_more_urgent_goes_first(&here, &there).await;
    }
}

on_both_databases! {
    async fn a_look_that_waits_long_enough_has_its_turn(db: Db) {
        let world = World::new(db).await;
        let engine = world.engine(Ahead::by(Span(0))).await;
        let runs = engine::wait_for_session(&engine, "main", Class::Runs).await.unwrap();
        let look = async {
            let watching = engine::wait_for_session(&engine, "main", Class::Watching).await.unwrap();
            watching.close().await.unwrap();
        };
        let work = async {
            until("it has risen above ordinary runs", async || runs.gives_way().await.unwrap()).await;
            runs.close().await.unwrap();
        };
        tokio::join!(look, work);
    }
}

on_both_databases! {
    async fn the_most_urgent_of_those_who_wait_is_next(db: Db) {
        let world = World::new(db).await;
        let engine = world.engine(Ahead::by(Span(0))).await;
        let runs = engine::wait_for_session(&engine, "main", Class::Runs).await.unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        let take = async |class| {
            let session = engine::wait_for_session(&engine, "main", class).await.unwrap();
            order.lock().unwrap().push(class);
            session.close().await.unwrap();
        };
        // They come in this order, and then the account is given back.
        let (drift, leak, healing) = (take(Class::Drift), take(Class::Leak), take(Class::Healing));
        let ((), (), (), given_back) = tokio::join!(drift, leak, healing, runs.close());
        given_back.unwrap();
        let order = order.into_inner().unwrap();
        assert_eq!(order[..2], [Class::Leak, Class::Healing], "{order:?}");
    }
}

/// The daemon works the run; the command shows what becomes of it, and answers as if it had worked it.
async fn beside_a_daemon(db: Db) {
    let world = World::new(db).await;
    world.adopt().await;
    let daemon = crate::support::wait::serve(&world).await;
    until("the daemon is heard of", async || {
        !crate::support::ledger::rows(&world, "SELECT owner FROM daemons").await.is_empty()
    })
    .await;
    let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
    assert_eq!((out.status, out.stdout.trim()), (0, "done"), "{out:?}");
    let actors = "SELECT DISTINCT actor FROM audit WHERE action LIKE 'run.%' AND action <> 'run.started'";
    let actors = crate::support::ledger::rows(&world, actors).await;
    let actors: Vec<String> = actors.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    assert_eq!(actors, ["daemon"], "nobody else worked it");
    crate::support::wait::stop(daemon).await;
    let left = crate::support::ledger::rows(&world, "SELECT owner FROM daemons").await;
    assert!(left.is_empty(), "a daemon that stops takes leave");
    // By itself, at once.
    let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
    assert_eq!((out.status, out.stdout.trim()), (0, "done"), "{out:?}");
}

on_both_databases! {
    async fn a_command_beside_a_daemon_watches(db: Db) {
        beside_a_daemon(db).await;
    }
}

on_both_databases! {
    async fn a_key_that_waits_for_its_turn_at_a_host_is_nobody_elses(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let url = url::Url::parse(&world.openrouter.base_url()).unwrap();
        let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let turn = chrono::Utc::now().timestamp_millis() + 600_000;
        // Others have kept ten minutes free there.
        let pace = format!("INSERT INTO paces (host, free_at) VALUES ('{host}', {turn})");
        ledger::rows(&world, &format!("{pace} ON CONFLICT (host) DO UPDATE SET free_at = excluded.free_at")).await;
        ledger::rows(&world, "UPDATE keys SET next_look_at = 0").await;
        let daemon = serve(&world).await;
        let claim = async || -> i64 { ledger::rows(&world, "SELECT look_until FROM keys").await[0].get(0) };
        until("it is claimed until after its turn", async || claim().await > turn).await;
        // One whose turn is later than a claim can last is given back until then.
        stop(daemon).await;
        let later = format!("UPDATE paces SET free_at = {turn} + 1800000");
        ledger::rows(&world, &later).await;
        ledger::rows(&world, "UPDATE keys SET next_look_at = 0").await;
        let daemon = serve(&world).await;
        let next = async || -> i64 { ledger::rows(&world, "SELECT next_look_at FROM keys").await[0].get(0) };
        until("it is due then", async || next().await > turn + 1_700_000).await;
        assert_eq!(claim().await, 0, "nobody has it meanwhile");
        stop(daemon).await;
    }
}
