//! The queue of keys that are due: each is one process's, and what is only stored is not touched.

use std::collections::BTreeSet;
use std::path::Path;

use rekeyd::domain::rotation::facts::KeyFacts;
use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::domain::verdict::crowd::Crowd;
use rekeyd::domain::verdict::health::Suspicion;
use rekeyd::domain::verdict::{Health, Judgement, Observation, Verdict};
use rekeyd::store::{Change, Claimed, Counting, Lane, Role, Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::plans::statements;
use super::shelf::{Shelf, entry, generation, manual, new_key, provider};
use crate::support::{Db, on_both_databases};

const CLAIM: Span = Span::minutes(1);

fn lane(again: bool) -> Lane {
    Lane { provider: provider().name, current: false, again }
}

async fn with_keys(db: Db, count: usize) -> Shelf {
    let shelf = Shelf::new(db).await;
    for n in 0..count {
        shelf.store.add_key(&provider(), &manual(&format!("k{n}")), &entry("key.added")).await.unwrap();
    }
    shelf
}

fn ids(claimed: &Claimed) -> BTreeSet<String> {
    claimed.keys.iter().map(|key| key.id.clone()).collect()
}

async fn claim(store: &Store, owner: &str, again: bool, most: usize) -> BTreeSet<String> {
    let due = store.now().await.unwrap();
    ids(&store.claim(&lane(again), due, (owner, CLAIM), most).await.unwrap())
}

fn tested(id: &str, health: Health, next: i64) -> Change {
    Change::Tested {
        id: id.to_owned(),
        facts: KeyFacts::default(),
        health: Box::new(health),
        seen: Box::new(Observation::new(Judgement::VALID, "seen")),
        next_look_at: Timestamp(next),
    }
}

fn doubted(at: i64, again: i64) -> Health {
    let (since, look_again_at) = (Timestamp(at), Timestamp(again));
    let suspicion = Some(Suspicion { since, look_again_at, tries: 0 });
    Health { looked_at: Some(Timestamp(at)), suspicion, ..Health::default() }
}

on_both_databases! {
    async fn a_due_key_is_claimed_by_one(db: Db) {
        let shelf = with_keys(db, 9).await;
        let other = shelf.another().await;
        let (mine, theirs) = tokio::join!(
            claim(&shelf.store, "me", false, 5),
            claim(&other, "other", false, 5)
        );
        assert!(mine.is_disjoint(&theirs), "{mine:?} {theirs:?}");
        let rest = claim(&shelf.store, "me", false, 9).await;
        assert_eq!(mine.len() + theirs.len() + rest.len(), 9);
        assert!(claim(&shelf.store, "me", false, 9).await.is_empty(), "all are somebody's");
        // Nobody gives back what another has.
        let theirs: Vec<String> = theirs.into_iter().collect();
        shelf.store.give_back(&theirs, "me", None).await.unwrap();
        assert!(claim(&shelf.store, "me", false, 9).await.is_empty());
        other.give_back(&theirs, "other", None).await.unwrap();
        assert_eq!(claim(&shelf.store, "me", false, 9).await.len(), theirs.len());
        // A process that died, and one whose clock was a year ahead.
        for until in ["1", "99999999999999"] {
            shelf.execute(&format!("UPDATE keys SET look_until = {until} WHERE id = 'k3'")).await.unwrap();
            assert_eq!(claim(&other, "other", false, 9).await, BTreeSet::from(["k3".to_owned()]), "{until}");
        }
        // A person asks for one that is not due, and for one that is somebody's.
        let not_due = "UPDATE keys SET next_look_at = 99999999999999, look_until = 0 WHERE id = 'k4'";
        shelf.execute(not_due).await.unwrap();
        assert!(claim(&other, "other", false, 9).await.is_empty());
        assert!(other.claim_one("k4", ("other", CLAIM)).await.unwrap().is_some());
        assert!(shelf.store.claim_one("k4", ("me", CLAIM)).await.unwrap().is_none());
        other.close().await;
    }
}

on_both_databases! {
    async fn a_verdict_ends_the_claim_and_says_when_the_next_look_is(db: Db) {
        let shelf = with_keys(db, 3).await;
        assert_eq!(claim(&shelf.store, "me", false, 9).await.len(), 3);
        let well = Health { looked_at: Some(Timestamp(5)), ..Health::default() };
        let changes = [tested("k0", doubted(5, 7), 7), tested("k1", well, 99_999_999_999_999)];
        shelf.commit(&changes).await.unwrap();
        let lanes = shelf.store.waiting().await.unwrap();
        let lanes: Vec<(bool, i64)> = lanes.iter().map(|one| (one.lane.again, one.first.0)).collect();
        assert_eq!(lanes, [(true, 7), (false, 99_999_999_999_999)], "k2 is somebody's");
        assert_eq!(claim(&shelf.store, "me", true, 9).await, BTreeSet::from(["k0".to_owned()]));
        assert!(claim(&shelf.store, "me", false, 9).await.is_empty());
        // Noted for later than the schedule can mean.
        let far = shelf.store.put_off(&lane(false), Timestamp(9_999_999_999_999), 9).await.unwrap();
        assert_eq!(far, ["k1"]);
        shelf.store.look_at(&[("k1".to_owned(), Timestamp(3))]).await.unwrap();
        assert_eq!(claim(&shelf.store, "me", false, 9).await, BTreeSet::from(["k1".to_owned()]));
    }
}

on_both_databases! {
    async fn what_an_older_version_looked_at_is_found_to_be_spread(db: Db) {
        let shelf = with_keys(db, 4).await;
        // As the version before wrote them: the first was never looked at.
        for sql in [
            "UPDATE keys SET next_look_at = 0",
            "UPDATE keys SET health = '{}' WHERE id <> 'k0'",
            "UPDATE keys SET looked_at = 5 WHERE id = 'k3'",
        ] {
            shelf.execute(sql).await.unwrap();
        }
        let mut found = shelf.store.never_scheduled(&lane(false), 9).await.unwrap();
        found.sort();
        assert_eq!(found, ["k1", "k2"], "k0 is new, and k3 was made due by somebody");
    }
}

on_both_databases! {
    async fn the_crowd_is_counted_in_the_transaction_of_the_verdict(db: Db) {
        let shelf = with_keys(db, 6).await;
        let bad = Health {
            verdict: Verdict::Restricted,
            since: Some(Timestamp(50)),
            looked_at: Some(Timestamp(50)),
            ..Health::default()
        };
        let well = |at| Health { looked_at: Some(Timestamp(at)), ..Health::default() };
        let changes =
            [tested("k0", bad, 60), tested("k1", doubted(40, 99), 99), tested("k2", well(45), 60), tested("k3", well(9), 60)];
        shelf.commit(&changes).await.unwrap();
        let count = async |since: Option<i64>| {
            let counting = Counting {
                provider: provider().name,
                since: since.map(Timestamp),
                recent: Timestamp(0),
            };
            let mut seen = None;
            let decide = |_, known| {
                seen = Some(known);
                Ok::<_, StoreError>(Vec::new())
            };
            shelf.store.commit_looks(&["k4".to_owned()], &counting, decide).await.unwrap();
            seen.unwrap()
        };
        let known = count(Some(40)).await;
        assert_eq!(known.crowd, Crowd { looked: 3, doubted: 1, turned_bad: 1, bad: 1 });
        assert_eq!(known.recent.looked, 4);
        assert_eq!(count(Some(46)).await.crowd, Crowd { looked: 1, doubted: 0, turned_bad: 1, bad: 1 });
        assert_eq!(count(None).await.recent, Crowd::default(), "good looks at a calm provider count nothing");
        // Two others are brought forward: those that nobody looked at since, the next of them first.
        shelf.execute("UPDATE keys SET next_look_at = 1000 WHERE id = 'k4'").await.unwrap();
        shelf.execute("UPDATE keys SET next_look_at = 1001 WHERE id = 'k5'").await.unwrap();
        let forward = Change::BringForward {
            provider: provider().name,
            at: Timestamp(55),
            unseen_since: Timestamp(40),
            most: 2,
        };
        shelf.commit(&[forward]).await.unwrap();
        let moved = "SELECT id FROM keys WHERE next_look_at = 55 ORDER BY id";
        let mut connection = shelf.raw().await;
        let rows = sqlx::query(moved).fetch_all(&mut connection).await.unwrap();
        let moved: Vec<String> = rows.iter().map(|row| row.get("id")).collect();
        assert_eq!(moved, ["k3", "k4"]);
        connection.close().await.unwrap();
    }
}

on_both_databases! {
    async fn the_pace_of_a_host_is_common_to_all_processes(db: Db) {
        let shelf = Shelf::new(db).await;
        let other = shelf.another().await;
        let hour = Span::minutes(20);
        assert_eq!(shelf.store.keep_pace("api.example.com", hour).await.unwrap(), Span::ZERO);
        let wait = other.keep_pace("api.example.com", hour).await.unwrap();
        assert!(wait > Span::minutes(10) && wait <= hour, "{wait:?}");
        let wait = shelf.store.keep_pace("api.example.com", hour).await.unwrap();
        assert!(wait > hour && wait <= Span::minutes(40), "{wait:?}");
        assert_eq!(other.keep_pace("elsewhere", hour).await.unwrap(), Span::ZERO);
        // A clock that was a year ahead when it was noted.
        shelf.execute("UPDATE paces SET free_at = 99999999999999").await.unwrap();
        assert_eq!(other.keep_pace("elsewhere", hour).await.unwrap(), Span::ZERO);
        other.close().await;
    }
}

on_both_databases! {
    async fn tombstones_inactive_and_retiring_keys_are_never_due(db: Db) {
        let shelf = with_keys(db, 2).await;
        for (number, role) in [(1, Role::Dead), (2, Role::Retiring), (3, Role::Candidate)] {
            shelf.commit(&[new_key(&generation(number, role))]).await.unwrap();
        }
        shelf.execute("UPDATE keys SET is_active = 0 WHERE id = 'k1'").await.unwrap();
        let lanes = shelf.store.waiting().await.unwrap();
        assert_eq!(lanes.iter().map(|one| one.lane.clone()).collect::<Vec<_>>(), [lane(false)]);
        assert_eq!(claim(&shelf.store, "me", false, 9).await, BTreeSet::from(["k0".to_owned()]));
    }
}

/// What the tester asks each second, and for each batch: PostgreSQL finds it by index, too.
#[tokio::test]
async fn postgres_finds_what_is_due_by_index() {
    let shelf = Shelf::new(Db::Postgres).await;
    let mut connection = shelf.raw().await;
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/looks.rs"));
    let mut explained = 0;
    // Of an empty table all is read, whatever the indexes, unless that is forbidden.
    sqlx::query("SET enable_seqscan = off").execute(&mut connection).await.unwrap();
    for sql in statements(&source.unwrap(), "'1'") {
        let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN {sql}"))).fetch_all(&mut connection).await;
        let plan: Vec<String> = rows.unwrap_or_default().iter().map(|row| row.get(0)).collect();
        explained += usize::from(!plan.is_empty());
        assert!(!plan.iter().any(|step| step.contains("Seq Scan on keys")), "{sql}\n{}", plan.join("\n"));
    }
    connection.close().await.unwrap();
    assert!(explained >= 10, "{explained} statements were found");
}
