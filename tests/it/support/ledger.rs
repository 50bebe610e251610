//! What the store says, read with plain SQL: a judge that shares no code with what it judges.

use std::collections::BTreeSet;

use rekeyd::domain::time::{Span, Timestamp};
use serde_json::Value;
use sqlx::any::{AnyRow, install_default_drivers};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};

use crate::support::World;

/// A row of the journal.
#[derive(Debug, Clone)]
pub struct Effect {
    pub run: Option<String>,
    pub kind: String,
    pub target: String,
    pub status: String,
    pub started: i64,
    pub finished: Option<i64>,
}

/// A run, with its document.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub id: String,
    pub rotation: String,
    pub state: String,
    pub open: bool,
    pub doc: Value,
}

impl RunRow {
    /// Made for a leak or a dead key: it waits for nobody.
    pub fn is_emergency(&self) -> bool {
        let trigger = self.doc["trigger"].as_str().unwrap_or_default().to_lowercase();
        trigger == "leak" || trigger == "heal"
    }
}

/// A key of the store.
#[derive(Debug, Clone)]
pub struct StoredKey {
    pub hash: String,
    pub origin: String,
    /// None for a key that a person keeps.
    pub rotation: Option<String>,
}

/// Everything that the invariants ask of the store.
#[derive(Debug)]
pub struct Ledger {
    pub effects: Vec<Effect>,
    /// Newest first.
    pub runs: Vec<RunRow>,
    pub keys: Vec<StoredKey>,
    /// Hashes of keys that were ever sent to a destination.
    pub held: BTreeSet<String>,
    /// Action and subject of each row of the audit trail.
    pub audit: Vec<(String, String)>,
}

/// A connection of the test's own.
pub async fn connect(world: &World) -> AnyConnection {
    connect_to(&world.database.url).await
}

/// The same, by the database's URL.
pub async fn connect_to(url: &str) -> AnyConnection {
    install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    if url.starts_with("sqlite:") {
        // As long as a test waits for anything: a busy machine holds a write back for longer than the driver does.
        connection.execute("PRAGMA busy_timeout = 120000").await.unwrap();
    }
    connection
}

/// Whether nobody else is within a transaction.
pub async fn nobody_writes(world: &World) -> bool {
    let mut connection = connect(world).await;
    let resting = if world.database.url.starts_with("sqlite:") {
        connection.execute("PRAGMA busy_timeout = 500").await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.is_ok()
    } else {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'";
        connection.fetch_all(sql).await.unwrap().is_empty()
    };
    connection.close().await.unwrap();
    resting
}

/// All rows of a query.
pub async fn rows(world: &World, sql: &str) -> Vec<AnyRow> {
    let mut connection = connect(world).await;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows
}

/// How many runs are open.
pub async fn open_runs(world: &World) -> usize {
    rows(world, "SELECT id FROM runs WHERE is_open = 1").await.len()
}

/// States of all runs, newest first.
pub async fn runs(world: &World) -> Vec<String> {
    let rows = rows(world, "SELECT state FROM runs ORDER BY id DESC").await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Runs in these states.
pub async fn runs_in(world: &World, states: &[&str]) -> usize {
    runs(world).await.iter().filter(|state| states.contains(&state.as_str())).count()
}

/// When the rotation is due next.
pub async fn due(world: &World) -> Option<Timestamp> {
    let rows = rows(world, "SELECT next_due_at FROM rotations WHERE name = 'production'").await;
    rows.first().and_then(|row| row.get::<Option<i64>, _>(0)).map(Timestamp)
}

/// Kinds of the open alerts.
pub async fn alerts(world: &World) -> Vec<String> {
    let rows = rows(world, "SELECT kind FROM alerts WHERE resolved_at IS NULL").await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Leases that somebody holds.
pub async fn held_leases(world: &World) -> Vec<String> {
    let rows = rows(world, "SELECT resource FROM leases WHERE expires_at > 0").await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Lets so much time pass: what was stored was stored so much earlier. Nobody may work on the world meanwhile.
pub async fn pass_time(world: &World, span: Span) {
    let shift = format!("SET {{}} = {{}} - {}", span.0);
    let set = |columns: [&str; 2]| {
        let [a, b] = columns.map(|column| shift.replace("{}", column));
        format!("{a}, {}", b.trim_start_matches("SET "))
    };
    rows(world, &format!("UPDATE holdings {}", set(["not_before", "wait_set_at"]))).await;
    let mut connection = connect(world).await;
    for run in rows(world, "SELECT id, doc FROM runs WHERE is_open = 1").await {
        let mut doc: Value = serde_json::from_str(&run.get::<String, _>(1)).unwrap();
        earlier(&mut doc, span);
        let sql = format!("UPDATE runs {}, doc = $1 WHERE id = $2", set(["wake_at", "wake_set_at"]));
        let query = sqlx::query(AssertSqlSafe(sql)).bind(doc.to_string()).bind(run.get::<String, _>(0));
        query.execute(&mut connection).await.unwrap();
    }
    for memory in rows(world, "SELECT subject, doc FROM provider_health").await {
        let mut doc: Value = serde_json::from_str(&memory.get::<String, _>(1)).unwrap();
        earlier(&mut doc, span);
        let query = sqlx::query("UPDATE provider_health SET doc = $1 WHERE subject = $2");
        let query = query.bind(doc.to_string()).bind(memory.get::<String, _>(0));
        query.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// Every wait in it was set, and ends, so much earlier.
fn earlier(doc: &mut Value, span: Span) {
    match doc {
        Value::Object(fields) if fields.contains_key("set_at") && fields.contains_key("at") => {
            for moment in fields.values_mut() {
                *moment = (moment.as_i64().unwrap() - span.0).into();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| earlier(field, span)),
        Value::Array(items) => items.iter_mut().for_each(|item| earlier(item, span)),
        _ => {}
    }
}

impl Ledger {
    pub async fn read(world: &World) -> Self {
        let effects =
            rows(world, "SELECT run, kind, target, status, started_at, finished_at FROM effects ORDER BY id");
        let runs = rows(world, "SELECT id, rotation, state, is_open, doc FROM runs ORDER BY id DESC");
        let keys = rows(world, "SELECT hash, origin, rotation FROM keys WHERE hash IS NOT NULL");
        let held = "SELECT DISTINCT keys.hash FROM holdings JOIN keys ON keys.id = holdings.key_id";
        let audit = rows(world, "SELECT action, subject FROM audit");
        Self {
            effects: effects.await.iter().map(effect).collect(),
            runs: runs.await.iter().map(run).collect(),
            keys: keys.await.iter().map(key).collect(),
            held: rows(world, held).await.iter().filter_map(|r| r.get::<Option<String>, _>(0)).collect(),
            audit: audit.await.iter().map(|r| (r.get(0), r.get(1))).collect(),
        }
    }

    pub fn run(&self, id: Option<&String>) -> Option<&RunRow> {
        self.runs.iter().find(|run| Some(&run.id) == id)
    }
}

fn effect(row: &AnyRow) -> Effect {
    Effect {
        run: row.get(0),
        kind: row.get(1),
        target: row.get(2),
        status: row.get(3),
        started: row.get(4),
        finished: row.get(5),
    }
}

fn key(row: &AnyRow) -> StoredKey {
    StoredKey { hash: row.get(0), origin: row.get(1), rotation: row.get(2) }
}

fn run(row: &AnyRow) -> RunRow {
    RunRow {
        id: row.get(0),
        rotation: row.get(1),
        state: row.get(2),
        open: row.get::<i64, _>(3) == 1,
        doc: serde_json::from_str(&row.get::<String, _>(4)).unwrap(),
    }
}

/// Every row of every table as text: where key material in clear would be found.
pub async fn dump(world: &World) -> Vec<u8> {
    let Some(path) = world.database.url.strip_prefix("sqlite:") else {
        let tables = rows(world, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await;
        let mut text = String::new();
        for table in tables {
            let table: String = table.get(0);
            for row in rows(world, &format!("SELECT t::text FROM \"{table}\" t")).await {
                text.push_str(&row.get::<String, _>(0));
            }
        }
        return text.into_bytes();
    };
    let mut bytes = std::fs::read(path).unwrap();
    bytes.extend(std::fs::read(format!("{path}-wal")).unwrap_or_default());
    bytes
}
