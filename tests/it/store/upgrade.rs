//! A database of an older version: what its rows say is taken over.

use std::path::Path;

use rekeyd::domain::rotation::Level;
use rekeyd::domain::time::Timestamp;
use rekeyd::store::HoldingRow;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::shelf::{ACCOUNT, Shelf, hold};
use crate::support::{Db, on_both_databases};

/// A database as version 6 left it, with these rows in it.
async fn old(db: Db, rows: &[String]) -> Shelf {
    let shelf = Shelf::bare(db).await;
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/store");
    let mut connection = shelf.raw().await;
    Migrator::new(migrations).await.unwrap().run_to(6, &mut connection).await.unwrap();
    for row in rows {
        connection.execute(AssertSqlSafe(row.clone())).await.unwrap_or_else(|error| panic!("{row}: {error}"));
    }
    connection.close().await.unwrap();
    shelf
}

const PROVIDER: &str =
    "INSERT INTO providers (name, kind, next_number, created_at) VALUES ('openrouter', 'openrouter', 9, 1)";

fn key(id: &str, role: &str) -> String {
    format!(
        "INSERT INTO keys (id, provider, number, name, priority, is_active, settings, fingerprint, mask, hash, account,
           role, origin, verdict, created_at, updated_at)
         VALUES ('{id}', 'openrouter', NULL, '{id}', 1, 1, '{{}}', 'print-{id}', 'sk-or-v...1234', 'hash-{id}', 'org:acme',
           '{role}', 'created', 'valid', 1, 1)"
    )
}

fn holding(address: &str, key: &str, (seq, level): (i64, &str), drift: &str, released: i64) -> String {
    format!(
        "INSERT INTO holdings (address, key_id, destination, rotation, seq, level, evidence, checked, drift, error,
           permanent, attempts, not_before, wait_set_at, released, updated_at)
         VALUES ('{address}', '{key}', 'agent-env', 'production', {seq}, '{level}', '{{\"at\":{seq}}}', NULL, {drift}, '502',
           1, 4, 90, 70, {released}, 80)"
    )
}

fn said(rows: &[HoldingRow]) -> Vec<(&str, Level, Option<&str>)> {
    rows.iter().map(|row| (row.fact.key.as_str(), row.fact.level, row.fact.drift.as_deref())).collect()
}

on_both_databases! {
    async fn what_stood_at_an_address_stands_there_still(db: Db) {
        let shelf = old(
            db,
            &[
                PROVIDER.to_owned(),
                key("g1", "retiring"),
                key("g2", "current"),
                holding("file:/a", "g1", (1, "intended"), "NULL", 1),
                holding("file:/a", "g2", (4, "confirmed"), "'by hand'", 0),
                // Drift that was noted on the row of a key that waits holds whoever writes next.
                holding("file:/b", "g1", (1, "confirmed"), "NULL", 0),
                holding("file:/b", "g2", (2, "pending"), "'by hand'", 0),
                holding("file:/c", "g1", (7, "effective"), "NULL", 0),
            ],
        )
        .await;
        shelf.store.migrate().await.unwrap();
        let a = shelf.store.holdings_at("file:/a").await.unwrap();
        let drift = Some("by hand");
        assert_eq!(said(&a), [("g2", Level::Confirmed, drift), ("g1", Level::Intended, drift)]);
        assert_eq!((a[0].released, a[1].released, a[0].seq, a[0].writer.as_str()), (false, true, 4, "production"));
        assert_eq!(a[0].evidence, serde_json::json!({ "at": 4 }));
        let fact = &a[0].fact;
        assert_eq!((fact.error.as_deref(), fact.permanent, fact.attempts), (Some("502"), true, 4));
        assert_eq!((fact.until.at, fact.until.set_at), (Timestamp(90), Timestamp(70)));
        let b = shelf.store.holdings_at("file:/b").await.unwrap();
        assert_eq!(said(&b), [("g2", Level::Pending, drift), ("g1", Level::Confirmed, drift)]);
        let c = shelf.store.holdings_at("file:/c").await.unwrap();
        assert_eq!(said(&c), [("g1", Level::Effective, None)]);
        // The order of writes goes on.
        let mut next = c[0].clone();
        "g2".clone_into(&mut next.fact.key);
        shelf.store.note_entry("main", ACCOUNT).await.unwrap();
        shelf.commit(&[hold(&next, true)]).await.unwrap();
        let c = shelf.store.holdings_at("file:/c").await.unwrap();
        assert_eq!((c[0].fact.key.as_str(), c[0].seq), ("g2", 8));
    }
}

on_both_databases! {
    async fn what_a_mirror_remembered_is_on_the_record_of_each_address(db: Db) {
        let table = "postgres://db.example.com:5432/app#openrouter/";
        let memory = format!(
            "INSERT INTO provider_health (subject, doc, updated_at) VALUES ('mirror:{table}7',
               '{{\"wanted\":\"w\",\"looked_at\":5,\"ours\":{{\"1\":[\"print-m1\"],\"2\":[\"print-gone\",\"print-m1\"],\"7\":[\"print-m1\"]}},\"attempts\":0,\"error\":null}}', 1)"
        );
        let own = holding(&format!("{table}7"), "g1", (1, "confirmed"), "NULL", 0);
        let shelf = old(db, &[PROVIDER.to_owned(), key("g1", "current"), key("m1", "manual"), memory, own]).await;
        shelf.store.migrate().await.unwrap();
        shelf.store.migrate().await.unwrap();
        let at = async |number: i64| shelf.store.holdings_at(&format!("{table}{number}")).await.unwrap();
        let writer = rekeyd::store::mirror_of(table);
        assert_eq!(said(&at(1).await), [("m1", Level::Intended, None)]);
        let two = at(2).await;
        let prints: Vec<_> = two.iter().map(|row| row.fingerprint.as_deref().unwrap()).collect();
        assert_eq!(prints, ["print-gone", "print-m1"], "also of a key that left the store");
        assert!(two.iter().all(|row| row.writer == writer));
        // What a rotation wrote there is newer than what nobody knows the time of.
        assert_eq!(said(&at(7).await), [("g1", Level::Confirmed, None), ("m1", Level::Intended, None)]);
        assert_eq!(shelf.store.holdings_of("m1").await.unwrap().len(), 3);
        let left: serde_json::Value = shelf.store.memory(&format!("mirror:{table}7")).await.unwrap();
        assert_eq!((&left["wanted"], left.get("ours")), (&"w".into(), None));
    }
}
