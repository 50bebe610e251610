//! Fault 41: bad news travels, whatever else hangs or is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rekeyd::crypto::{Purpose, Use};
use rekeyd::domain::time::Span;
use rekeyd::engine::passes;
use rekeyd::sim::fault::{Act, When};
use rekeyd::store::Store;
use sqlx::Row;
use tokio::net::TcpListener;

use super::invariants::invariants;
use super::{alerts, fault, ledger, reconfigure, runs_in, serve, stop, until};
use crate::support::{Ahead, Db, World};

const HANGING: usize = 100;

/// A host that takes connections and never answers; counts them.
async fn silent_host() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (url, calls)
}

/// So many stored keys of a provider of that host.
async fn keep_hanging(world: &World, url: &str) {
    let other = world.openrouter.new_regular_key("other");
    world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], &other).await.ok();
    let address = world.seal(&Purpose::of(Use::Endpoint, "silent"), url);
    let provider = format!(
        "INSERT INTO providers (name, kind, base_url, base_url_seal, next_number, created_at)
         VALUES ('silent', 'custom', '{url}', '{address}', {}, 0)",
        HANGING + 1
    );
    ledger::rows(world, &provider).await;
    let columns =
        "priority, is_active, settings, fingerprint, mask, role, origin, verdict, created_at, updated_at";
    for number in 1..=HANGING {
        let id = format!("silent{number:03}");
        let purpose = Purpose { provider: Some("silent"), ..Purpose::of(Use::Key, &id) };
        let secret = world.seal(&purpose, &other);
        let key = format!(
            "INSERT INTO keys (id, provider, number, name, secret, {columns}) SELECT '{id}', 'silent', {number}, 'k', \
             '{secret}', {columns} FROM keys WHERE role = 'manual' AND provider = 'openrouter'"
        );
        ledger::rows(world, &key).await;
    }
}

/// The tests of a moment ago are forgotten: every key is due when the daemon starts.
async fn forget_tests(world: &World) {
    ledger::rows(world, "UPDATE keys SET health = NULL, next_look_at = 0").await;
}

fault! {
    async fn fault_41_a_dead_key_beside_hundreds_that_hang(db: Db) {
        let mut world = World::new(db).await;
        world.waits.confirm_after = "3s";
        world.configure();
        reconfigure(&world, "[tests]", "[tests]\ntimeout = \"10s\"\nallow_private_endpoints = true\nhost_spacing = \"10ms\"");
        world.adopt().await;
        let (url, calls) = silent_host().await;
        keep_hanging(&world, &url).await;
        assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
        forget_tests(&world).await;
        let daemon = serve(&world).await;
        let created = || world.openrouter.requests().iter().any(|request| request.label == "create_key");
        until("a key is asked for", async || created()).await;
        // Four at a time for ten seconds each: the pass had minutes to go.
        let seen = calls.load(Ordering::SeqCst);
        assert!((1..HANGING).contains(&seen), "the pass over the others was not over: {seen}");
        until("healed", async || runs_in(&world, &["done"]).await == 1).await;
        assert!(calls.load(Ordering::SeqCst) < HANGING);
        stop(daemon).await;
        invariants(&world, "hundreds hang").await
    }
}

fault! {
    async fn fault_41_a_dead_key_of_a_busy_account(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let row = ledger::rows(&world, "SELECT identity FROM account_entries WHERE name = 'main'").await;
        let account = format!("account:{}", row[0].get::<String, _>(0));
        let store = Store::open(&world.database.url, 2).await.unwrap();
        let lease = store.acquire(&account, "somebody else", Span::minutes(10)).await.unwrap().unwrap();
        assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
        forget_tests(&world).await;
        let daemon = serve(&world).await;
        until("it is told of", async || alerts(&world).await.contains(&"key_invalid".to_owned())).await;
        // It asked for the account meanwhile, and got nothing. The next pass is minutes away.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        store.release(&lease).await.unwrap();
        store.close().await;
        until("healed", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        invariants(&world, "the account was busy").await
    }
}

/// Ordinary runs that are due while the key dies.
const ORDINARY: usize = 24;

/// A dead production key of an account that works two dozen other runs with slow calls, looks at its destinations and does
/// what a person says. Between the decision to heal and the create of its successor nobody else's run is worked; that the
/// decision itself does not wait for them, `safety::turns` shows.
async fn dead_beside_many(db: Db, daemons: usize) -> super::invariants::Proof {
    let mut world = World::new(db).await;
    (world.waits.confirm_after, world.waits.tests) = ("3s", "*/2 * * * * *");
    super::crowd::due_every_night(&world, ORDINARY);
    world.adopt().await;
    let engine = world.engine(Ahead::by(Span::hours(-72))).await;
    passes::look_at_schedules(&engine).await.unwrap();
    drop(engine);
    world.script.always("create_key", When::After, Act::Delay(Duration::from_secs(1)));
    let mut serving = Vec::new();
    for _ in 0..daemons {
        serving.push(serve(&world).await);
    }
    let created =
        || world.openrouter.requests().iter().filter(|request| request.label == "create_key").count();
    until("the account is busy", async || created() > 1).await;
    assert!(world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true));
    let (person, ()) = tokio::join!(
        world.rekeyd(&["rotations", "plan", "due-0"]),
        until("healed", async || {
            let healed = "SELECT id FROM runs WHERE cause = 'heal' AND state = 'done'";
            !ledger::rows(&world, healed).await.is_empty()
        })
    );
    person.ok();
    let steps = "SELECT count(*) FROM effects e JOIN runs r ON r.id = e.run WHERE r.cause = 'schedule'
         AND e.started_at > (SELECT min(started_at) FROM runs WHERE cause = 'heal')
         AND e.started_at < (SELECT min(h.started_at) FROM effects h JOIN runs o ON o.id = h.run
                             WHERE o.cause = 'heal' AND h.kind = 'create')";
    let between: i64 = ledger::rows(&world, steps).await[0].get(0);
    world.script.clear();
    let many = super::runs_in(&world, &["done"]);
    assert!(between <= 1, "{between} of the others went before; {many} runs are done", many = many.await);
    until("all are done", async || runs_in(&world, &["done"]).await == ORDINARY + 1).await;
    for daemon in serving {
        stop(daemon).await;
    }
    invariants(&world, "many others were worked").await
}

fault! {
    async fn fault_41_a_dead_key_beside_many_runs_of_its_account(db: Db) {
        dead_beside_many(db, 1).await
    }
}

/// The one that sees the key die is not always the one that works the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_key_beside_many_runs_that_a_replica_works() {
    dead_beside_many(Db::Postgres, 2).await.write("replicas_a_dead_key", Db::Postgres);
}
