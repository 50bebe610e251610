//! Faults 44 and 51: what was asked before a change was over proves nothing about the time after it (R19).

use rekeyd::domain::rotation::facts::Request;
use rekeyd::domain::secret::Secret;
use rekeyd::domain::time::Span;
use rekeyd::engine::{self, Engine, Progress, Session, commands};
use rekeyd::sim::fault::When;

use super::invariants::invariants;
use super::weather::session;
use super::{fault, ledger, reconfigure, runs_in, serve, stop, until};
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

/// By now no write can land any more that is on its way.
async fn no_write_may_land(world: &World) {
    let now = chrono::Utc::now().timestamp_millis();
    let over = format!("UPDATE holdings SET landing_until = {now} WHERE landing_until > {now}");
    ledger::rows(world, &over).await;
}

fault! {
    async fn a_key_lives_while_a_write_of_it_may_still_land(db: Db) {
        let mut world = World::new(db).await;
        // Whoever looks has ten minutes, on however slow a machine.
        world.waits.lease = "10m";
        world.configure();
        world.adopt().await;
        let held = world.script.hold("put_secret", When::Before).survive_client();
        world.rekeyd(&["rotations", "run", "production"]).await;
        held.arrived().await;
        let second = world.in_file().unwrap();
        let lives = || {
            let key = world.openrouter.key_by_hash(&Secret::new(second.clone()).sha256_hex()).unwrap();
            !key.disabled && !key.deleted
        };
        // It leaks while one of its writes is on its way: a third key is everywhere before that one lands.
        world.rekeyd(&["rotations", "run", "production", "--leaked"]).await;
        let third = world.at_github().unwrap();
        assert!(third != second && third != world.first, "the third key is there");
        assert!(lives(), "a write of it may still land");
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        assert!(why.contains("may still land"), "{why}");
        // GitHub tells when it was written in whole seconds.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        held.release();
        until("it lands", async || world.at_github().as_ref() == Some(&second)).await;
        no_write_may_land(&world).await;
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        world.rekeyd(&["runs", "resume", &run]).await;
        let daemon = serve(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        assert!(!lives());
        assert_eq!(world.at_github(), Some(third), "what landed late was written over");
        invariants(&world, "a write landed late").await
    }
}
