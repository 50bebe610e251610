//! SIGKILL at every external call, before and after its effect: of a rotation, an emergency, a rollback, a healing.
//!
//! Generated: the story is played once to count its calls, then once for each call and each side of its effect,
//! with the process killed there. After a restart the daemon must bring it to a good end, whatever was in the air.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekeyd::sim::fault::When;
use sqlx::{AssertSqlSafe, Row};
use tokio::process::Child;
use tokio::sync::Semaphore;

use super::invariants::{Proof, Watch, invariants};
use super::{ended, in_time, ledger, serve, stop, until};
use crate::support::{Db, World};

/// Cases at one time, of all stories together; each of them mostly waits.
static TURNS: Semaphore = Semaphore::const_new(12);

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Rotation,
    Emergency,
    /// Asked for while the old key is disabled and observed.
    Rollback,
    /// The current key was deleted by a person; the daemon finds out.
    Healing,
}

impl Story {
    /// The world just before the story.
    async fn prepared(self, db: Db) -> Arc<World> {
        self.prepared_with(db, "20s", "5s").await
    }

    /// With a lease that is waited for, when it is not ended before its time.
    async fn prepared_with(self, db: Db, lease: &'static str, call_timeout: &'static str) -> Arc<World> {
        let mut world = World::new(db).await;
        (world.waits.lease, world.waits.call_timeout) = (lease, call_timeout);
        match self {
            Self::Rotation | Self::Emergency => {}
            Self::Rollback => world.waits.observe = "15s",
            Self::Healing => world.waits.tests = "*/2 * * * * *",
        }
        world.configure();
        world.adopt().await;
        match self {
            Self::Rotation | Self::Emergency => {}
            Self::Rollback => observing(&world).await,
            Self::Healing => {
                assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
            }
        }
        Arc::new(world)
    }

    fn spawn(self, world: &World) -> Child {
        match self {
            Self::Rotation => world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap(),
            Self::Emergency => {
                world.command(&["rotations", "run", "production", "--leaked", "--wait"]).spawn().unwrap()
            }
            Self::Rollback => world.command(&["rotations", "rollback", "production"]).spawn().unwrap(),
            Self::Healing => world.serve(),
        }
    }

    /// How its run ends.
    fn end(self) -> &'static str {
        if self == Self::Rollback { "rolled_back" } else { "done" }
    }

    /// Waits for its good end. While nothing else was usable, a healing left its stray for later.
    async fn is_over(self, world: &World, case: &str) {
        let ended = format!(
            "SELECT count(CASE is_open WHEN 1 THEN 1 END), count(CASE state WHEN '{}' THEN 1 END) FROM runs",
            self.end()
        );
        // One connection for all looks: many cases look at one time.
        let mut connection = ledger::connect(world).await;
        until(case, async || {
            let row = sqlx::query(AssertSqlSafe(ended.clone())).fetch_one(&mut connection).await.unwrap();
            let (open, ended): (i64, i64) = (row.get(0), row.get(1));
            let swept = self != Self::Healing || world.living().len() == 1;
            swept && open == 0 && ended > 0
        })
        .await;
    }
}

/// The old key is disabled and nobody works.
async fn observing(world: &World) {
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    let daemon = serve(world).await;
    let disabled = async || world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled;
    until("the old key is disabled", disabled).await;
    stop(daemon).await;
    let held = ledger::rows(world, "SELECT state FROM runs WHERE is_open = 1").await;
    assert_eq!(held[0].get::<String, _>(0), "observing");
}

/// The names of the external calls that the story makes when nobody disturbs it, in their order.
async fn calls(story: Story) -> Vec<&'static str> {
    let world = story.prepared(Db::Sqlite).await;
    let before = world.script.count();
    let mut child = story.spawn(&world);
    if story == Story::Healing {
        story.is_over(&world, "healed").await;
        child.kill().await.unwrap();
    } else {
        assert!(child.wait().await.unwrap().success());
    }
    let calls: Vec<_> = (before + 1..=world.script.count()).map(|number| name_of(&world, number)).collect();
    assert!(calls.len() < 150, "{story:?}: {} calls: the engine asks without waiting", calls.len());
    calls
}

/// The name of the call with this number.
fn name_of(world: &World, number: u64) -> &'static str {
    let calls = [world.openrouter.requests(), world.github.requests()].concat();
    calls.iter().find(|call| call.number == number).unwrap().label
}

/// Where a process is killed: at the n-th call of a name, on a side of its effect.
type Point = (&'static str, u64, When);

/// Plays the story, kills the process there, restarts, and looks. None when there was no such call.
async fn killed_at(story: Story, db: Db, (name, n, when): Point) -> Option<Proof> {
    let case = format!("{story:?} {db:?} {when:?} {name} {n}");
    let world = story.prepared(db).await;
    let held = world.script.hold_nth_of(name, n, when);
    let mut child = story.spawn(&world);
    let over = async {
        if story == Story::Healing {
            story.is_over(&world, "healed").await;
        } else {
            child.wait().await.unwrap();
        }
    };
    let arrived = tokio::select! {
        () = held.arrived() => true,
        () = over => false,
    };
    child.start_kill().ok();
    child.wait().await.unwrap();
    drop(held);
    if !arrived {
        return None;
    }
    let watch = (story != Story::Healing).then(|| Watch::start(&world, &case));
    finish_soon(&world, story, &case).await;
    if let Some(watch) = watch {
        watch.stop().await;
    }
    Some(check(&world, story, &case).await)
}

/// Restarts: the daemon works whatever is open; a kill before anything was committed is simply run again.
///
/// It finds the lease of the dead, which then ends before its time: the tests of faults 1, 2 and 19 wait for that.
async fn finish_soon(world: &World, story: Story, case: &str) {
    let left = ledger::rows(world, "SELECT resource, fence FROM leases WHERE expires_at > 0").await;
    let daemon = serve(world).await;
    for lease in left {
        let (resource, fence): (String, i64) = (lease.get(0), lease.get(1));
        let end =
            format!("UPDATE leases SET expires_at = 1 WHERE resource = '{resource}' AND fence = {fence}");
        ledger::rows(world, &end).await;
    }
    work(world, story, case, daemon).await;
}

/// The same, and the lease of the dead ends when it ends.
async fn finish(world: &World, story: Story, case: &str) {
    let daemon = world.serve();
    work(world, story, case, daemon).await;
}

async fn work(world: &World, story: Story, case: &str, mut daemon: Child) {
    let asked = match story {
        Story::Rollback => "SELECT id FROM requests",
        _ => "SELECT id FROM runs",
    };
    if story != Story::Healing && ledger::rows(world, asked).await.is_empty() {
        let again = ended(story.spawn(world)).await;
        assert!(again.status.success(), "{case}: {again:?}");
    }
    story.is_over(world, case).await;
    daemon.kill().await.unwrap();
}

/// The invariants, and what this story leaves.
async fn check(world: &World, story: Story, case: &str) -> Proof {
    let proof = invariants(world, case).await;
    let living = world.living();
    let names: Vec<&str> = living.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(living.len(), 1, "{case}: strays, or the old key, are left: {names:?}");
    let rotation = world.rotation().await;
    assert_eq!(rotation["current"]["hash"], living[0].hash.as_str(), "{case}");
    assert_eq!(living[0].hash == world.first_hash(), story == Story::Rollback, "{case}: {names:?}");
    assert_eq!(world.at_github(), world.in_file(), "{case}");
    proof
}

/// Every call of the story, both sides of its effect.
async fn at_every_call(story: Story, db: Db) -> Proof {
    tokio::task::LocalSet::new().run_until(all_cases(story, db)).await
}

/// A story that waits makes now more and now fewer calls of a name, as the machine is slow or quick; at the first of
/// each name it was killed, whatever the machine.
async fn all_cases(story: Story, db: Db) -> Proof {
    let calls = calls(story).await;
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut cases = tokio::task::JoinSet::new();
    for name in &calls {
        let n = counts.entry(name).and_modify(|n| *n += 1).or_insert(1);
        for point in [(*name, *n, When::Before), (*name, *n, When::After)] {
            cases.spawn_local(async move {
                let _turn = TURNS.acquire().await.unwrap();
                killed_at(story, db, point).await.map(|proof| (point, proof))
            });
        }
    }
    let (points, mut proofs): (Vec<Point>, Vec<Proof>) = cases.join_all().await.into_iter().flatten().unzip();
    println!(
        "{story:?} on {db:?}: killed at {} points; {} calls when nobody disturbs it",
        points.len(),
        calls.len()
    );
    for name in counts.into_keys() {
        for first in [(name, 1, When::Before), (name, 1, When::After)] {
            assert!(points.contains(&first), "{story:?} was never killed at {first:?}");
        }
    }
    proofs.pop().unwrap()
}

super::fault! {
    async fn kill_at_every_call_of_a_rotation(db: Db) {
        at_every_call(Story::Rotation, db).await
    }
}

/// The stories beside the rotation: what they add is in the protocol, not in the database.
macro_rules! on_sqlite {
    ($name:ident, $story:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            at_every_call($story, Db::Sqlite).await.write(stringify!($name), Db::Sqlite);
        }
    };
}

on_sqlite!(kill_at_every_call_of_an_emergency, Story::Emergency);
on_sqlite!(kill_at_every_call_of_a_rollback, Story::Rollback);
on_sqlite!(kill_at_every_call_of_a_healing, Story::Healing);

/// Held at this call, killed on this side of its effect, restarted.
async fn killed_while(label: &str, when: When, db: Db) -> (Arc<World>, Proof) {
    let case = format!("killed {when:?} {label} on {db:?}");
    let world = Story::Rotation.prepared_with(db, "6s", "3s").await;
    let held = world.script.hold(label, when);
    let mut child = Story::Rotation.spawn(&world);
    in_time(label, held.arrived()).await;
    child.kill().await.unwrap();
    drop(held);
    let watch = Watch::start(&world, &case);
    finish(&world, Story::Rotation, &case).await;
    watch.stop().await;
    let proof = check(&world, Story::Rotation, &case).await;
    (world, proof)
}

super::fault! {
    async fn fault_01_kill_after_the_intent_before_post(db: Db) {
        let (world, proof) = killed_while("create_key", When::Before, db).await;
        assert_eq!(world.openrouter.keys().len(), 2, "the lost name made nothing");
        proof
    }
}

super::fault! {
    async fn fault_02_kill_after_post_before_its_answer(db: Db) {
        let (world, proof) = killed_while("create_key", When::After, db).await;
        assert_eq!(world.openrouter.keys().len(), 3, "the stray was found, killed, and another made");
        proof
    }
}
