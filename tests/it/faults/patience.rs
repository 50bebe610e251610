//! Faults 36, 37, 42 and 50: what asks to wait, what never stays as it was written, and what is large and slow.

use std::time::Duration;

use rekeyd::domain::time::Span;
use rekeyd::sim::fault::{Act, Rule, When};
use sqlx::Row;

use super::invariants::{Proof, invariants};
use super::staging::Stage;
use super::{alerts, fault, ledger, runs_in, serve, stop, until};
use crate::support::ledger::pass_time;
use crate::support::world::SECRET;
use crate::support::{Db, World};

/// Long enough for many calls of whoever does not wait.
const A_WHILE: Duration = Duration::from_secs(4);

/// A rotation of the same account with a place of its own, and its key.
async fn second(world: &World) -> String {
    let key = world.openrouter.new_regular_key("second");
    let text = format!(
        "[[rotations]]\nname = \"second\"\naccount = \"main\"\nevery = \"30d\"\ndestinations = [\"second-env\"]\n\
         grace = \"1s\"\nquiet = \"1s\"\nobserve = \"1s\"\n\
         [[destinations]]\nname = \"second-env\"\ntype = \"file\"\npath = \"{}\"\nformat = \"raw\"\n",
        world.path("second").display()
    );
    let before = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    std::fs::write(world.path("rekeyd.toml"), format!("{before}{text}")).unwrap();
    world.private("second", &key);
    world.rekeyd_with(&["rotations", "adopt", "second", "--secret-stdin"], &key).await.ok();
    key
}

async fn ended_well(world: &World, args: &[&str]) {
    let run = world.rekeyd(&[args, &["--wait", "--json"]].concat()).await.ok().json();
    assert_eq!(run["outcome"], "done", "{run}");
}

fault! {
    async fn fault_36_a_vendor_asks_to_wait_for_a_day(db: Db) {
        let stage = Stage::new(db, false).await;
        let world = &stage.world;
        second(world).await;
        // A cap of deployments a day.
        stage.vercel.settings(|settings| settings.deployments_per_day = 0);
        world.rekeyd(&["rotations", "run", "production"]).await;
        let daemon = serve(world).await;
        until("it is asked", async || stage.asked("create_deployment") == 1).await;
        until("the others have it", async || world.at_github().as_deref() != Some(&world.first)).await;
        let calls = || stage.vercel.requests().len();
        until("it waits for a day", async || {
            let sql = "SELECT not_before - wait_set_at FROM holdings WHERE destination = 'vercel'";
            let day = Span::hours(23).0..=Span::hours(25).0;
            ledger::rows(world, sql).await.iter().any(|row| day.contains(&row.get::<i64, _>(0)))
        })
        .await;
        let before = calls();
        ended_well(world, &["rotations", "run", "second"]).await;
        ended_well(world, &["rotations", "run", "second", "--leaked"]).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!((stage.asked("create_deployment"), calls()), (1, before), "no call before the day is over");
        let old = world.openrouter.key_by_hash(&world.first_hash()).unwrap();
        assert!(!old.disabled, "production runs with the old key");
        stop(daemon).await;
        pass_time(world, Span::hours(23)).await;
        let daemon = serve(world).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(stage.asked("create_deployment"), 1, "the day is not over");
        stop(daemon).await;
        stage.vercel.settings(|settings| settings.deployments_per_day = 100);
        pass_time(world, Span::hours(2)).await;
        let daemon = serve(world).await;
        until("done", async || runs_in(world, &["done"]).await == 3).await;
        stop(daemon).await;
        assert_eq!(stage.vercel.production_sees(&stage.project, SECRET), world.at_github());
        invariants(world, "a vendor asked to wait for a day").await
    }
}

/// Something at Vercel changes every value as it is written.
async fn never_stays(db: Db, leaked: bool) -> Proof {
    let case = format!("it never stays, leaked: {leaked}");
    let stage = Stage::new(db, false).await;
    let world = &stage.world;
    if !leaked {
        // An emergency writes over what somebody else put there in any case.
        super::reconfigure(world, "redeploy = true", "redeploy = false\non_drift = \"overwrite\"");
        super::reconfigure(world, "promote = false\n", "");
    }
    stage.vercel.settings(|settings| settings.alter_writes = true);
    let args = ["rotations", "run", "production", "--leaked"];
    world.rekeyd(if leaked { &args } else { &args[..3] }).await;
    let daemon = serve(world).await;
    until(&case, async || alerts(world).await.contains(&"destination_drift".to_owned())).await;
    // Written again and again, and each time later: six writes in vain are half a minute.
    let sql = "SELECT h.attempts, h.not_before - h.wait_set_at FROM holdings h JOIN addresses a ON a.address = h.address
         WHERE h.destination = 'vercel' AND a.drift IS NOT NULL ORDER BY h.seq DESC";
    let waits = async || {
        let rows = ledger::rows(world, sql).await;
        rows.first().map_or((0, 0), |row| (row.get::<i64, _>(0), row.get::<i64, _>(1)))
    };
    until(&case, async || waits().await.0 >= 6).await;
    let (attempts, wait) = waits().await;
    assert!(
        wait >= Span::seconds(16).0,
        "{case}: {attempts} writes in vain, and only {wait} ms until the next"
    );
    let writes = stage.asked("patch_env");
    assert!(writes <= usize::try_from(attempts).unwrap() + 1, "{case}: {writes} writes");
    assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled, "{case}");
    let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
    assert!(why.contains("vercel"), "{case}: {why}");
    stop(daemon).await;
    stage.vercel.settings(|settings| settings.alter_writes = false);
    pass_time(world, Span::minutes(15)).await;
    let daemon = serve(world).await;
    until(&case, async || runs_in(world, &["done"]).await == 1).await;
    stop(daemon).await;
    assert!(!alerts(world).await.contains(&"destination_drift".to_owned()), "{case}");
    invariants(world, &case).await
}

fault! {
    async fn fault_37_a_value_that_never_reads_back_as_written(db: Db) {
        let (overwrite, leaked) = tokio::join!(never_stays(db, false), never_stays(db, true));
        drop(overwrite);
        leaked
    }
}

fault! {
    async fn fault_42_an_account_of_10_000_keys_behind_a_slow_provider(db: Db) {
        let mut world = World::new(db).await;
        // All pages of two readings take much longer than one call may, and than the lease is.
        (world.waits.lease, world.waits.call_timeout) = ("10s", "4s");
        world.configure();
        for n in 0..9_999 {
            world.openrouter.new_regular_key(&format!("somebody's {n}"));
        }
        world.script.add(Rule::new("list_keys", When::Before, Act::Delay(Duration::from_millis(50))));
        world.adopt().await;
        let pages =
            || world.openrouter.requests().iter().filter(|request| request.label == "list_keys").count();
        let out = world.rekeyd(&["accounts", "keys", "main", "--json"]).await.ok().json();
        assert_eq!(out.as_array().unwrap().len(), 10_000);
        assert!(pages() >= 4 * 101, "{} pages", pages());
        ended_well(&world, &["rotations", "run", "production"]).await;
        assert!(world.openrouter.key_by_hash(&world.first_hash()).unwrap().deleted);
        assert!(!alerts(&world).await.contains(&"call_budget".to_owned()), "a listing is one look");
        invariants(&world, "10,000 keys behind a slow provider").await
    }
}

const YEAR: u64 = 365 * 24 * 60 * 60;

fault! {
    async fn fault_50_a_retry_after_of_a_year(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let year = || Act::rate_limited(Some(YEAR));
        world.script.always("create_key", When::Before, year());
        let asked = |label: &str| world.openrouter.requests().iter().filter(|call| call.label == label).count();
        world.rekeyd(&["rotations", "run", "production"]).await;
        let until_of = async || {
            let run = ledger::Ledger::read(&world).await.runs.remove(0);
            let wait = &run.doc["state"]["issuing"]["until"];
            Span(wait["at"].as_i64().unwrap() - wait["set_at"].as_i64().unwrap())
        };
        assert_eq!((asked("create_key"), until_of().await), (1, Span::hours(25)), "a year counts 25 hours");
        // The key is leaked: nothing else is asked of the account, but not so late.
        world.rekeyd(&["rotations", "run", "production", "--leaked"]).await;
        assert_eq!((asked("create_key"), until_of().await), (2, Span::hours(25)));
        let later = async |span: Span| {
            pass_time(&world, span).await;
            let daemon = serve(&world).await;
            tokio::time::sleep(A_WHILE).await;
            stop(daemon).await;
        };
        later(Span::minutes(13)).await;
        assert_eq!(asked("create_key"), 2, "13 minutes are not 15");
        world.script.clear();
        world.script.once("put_secret", When::Before, year());
        pass_time(&world, Span::minutes(2)).await;
        let daemon = serve(&world).await;
        let puts = || world.github.requests().iter().filter(|call| call.label == "put_secret").count();
        until("a key is issued, and brought where it belongs", async || {
            puts() == 1 && world.in_file().as_deref() != Some(&world.first)
        })
        .await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!((asked("create_key"), puts()), (3, 1));
        stop(daemon).await;
        pass_time(&world, Span::minutes(15)).await;
        let daemon = serve(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
        assert_eq!((puts(), world.at_github()), (2, world.in_file()));
        invariants(&world, "Retry-After of a year").await
    }
}
