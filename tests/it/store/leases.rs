//! Who may write, for how long (R4). No test waits: a lease of no length has ended when it begins.

use rekeyd::domain::time::Span;
use rekeyd::store::{Lease, Store, StoreError};

use sqlx::Executor;

use super::shelf::Shelf;
use crate::support::{Db, on_both_databases};

const MINUTE: Span = Span::minutes(1);

async fn acquire(store: &Store, owner: &str, span: Span) -> Option<Lease> {
    store.acquire("account:a", owner, span).await.unwrap()
}

on_both_databases! {
    async fn a_held_lease_is_busy_for_everybody(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = acquire(&shelf.store, "me", MINUTE).await.unwrap();
        assert_eq!((lease.fence, lease.owner.as_str(), lease.granted), (1, "me", MINUTE));
        assert_eq!(acquire(&shelf.another().await, "other", MINUTE).await, None);
        assert_eq!(acquire(&shelf.store, "me", MINUTE).await, None);
        assert!(shelf.store.acquire("account:b", "other", MINUTE).await.unwrap().is_some());
    }
}

on_both_databases! {
    async fn a_lease_ends_on_the_database_s_clock(db: Db) {
        let shelf = Shelf::new(db).await;
        let before = shelf.store.now().await.unwrap();
        let lease = acquire(&shelf.store, "me", MINUTE).await.unwrap();
        let renewed = shelf.store.renew(&lease, Span::minutes(2)).await.unwrap();
        let after = shelf.store.now().await.unwrap();
        let within = |lease: &Lease| {
            before.plus(lease.granted) <= lease.expires_at && lease.expires_at <= after.plus(lease.granted)
        };
        assert!(within(&lease) && within(&renewed), "{before:?} {lease:?} {renewed:?} {after:?}");
        assert_eq!((renewed.fence, renewed.granted), (lease.fence, Span::minutes(2)));
    }
}

on_both_databases! {
    async fn an_ended_lease_is_taken_over_under_a_higher_fence(db: Db) {
        let shelf = Shelf::new(db).await;
        for fence in 1..=3 {
            let lease = acquire(&shelf.store, &format!("owner {fence}"), Span::ZERO).await.unwrap();
            assert_eq!(lease.fence, fence);
        }
    }
}

on_both_databases! {
    async fn a_renewed_lease_is_held_longer(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = acquire(&shelf.store, "me", Span::ZERO).await.unwrap();
        // Ended, but nobody was faster.
        shelf.store.renew(&lease, MINUTE).await.unwrap();
        assert_eq!(acquire(&shelf.store, "other", MINUTE).await, None);
    }
}

on_both_databases! {
    async fn a_lost_lease_cannot_be_renewed_or_given_back(db: Db) {
        let shelf = Shelf::new(db).await;
        let lost = acquire(&shelf.store, "me", Span::ZERO).await.unwrap();
        let theirs = acquire(&shelf.store, "other", MINUTE).await.unwrap();
        let renewed = shelf.store.renew(&lost, Span::minutes(5)).await;
        assert!(matches!(renewed, Err(StoreError::FenceLost)), "{renewed:?}");
        shelf.store.release(&lost).await.unwrap();
        assert_eq!(acquire(&shelf.store, "third", MINUTE).await, None);
        shelf.store.renew(&theirs, MINUTE).await.unwrap();
    }
}

on_both_databases! {
    async fn a_lease_given_back_is_free_at_once_and_the_fence_goes_on(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = acquire(&shelf.store, "me", MINUTE).await.unwrap();
        shelf.store.release(&lease).await.unwrap();
        let next = acquire(&shelf.store, "other", MINUTE).await.unwrap();
        assert_eq!(next.fence, lease.fence + 1);
    }
}

on_both_databases! {
    async fn a_lease_from_before_the_clock_went_back_is_over(db: Db) {
        let shelf = Shelf::new(db).await;
        // R18: however long it was granted for; only one that was granted in the future is over.
        acquire(&shelf.store, "me", Span::hours(24 * 365)).await.unwrap();
        assert_eq!(acquire(&shelf.store, "other", MINUTE).await, None, "a year is a year");
        shelf.execute("UPDATE leases SET granted_at = granted_at + 3600000").await.unwrap();
        let lease = acquire(&shelf.store, "other", MINUTE).await.expect("granted in an hour");
        assert_eq!(lease.fence, 2);
    }
}

/// On SQLite nobody reads the clock before it has the right to write.
#[tokio::test]
async fn a_lease_granted_while_another_waited_for_its_row_is_not_of_the_future() {
    let shelf = Shelf::new(Db::Postgres).await;
    acquire(&shelf.store, "me", Span::ZERO).await.unwrap();
    let mut owner = shelf.raw().await;
    let mut watcher = shelf.raw().await;
    owner.execute("BEGIN; SELECT * FROM leases FOR UPDATE").await.unwrap();
    let late = tokio::spawn({
        let store = shelf.another().await;
        async move { acquire(&store, "late", MINUTE).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watcher).await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let now = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let granted = format!(
        "UPDATE leases SET owner = 'first', fence = fence + 1, granted_at = {now} + 3, expires_at = {now} + 60000"
    );
    owner.execute(sqlx::AssertSqlSafe(granted)).await.unwrap();
    owner.execute("COMMIT").await.unwrap();
    assert_eq!(late.await.unwrap(), None, "the first one has it");
}

on_both_databases! {
    async fn many_processes_ask_at_once_and_one_gets_it(db: Db) {
        let shelf = Shelf::new(db).await;
        let stores = [shelf.store.clone(), shelf.another().await, shelf.another().await];
        // First nobody ever had it, then it has ended.
        for fence in 1..=3 {
            let mut asking = tokio::task::JoinSet::new();
            for number in 0..30 {
                let store = stores[number % stores.len()].clone();
                asking.spawn(async move { acquire(&store, &format!("owner {number}"), MINUTE).await });
            }
            let granted: Vec<Lease> = asking.join_all().await.into_iter().flatten().collect();
            assert_eq!(granted.len(), 1, "{granted:?}");
            assert_eq!(granted[0].fence, fence);
            shelf.store.release(&granted[0]).await.unwrap();
        }
    }
}

on_both_databases! {
    async fn who_waits_in_a_higher_rank_goes_first(db: Db) {
        let shelf = Shelf::new(db).await;
        let other = shelf.another().await;
        let resource = "account:a";
        assert!(shelf.store.stand_in_line(resource, 3).await.unwrap(), "nobody ever held it");
        let mine = acquire(&shelf.store, "me", MINUTE).await.unwrap();
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 0);
        assert!(!other.stand_in_line(resource, 4).await.unwrap());
        assert!(!other.stand_in_line(resource, 2).await.unwrap());
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 4, "the highest counts");
        shelf.store.release(&mine).await.unwrap();
        assert_eq!(shelf.store.acquire_as(resource, "me", MINUTE, 3).await.unwrap(), None);
        assert!(!other.stand_in_line(resource, 3).await.unwrap(), "it is not asked for in vain");
        assert!(other.stand_in_line(resource, 4).await.unwrap());
        assert!(other.acquire_as(resource, "other", MINUTE, 4).await.unwrap().is_some());
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 0, "who takes it waits no more");
    }
}

on_both_databases! {
    async fn who_has_fallen_silent_waits_no_more(db: Db) {
        let shelf = Shelf::new(db).await;
        let resource = "account:a";
        let mine = acquire(&shelf.store, "me", MINUTE).await.unwrap();
        assert!(!shelf.store.stand_in_line(resource, 6).await.unwrap());
        let mut raw = shelf.raw().await;
        raw.execute("UPDATE leases SET waiting_at = waiting_at - 5000").await.unwrap();
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 0);
        assert!(!shelf.store.stand_in_line(resource, 1).await.unwrap());
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 1, "anybody may say so again");
        // One that was said in the future was said before the clock went back (R18).
        raw.execute("UPDATE leases SET waiting = 6, waiting_at = waiting_at + 3600000").await.unwrap();
        assert_eq!(shelf.store.waited_for(resource).await.unwrap(), 0);
        shelf.store.release(&mine).await.unwrap();
        assert!(shelf.store.acquire_as(resource, "me", MINUTE, 1).await.unwrap().is_some());
    }
}
