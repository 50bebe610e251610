//! Faults 3 to 8, 10 and 11: the new key, and the store it goes to.

use std::time::Duration;

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::openrouter::{CreatedBy, KeyRow, ListingShift, MAIN_ACCOUNT};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::invariants::{Proof, invariants};
use super::{alerts, ended, fault, ledger, rotate, runs_in, serve, stop, until};
use crate::support::{Db, World};

/// Keys that rekeyd asked for and that live.
fn issued(world: &World) -> Vec<KeyRow> {
    world.living().into_iter().filter(|key| key.created_by == CreatedBy::Api).collect()
}

/// A rotation whose create is answered like this although it took place: found, killed, and made again.
async fn answer_lost(db: Db, act: Act) -> Proof {
    let case = format!("create_key answers {act:?}");
    let world = World::new(db).await;
    world.adopt().await;
    world.script.once("create_key", When::After, act);
    let run = rotate(&world).await;
    assert_eq!(run["outcome"], "done", "{case}: {run}");
    assert_eq!(world.openrouter.keys().len(), 3, "{case}: the stray, and one under a new name");
    assert_eq!(world.living().len(), 1, "{case}: the stray is gone");
    invariants(&world, &case).await
}

fault! {
    async fn fault_03_post_done_answer_lost(db: Db) {
        let (reset, bad_gateway, timeout) = tokio::join!(
            answer_lost(db, Act::Reset),
            answer_lost(db, Act::status(502)),
            answer_lost(db, Act::Hang),
        );
        drop((reset, bad_gateway));
        timeout
    }
}

fault! {
    async fn fault_04_created_with_a_truncated_body(db: Db) {
        answer_lost(db, Act::Truncate(40)).await
    }
}

/// An account that nobody asks about.
const ELSEWHERE: &str = "user_simulated_elsewhere";

fault! {
    async fn fault_05_a_stray_that_surfaces_later(db: Db) {
        let mut world = World::new(db).await;
        world.waits.tests = "*/2 * * * * *";
        world.configure();
        world.adopt().await;
        let held = world.script.hold("create_key", When::After);
        world.script.once("create_key", When::After, Act::Reset);
        let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        held.arrived().await;
        // The provider's lists do not show it: for them it belongs to somebody else.
        let stray = issued(&world).pop().unwrap();
        world.openrouter.new_provisioning_key_of(ELSEWHERE);
        world.openrouter.edit_key(&stray.hash, |key| ELSEWHERE.clone_into(&mut key.account_id));
        held.release();
        let out = ended(child).await;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(!world.openrouter.key_by_hash(&stray.hash).unwrap().disabled);
        // Hours later, when no run is open, it is there.
        world.openrouter.edit_key(&stray.hash, |key| MAIN_ACCOUNT.clone_into(&mut key.account_id));
        let daemon = serve(&world).await;
        until("the stray is gone", async || world.living().len() == 1).await;
        stop(daemon).await;
        assert!(world.openrouter.key_by_hash(&stray.hash).unwrap().deleted);
        invariants(&world, "a late stray").await
    }
}

fault! {
    async fn fault_06_a_listing_of_pages_that_shift(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        for n in 0..9 {
            world.openrouter.new_regular_key(&format!("somebody's {n}"));
        }
        world.openrouter.settings(|settings| {
            settings.page_size = 3;
            settings.listing_shifts = vec![ListingShift::Appears];
        });
        let held = world.script.hold("create_key", When::After);
        world.script.once("create_key", When::After, Act::Reset);
        let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        held.arrived().await;
        let newer = |n: u32| world.openrouter.new_regular_key(&format!("newer {n}"));
        (0..2).for_each(|n| drop(newer(n)));
        // The stray is the first of the second page when the first one loses a row: one reading passes it over, and the
        // first reading of the next listing too.
        let shifting = async {
            for n in 2..14 {
                newer(n);
                world.openrouter.settings(|settings| settings.listing_shifts = vec![ListingShift::Vanishes]);
                until("listed", async || {
                    let mut left = true;
                    world.openrouter.settings(|settings| left = !settings.listing_shifts.is_empty());
                    !left
                })
                .await;
            }
            std::future::pending::<()>().await;
        };
        held.release();
        let out = tokio::select! {
            out = ended(child) => out,
            () = shifting => unreachable!("it shifts as long as somebody reads"),
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(issued(&world).len(), 1, "the stray was found on whichever page it was");
        invariants(&world, "shifting pages").await
    }
}

/// How a database fails at the commit after the 201.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Full,
    ReadOnly,
    Gone,
}

impl Trouble {
    /// What makes it, what ends it, and whether connections are cut in between.
    fn statements(self, db: Db, name: &str) -> (Vec<String>, Vec<String>) {
        match (self, db) {
            // SQLite says the same words when the disk is full or the file read-only.
            (Self::Full | Self::ReadOnly | Self::Gone, Db::Sqlite) => {
                let words = match self {
                    Self::Full => "database or disk is full",
                    Self::ReadOnly => "attempt to write a readonly database",
                    Self::Gone => "disk I/O error",
                };
                let on = |table: &str, on: &str| {
                    format!(
                        "CREATE TRIGGER trouble_{table} BEFORE {on} ON {table} BEGIN SELECT RAISE(ABORT, '{words}'); END"
                    )
                };
                let off = |table: &str| format!("DROP TRIGGER trouble_{table}");
                (vec![on("keys", "INSERT"), on("effects", "UPDATE")], vec![off("keys"), off("effects")])
            }
            (Self::Full, Db::Postgres) => (
                vec![
                    "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION \
                     USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device'; END $$"
                        .to_owned(),
                    "CREATE TRIGGER trouble BEFORE INSERT ON keys EXECUTE FUNCTION trouble()".to_owned(),
                    "CREATE TRIGGER trouble BEFORE UPDATE ON effects EXECUTE FUNCTION trouble()".to_owned(),
                ],
                vec!["DROP FUNCTION trouble() CASCADE".to_owned()],
            ),
            (Self::ReadOnly, Db::Postgres) => (
                vec![format!("ALTER DATABASE {name} SET default_transaction_read_only = on"), cut(name)],
                vec![format!("ALTER DATABASE {name} RESET default_transaction_read_only"), cut(name)],
            ),
            (Self::Gone, Db::Postgres) => (
                vec![format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"), cut(name)],
                vec![format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")],
            ),
        }
    }

    /// Where the statements are said: PostgreSQL's own database, when this one cannot be entered.
    fn place(self, db: Db, url: &str) -> String {
        match url.rsplit_once('/') {
            Some((server, _)) if db == Db::Postgres && self != Self::Full => format!("{server}/postgres"),
            _ => url.to_owned(),
        }
    }
}

fn cut(name: &str) -> String {
    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
}

async fn say(url: &str, statements: &[String]) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    for statement in statements {
        connection.execute(AssertSqlSafe(statement.clone())).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// The key exists at the provider and cannot be stored: nothing is forgotten, and nothing made twice.
async fn store_fails(db: Db, trouble: Trouble) -> Proof {
    let case = format!("{db:?} is {trouble:?} at the commit after 201");
    let world = World::new(db).await;
    world.adopt().await;
    let held = world.script.hold("create_key", When::After);
    let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    held.arrived().await;
    let name = world.database.url.rsplit('/').next().unwrap().to_owned();
    let (make, end) = trouble.statements(db, &name);
    let place = trouble.place(db, &world.database.url);
    say(&place, &make).await;
    held.release();
    let out = tokio::time::timeout(Duration::from_mins(1), child.wait_with_output()).await.expect("it ends");
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(1), "{case}: {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(world.living().len(), 2, "{case}: made once");
    say(&place, &end).await;
    let daemon = serve(&world).await;
    until(&case, async || runs_in(&world, &["done"]).await == 1).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 1, "{case}: the key whose secret was lost is gone");
    invariants(&world, &case).await
}

fault! {
    async fn fault_07_the_database_fails_at_the_commit_after_201(db: Db) {
        let (full, read_only, gone) = tokio::join!(
            store_fails(db, Trouble::Full),
            store_fails(db, Trouble::ReadOnly),
            store_fails(db, Trouble::Gone),
        );
        drop((full, read_only));
        gone
    }
}

fault! {
    async fn fault_08_wrong_encryption_key_at_start(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let before = ledger::dump(&world).await;
        let asked = world.script.count();
        let other = rekeyd::crypto::fernet::generate_key();
        for args in [&["keys", "list"][..], &["rotations", "run", "production"][..], &["serve"][..]] {
            let out = world.rekeyd_with_key(args, other.expose()).await;
            assert_eq!(out.status, 2, "{out:?}");
            assert!(out.stderr.contains("none of the keys opens"), "{}", out.stderr);
        }
        assert_eq!(world.script.count(), asked, "nobody outside was asked for anything");
        if db == Db::Postgres {
            assert_eq!(ledger::dump(&world).await, before, "nothing was written");
        }
        rotate(&world).await;
        invariants(&world, "after the wrong key").await
    }
}

fault! {
    async fn fault_10_a_new_key_that_is_refused_for_a_while(db: Db) {
        let mut world = World::new(db).await;
        world.waits.propagation = "40s";
        world.configure();
        world.adopt().await;
        world.openrouter.settings(|settings| settings.fresh_key_refused_for = Duration::from_secs(6));
        let run = rotate(&world).await;
        assert_eq!(run["outcome"], "done", "{run}");
        assert_eq!(world.openrouter.keys().len(), 2, "it was waited for, not replaced");
        invariants(&world, "a slow key").await
    }
}

fault! {
    async fn fault_11_a_new_key_that_never_works(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.openrouter.settings(|settings| settings.fresh_key_refused_for = Duration::from_hours(1));
        let out = world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await;
        assert_eq!(out.status, 1, "{out:?}");
        assert_eq!(out.json()["outcome"], "aborted");
        assert_eq!(world.living().len(), 1, "the old key was never touched");
        assert_eq!(world.at_github().as_deref(), Some(world.first.as_str()));
        assert!(alerts(&world).await.contains(&"rotation_failed".to_owned()));
        invariants(&world, "after the abort").await
    }
}
