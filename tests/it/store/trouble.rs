//! A database that is locked, read-only or gone: the caller learns which, and nothing is half done.

use std::sync::Arc;

use rekeyd::domain::time::Span;
use rekeyd::store::{EffectKind, Store, StoreError};
use sqlx::{AnyConnection, Connection, Executor};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shelf::{ACCOUNT, SHORT, Shelf, audit, intend, sealed};
use crate::support::{Db, on_both_databases};

/// Another process in the middle of a write.
async fn locked(shelf: &Shelf, db: Db) -> AnyConnection {
    let mut other = shelf.raw().await;
    let lock = match db {
        Db::Sqlite => "BEGIN IMMEDIATE",
        Db::Postgres => "BEGIN; UPDATE leases SET fence = fence; UPDATE meta SET value = value",
    };
    other.execute(lock).await.unwrap();
    other
}

on_both_databases! {
    async fn a_locked_database_is_busy_and_works_again_afterwards(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        let store = shelf.impatient().await;
        let mut other = locked(&shelf, db).await;
        for done in [
            store.commit(&lease, &[audit("x")]).await,
            store.renew(&lease, Span::minutes(1)).await.map(drop),
            store.acquire("account:org:acme", "other", Span::minutes(1)).await.map(drop),
        ] {
            assert!(matches!(done, Err(StoreError::Busy)), "{done:?}");
        }
        other.execute("ROLLBACK").await.unwrap();
        other.close().await.unwrap();
        store.commit(&lease, &[audit("x")]).await.unwrap();
        assert_eq!(shelf.count("audit").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_queues_behind_a_locked_sqlite_is_told_busy_too() {
    let shelf = Shelf::new(Db::Sqlite).await;
    let lease = shelf.lease().await;
    let store = shelf.impatient().await;
    let other = locked(&shelf, Db::Sqlite).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (store, lease) = (store.clone(), lease.clone());
        waiting.spawn(async move { store.commit(&lease, &[audit("x")]).await });
    }
    for done in waiting.join_all().await {
        assert!(matches!(done, Err(StoreError::Busy)), "{done:?}");
    }
    other.close().await.unwrap();
    store.commit(&lease, &[audit("x")]).await.unwrap();
    assert_eq!(shelf.count("audit").await, 1);
}

on_both_databases! {
    async fn readers_do_not_wait_for_a_writer(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.commit(&[audit("x")]).await.unwrap();
        let store = shelf.impatient().await;
        let other = locked(&shelf, db).await;
        assert_eq!(store.audit(10).await.unwrap().len(), 1);
        assert_eq!(store.unknown_effects().await.unwrap(), 0);
        other.close().await.unwrap();
    }
}

/// What SQLite takes for a file that a newer SQLite writes: it may be read, but not written. Unlike a
/// permission this also holds for root.
fn make_read_only(file: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[3], 18).unwrap();
}

on_both_databases! {
    async fn a_read_only_database_says_so(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        shelf.store.close().await;
        match db {
            Db::Sqlite => make_read_only(&shelf.folder.path().join("rekeyd.db")),
            Db::Postgres => {
                // As after a failover to a standby.
                let name = shelf.url.rsplit('/').next().unwrap();
                let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
                shelf.execute(&sql).await.unwrap();
            }
        }
        let store = shelf.impatient().await;
        for done in [
            store.commit(&lease, &[audit("x")]).await,
            store.renew(&lease, Span::minutes(1)).await.map(drop),
            store.canary("sealed:preflight", &sealed("canary")).await.map(drop),
            store.fact_once("instance", "a").await.map(drop),
        ] {
            assert!(matches!(done, Err(StoreError::ReadOnly)), "{done:?}");
        }
        assert_eq!(store.entries_of(ACCOUNT).await.unwrap(), ["main"], "reading goes on");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let missing = Store::open("sqlite:/nowhere/at/all/rekeyd.db", 2).await;
    match missing {
        Err(StoreError::File { path, .. }) => assert_eq!(path.to_str(), Some("/nowhere/at/all/rekeyd.db")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://postgres@127.0.0.1:{port}/rekeyd");
    let refused = Store::open_with_patience(&url, 4, SHORT).await;
    assert!(matches!(refused, Err(StoreError::Away(_))), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_was_dropped_is_away() {
    let shelf = Shelf::new(Db::Postgres).await;
    let store = shelf.impatient().await;
    let (server, name) = shelf.url.rsplit_once('/').unwrap();
    let mut admin = AnyConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let sql = format!("DROP DATABASE {name} WITH (FORCE)");
    admin.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    for _ in 0..2 {
        let gone = store.fact_once("instance", "a").await;
        assert!(matches!(gone, Err(StoreError::Away(_))), "{gone:?}");
    }
}

/// A line to the server that can be cut.
struct Wire {
    port: u16,
    cut: CancellationToken,
    talks: TaskTracker,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, talks) = (CancellationToken::new(), TaskTracker::new());
        let (cut_, talks_) = (cut.clone(), talks.clone());
        tokio::spawn(async move {
            // Once cut it still accepts, and hangs up at once.
            while let Ok((mut near, _)) = listener.accept().await {
                let (cut, server) = (cut_.clone(), server.clone());
                talks_.spawn(async move {
                    let talk = async {
                        let mut far = TcpStream::connect(server).await.unwrap();
                        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                    };
                    cut.run_until_cancelled(talk).await;
                });
            }
        });
        Self { port, cut, talks }
    }

    /// When this returns nothing that was not sent will arrive.
    fn cut(&self) {
        self.cut.cancel();
        self.talks.close();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.talks.wait()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_within_a_transaction_leaves_nothing_of_it() {
    let shelf = Shelf::new(Db::Postgres).await;
    let (server, name) = shelf.url.rsplit_once('/').unwrap();
    let (user, address) = server.rsplit_once('@').unwrap();
    let wire = Arc::new(Wire::to(address.to_owned()).await);
    let url = format!("{user}@127.0.0.1:{}/{name}", wire.port);
    let store = Store::open_with_patience(&url, 2, SHORT).await.unwrap();
    let lease = shelf.lease().await;
    let cut_then_pass = |_: &rekeyd::store::KillRows| {
        wire.cut();
        Ok::<(), ()>(())
    };
    let changes = [intend("e1", EffectKind::Delete, "hash 1"), audit("key.delete")];
    let done = store.commit_guarded(&lease, (ACCOUNT, "hash 1"), cut_then_pass, &changes).await;
    assert!(matches!(done, Err(StoreError::Away(_))), "{done:?}");
    let later = store.commit(&lease, &changes).await;
    assert!(matches!(later, Err(StoreError::Away(_))), "{later:?}");
    // The server noticed that nobody is there any more: the row of the lease is free.
    shelf.store.commit(&lease, &[audit("x")]).await.unwrap();
    assert_eq!((shelf.count("effects").await, shelf.count("audit").await), (0, 1));
}
