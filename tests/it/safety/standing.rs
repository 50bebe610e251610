//! Processes whose configurations say different things of a rotation do not share its run (R14).

use super::*;
use crate::support::ledger::{self, runs_in};
use crate::support::wait::{ended, log, logged, reconfigure, serve, signal, stop};

const PARTED: &str = "left to another process";

/// A run that waits in grace, and a configuration that says something else of the rotation.
async fn begun(db: Db) -> World {
    let mut world = World::new(db).await;
    world.waits.grace = "4s";
    world.configure();
    world.adopt().await;
    world
}

/// A destination that was down is asked again at once.
async fn try_now(world: &World) {
    let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
    world.rekeyd(&["runs", "resume", &run]).await;
}

on_both_databases! {
    async fn a_process_with_an_older_configuration_leaves_the_run(db: Db) {
        let world = begun(db).await;
        let older = serve(&world).await;
        reconfigure(&world, "grace = \"4s\"", "grace = \"5s\"");
        // A newer one takes it up, and goes on when the older has left. It asks to wait for longer than a command does.
        world.script.always("put_secret", When::Before, Act::rate_limited(Some(25)));
        world.rekeyd(&["rotations", "run", "production"]).await;
        logged(&world, PARTED, 1).await;
        assert_eq!(runs_in(&world, &["publishing"]).await, 1);
        // Nobody with the newer configuration comes for a long time: a person is told what to do.
        let long_ago = "UPDATE provider_health SET doc = replace(doc, '\"seen_at\":', '\"seen_at\":-')
                        WHERE subject = 'policy:production'";
        ledger::rows(&world, long_ago).await;
        until("parked", async || runs_in(&world, &["parked"]).await == 1).await;
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(why.contains("`systemctl reload rekeyd`"), "{why}");
        world.script.clear();
        let newer = serve(&world).await;
        try_now(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        assert_eq!(log(&world).matches(PARTED).count(), 1, "it is said once");
        stop(older).await;
        stop(newer).await;
    }
}

on_both_databases! {
    async fn a_command_begun_before_a_reload_ends_with_a_sentence(db: Db) {
        let world = begun(db).await;
        let daemon = serve(&world).await;
        // The destination is down, so that the run stays where it is until both have worked it.
        let held = world.script.hold("put_secret", When::Before);
        world.script.always("put_secret", When::Before, Act::status(503));
        let command = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        held.arrived().await;
        reconfigure(&world, "grace = \"4s\"", "grace = \"5s\"");
        signal(&daemon, nix::sys::signal::Signal::SIGHUP);
        logged(&world, "the configuration was read again", 1).await;
        held.release();
        let out = ended(command).await;
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("by a configuration that was loaded later"), "{said}");
        world.script.clear();
        try_now(&world).await;
        until("the daemon ends it", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
    }
}

on_both_databases! {
    async fn the_newer_one_parks_a_run_whose_destination_it_does_not_have(db: Db) {
        let world = begun(db).await;
        let older = serve(&world).await;
        world.script.always("put_secret", When::Before, Act::status(503));
        world.rekeyd(&["rotations", "run", "production"]).await;
        reconfigure(&world, r#"["github-production", "agent-env"]"#, r#"["agent-env"]"#);
        let newer = serve(&world).await;
        until("parked", async || runs_in(&world, &["parked"]).await == 1).await;
        assert_eq!(world.living().len(), 2, "both keys live");
        world.script.clear();
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        world.rekeyd(&["runs", "release", &run, "github-production"]).await.ok();
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(older).await;
        stop(newer).await;
        assert_eq!(world.at_github().as_deref(), Some(world.first.as_str()), "the older one wrote nothing more");
    }
}
