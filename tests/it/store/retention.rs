//! What is over leaves in small steps, and what somebody still needs stays; the history of tests is rolled up.

use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::domain::verdict::tally::Sheet;
use rekeyd::store::Role;
use sqlx::Connection;

use super::shelf::{ACCOUNT, ROTATION, Shelf, entry, manual, provider};
use crate::support::{Db, on_both_databases};

const ALL: i64 = 100;

/// Everything that is there is older than this.
fn later() -> Timestamp {
    Timestamp(4_000_000_000_000)
}

async fn with_all(shelf: &Shelf, statements: &[&str]) {
    for sql in statements {
        shelf.execute(sql).await.unwrap();
    }
}

on_both_databases! {
    async fn runs_that_ended_leave_but_the_last(db: Db) {
        let shelf = Shelf::new(db).await;
        for (number, id) in ["r1", "r2", "r3"].into_iter().enumerate() {
            shelf.finished_run(id, None).await;
            let ended = format!("UPDATE runs SET finished_at = {} WHERE id = '{id}'", number + 1);
            shelf.execute(&ended).await.unwrap();
        }
        shelf.open_run("r4").await;
        let asked = "INSERT INTO requests (id, run, request, actor, asked_at) VALUES ('q1', 'r1', '{}', 'me', 1)";
        shelf.execute(asked).await.unwrap();
        assert_eq!(shelf.store.prune_runs(Timestamp(2), ALL).await.unwrap(), 1, "r2 is not older");
        assert_eq!((shelf.count("runs").await, shelf.count("requests").await), (3, 0));
        assert_eq!(shelf.store.prune_runs(later(), ALL).await.unwrap(), 1);
        let last = shelf.store.last_run(ROTATION).await.unwrap().unwrap();
        assert_eq!(last.run.id, "r3", "people are shown the last one");
        assert!(shelf.store.run("r4").await.unwrap().is_some(), "an open one stays");
    }
}

on_both_databases! {
    async fn an_alert_leaves_after_its_messages_and_when_it_is_over(db: Db) {
        let shelf = Shelf::new(db).await;
        for (alert, resolved, sent) in [("a1", "5", "5"), ("a2", "NULL", "5"), ("a3", "5", "NULL")] {
            with_all(&shelf, &[
                &format!(
                    "INSERT INTO alerts (id, kind, severity, subject, detail, opened_at, resolved_at)
                     VALUES ('{alert}', 'credits_low', 'warning', '{alert}', 'd', 1, {resolved})"
                ),
                &format!(
                    "INSERT INTO notices (id, alert, event, severity, detail, at, mailed, hooked)
                     VALUES ('n{alert}', '{alert}', 'opened', 'warning', 'd', 1, 1, 2)"
                ),
                &format!(
                    "INSERT INTO messages (id, channel, message_id, thread, recipients, subject, plain, html, created_at)
                     VALUES ('m{alert}', 'mail', '{alert}@example.com', '[]', '[]', 's', 'p', 'h', 1)"
                ),
                &format!("INSERT INTO message_notices (message, notice) VALUES ('m{alert}', 'n{alert}')"),
                &format!(
                    "INSERT INTO deliveries (message, recipient, attempts, not_before, refused, sent_at)
                     VALUES ('m{alert}', 'ops@example.com', 0, 0, 0, {sent})"
                ),
            ])
            .await;
        }
        assert_eq!(shelf.store.prune_alerts(later(), ALL).await.unwrap(), 0, "a message says what it is about");
        assert_eq!(shelf.store.prune_messages(later(), ALL).await.unwrap(), 1, "open, and not arrived: both stay");
        assert_eq!(shelf.store.prune_alerts(later(), ALL).await.unwrap(), 1);
        let left = ["alerts", "notices", "messages", "message_notices", "deliveries"];
        for table in left {
            assert_eq!(shelf.count(table).await, 2, "{table}");
        }
    }
}

on_both_databases! {
    async fn a_tombstone_leaves_when_every_place_of_it_has_another_key(db: Db) {
        let shelf = Shelf::new(db).await;
        let dead = shelf.generation(1, Role::Dead).await;
        let mut current = shelf.generation(2, Role::Current).await;
        if current.hash < dead.hash {
            // One of each account stays: here the living one is that.
            shelf.execute("UPDATE keys SET hash = 'zzz' WHERE role = 'current'").await.unwrap();
            current = shelf.key(&current.id).await;
        }
        let holding = |key: &str, seq: i64, level: &str| {
            format!(
                "INSERT INTO holdings (address, key_id, destination, writer, seq, level, evidence, permanent, attempts,
                   not_before, released, updated_at) VALUES ('a', '{key}', 'd', 'w', {seq}, '{level}', '{{}}', 0, 0, 0, 0, 1)"
            )
        };
        with_all(&shelf, &[
            "INSERT INTO addresses (address, writes, updated_at) VALUES ('a', 2, 1)",
            &holding(&dead.id, 1, "confirmed"),
            &holding(&current.id, 2, "accepted"),
        ])
        .await;
        let prune = async || shelf.store.prune_tombstones(later(), ALL).await.unwrap();
        assert_eq!(prune().await, 0, "nothing proves that it does not stand there any more");
        shelf.execute("UPDATE holdings SET level = 'confirmed'").await.unwrap();
        let (_, lease) = shelf.open_run("r1").await;
        assert_eq!(prune().await, 0, "a run of its rotation may ask for it");
        shelf.store.release(&lease).await.unwrap();
        shelf.execute("UPDATE runs SET is_open = 0, finished_at = 1").await.unwrap();
        assert_eq!(shelf.store.prune_tombstones(Timestamp(1), ALL).await.unwrap(), 0, "it died lately");
        assert_eq!(prune().await, 1);
        assert_eq!((shelf.count("keys").await, shelf.count("holdings").await), (1, 1));
        assert!(shelf.store.has_keys(ACCOUNT).await.unwrap());
    }
}

on_both_databases! {
    async fn audit_and_hand_outs_leave_in_steps(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.add_key(&provider(), &manual("k0"), &entry("key.added")).await.unwrap();
        let before = shelf.count("audit").await;
        for at in 1..=5 {
            with_all(&shelf, &[
                &format!(
                    "INSERT INTO audit (id, at, actor, action, subject, detail) VALUES ('a{at}', {at}, 'me', 'x', 's', 'd')"
                ),
                &format!(
                    "INSERT INTO hand_outs (key_id, actor, minute, times, audit_id) VALUES ('k0', 'me', {at}, 1, 'a{at}')"
                ),
            ])
            .await;
        }
        assert_eq!(shelf.store.prune_audit(Timestamp(5), 3).await.unwrap(), 3);
        assert_eq!(shelf.store.prune_audit(Timestamp(5), 3).await.unwrap(), 1, "the fifth is not older");
        assert_eq!(shelf.count("audit").await, before + 1);
        let third = Timestamp(Span::minutes(3).0);
        assert_eq!(shelf.store.prune_hand_outs(third, ALL).await.unwrap(), 2);
        assert_eq!(shelf.count("hand_outs").await, 3);
    }
}

/// Looks of one key, an hour apart from this hour of 1970 on.
async fn looks(shelf: &Shelf, key: &str, outcomes: &[&str]) {
    for (hour, outcome) in outcomes.iter().enumerate() {
        let at = i64::try_from(hour).unwrap() * Span::hours(1).0;
        let insert = format!(
            "INSERT INTO observations (id, key_id, at, outcome, latency_ms, detail)
             VALUES ('{key}-{hour:03}', '{key}', {at}, '{outcome}', 80, 'd')"
        );
        shelf.execute(&insert).await.unwrap();
    }
}

on_both_databases! {
    async fn looks_are_counted_once_and_those_that_showed_something_new_stay(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.add_key(&provider(), &manual("k0"), &entry("key.added")).await.unwrap();
        let seen = ["valid", "valid", "valid", "unreachable", "unreachable", "valid", "valid", "invalid"];
        looks(&shelf, "k0", &seen).await;
        let lease = shelf.lease().await;
        let before = Timestamp(Span::hours(7).0);
        for expected in [3, 3, 1, 0] {
            assert_eq!(shelf.store.roll_up(&lease, before, 3).await.unwrap(), expected, "step by step");
        }
        let kept: Vec<String> =
            shelf.store.observations("k0", ALL).await.unwrap().into_iter().rev().map(|one| one.outcome).collect();
        assert_eq!(kept, ["valid", "unreachable", "valid", "invalid"], "each change, and what is not rolled up yet");
        for sheet in [Sheet::Hours, Sheet::Days] {
            let all = shelf.store.tally("k0", sheet, Timestamp(0)).await.unwrap().summary();
            assert_eq!((all.looks, all.latency_ms_p95), (8, Some(100)), "{sheet:?}");
            assert!((all.uptime.unwrap() - 6.0 / 8.0).abs() < 1e-9);
        }
        let since = Timestamp(Span::hours(4).0);
        assert_eq!(shelf.store.tally("k0", Sheet::Hours, since).await.unwrap().summary().looks, 4);
        assert_eq!(shelf.store.prune_tallies(Sheet::Hours, later(), ALL).await.unwrap(), 1);
        assert_eq!(shelf.count("test_tallies").await, 1, "the days are another's");
        shelf.store.release(&lease).await.unwrap();
        let lost = shelf.lost_lease().await;
        assert!(shelf.store.roll_up(&lost, later(), ALL).await.is_err(), "one process counts");
        shelf.store.remove_key("k0", &entry("key.deleted")).await.unwrap();
        assert_eq!((shelf.count("test_tallies").await, shelf.count("observations").await), (0, 0));
    }
}

/// interface.md, [tests] history: what is kept of one key's year, with a look every quarter of an hour, for many keys.
#[tokio::test]
async fn a_year_of_ten_thousand_keys_stays_small() {
    const KEYS: i64 = 100;
    let shelf = Shelf::new(Db::Sqlite).await;
    let empty = size(&shelf).await;
    for n in 0..KEYS {
        shelf.store.add_key(&provider(), &manual(&new_id(n)), &entry("key.added")).await.unwrap();
    }
    let stored = size(&shelf).await;
    let page = |place: i64, count: i64| format!("{place}={count}/10:{},11:{},12:1", count / 2, count / 3);
    let pages =
        |places: i64, count| (0..places).map(|place| page(place, count)).collect::<Vec<_>>().join(";");
    let (hours, days) = (pages(24, 4), pages(32, 96));
    for n in 0..KEYS {
        let key = new_id(n);
        let mut rows = Vec::new();
        rows.extend((0..3_i64).map(|at| format!("('{key}', 'hours', {}, '{hours}')", at * 86_400_000)));
        rows.extend((0..13_i64).map(|at| format!("('{key}', 'days', {}, '{days}')", at * 32 * 86_400_000)));
        let tallies = format!("INSERT INTO test_tallies (key_id, span, at, doc) VALUES {}", rows.join(", "));
        let looks: Vec<String> = (0..20)
            .map(|look| {
                format!(
                    "('{}', '{key}', {}, 'valid', 200, 87, 'authenticated')",
                    new_id(n * 100 + look),
                    look
                )
            })
            .collect();
        let looks = format!(
            "INSERT INTO observations (id, key_id, at, outcome, status, latency_ms, detail) VALUES {}",
            looks.join(", ")
        );
        with_all(&shelf, &[&tallies, &looks]).await;
    }
    let history = (size(&shelf).await - stored) / KEYS;
    assert!(stored > empty);
    assert!(history * 10_000 < 200_000_000, "{history} bytes a key");
}

/// As long as a true one.
fn new_id(n: i64) -> String {
    format!("0199d3a0-7c11-7000-8000-{n:012}")
}

async fn size(shelf: &Shelf) -> i64 {
    let mut connection = shelf.raw().await;
    let pages =
        "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)";
    let size: i64 = sqlx::query_scalar(pages).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    size
}
