//! Faults 35, 43, 46, 55 and 57: places that come and go, and what several share.

use nix::sys::signal::Signal;
use rekeyd::domain::time::Span;
use rekeyd::engine::{self, Progress};
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::Scope;
use rekeyd::sim::openrouter::OpenRouter;
use serde_json::Value;
use sqlx::Row;

use super::crowd::{NEVER, OFTEN};
use super::invariants::invariants;
use super::weather::session;
use super::{alerts, at_rest, fault, ledger, reconfigure, rotate, runs_in, serve, signal, stop, until};
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Ahead, Db, World};

const BOTH: &str = r#"["github-production", "agent-env"]"#;

/// Starts a run and leaves it where it waits.
async fn begin(world: &World) -> String {
    let out = world.rekeyd(&["rotations", "run", "production", "--json"]).await;
    assert!(!out.stderr.contains("panicked"), "{out:?}");
    world.newest_run().await["id"].as_str().unwrap().to_owned()
}

/// The address of a destination that holds a key.
async fn address(world: &World, destination: &str) -> String {
    let sql = format!("SELECT address FROM holdings WHERE destination = '{destination}' ORDER BY seq DESC");
    ledger::rows(world, &sql).await[0].get(0)
}

/// The old key of the open run waits for a place that left the configuration, until a person lets go of it.
async fn let_go(world: &World, run: &str, place: &str, done: usize) {
    let daemon = serve(world).await;
    let held = async || {
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        why.contains("release")
    };
    until("the old key waits for the place", held).await;
    assert_eq!(world.living().len(), 2, "both keys live");
    world.rekeyd(&["runs", "release", run, place]).await.ok();
    until("done", async || runs_in(world, &["done"]).await == done).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 1);
}

fault! {
    async fn fault_35_a_place_leaves_the_configuration_while_no_run_is_open(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        rotate(&world).await;
        let whole = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        // One leaves.
        reconfigure(&world, BOTH, r#"["agent-env"]"#);
        let run = begin(&world).await;
        let_go(&world, &run, "github-production", 2).await;
        // Another is somewhere else now, under the same name.
        let before = address(&world, "agent-env").await;
        reconfigure(&world, "/agent.env", "/moved.env");
        let run = begin(&world).await;
        let_go(&world, &run, &before, 3).await;
        // The whole account leaves, and comes back.
        let (head, _) = whole.split_once("[[accounts]]").unwrap();
        std::fs::write(world.path("rekeyd.toml"), head).unwrap();
        let daemon = serve(&world).await;
        world.rekeyd(&["keys", "test", "--all"]).await;
        stop(daemon).await;
        std::fs::write(world.path("rekeyd.toml"), &whole).unwrap();
        // What returns counts as unknown: it is written and proved like any other.
        let run = begin(&world).await;
        let moved = format!("file:{}/moved.env#{SECRET}", world.folder.path().canonicalize().unwrap().display());
        let_go(&world, &run, &moved, 4).await;
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "places left and came back").await
    }
}

/// A second account with a rotation to another variable of the same file.
fn another_account(world: &World, other: &OpenRouter) -> String {
    world.private("other-key", &other.new_provisioning_key());
    format!(
        "[[accounts]]\nname = \"other\"\nprovider = \"openrouter\"\nprovisioning_key = \"file:{folder}/other-key\"\n\
         base_url = \"{base}\"\nmax_deletes_per_hour = 100\n\
         [[rotations]]\nname = \"second\"\naccount = \"other\"\n{OFTEN}\ndestinations = [\"second-env\"]\n\
         grace = \"1s\"\nquiet = \"1s\"\nobserve = \"1s\"\n\
         [[destinations]]\nname = \"second-env\"\ntype = \"file\"\npath = \"{folder}/agent.env\"\nformat = \"env\"\n\
         variable = \"SECOND\"\n",
        folder = world.folder.path().display(),
        base = other.base_url(),
    )
}

fn second_in_file(world: &World) -> Option<String> {
    let text = std::fs::read_to_string(world.path("agent.env")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("SECOND=").map(str::to_owned))
}

fault! {
    async fn fault_43_two_rotations_one_file_one_second(db: Db) {
        let world = World::new(db).await;
        let other = OpenRouter::start_with(world.script.clone()).await;
        let first = other.new_regular_key("second");
        world.configure_with(&another_account(&world, &other), BOTH);
        world.private("agent.env", &format!("{SECRET}={}\nSECOND={first}\n", world.first));
        world.adopt().await;
        world.rekeyd_with(&["rotations", "adopt", "second", "--secret-stdin"], &first).await.ok();
        reconfigure(&world, "every = \"30d\"", OFTEN);
        // Somebody holds the folder while both are due: nobody writes without it.
        let folder = std::fs::File::open(world.folder.path()).unwrap();
        folder.lock().unwrap();
        let daemons = [serve(&world).await, serve(&world).await];
        let tried = "SELECT id FROM effects WHERE kind = 'publish' AND target LIKE '%-env generation 2'";
        until("both write", async || ledger::rows(&world, tried).await.len() == 2).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!((world.in_file(), second_in_file(&world)), (Some(world.first.clone()), Some(first)));
        folder.unlock().unwrap();
        let done = async |rotation: &str| {
            let sql = format!("SELECT id FROM runs WHERE state = 'done' AND rotation = '{rotation}'");
            ledger::rows(&world, &sql).await.len()
        };
        until("rounds", async || done("production").await >= 2 && done("second").await >= 2).await;
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        std::fs::write(world.path("rekeyd.toml"), text.replace(OFTEN, NEVER)).unwrap();
        for daemon in &daemons {
            signal(daemon, Signal::SIGHUP);
        }
        at_rest(&world).await;
        for daemon in daemons {
            stop(daemon).await;
        }
        let drifts = ledger::rows(&world, "SELECT id FROM alerts WHERE kind = 'destination_drift'").await;
        assert!(drifts.is_empty(), "neither lost what it wrote");
        let hash = rekeyd::domain::secret::Secret::new(second_in_file(&world).unwrap()).sha256_hex();
        let key = other.key_by_hash(&hash).unwrap();
        assert!(!key.disabled && !key.deleted, "the second variable holds a key that works");
        invariants(&world, "two rotations, one file").await
    }
}

fault! {
    async fn fault_46_one_rotation_refused_and_the_other_due(db: Db) {
        let world = World::new(db).await;
        let place = format!(
            "[[rotations]]\nname = \"second\"\naccount = \"main\"\n{OFTEN}\ndestinations = [\"second-file\"]\n\
             [[destinations]]\nname = \"second-file\"\ntype = \"file\"\npath = \"{}\"\nformat = \"raw\"\n",
            world.path("second").display()
        );
        world.configure_with(&place, BOTH);
        let first = world.openrouter.new_regular_key("second");
        world.adopt().await;
        world.rekeyd_with(&["rotations", "adopt", "second", "--secret-stdin"], &first).await.ok();
        let mine: String =
            ledger::rows(&world, "SELECT account FROM keys WHERE rotation = 'second'").await[0].get(0);
        let moved = |account: &str| format!("UPDATE keys SET account = '{account}' WHERE rotation = 'second'");
        ledger::rows(&world, &moved("openrouter:somebody-else")).await;
        reconfigure(&world, "every = \"30d\"", OFTEN);
        let daemon = serve(&world).await;
        until("the other starts and ends", async || runs_in(&world, &["done"]).await >= 1).await;
        let told = "SELECT id FROM alerts WHERE kind = 'rotation_failed' AND subject LIKE '%second'";
        until("it is told", async || !ledger::rows(&world, told).await.is_empty()).await;
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        std::fs::write(world.path("rekeyd.toml"), text.replace(OFTEN, NEVER)).unwrap();
        signal(&daemon, Signal::SIGHUP);
        at_rest(&world).await;
        stop(daemon).await;
        let refused = ledger::rows(&world, "SELECT id FROM runs WHERE rotation = 'second'").await;
        assert!(refused.is_empty(), "the refused one started nothing");
        ledger::rows(&world, &moved(&mine)).await;
        invariants(&world, "one of two was refused").await
    }
}

fault! {
    async fn fault_55_release_of_a_required_address(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "6s";
        world.configure();
        world.adopt().await;
        rotate(&world).await;
        let run = begin(&world).await;
        let place = address(&world, "github-production").await;
        for named in ["github-production", place.as_str()] {
            let out = world.rekeyd(&["runs", "release", &run, named]).await;
            assert!(out.status == 3 && out.stderr.contains("is required"), "{out:?}");
        }
        let released = "SELECT address FROM holdings WHERE released = 1";
        assert!(ledger::rows(&world, released).await.is_empty(), "nothing was released");
        assert_eq!(world.living().len(), 2, "both keys live");
        // By the configuration's word it is no longer required.
        reconfigure(&world, BOTH, r#"["agent-env"]"#);
        let daemon = serve(&world).await;
        until("it parks", async || runs_in(&world, &["parked"]).await == 1).await;
        stop(daemon).await;
        world.rekeyd(&["runs", "release", &run, "github-production"]).await.ok();
        let daemon = serve(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 2).await;
        stop(daemon).await;
        // It returns: unknown until it is written and proved.
        reconfigure(&world, r#"["agent-env"]"#, BOTH);
        rotate(&world).await;
        assert!(ledger::rows(&world, released).await.is_empty(), "the next write ended the release");
        assert_eq!(world.github.secret_value(&Scope::repo(REPOSITORY), SECRET), world.in_file());
        invariants(&world, "a required place was not released").await
    }
}

/// The open run by an engine whose clock is so far ahead of the machine's: how it goes on.
async fn step_of_one_ahead(world: &World, ahead: Span) -> Progress {
    let engine = world.engine(Ahead::by(ahead)).await;
    let run = engine.store().open_runs().await.unwrap().remove(0).run.id;
    let mut session = session(&engine).await;
    let progress = loop {
        let progress = engine::step(&mut session, &run).await.unwrap().progress;
        if progress != Progress::Again {
            break progress;
        }
    };
    session.close().await.unwrap();
    progress
}

fault! {
    async fn fault_57_replicas_ten_minutes_apart_share_a_wait(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.script.always("put_secret", When::Before, Act::rate_limited(Some(300)));
        let run = begin(&world).await;
        let puts = || world.github.requests().iter().filter(|call| call.label == "put_secret").count();
        let before = puts();
        assert!(before > 0);
        for apart in [Span::minutes(10), Span::minutes(-10), Span::ZERO] {
            let progress = step_of_one_ahead(&world, apart).await;
            assert!(matches!(progress, Progress::Wait(..)), "{apart:?}: {progress:?}");
            assert_eq!(puts(), before, "asked again before the vendor's wait was over");
        }
        world.script.clear();
        world.rekeyd(&["runs", "resume", &run]).await;
        let daemon = serve(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        assert!(!alerts(&world).await.contains(&"rotation_parked".to_owned()));
        let shown: Value = world.newest_run().await;
        assert_eq!(shown["outcome"], "done", "{shown}");
        invariants(&world, "replicas shared a wait").await
    }
}
