//! Several daemons and commands on one PostgreSQL: they share the work, any may die at any moment, a newer schema
//! stops them, and a server that fails over is lived through.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::smtp::Mailbox;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::crowd::{NEVER, OFTEN};
use super::invariants::{Watch, invariants};
use super::{alerts, at_rest, ledger, reconfigure, rotate, runs_in, serve, signal, stop, until};
use crate::support::office::email;
use crate::support::{Db, World};

async fn execute(url: &str, sql: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// Ends every connection to the world's database, whatever it is doing.
async fn cut(world: &World) {
    let (server, name) = world.database.url.rsplit_once('/').unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    execute(&format!("{server}/postgres"), &end).await;
}

/// Makes all of them read the schedule that starts nothing, and waits until nothing is open.
async fn quieten(world: &World, daemons: &[tokio::process::Child]) {
    reconfigure(world, OFTEN, NEVER);
    for daemon in daemons {
        signal(daemon, Signal::SIGHUP);
    }
    at_rest(world).await;
}

/// Three daemons, of which one dies every few seconds; people start runs and test keys meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_may_die_at_any_moment() {
    let mut world = World::new(Db::Postgres).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    let mailbox = Mailbox::start().await;
    let mail = email(&mailbox, "group_within = \"0s\"\ndigest = \"\"");
    world.configure_with(&mail, r#"["github-production", "agent-env"]"#);
    reconfigure(&world, "every = \"30d\"", OFTEN);
    let world = Arc::new(world);
    world.adopt().await;
    let watch = Watch::start(&world, "replicas die");
    let mut daemons = vec![serve(&world).await, serve(&world).await, serve(&world).await];
    for round in 0..6 {
        let args = if round % 2 == 0 { &["rotations", "run", "production"][..] } else { &["keys", "test"] };
        let out = world.rekeyd(args).await;
        assert!(!out.stderr.contains("panicked"), "{out:?}");
        tokio::time::sleep(Duration::from_millis(1_500 + 700 * round)).await;
        let mut dead = daemons.remove(0);
        dead.kill().await.unwrap();
        daemons.push(serve(&world).await);
    }
    until("runs are done", async || runs_in(&world, &["done"]).await >= 2).await;
    quieten(&world, &daemons).await;
    until("strays are gone", async || world.living().len() == 1).await;
    let unsent = "SELECT id FROM notices WHERE mailed = 0";
    until("all is told", async || ledger::rows(&world, unsent).await.is_empty()).await;
    for daemon in daemons {
        stop(daemon).await;
    }
    watch.stop().await;
    let due =
        "SELECT due_at FROM runs WHERE due_at IS NOT NULL GROUP BY rotation, due_at HAVING count(*) > 1";
    assert!(ledger::rows(&world, due).await.is_empty(), "one run a due time");
    invariants(&world, "replicas died").await.write("replicas_any_may_die", Db::Postgres);
}

/// Of each thing that must not be done by two, the calls that are open at one moment: never two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_and_a_test_are_never_worked_by_two() {
    let world = World::new(Db::Postgres).await;
    world.adopt().await;
    for label in ["put_secret", "create_key", "patch_key", "delete_key"] {
        world.script.always(label, When::Before, Act::Delay(Duration::from_millis(700)));
    }
    let daemons = [serve(&world).await, serve(&world).await, serve(&world).await];
    let args = ["rotations", "run", "production", "--wait"];
    let together = async {
        tokio::join!(world.rekeyd(&args), world.rekeyd(&args), world.rekeyd(&["keys", "test"]));
    };
    let open = |label: &str| {
        let requests = world.openrouter.requests().into_iter().chain(world.github.requests());
        requests.filter(|request| request.label == label && !request.settled).count()
    };
    let looking = async {
        loop {
            for label in ["put_secret", "create_key", "patch_key", "delete_key"] {
                assert!(open(label) <= 1, "{label} twice at one moment");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = together => {}
        () = looking => {}
    }
    for daemon in daemons {
        stop(daemon).await;
    }
    let ledger = ledger::Ledger::read(&world).await;
    for kind in ["create", "disable", "delete"] {
        let times = ledger.effects.iter().filter(|effect| effect.kind == kind).count();
        assert_eq!(times, ledger.runs.len(), "one {kind} a run: {:?}", ledger.effects);
    }
    invariants(&world, "never two").await.write("replicas_never_two_at_one", Db::Postgres);
}

/// A newer program migrated the database: an older one says so and stops, and one that runs does no more work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_an_older_schema_says_so_and_stops() {
    let world = World::new(Db::Postgres).await;
    world.adopt().await;
    let mut daemon = serve(&world).await;
    execute(
        &world.database.url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, '\\x00'::bytea, 0)",
    )
    .await;
    let ended = tokio::time::timeout(Duration::from_mins(1), daemon.wait()).await;
    assert!(!ended.expect("it stops").unwrap().success(), "systemd starts the newer program");
    let log = std::fs::read_to_string(world.path("serve.log")).unwrap();
    assert!(log.contains("newer schema"), "it says why: {log}");
    let before = world.script.count();
    for args in [&["serve"][..], &["rotations", "run", "production"]] {
        let out = world.rekeyd(args).await;
        assert_ne!(out.status, 0, "{out:?}");
        assert!(out.stderr.contains("newer"), "it says why: {}", out.stderr);
    }
    assert_eq!(world.script.count(), before, "nothing was asked of anybody");
    world.assert_destinations_work("a newer schema");
}

/// Connections are cut in the middle of whatever they do: reconnected, carried on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again() {
    let world = Arc::new(World::new(Db::Postgres).await);
    world.adopt().await;
    reconfigure(&world, "every = \"30d\"", OFTEN);
    let watch = Watch::start(&world, "connections are cut");
    let daemons = [serve(&world).await, serve(&world).await];
    for _ in 0..25 {
        cut(&world).await;
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
    until("a run is done", async || runs_in(&world, &["done"]).await >= 1).await;
    quieten(&world, &daemons).await;
    for daemon in daemons {
        stop(daemon).await;
    }
    watch.stop().await;
    // A stray of a create whose answer could not be stored goes with the next run.
    rotate(&world).await;
    assert_eq!(world.living().len(), 1);
    invariants(&world, "connections were cut").await.write("replicas_connections_cut", Db::Postgres);
}

/// The primary fails over to a standby that lacks the last commits: the account freezes, nothing is destroyed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_commits_freezes() {
    let world = World::new(Db::Postgres).await;
    world.adopt().await;
    let (server, name) = world.database.url.rsplit_once('/').unwrap();
    let admin = format!("{server}/postgres");
    execute(&admin, &format!("CREATE DATABASE {name}_standby TEMPLATE {name}")).await;
    // A daemon has a run in hand when the standby, which never heard of it, takes over.
    let held = world.script.hold("put_secret", When::After);
    reconfigure(&world, "every = \"30d\"", OFTEN);
    let daemon = serve(&world).await;
    held.arrived().await;
    execute(&admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    cut(&world).await;
    execute(&admin, &format!("ALTER DATABASE {name} RENAME TO {name}_lost")).await;
    execute(&admin, &format!("ALTER DATABASE {name}_standby RENAME TO {name}")).await;
    held.release();
    until("frozen", async || alerts(&world).await.contains(&"account_frozen".to_owned())).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 2, "nothing was destroyed (R9)");
    world.assert_destinations_work("after the failover");
    world.assert_nothing_leaked();
}
