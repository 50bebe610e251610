//! Faults 9, 23, 25, 27 and 29 to 31: restored stores, lost answers, clocks, storms, and the end of a process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rekeyd::domain::time::Span;
use rekeyd::engine::{self, Engine, Opened, Progress, Session, Start};
use rekeyd::sim::fault::{Act, Rule, When};
use rekeyd::sim::smtp::Mailbox;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::crowd::{NEVER, OFTEN};
use super::invariants::{Before, Proof, Watch, invariants, invariants_since};
use super::{alerts, at_rest, ended, fault, ledger, reconfigure, rotate, runs_in, serve, stop, until};
use crate::support::office::email;
use crate::support::{Ahead, Db, World};

// --- 9 ---------------------------------------------------------------------------------------------------------

/// A copy of the database as it is now, for a clone to work on. Returns its URL. On SQLite the backup stays beside it:
/// one that somebody worked on is whole only together with its log.
pub async fn copied(world: &World, db: Db) -> String {
    if db == Db::Sqlite {
        let (backup, copy) = (world.path("backup.db"), world.path("copy.db"));
        world.rekeyd(&["db", "backup", backup.to_str().unwrap()]).await.ok();
        std::fs::copy(backup, &copy).unwrap();
        return format!("sqlite:{}", copy.display());
    }
    let (server, name) = world.database.url.rsplit_once('/').unwrap();
    let copy = format!("{name}_copy");
    on_the_server(server, &[format!("CREATE DATABASE {copy} TEMPLATE {name}")]).await;
    format!("{server}/{copy}")
}

async fn on_the_server(server: &str, statements: &[String]) {
    let mut admin = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    for statement in statements {
        admin.execute(AssertSqlSafe(statement.clone())).await.unwrap();
    }
}

/// Puts the copy in the place of the database.
pub async fn restore(world: &World, db: Db, copy: &str) {
    if db == Db::Sqlite {
        for tail in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(world.path(&format!("rekeyd.db{tail}"))));
        }
        std::fs::copy(world.path("backup.db"), world.path("rekeyd.db")).unwrap();
        return;
    }
    let (server, name) = world.database.url.rsplit_once('/').unwrap();
    let copy = copy.rsplit('/').next().unwrap();
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    on_the_server(server, &[drop, format!("CREATE DATABASE {name} TEMPLATE {copy}")]).await;
}

fault! {
    async fn fault_09_a_restored_database_and_a_clone(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let copy = copied(&world, db).await;
        rotate(&world).await;
        let (current, keys) = (world.at_github(), world.openrouter.keys());
        // The clone runs beside the original.
        let mut clone = world.command(&["rotations", "run", "production", "--wait"]);
        let out = ended(clone.env("REKEYD_DATABASE_URL", &copy).spawn().unwrap()).await;
        assert!(!out.status.success(), "{out:?}");
        assert_eq!((world.at_github(), world.openrouter.keys()), (current.clone(), keys), "it changed nothing");
        assert_eq!(rotate(&world).await["outcome"], "done", "the original goes on");
        drop(invariants(&world, "a clone ran beside it").await);
        // The original is lost, and the copy restored in its place.
        let current = world.at_github();
        let lost = Before::now(&world);
        restore(&world, db, &copy).await;
        let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
        assert_ne!(out.status, 0, "{out:?}");
        assert_eq!(world.rotation().await["state"], "frozen");
        assert!(alerts(&world).await.contains(&"account_frozen".to_owned()));
        assert_eq!(world.rekeyd(&["rotations", "run", "production"]).await.status, 3);
        assert_eq!((world.at_github(), world.living().len()), (current.clone(), 1), "nothing was touched");
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        let unsure = world.rekeyd(&["rotations", "run", "production"]).await;
        assert_eq!(unsure.status, 2, "it wants an adopt first: {unsure:?}");
        world.rekeyd_with(&["rotations", "adopt", "production", "--secret-stdin"], &current.unwrap()).await.ok();
        let run = rotate(&world).await;
        assert!(run["generation"].as_i64().unwrap() > 3, "generations only grow: {run}");
        invariants_since(&world, &lost, "after the thaw").await
    }
}

// --- 23 --------------------------------------------------------------------------------------------------------

fault! {
    async fn fault_23_answers_of_disable_and_delete_are_lost(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        for label in ["patch_key", "delete_key"] {
            world.script.once(label, When::After, Act::Reset);
        }
        let run = rotate(&world).await;
        assert_eq!(run["outcome"], "done", "{run}");
        for label in ["patch_key", "delete_key"] {
            let sent = world.openrouter.requests().iter().filter(|request| request.label == label).count();
            assert_eq!(sent, 1, "{label}: what is done is not done again");
        }
        invariants(&world, "lost answers").await
    }
}

// --- 25 -------------------------------------------------------------------------------------------------------

pub async fn session(engine: &Engine) -> Box<Session<'_>> {
    for _ in 0..300 {
        if let Opened::Ready(session) = engine::open_session(engine, "main").await.unwrap() {
            return session;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the account is busy for ever");
}

/// Steps of the open run, until it waits, by an engine whose clock is so far ahead of the machine's and the provider's.
async fn steps_ahead(world: &World, ahead: Span) -> Vec<String> {
    let engine = world.engine(Ahead::by(ahead)).await;
    let run = engine.store().open_runs().await.unwrap().remove(0).run.id;
    let mut session = session(&engine).await;
    let mut did = Vec::new();
    while did.len() < 200 {
        let report = engine::step(&mut session, &run).await.unwrap();
        did.push(format!("{}: {:?} {:?}", report.state, report.did, report.progress));
        if matches!(report.progress, Progress::Wait(..)) {
            break;
        }
    }
    session.close().await.unwrap();
    did
}

/// A run in grace whose waits are long over by the wrong clock, and not by the right one.
async fn jump(db: Db, ahead: Span) -> Proof {
    let case = format!("our clock is {} s ahead", ahead.0 / 1000);
    let mut world = World::new(db).await;
    (world.waits.grace, world.waits.observe) = ("5s", "1s");
    world.configure();
    world.adopt().await;
    let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
    assert_eq!(run["state"], "grace", "{run}");
    // Both waits are over by the provider's clock, and nothing but the skew is in the way.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let did = steps_ahead(&world, ahead).await;
    for key in world.openrouter.keys() {
        assert!(!key.disabled && !key.deleted, "{case}: {} was touched (I13)", key.name);
    }
    assert!(alerts(&world).await.contains(&"clock_skew".to_owned()), "{case}: {did:#?}");
    // The clock is right again.
    let daemon = serve(&world).await;
    world.rekeyd(&["runs", "resume", run["id"].as_str().unwrap()]).await;
    until(&case, async || runs_in(&world, &["done"]).await == 1).await;
    stop(daemon).await;
    assert!(!alerts(&world).await.contains(&"clock_skew".to_owned()), "{case}");
    invariants(&world, &case).await.and("I13")
}

/// Two replicas take turns with the same run.
async fn apart(db: Db) -> Proof {
    let mut world = World::new(db).await;
    world.waits.grace = "20s";
    world.configure();
    world.adopt().await;
    let begun = Instant::now();
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    for _ in 0..3 {
        steps_ahead(&world, Span::minutes(10)).await;
        steps_ahead(&world, Span(0)).await;
        // On a slow machine it may be over by the right clock too.
        let over = begun.elapsed() > Duration::from_secs(20);
        assert!(over || world.living().len() == 2, "grace is not over by the right clock (I13)");
    }
    let daemon = serve(&world).await;
    until("done", async || runs_in(&world, &["done"]).await == 1).await;
    stop(daemon).await;
    invariants(&world, "replicas ten minutes apart").await.and("I13")
}

fault! {
    async fn fault_25_clocks_that_are_wrong(db: Db) {
        let (year, day, replicas) = tokio::join!(
            jump(db, Span::hours(24 * 365)),
            jump(db, Span::hours(-24)),
            apart(db),
        );
        drop((year, day));
        replicas
    }
}

// --- 27 --------------------------------------------------------------------------------------------------------

fault! {
    async fn fault_27_the_mail_server_is_down(db: Db) {
        let world = World::new(db).await;
        let mailbox = Mailbox::start().await;
        mailbox.set_down(true);
        let text = email(&mailbox, "group_within = \"0s\"\ndigest = \"\"");
        world.configure_with(&text, r#"["github-production", "agent-env"]"#);
        world.adopt().await;
        let daemon = serve(&world).await;
        world.rekeyd(&["rotations", "run", "production", "--leaked", "--wait"]).await.ok();
        let tried = "SELECT message FROM deliveries WHERE attempts >= 2";
        until("tried more than once", async || !ledger::rows(&world, tried).await.is_empty()).await;
        mailbox.set_down(false);
        let waiting = "SELECT id FROM notices WHERE mailed = 0 UNION ALL \
                       SELECT message FROM deliveries WHERE sent_at IS NULL AND refused = 0";
        until("all told", async || ledger::rows(&world, waiting).await.is_empty()).await;
        stop(daemon).await;
        let mails = mailbox.mails();
        let mut ids: Vec<_> = mails.iter().map(|mail| mail.header("message-id").unwrap()).collect();
        ids.sort();
        ids.dedup();
        assert!(!ids.is_empty() && ids.len() == mails.len(), "each once: {ids:?}");
        for mail in &mails {
            let leaked = world.openrouter.issued_secrets().into_iter().any(|secret| mail.raw.contains(&secret));
            assert!(!leaked, "a mail holds a secret (I11)");
        }
        assert!(mails.iter().any(|mail| mail.subject().contains("leak")), "{mails:?}");
        invariants(&world, "the mail server was down").await
    }
}

// --- 29, 30 ----------------------------------------------------------------------------------------------------

async fn storm(db: Db) -> Proof {
    let world = Arc::new(World::new(db).await);
    world.adopt().await;
    for label in ["list_keys", "whoami", "create_key", "put_secret", "patch_key", "delete_key"] {
        world.script.add(Rule::new(label, When::Before, Act::rate_limited(Some(1))).nth(2).times(2));
        world.script.add(Rule::new(label, When::After, Act::Delay(Duration::from_secs(30))).nth(5).times(1));
    }
    world.script.once("create_key", When::Before, Act::rate_limited(None));
    let watch = Watch::start(&world, "storm");
    let daemon = serve(&world).await;
    until("done", async || {
        // What fails before anything was made starts nothing, and is simply asked for again.
        let runs = ledger::Ledger::read(&world).await.runs;
        if !runs.iter().any(|run| run.open || run.state == "done") {
            world.rekeyd(&["rotations", "run", "production"]).await;
        }
        runs.iter().any(|run| run.state == "done")
    })
    .await;
    stop(daemon).await;
    watch.stop().await;
    assert_eq!(world.living().len(), 1);
    invariants(&world, "storm").await
}

/// A provider that names a time is not asked before it, although the backoff of a first failure is shorter.
async fn told_to_wait(db: Db) -> Proof {
    const NAMED: u64 = 8;
    let world = World::new(db).await;
    world.adopt().await;
    let held = world.script.hold("patch_key", When::Before);
    world.script.once("patch_key", When::Before, Act::rate_limited(Some(NAMED)));
    let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    held.arrived().await;
    let asked = Instant::now();
    held.release();
    let times = || world.openrouter.requests().iter().filter(|request| request.label == "patch_key").count();
    until("asked again", async || times() == 2).await;
    assert!(asked.elapsed() >= Duration::from_secs(NAMED), "asked again after {:?}", asked.elapsed());
    assert!(ended(child).await.status.success());
    invariants(&world, "told to wait").await
}

fault! {
    async fn fault_29_a_storm_of_429_and_slow_answers(db: Db) {
        let (storm, waited) = tokio::join!(storm(db), told_to_wait(db));
        drop(waited);
        storm
    }
}

/// This call is answered with an error whose text repeats the credential of the request.
async fn echoed(db: Db, label: &str, nth: u64) -> Proof {
    let case = format!("{label} echoes the key");
    let world = World::new(db).await;
    world.adopt().await;
    world.script.nth(label, nth, When::Before, Act::EchoKey(400));
    let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
    assert!(!out.stderr.contains("panicked"), "{case}: {out:?}");
    world.assert_nothing_leaked();
    let daemon = serve(&world).await;
    if runs_in(&world, &["parked", "grace", "publishing", "issuing", "verifying", "observing"]).await > 0 {
        let id = world.newest_run().await["id"].as_str().unwrap().to_owned();
        world.rekeyd(&["runs", "resume", &id]).await;
    }
    until(&case, async || runs_in(&world, &["done", "aborted"]).await == 1).await;
    stop(daemon).await;
    invariants(&world, &case).await
}

fault! {
    async fn fault_30_an_error_body_that_echoes_the_key(db: Db) {
        let (create, look, put, disable) = tokio::join!(
            echoed(db, "create_key", 1),
            echoed(db, "whoami", 4),
            echoed(db, "put_secret", 1),
            echoed(db, "patch_key", 1),
        );
        drop((create, look, put));
        disable
    }
}

// --- 31 --------------------------------------------------------------------------------------------------------

/// SIGTERM at one call of a scheduled rotation: finished, committed, the lease given back, carried on.
async fn stopped_at(db: Db, call: u64) -> Proof {
    let case = format!("SIGTERM at call {call}");
    let world = World::new(db).await;
    world.adopt().await;
    reconfigure(&world, "every = \"30d\"", OFTEN);
    let held = world.script.hold_nth(world.script.count() + call, When::After);
    let daemon = serve(&world).await;
    tokio::time::timeout(Duration::from_mins(1), held.arrived()).await.expect("so many calls are made");
    let stopping = tokio::spawn(stop(daemon));
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.release();
    stopping.await.unwrap();
    let leases = ledger::rows(&world, "SELECT resource FROM leases WHERE expires_at > 0").await;
    let leases: Vec<String> = leases.iter().map(|row| row.get(0)).collect();
    assert_eq!(leases, Vec::<String>::new(), "{case}: leases are left");
    let in_flight = ledger::rows(&world, "SELECT id FROM effects WHERE status = 'intended'").await;
    assert!(in_flight.is_empty(), "{case}: the call in flight was not committed");
    reconfigure(&world, OFTEN, NEVER);
    let daemon = serve(&world).await;
    at_rest(&world).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 1, "{case}");
    invariants(&world, &case).await
}

fault! {
    async fn fault_31_sigterm_in_every_state(db: Db) {
        let mut proof = None;
        // From the first look of an idle daemon to the delete of the old key.
        for calls in [[2, 6, 9, 12], [15, 18, 22, 26]] {
            let [a, b, c, d] = calls.map(|call| stopped_at(db, call));
            proof = Some(tokio::join!(a, b, c, d).3);
        }
        proof.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_by_a_wrong_clock_creates_nothing() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let engine = world.engine(Ahead::by(Span::hours(24 * 365))).await;
    let mut session = session(&engine).await;
    let run = engine::start_run(&mut session, "production", Start::Manual).await.unwrap();
    for _ in 0..5 {
        engine::step(&mut session, &run.id).await.unwrap();
    }
    session.close().await.unwrap();
    assert_eq!(world.openrouter.keys().len(), 1, "the plan needs clocks that agree (R11)");
}
