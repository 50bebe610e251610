//! Faults 18 to 20 and 26: several at once, and hundreds.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rekeyd::domain::time::Span;
use rekeyd::engine::passes;
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::Scope;
use sqlx::Row;

use super::invariants::{Proof, Watch, invariants};
use super::weather::session;
use super::{at_rest, fault, freeze, ledger, reconfigure, runs_in, serve, signal, stop, until};
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Ahead, Db, World};

/// Every three seconds, at the full seconds.
pub const OFTEN: &str = "schedule = \"*/3 * * * * *\"\njitter = \"0s\"";
/// Not while a test runs.
pub const NEVER: &str = "schedule = \"0 0 3 29 2 *\"\njitter = \"0s\"";

fault! {
    async fn fault_18_manual_and_scheduled_start_together(db: Db) {
        let world = Arc::new(World::new(db).await);
        world.adopt().await;
        reconfigure(&world, "every = \"30d\"", OFTEN);
        let watch = Watch::start(&world, "many start together");
        let daemons = [serve(&world).await, serve(&world).await];
        let args = ["rotations", "run", "production", "--wait"];
        for _ in 0..2 {
            let (one, two) = tokio::join!(world.rekeyd(&args), world.rekeyd(&args));
            for out in [one, two] {
                assert!(out.status == 0 || out.status == 1 && out.stderr.contains("open"), "{out:?}");
            }
        }
        until("two runs are done", async || runs_in(&world, &["done"]).await >= 2).await;
        reconfigure(&world, OFTEN, NEVER);
        for daemon in &daemons {
            signal(daemon, Signal::SIGHUP);
        }
        at_rest(&world).await;
        for daemon in daemons {
            stop(daemon).await;
        }
        watch.stop().await;
        let runs = ledger::Ledger::read(&world).await.runs;
        assert_eq!(world.openrouter.keys().len(), runs.len() + 1, "one key a run, and the first: {runs:?}");
        assert_eq!(world.living().len(), 1);
        invariants(&world, "many started together").await
    }
}

/// The owner is stopped with this call in flight; another takes over; the call lands late; the owner goes on.
async fn paused(db: Db, label: &str) -> Proof {
    let case = format!("stopped in {label}");
    let mut world = World::new(db).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    world.adopt().await;
    let held = world.script.hold(label, When::Before).survive_client();
    let mut owner = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    held.arrived().await;
    freeze(&world, &owner).await;
    let daemon = serve(&world).await;
    until(&case, async || runs_in(&world, &["done"]).await == 1).await;
    let before = journal(&world).await;
    held.release();
    until("it lands", async || {
        let requests = world.openrouter.requests().into_iter().chain(world.github.requests());
        requests.filter(|request| request.label == label).all(|request| request.settled)
    })
    .await;
    signal(&owner, Signal::SIGCONT);
    let ended = tokio::time::timeout(Duration::from_mins(1), owner.wait()).await;
    ended.expect("the owner sees that it lost its lease").unwrap();
    until("what it did outside is repaired", async || world.living().len() == 1).await;
    stop(daemon).await;
    let after = journal(&world).await;
    assert_eq!(before, after[..before.len()], "{case}: the late owner changed nothing in the store (I6)");
    invariants(&world, &case).await.and("I6")
}

/// Ids and statuses of the effects of runs, oldest first.
async fn journal(world: &World) -> Vec<(String, String, String)> {
    let effects = ledger::Ledger::read(world).await.effects;
    let of_runs = effects.into_iter().filter(|effect| effect.run.is_some());
    of_runs.map(|effect| (effect.kind, effect.target, effect.status)).collect()
}

fault! {
    async fn fault_19_owner_stopped_past_its_lease(db: Db) {
        let (create, publish, disable) =
            tokio::join!(paused(db, "create_key"), paused(db, "put_secret"), paused(db, "patch_key"));
        drop((create, publish));
        disable
    }
}

fault! {
    async fn fault_20_two_deletes_race_for_the_last_two_keys(db: Db) {
        let world = World::new(db).await;
        let create = ["accounts", "keys", "main", "create", "--json"];
        let mut hashes = Vec::new();
        for _ in 0..2 {
            let issued = world.rekeyd(&create).await.ok().json();
            hashes.push(issued["hash"].as_str().unwrap().to_owned());
        }
        world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true);
        world.script.always("list_keys", When::After, Act::Delay(Duration::from_millis(300)));
        let delete = |hash: &str| {
            let args = ["accounts", "keys", "main", "delete", hash, "--yes"].map(str::to_owned);
            let world = &world;
            async move { world.rekeyd(&args.each_ref().map(String::as_str)).await }
        };
        let (one, two) = tokio::join!(delete(&hashes[0]), delete(&hashes[1]));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [0, 3], "one goes, the other is the last regular key: {one:?} {two:?}");
        let left = world.living();
        assert_eq!(left.len(), 1);
        // Production takes the one that is left.
        let secrets = world.openrouter.issued_secrets();
        let hash = |secret: &String| rekeyd::domain::secret::Secret::new(secret.clone()).sha256_hex();
        let secret = secrets.iter().find(|secret| hash(secret) == left[0].hash).unwrap();
        world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, secret);
        world.private("agent.env", &format!("{SECRET}={secret}\n"));
        invariants(&world, "two deletes").await
    }
}

/// Rotations of one account, each with a file of its own, that are due every night.
pub(super) fn due_every_night(world: &World, many: usize) {
    let mut more = String::new();
    for n in 0..many {
        let path = world.path(&format!("due-{n}"));
        more.push_str(&format!(
            "[[destinations]]\nname = \"place-{n}\"\ntype = \"file\"\npath = \"{}\"\nformat = \"raw\"\n\
             [[rotations]]\nname = \"due-{n}\"\naccount = \"main\"\nschedule = \"0 0 3 * * *\"\n\
             destinations = [\"place-{n}\"]\n",
            path.display()
        ));
    }
    world.configure_with(&more, r#"["github-production", "agent-env"]"#);
}

/// Three nights without a process: each rotation is started once, a few at a visit, and is next due in the future.
async fn started(db: Db, many: usize) -> Proof {
    let world = World::new(db).await;
    due_every_night(&world, many);
    let engine = world.engine(Ahead::by(Span(0))).await;
    passes::look_at_schedules(&engine).await.unwrap();
    drop(engine);
    let engine = world.engine(Ahead::by(Span::hours(72))).await;
    assert_eq!(
        passes::look_at_schedules(&engine).await.unwrap().len(),
        1,
        "one account has something to start"
    );
    let mut visits = Vec::new();
    let mut session = session(&engine).await;
    loop {
        let started = passes::start_due(&mut session).await.unwrap();
        if started.is_empty() {
            break;
        }
        visits.push(started.len());
        if visits.len() % 20 == 0 {
            session.close().await.unwrap();
            session = self::session(&engine).await;
        }
    }
    session.close().await.unwrap();
    assert!(visits.iter().all(|started| *started <= 3), "they are spread over visits: {visits:?}");
    assert_eq!(visits.iter().sum::<usize>(), many, "each is caught up once");
    let rows = ledger::rows(&world, "SELECT rotation, count(*) FROM runs GROUP BY rotation").await;
    assert!(rows.len() == many && rows.iter().all(|row| row.get::<i64, _>(1) == 1));
    let overdue = engine.store().rotations().await.unwrap();
    let now = engine.clock().now();
    let overdue = overdue.iter().filter(|row| row.next_due_at.is_some_and(|due| due <= now)).count();
    assert_eq!(overdue, 0, "the next is due in the future");
    invariants(&world, "many were due").await
}

/// The same by the daemon, which works them to their ends: never many at one time.
async fn worked(db: Db, many: usize) -> Proof {
    let world = World::new(db).await;
    due_every_night(&world, many);
    let engine = world.engine(Ahead::by(Span::hours(-72))).await;
    passes::look_at_schedules(&engine).await.unwrap();
    drop(engine);
    let daemon = serve(&world).await;
    until("all are done", async || runs_in(&world, &["done"]).await == many).await;
    stop(daemon).await;
    assert_eq!(world.openrouter.keys().len(), many + 1, "one key each, and the first");
    let spans = ledger::rows(&world, "SELECT started_at, finished_at FROM runs").await;
    let spans: Vec<(i64, i64)> = spans.iter().map(|row| (row.get(0), row.get(1))).collect();
    let open_at = |at: i64| spans.iter().filter(|(begun, ended)| *begun <= at && at < *ended).count();
    let most = spans.iter().map(|(begun, _)| open_at(*begun)).max().unwrap();
    // A visit starts three; on a slow machine it may leave some of them to the next.
    assert!(most <= many / 2, "{most} of {many} were open at one time");
    invariants(&world, "many were worked").await
}

fault! {
    async fn fault_26_five_hundred_due_after_three_periods(db: Db) {
        // Not together: five hundred are a long computation, in which the others would wait for nothing.
        drop(worked(db, 24).await);
        started(db, 500).await
    }
}
