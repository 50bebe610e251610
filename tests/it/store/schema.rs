//! Migrations, and what the file looks like.

use std::os::unix::fs::PermissionsExt;

use rekeyd::store::{Store, StoreError};

use super::shelf::{Shelf, audit, entry, manual, provider, sealed};
use crate::support::{Db, on_both_databases};

on_both_databases! {
    async fn migrations_run_from_empty_and_once(db: Db) {
        let shelf = Shelf::bare(db).await;
        let before = shelf.store.schema().await.unwrap();
        assert_eq!(before.applied, 0);
        assert!(before.known >= 1);
        shelf.store.migrate().await.unwrap();
        shelf.store.fact_once("instance", "a").await.unwrap();
        // Again, by this process and by another: what is there stays.
        shelf.store.migrate().await.unwrap();
        shelf.another().await.migrate().await.unwrap();
        let after = shelf.store.schema().await.unwrap();
        assert_eq!(after.applied, after.known);
        assert_eq!(shelf.store.fact("instance").await.unwrap().as_deref(), Some("a"));
    }
}

on_both_databases! {
    async fn processes_that_start_together_migrate_once(db: Db) {
        let shelf = Shelf::bare(db).await;
        let (one, two, three) = (shelf.another().await, shelf.another().await, shelf.another().await);
        for done in <[_; 3]>::from(tokio::join!(one.migrate(), two.migrate(), three.migrate())) {
            done.unwrap();
        }
        let status = shelf.store.schema().await.unwrap();
        assert_eq!(status.applied, status.known);
    }
}

on_both_databases! {
    async fn a_newer_database_is_refused_and_left_alone(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.fact_once("instance", "a").await.unwrap();
        let checksum = if db == Db::Sqlite { "x'00'" } else { "'\\x00'::bytea" };
        let newer = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'from the future', true, {checksum}, 0)"
        );
        shelf.execute(&newer).await.unwrap();
        let refused = shelf.store.migrate().await;
        assert!(matches!(refused, Err(StoreError::NewerSchema)), "{refused:?}");
        assert_eq!(shelf.store.schema().await.unwrap().applied, 9999);
        assert_eq!(shelf.store.fact("instance").await.unwrap().as_deref(), Some("a"));
    }
}

on_both_databases! {
    async fn a_fact_is_written_once(db: Db) {
        let shelf = Shelf::new(db).await;
        assert_eq!(shelf.store.fact("instance").await.unwrap(), None);
        assert_eq!(shelf.store.fact_once("instance", "first").await.unwrap(), "first");
        assert_eq!(shelf.store.fact_once("instance", "second").await.unwrap(), "first");
        assert_eq!(shelf.another().await.fact("instance").await.unwrap().as_deref(), Some("first"));
    }
}

on_both_databases! {
    async fn the_canary_comes_back_as_it_was_written(db: Db) {
        let shelf = Shelf::new(db).await;
        assert_eq!(shelf.store.canary("c", &sealed("one")).await.unwrap(), "first|one");
        assert_eq!(shelf.store.canary("c", &sealed("two")).await.unwrap(), "first|two");
    }
}

on_both_databases! {
    async fn the_clock_is_the_database_s(db: Db) {
        let shelf = Shelf::new(db).await;
        let before = shelf.store.now().await.unwrap();
        let key = shelf.store.add_key(&provider(), &manual("k"), &entry("key.added")).await.unwrap();
        shelf.commit(&[audit("later")]).await.unwrap();
        let after = shelf.store.now().await.unwrap();
        assert!(before <= key.created_at && key.created_at <= after, "{before:?} {key:?} {after:?}");
        let rows = shelf.store.audit(10).await.unwrap();
        for row in &rows {
            assert!(before <= row.at && row.at <= after, "{row:?}");
        }
        let ours = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        assert!(i128::from(after.0).abs_diff(i128::try_from(ours).unwrap()) < 60_000, "milliseconds since 1970");
    }
}

#[tokio::test]
async fn the_sqlite_file_and_its_companions_are_their_owner_s_only() {
    let shelf = Shelf::new(Db::Sqlite).await;
    shelf.store.fact_once("instance", "a").await.unwrap();
    for name in ["rekeyd.db", "rekeyd.db-wal", "rekeyd.db-shm"] {
        let mode = std::fs::metadata(shelf.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_backup_is_whole_private_and_never_over_another_file() {
    let shelf = Shelf::new(Db::Sqlite).await;
    shelf.store.fact_once("instance", "a").await.unwrap();
    let path = shelf.folder.path().join("copy.db");
    shelf.store.backup(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let copy = Store::open(&format!("sqlite:{}", path.display()), 2).await.unwrap();
    assert_eq!(copy.fact("instance").await.unwrap().as_deref(), Some("a"));
    copy.close().await;
    let before = std::fs::read(&path).unwrap();
    shelf.store.backup(&path).await.unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
