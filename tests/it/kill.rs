//! SIGKILL at every external call of a rotation, before and after its effect.
//!
//! Generated: the story is played once to count its calls, then once for each call and each side of its effect,
//! with the client killed there. After a restart the daemon must bring it to a good end, with the invariants of
//! product.md whole, whatever was in the air.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekeyd::sim::fault::When;
use serde_json::Value;

use crate::support::{Db, World};

/// Cases at one time; each of them mostly waits.
const AT_ONCE: usize = 12;

/// What is played, and what must be true at its end.
#[derive(Debug, Clone, Copy)]
struct Story {
    name: &'static str,
    prepare: fn(&World),
    command: &'static [&'static str],
}

const ROTATION: Story =
    Story { name: "rotation", prepare: |_| {}, command: &["rotations", "run", "production", "--wait"] };

const EMERGENCY: Story = Story {
    name: "emergency",
    prepare: |_| {},
    command: &["rotations", "run", "production", "--leaked", "--wait"],
};

/// How many external calls the story makes when nobody disturbs it. Counted after the adoption.
async fn count(story: Story) -> u64 {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    (story.prepare)(&world);
    let before = world.script.count();
    world.rekeyd(story.command).await.ok();
    world.script.count() - before
}

/// Plays the story, kills the client at its `n`th call, restarts, and looks. False when there was no such call.
async fn killed_at(story: Story, db: Db, n: u64, when: When) -> bool {
    let case = format!("{} {db:?} {when:?} call {n}", story.name);
    let world = Arc::new(World::new(db).await);
    world.adopt().await;
    (story.prepare)(&world);
    let held = world.script.hold_nth(world.script.count() + n, when);
    let mut child = world.command(story.command).spawn().unwrap();
    let arrived = tokio::select! {
        () = held.arrived() => true,
        _ = child.wait() => false,
    };
    if !arrived {
        return false;
    }
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    drop(held);
    let watch = Watch::start(&world, &case);
    finish(&world, story, &case).await;
    watch.stop().await;
    check(&world, &case).await;
    true
}

/// Looks many times a second that what the destinations hold works (I1).
struct Watch {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn start(world: &Arc<World>, case: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, world, case) = (Arc::clone(&stop), Arc::clone(world), case.to_owned());
        let task = tokio::spawn(async move {
            while !flag.load(Ordering::SeqCst) {
                world.assert_destinations_work(&case);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the destinations worked all the time");
    }
}

/// Restarts: the daemon works whatever is open; a kill before anything was committed is simply run again.
async fn finish(world: &World, story: Story, case: &str) {
    let mut daemon = world.serve();
    let runs = world.rekeyd(&["runs", "list", "--json"]).await.ok().json();
    if runs.as_array().unwrap().is_empty() {
        world.rekeyd(story.command).await.ok();
    }
    let mut state = String::new();
    for _ in 0..600 {
        let rotation = world.rotation().await;
        rotation["state"].as_str().unwrap().clone_into(&mut state);
        if state == "idle" {
            daemon.kill().await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{case}: still {state}: {}", world.newest_run().await);
}

/// The invariants, at the provider, at the destinations and in the store.
async fn check(world: &World, case: &str) {
    let run = world.newest_run().await;
    assert_eq!(run["outcome"], "done", "{case}: {run}");
    let unsettled = |run: &Value| {
        let effects = run["effects"].as_array().unwrap().clone();
        effects.into_iter().filter(|e| e["status"] == "unknown" || e["status"] == "intended").count()
    };
    assert_eq!(unsettled(&run), 0, "{case}: an unknown effect is left: {run}");
    let rotation = world.rotation().await;
    let living = world.living();
    let names: Vec<&str> = living.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(living.len(), 1, "{case}: strays, or the old key, are left: {names:?}");
    assert_eq!(rotation["current"]["hash"], living[0].hash.as_str(), "{case}");
    world.assert_destinations_work(case);
    assert_eq!(world.at_github(), world.in_file(), "{case}");
    let mut created: Vec<String> = world.openrouter.keys().into_iter().map(|key| key.name).collect();
    created.sort();
    let all = created.len();
    created.dedup();
    assert_eq!(created.len(), all, "{case}: a creation name was POSTed twice (I4)");
    world.assert_nothing_leaked();
}

/// Every call of the story, both sides of its effect.
async fn at_every_call(story: Story, db: Db) {
    let calls = count(story).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut cases = tokio::task::JoinSet::new();
    for n in 1..=calls {
        for when in [When::Before, When::After] {
            let gate = Arc::clone(&gate);
            cases.spawn(async move {
                let _turn = gate.acquire_owned().await.unwrap();
                killed_at(story, db, n, when).await
            });
        }
    }
    let mut killed = 0;
    while let Some(case) = cases.join_next().await {
        killed += u64::from(case.unwrap());
    }
    println!("{} on {db:?}: killed at {killed} points of {calls} calls", story.name);
    assert!(killed >= calls, "too few kill points were reached: {killed} of {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_on_sqlite() {
    at_every_call(ROTATION, Db::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_on_postgres() {
    at_every_call(ROTATION, Db::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emergency_on_sqlite() {
    at_every_call(EMERGENCY, Db::Sqlite).await;
}
