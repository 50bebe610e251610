//! Faults 40 and 58: another encryption key, while daemons and creates go on (R24).

use std::sync::Arc;

use nix::sys::signal::Signal;
use rekeyd::clock::SystemClock;
use rekeyd::crypto::fernet::generate_key;
use rekeyd::engine::{self, Progress, Session, Start, passes};
use rekeyd::sim::fault::When;

use super::invariants::invariants;
use super::weather::session;
use super::{alerts, fault, freeze, in_time, ledger, rotate, runs_in, serve, signal, stop, until};
use crate::support::{Db, World};

/// A world whose keys are in a file, and another key.
async fn world_and_key(db: Db) -> (World, String) {
    let world = World::new(db).await;
    world.keep_encryption_keys_in_a_file();
    world.adopt().await;
    (world, generate_key().expose().to_owned())
}

async fn processes(world: &World) -> usize {
    ledger::rows(world, "SELECT owner FROM daemons").await.len()
}

/// Steps of a run, until it does not go on at once.
async fn works(session: &mut Session<'_>, run: &str) -> Progress {
    loop {
        let progress = engine::step(session, run).await.unwrap().progress;
        if progress != Progress::Again {
            return progress;
        }
    }
}

fault! {
    async fn fault_40_reencrypt_beside_a_daemon_with_the_old_list(db: Db) {
        let (world, new) = world_and_key(db).await;
        let old = world.encryption_key.clone();
        let daemon = serve(&world).await;
        world.encryption_keys(&[&new, &old]);
        let out = world.rekeyd(&["encryption", "reencrypt"]).await;
        assert_eq!(out.status, 2, "{out:?}");
        assert!(out.stderr.contains("do not have the first key of this list yet"), "{}", out.stderr);
        assert_eq!(rotate(&world).await["outcome"], "done", "and everything goes on");
        let before = processes(&world).await;
        signal(&daemon, Signal::SIGHUP);
        until("it has the new list", async || {
            world.rekeyd(&["encryption", "reencrypt"]).await.status == 0
        })
        .await;
        assert_eq!((before, processes(&world).await), (1, 1), "a reload leaves one announcement");
        assert_eq!(rotate(&world).await["outcome"], "done");
        // The old key leaves every list: nothing of it is left, and nothing of it comes back.
        world.encryption_keys(&[&new]);
        signal(&daemon, Signal::SIGHUP);
        world.rekeyd(&["keys", "test"]).await.ok();
        assert_eq!(rotate(&world).await["outcome"], "done");
        assert!(!alerts(&world).await.contains(&"key_unreadable".to_owned()));
        stop(daemon).await;
        assert_eq!(processes(&world).await, 0, "a daemon that stops is not waited for");
        world.encryption_keys(&[&old]);
        let out = world.rekeyd(&["keys", "list"]).await;
        assert_eq!(out.status, 2, "the old one opens nothing: {out:?}");
        assert!(out.stderr.contains("none of the keys opens"), "{}", out.stderr);
        world.encryption_keys(&[&new]);
        invariants(&world, "another encryption key").await
    }
}

fault! {
    async fn fault_40_a_daemon_that_slept_through_it_issues_no_key(db: Db) {
        let (world, new) = world_and_key(db).await;
        let old = world.encryption_key.clone();
        let daemon = serve(&world).await;
        freeze(&world, &daemon).await;
        ledger::rows(&world, "DELETE FROM daemons").await;
        world.encryption_keys(&[&new, &old]);
        world.rekeyd(&["encryption", "reencrypt"]).await.ok();
        let keys = world.openrouter.keys().len();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        ledger::rows(&world, &format!("UPDATE rotations SET next_due_at = {now}")).await;
        signal(&daemon, Signal::SIGCONT);
        let told = async |kind: &str| alerts(&world).await.contains(&kind.to_owned());
        until("it is told of", async || told("encryption_keys_stale").await).await;
        until("and of the run that was due", async || told("rotation_failed").await).await;
        assert_eq!(world.openrouter.keys().len(), keys, "it asks for nothing that it could not store");
        world.encryption_keys(&[&new]);
        signal(&daemon, Signal::SIGHUP);
        until("it is over", async || !told("encryption_keys_stale").await).await;
        assert_eq!(rotate(&world).await["outcome"], "done");
        stop(daemon).await;
        invariants(&world, "a daemon that slept").await
    }
}

fault! {
    async fn fault_40_who_lacks_the_key_leaves_the_run_to_a_daemon_that_has_it(db: Db) {
        let (world, new) = world_and_key(db).await;
        let old = world.encryption_key.clone();
        let stale = world.engine(Arc::new(SystemClock::default())).await;
        world.encryption_keys(&[&new, &old]);
        world.rekeyd(&["encryption", "reencrypt"]).await.ok();
        let fresh = world.engine(Arc::new(SystemClock::default())).await;
        passes::announce(&fresh).await.unwrap();
        let keys = world.openrouter.keys().len();
        let mut visit = session(&stale).await;
        engine::start_run(&mut visit, "production", Start::Manual).await.unwrap();
        let (run, _) = passes::runs_awake(&stale, "main").await.unwrap().remove(0);
        let left = works(&mut visit, &run).await;
        visit.close().await.unwrap();
        assert!(matches!(&left, Progress::Left(why) if why.contains("lacks the encryption key")), "{left:?}");
        assert_eq!(world.openrouter.keys().len(), keys, "it asks for nothing that it could not store");
        let mut visit = session(&fresh).await;
        works(&mut visit, &run).await;
        visit.close().await.unwrap();
        assert_eq!(world.openrouter.keys().len(), keys + 1, "the run waits for nothing");
        passes::take_leave(&fresh).await.unwrap();
        world.rekeyd(&["runs", "watch", &run]).await.ok();
        assert_eq!(runs_in(&world, &["done"]).await, 1);
        invariants(&world, "a process with an old list").await
    }
}

fault! {
    async fn fault_58_the_epoch_changes_between_intent_and_201(db: Db) {
        let mut world = World::new(db).await;
        (world.waits.lease, world.waits.call_timeout) = ("60s", "40s");
        world.configure();
        world.keep_encryption_keys_in_a_file();
        world.adopt().await;
        let (old, new) = (world.encryption_key.clone(), generate_key().expose().to_owned());
        let held = world.script.hold("create_key", When::After);
        let publishing = world.script.hold("put_secret", When::After);
        // It has the old key alone, and is no daemon: nobody waits for what it announces.
        let mut asking = world.command(&["rotations", "run", "production"]).spawn().unwrap();
        held.arrived().await;
        world.encryption_keys(&[&new, &old]);
        let changing = world.command(&["encryption", "reencrypt", "--json"]).spawn().unwrap();
        until("the new key seals", async || {
            let sql = "SELECT epoch FROM encryption_epochs WHERE state = 'sealing' AND epoch = 2";
            ledger::rows(&world, sql).await.len() == 1
        })
        .await;
        held.release();
        let done = changing.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains("\"retired\": 1"), "{said} {done:?}");
        // What it asked for was stored; what it has still to publish it cannot open any more, and it waits for nothing.
        publishing.release();
        in_time("it leaves the run", asking.wait()).await.unwrap();
        assert_eq!(world.living().len(), 2, "the new key was stored, not lost");
        let delayed = "SELECT id FROM runs WHERE doc LIKE '%encryption keys opens%'";
        assert!(ledger::rows(&world, delayed).await.is_empty(), "and it leaves no wait to who has the key");
        world.encryption_keys(&[&new]);
        let daemon = serve(&world).await;
        until("its run goes on", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        assert_eq!(world.openrouter.keys().len(), 2, "and no other was asked for");
        invariants(&world, "the epoch changes").await
    }
}
