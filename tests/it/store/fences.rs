//! A write without the right changes nothing (I6), and no kill intent without its guard (I2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rekeyd::domain::rotation::facts::{Holding, KeyFacts, TestResult};
use rekeyd::domain::rotation::{Level, Run, State};
use rekeyd::domain::time::{Span, Stamp, Timestamp};
use rekeyd::domain::verdict::{Judgement, Observation};
use rekeyd::store::{
    Change, EffectKind, EffectStatus, Guarded, HoldingRow, KillRows, Lease, NewEffect, Origin, Role, Store,
    StoreError,
};

use tokio::runtime::Handle;

use super::shelf::{
    ACCOUNT, ROTATION, Shelf, audit, effect, entry, generation, hold, holding, intend, manual, new_key,
    provider, run_change, settle,
};
use crate::support::{Db, on_both_databases};

const TABLES: [&str; 8] = ["keys", "providers", "runs", "effects", "holdings", "requests", "alerts", "audit"];

/// How many rows everything has, and what the run and the rotation say.
async fn picture(shelf: &Shelf) -> String {
    let mut picture = Vec::new();
    for table in TABLES {
        picture.push(format!("{table}: {}", shelf.count(table).await));
    }
    let runs = shelf.store.runs(10).await.unwrap();
    let rotation = shelf.store.rotation(ROTATION).await.unwrap();
    format!("{picture:?} {runs:?} {rotation:?}")
}

#[track_caller]
fn lost<T>(done: Result<T, StoreError>) {
    let error = done.err().expect("the lease is lost");
    assert!(matches!(error, StoreError::FenceLost), "{error:?}");
}

on_both_databases! {
    async fn nothing_is_written_under_an_old_fence(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let old = shelf.lost_lease().await;
        let before = picture(&shelf).await;
        let changes = [
            intend("e1", EffectKind::Create, "name"),
            new_key(&generation(2, Role::Candidate)),
            hold(&holding("github:acme/app", 1), true),
            Change::Due { rotation: ROTATION.to_owned(), at: Some(Timestamp(1)) },
            audit("x"),
        ];
        for change in &changes {
            lost(shelf.store.commit(&old, std::slice::from_ref(change)).await);
        }
        lost(shelf.store.commit(&old, &changes).await);
        lost(shelf.store.commit(&old, &[]).await);
        lost(shelf.store.claim_run(&old, "r").await);
        lost(shelf.store.take_generation(&old, ROTATION).await);
        let guarded = shelf.store.commit_guarded(&old, (ACCOUNT, "hash 1"), |_| Ok::<(), ()>(()), &changes);
        lost(guarded.await);
        assert_eq!(picture(&shelf).await, before);
    }
}

on_both_databases! {
    async fn a_run_that_another_fence_claimed_cannot_be_written(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, mine) = shelf.open_run("r").await;
        let done = Run { state: State::Done, ..run };
        shelf.store.release(&mine).await.unwrap();
        // The next holder may write for the account, but the run is his only once he claims it.
        let theirs = shelf.store.acquire("account:org:acme", "other", Span::minutes(1)).await.unwrap().unwrap();
        let before = picture(&shelf).await;
        lost(shelf.store.commit(&theirs, &[audit("x"), run_change(&done)]).await);
        assert_eq!(picture(&shelf).await, before);
        shelf.store.claim_run(&theirs, "r").await.unwrap();
        lost(shelf.store.commit(&mine, &[run_change(&done)]).await);
        shelf.store.commit(&theirs, &[run_change(&done)]).await.unwrap();
        // Over is over, for its owner too.
        lost(shelf.store.commit(&theirs, &[run_change(&done)]).await);
    }
}

on_both_databases! {
    async fn a_commit_that_fails_midway_leaves_nothing(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let before = picture(&shelf).await;
        let changes =
            [audit("x"), intend("e1", EffectKind::Create, "name"), new_key(&generation(1, Role::Retiring))];
        shelf.commit(&changes).await.unwrap_err();
        assert_eq!(picture(&shelf).await, before);
    }
}

/// Writes as long as the fence holds. Answers how many commits went through.
async fn write_until_lost(store: Store, lease: Lease, taken_over: Arc<AtomicBool>) -> i64 {
    let mut written = 0;
    loop {
        let late = taken_over.load(Ordering::SeqCst);
        match store.commit(&lease, &[audit("old owner")]).await {
            Ok(()) => written += 1,
            Err(StoreError::FenceLost) => return written,
            Err(error) => panic!("{error}"),
        }
        assert!(!late, "a commit that began after the take-over went through");
    }
}

on_both_databases! {
    async fn after_a_take_over_not_one_write_of_the_old_owner_lands(db: Db) {
        let shelf = Shelf::new(db).await;
        for round in 1..=10 {
            let resource = format!("account:{round}");
            let old = shelf.store.acquire(&resource, "old", Span::ZERO).await.unwrap().unwrap();
            let taken_over = Arc::new(AtomicBool::new(false));
            let before = shelf.count("audit").await;
            let mut writers = tokio::task::JoinSet::new();
            for store in [shelf.another().await, shelf.another().await] {
                writers.spawn(write_until_lost(store, old.clone(), Arc::clone(&taken_over)));
            }
            while shelf.count("audit").await < before + 3 {
                tokio::task::yield_now().await;
            }
            shelf.store.acquire(&resource, "new", Span::minutes(1)).await.unwrap().unwrap();
            taken_over.store(true, Ordering::SeqCst);
            let at_take_over = shelf.count("audit").await;
            let written: i64 = writers.join_all().await.iter().sum();
            assert_eq!(shelf.count("audit").await, at_take_over);
            assert_eq!(before + written, at_take_over);
        }
    }
}

on_both_databases! {
    async fn nobody_takes_over_in_the_middle_of_a_commit(db: Db) {
        let shelf = Shelf::new(db).await;
        let old = shelf.store.acquire("account:a", "old", Span::ZERO).await.unwrap().unwrap();
        let other = shelf.impatient().await;
        let take_over = || async { other.acquire("account:a", "new", Span::minutes(1)).await };
        // The guard runs after the fence was looked at and before anything is written.
        let meanwhile = |_: &KillRows| {
            let tried = tokio::task::block_in_place(|| Handle::current().block_on(take_over()));
            assert!(matches!(tried, Err(StoreError::Busy)), "{tried:?}");
            Ok::<(), ()>(())
        };
        let done = shelf.store.commit_guarded(&old, (ACCOUNT, "hash 1"), meanwhile, &[audit("x")]).await;
        assert!(matches!(done, Ok(Guarded::Committed)), "{done:?}");
        assert_eq!(take_over().await.unwrap().unwrap().fence, 2);
        lost(shelf.store.commit(&old, &[audit("x")]).await);
    }
}

// --- guarded commits -------------------------------------------------------------------------------------------

on_both_databases! {
    async fn a_refused_kill_writes_nothing(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let lease = shelf.lease().await;
        let before = picture(&shelf).await;
        let changes = [intend("e1", EffectKind::Delete, "hash 1"), audit("key.delete")];
        let refused =
            shelf.store.commit_guarded(&lease, (ACCOUNT, "hash 1"), |_| Err("the last key"), &changes).await;
        assert!(matches!(refused, Ok(Guarded::Refused("the last key"))), "{refused:?}");
        assert_eq!(picture(&shelf).await, before);
        assert_eq!(shelf.store.unknown_effects().await.unwrap(), 0);
        // The store is as usable as before, and says yes to a yes.
        let passed =
            shelf.store.commit_guarded(&lease, (ACCOUNT, "hash 1"), |_| Ok::<(), ()>(()), &changes).await;
        assert!(matches!(passed, Ok(Guarded::Committed)), "{passed:?}");
        assert_eq!(shelf.store.open_toggles(ACCOUNT).await.unwrap().len(), 1);
        assert_eq!(shelf.store.audit(1).await.unwrap()[0].action, "key.delete");
    }
}

on_both_databases! {
    async fn of_two_kills_at_once_the_guard_lets_one_pass(db: Db) {
        // Fault 20. Every guard looks before any intent is committed, if it is not in the same transaction.
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut killing = tokio::task::JoinSet::new();
        for number in 0..12 {
            let (store, lease) = (stores[number % 2].clone(), lease.clone());
            killing.spawn(async move {
                let hash = format!("hash {number}");
                let alone = |rows: &KillRows| if rows.open_kills.is_empty() { Ok(()) } else { Err(()) };
                let changes = [intend(&format!("e{number}"), EffectKind::Delete, &hash)];
                store.commit_guarded(&lease, (ACCOUNT, &hash), alone, &changes).await.unwrap()
            });
        }
        let passed = killing.join_all().await.into_iter().filter(|done| matches!(done, Guarded::Committed)).count();
        assert_eq!(passed, 1);
        assert_eq!(shelf.count("effects").await, 1);
    }
}

/// What the guard would look at for this target.
async fn seen(shelf: &Shelf, hash: &str) -> KillRows {
    let lease = shelf.lease().await;
    let refused = shelf.store.commit_guarded(&lease, (ACCOUNT, hash), |rows| Err(rows.clone()), &[]).await;
    shelf.store.release(&lease).await.unwrap();
    match refused.unwrap() {
        Guarded::Refused(rows) => rows,
        Guarded::Committed => panic!("it was refused"),
    }
}

on_both_databases! {
    async fn the_guard_sees_whose_key_it_is_and_whether_the_account_is_frozen(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let mut adopted = generation(2, Role::Retiring);
        adopted.origin = Origin::Adopted;
        let mut given = generation(3, Role::Manual);
        (given.origin, given.rotation, given.generation) = (Origin::Given, None, None);
        shelf.commit(&[new_key(&adopted), new_key(&given)]).await.unwrap();
        for (hash, ours) in [("hash 1", true), ("hash 2", true), ("hash 3", false), ("hash 4", false)] {
            assert_eq!(seen(&shelf, hash).await.ours, ours, "{hash}");
        }
        assert!(!seen(&shelf, "hash 1").await.frozen);
        let freeze = Change::Freeze { account: ACCOUNT.to_owned(), reason: "cloned".to_owned() };
        shelf.commit(&[freeze]).await.unwrap();
        assert!(seen(&shelf, "hash 1").await.frozen);
        // An account that the store never saw is not to be touched.
        shelf.execute("DELETE FROM account_entries").await.unwrap();
        shelf.execute("DELETE FROM accounts").await.unwrap();
        assert!(seen(&shelf, "hash 1").await.frozen);
    }
}

on_both_databases! {
    async fn the_guard_counts_the_kills_of_the_last_hour(db: Db) {
        let shelf = Shelf::new(db).await;
        for (id, hash, status) in [
            ("e1", "hash 1", EffectStatus::Done),
            ("e2", "hash 2", EffectStatus::Done),
            ("e3", "hash 3", EffectStatus::Failed),
            ("e4", "hash 4", EffectStatus::Done),
        ] {
            shelf.commit(&[intend(id, EffectKind::Disable, hash), settle(id, status)]).await.unwrap();
        }
        let elsewhere = NewEffect { account: "org:other".to_owned(), ..effect("e5", EffectKind::Delete, "h") };
        shelf.commit(&[Change::Intend(elsewhere), intend("e6", EffectKind::Enable, "hash 5")]).await.unwrap();
        shelf.execute("UPDATE effects SET started_at = started_at - 3600001 WHERE id = 'e4'").await.unwrap();
        // 3 failed, 4 is old, 5 is another account's, 6 kills nothing; the target's own do not count.
        assert_eq!(seen(&shelf, "hash 1").await.recent_kills, 1);
        assert_eq!(seen(&shelf, "hash 9").await.recent_kills, 2);
        shelf.commit(&[intend("e7", EffectKind::Delete, "hash 1")]).await.unwrap();
        assert_eq!(seen(&shelf, "hash 2").await.open_kills, ["hash 1"]);
    }
}

on_both_databases! {
    async fn the_guard_sees_who_may_hold_the_key_and_what_proves_another(db: Db) {
        let shelf = Shelf::new(db).await;
        let at = Stamp { ours: Timestamp(7), theirs: Some(Timestamp(8)) };
        let facts = KeyFacts { tested: Some((TestResult::Valid, at)), refused_since: None };
        for (number, role) in [(1, Role::Retiring), (2, Role::Current), (3, Role::Dead)] {
            shelf.generation(number, role).await;
        }
        let tested = Change::Tested {
            id: "g2".to_owned(),
            facts: facts.clone(),
            health: Box::default(),
            seen: Box::new(Observation::new(Judgement::VALID, "answered")),
            next_look_at: Timestamp(99),
        };
        let mut unsent = holding("file:/c", 1);
        unsent.fact.level = Level::Pending;
        let writes = [
            hold(&holding("github:a", 3), true),
            hold(&holding("github:a", 1), true),
            hold(&holding("github:a", 2), true),
            hold(&holding("vercel:b", 1), true),
            hold(&unsent, true),
            tested,
        ];
        shelf.commit(&writes).await.unwrap();
        let rows = seen(&shelf, "hash 1").await;
        let mut holders: Vec<_> = rows
            .holders
            .iter()
            .map(|(held, newest)| (held.fact.address.as_str(), newest.as_ref().map(|row| row.fact.key.as_str())))
            .collect();
        holders.sort_unstable();
        assert_eq!(holders, [("github:a", Some("g2")), ("vercel:b", None)]);
        let of = |id: &str, hash: &str, facts: KeyFacts| (id.to_owned(), hash.to_owned(), facts);
        assert_eq!(rows.tested, [of("g2", "hash 2", facts)], "what those addresses show now");
    }
}

on_both_databases! {
    async fn a_look_from_before_a_write_of_another_proves_nothing(db: Db) {
        let shelf = Shelf::new(db).await;
        for (number, role) in [(1, Role::Retiring), (2, Role::Current)] {
            shelf.generation(number, role).await;
        }
        shelf.commit(&[hold(&holding("github:a", 1), true)]).await.unwrap();
        let looked = || async { shelf.store.holdings_at("github:a").await.unwrap() };
        let asked = looked().await.remove(0);
        let proves = |row: &HoldingRow| Change::Seen(Box::new(row.clone()));
        let level = |rows: Vec<HoldingRow>, key: &str| {
            rows.into_iter().find(|row| row.fact.key == key).unwrap().fact.level
        };
        shelf.commit(&[proves(&asked)]).await.unwrap();
        assert_eq!(level(looked().await, "g1"), Level::Confirmed, "nobody wrote meanwhile");
        // Another is written while the look is under way, then refused: it was never there.
        let mut refused = holding("github:a", 2);
        refused.fact.level = Level::Pending;
        shelf.commit(&[hold(&refused, true), proves(&asked)]).await.unwrap();
        assert_eq!(level(looked().await, "g1"), Level::Confirmed);
        shelf.commit(&[hold(&holding("github:a", 2), true), proves(&asked)]).await.unwrap();
        assert_eq!(level(looked().await, "g1"), Level::Intended, "it may be there by now");
        // The same key is written again, and the look is older than that.
        let again = |level| HoldingRow { fact: Holding { level, ..asked.fact.clone() }, ..asked.clone() };
        shelf.commit(&[hold(&again(Level::Intended), true), proves(&asked)]).await.unwrap();
        assert_eq!(level(looked().await, "g1"), Level::Intended, "what stood there is written over");
    }
}

on_both_databases! {
    async fn a_look_at_a_table_shows_what_stands_there_unless_a_write_began_since(db: Db) {
        let shelf = Shelf::new(db).await;
        for (number, role) in [(1, Role::Retiring), (2, Role::Current)] {
            shelf.generation(number, role).await;
        }
        let (older, newer) = (holding("table/1", 1), holding("table/1", 2));
        shelf.commit(&[hold(&older, true), hold(&newer, true)]).await.unwrap();
        let rows = || async { shelf.store.holdings_at("table/1").await.unwrap() };
        let known = rows().await[0].seq;
        let shows = |row: &HoldingRow| Change::Shown { row: Box::new(row.clone()), known };
        shelf.commit(&[shows(&older)]).await.unwrap();
        let after = rows().await;
        let said: Vec<_> = after.iter().map(|row| (row.fact.key.as_str(), row.fact.level)).collect();
        assert_eq!(said, [("g1", Level::Confirmed), ("g2", Level::Intended)], "the older one stands there");
        // Another write began while the next look, which knew no more, was under way.
        shelf.commit(&[hold(&newer, true), shows(&older)]).await.unwrap();
        assert_eq!(rows().await[0].fact.key, "g2");
    }
}

on_both_databases! {
    async fn a_removed_key_is_removed_once_and_only_if_nobody_s(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        shelf.store.add_key(&provider(), &manual("k"), &entry("key.added")).await.unwrap();
        let before = shelf.count("audit").await;
        assert!(!shelf.store.remove_key("g1", &entry("key.removed")).await.unwrap());
        assert!(!shelf.store.remove_key("nobody", &entry("key.removed")).await.unwrap());
        assert_eq!(shelf.count("audit").await, before);
        assert!(shelf.store.remove_key("k", &entry("key.removed")).await.unwrap());
        assert!(!shelf.store.remove_key("k", &entry("key.removed")).await.unwrap());
        assert_eq!((shelf.count("keys").await, shelf.count("audit").await), (1, before + 1));
    }
}
