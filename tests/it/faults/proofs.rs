//! Faults 44 and 51: what was asked before a change was over proves nothing about the time after it (R19).

use rekeyd::domain::rotation::facts::Request;
use rekeyd::domain::time::Span;
use rekeyd::engine::{self, Engine, Progress, Session, commands};
use rekeyd::sim::fault::When;

use super::invariants::invariants;
use super::weather::session;
use super::{fault, ledger, reconfigure, serve, stop, until};
use crate::support::wait::ended;
use crate::support::{Ahead, Db, World};

/// A run that is observing: the old key was tested, and disabled a moment ago.
async fn observing(db: Db) -> World {
    let mut world = World::new(db).await;
    (world.waits.observe, world.waits.propagation) = ("1h", "1h");
    world.configure();
    world.adopt().await;
    world
}

async fn disable(world: &World) {
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    let daemon = serve(world).await;
    until("disabled", async || world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled).await;
    stop(daemon).await;
}

/// The rest of the way back, as far as anybody needs it.
async fn comes_back(world: &World) {
    let daemon = serve(world).await;
    until("the old key is back", async || {
        world.at_github().as_ref() == Some(&world.first) && world.in_file().as_ref() == Some(&world.first)
    })
    .await;
    stop(daemon).await;
}

fault! {
    async fn fault_44_rollback_within_a_minute_of_the_disable(db: Db) {
        let world = observing(db).await;
        disable(&world).await;
        let new = world.at_github();
        // Where it is used, a key that was enabled again is refused for a while.
        let hour = std::time::Duration::from_hours(1);
        world.openrouter.settings(|settings| settings.revived_key_refused_for = hour);
        let mut child = world.command(&["rotations", "rollback", "production"]).spawn().unwrap();
        let waits = "SELECT id FROM runs WHERE is_open = 1 AND blockers LIKE '%previous key is not accepted yet%'";
        until("it is tested", async || !ledger::rows(&world, waits).await.is_empty()).await;
        child.kill().await.unwrap();
        assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled, "it is enabled");
        assert_eq!((world.at_github(), world.in_file()), (new.clone(), new), "a key that does not work goes nowhere");
        world.openrouter.settings(|settings| settings.revived_key_refused_for = std::time::Duration::ZERO);
        comes_back(&world).await;
        invariants(&world, "a rollback tests the old key after enabling it").await
    }
}

/// What the next steps do, up to the one that says so.
async fn step_to(session: &mut Session<'_>, run: &str, what: &str) -> Vec<String> {
    let mut did = Vec::new();
    while did.len() < 50 {
        let report = engine::step(session, run).await.unwrap();
        assert!(!matches!(report.progress, Progress::Finished), "{did:?}");
        did.push(report.did.unwrap_or_default());
        if did.last().unwrap().contains(what) {
            return did;
        }
    }
    panic!("never {what}: {did:?}");
}

async fn ask_rollback(engine: &Engine) -> String {
    let run = engine.store().open_runs().await.unwrap().remove(0).run.id;
    commands::ask(engine, &run, &Request::Rollback).await.unwrap();
    run
}

fault! {
    async fn fault_51_a_probe_in_flight_across_a_disable_and_an_enable(db: Db) {
        let world = observing(db).await;
        reconfigure(&world, "[tests]", "[tests]\ntimeout = \"100s\"");
        // Asked while it is in use, and answered when all is over.
        let held = world.script.hold("whoami", When::After);
        let probe = world.command(&["keys", "test", "openrouter"]).spawn().unwrap();
        held.arrived().await;
        disable(&world).await;
        let engine = world.engine(Ahead::by(Span::ZERO)).await;
        let run = ask_rollback(&engine).await;
        let mut session = session(&engine).await;
        step_to(&mut session, &run, "enabled generation 1 again").await;
        held.release();
        ended(probe).await;
        let next = engine::step(&mut session, &run).await.unwrap().did.unwrap();
        assert!(next.contains("tested generation 1"), "the probe from before proved it: {next}");
        session.close().await.unwrap();
        comes_back(&world).await;
        invariants(&world, "a probe across a disable and an enable").await
    }
}
