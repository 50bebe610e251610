//! How SQLite finds the rows of every statement of the store: no table that grows for ever is read from end to end, but
//! where a person asks for all of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, Row};

use super::shelf::Shelf;
use crate::support::Db;

/// Statements that read a whole table, by their beginning, and why they may.
const WHOLE: &[(&str, &str)] = &[
    (
        "SELECT h.*, a.drift FROM holdings h JOIN addresses a ON a.address = h.address LEFT JOIN keys",
        "every half minute",
    ),
    ("SELECT * FROM keys ORDER BY provider", "the list of all keys"),
    (
        "SELECT provider, verdict, is_active, COUNT(*)",
        "a person asks for the providers: counted in an index alone",
    ),
    ("SELECT provider, verdict, COUNT(*)", "a scrape of /metrics: counted in an index alone"),
    ("SELECT rotation, state, COUNT(*) FROM runs", "a scrape of /metrics: counted in an index alone"),
    ("SELECT rotation, MAX(finished_at) FROM runs", "a scrape of /metrics: read in an index alone"),
    ("SELECT kind, status, COUNT(*) FROM effects", "a scrape of /metrics: counted in an index alone"),
    ("SELECT kind, severity, COUNT(*) FROM alerts", "a scrape of /metrics"),
    ("SELECT * FROM alerts ORDER BY", "a person asks for those that are over, too"),
    ("SELECT provider, COUNT(*) AS n FROM keys", "a person asks what could be tidied up"),
    (
        "SELECT provider, MAX(looked_at) AS tested_at",
        "a person looks at the providers: read in an index alone",
    ),
];

/// Tables that grow for ever; the others are as long as the configuration.
const GROWING: &[&str] = &[
    "keys",
    "effects",
    "holdings",
    "runs",
    "requests",
    "alerts",
    "audit",
    "k",
    "h",
    "addresses",
    "a",
    "o",
    "observations",
    "test_tallies",
    "hand_outs",
    "messages",
    "m",
    "deliveries",
    "notices",
    "n",
];

/// Indexes of what is open, of which reading all reads nothing that is over; and those of what is newest, which are read
/// as far as a limit.
const SHORT: &[&str] = &[
    "keys_one_current",
    "keys_dead_current",
    "keys_retiring",
    "effects_open",
    "runs_open",
    "requests_open",
    "alerts_open",
    "runs_started",
    "audit_newest",
    "notices_waiting",
    "notices_unmailed",
    "notices_unhooked",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Every statement of a source, with this value for its marks. They are written as one string each, without quotes in it.
pub(super) fn statements(source: &str, value: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let texts = source.split('"').skip(1).step_by(2);
    let verbs = ["SELECT ", "UPDATE ", "DELETE ", "INSERT "];
    let sql = texts.filter(|text| verbs.iter().any(|verb| text.starts_with(verb)));
    sql.map(|text| {
        let one_line = text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
        let marked = one_line.replace("MARKS", "$1, $2").replace(" FOR UPDATE SKIP LOCKED", "");
        (1..=20).rev().fold(marked, |sql, n| sql.replace(&format!("${n}"), value))
    })
    .collect()
}

/// What a step of a plan reads from end to end.
fn scanned(step: &str) -> Option<&str> {
    let table = step.strip_prefix("SCAN ")?.split(' ').next()?;
    let short = SHORT.iter().any(|index| step.ends_with(&format!(" {index}")));
    (GROWING.contains(&table) && !short).then_some(table)
}

#[tokio::test]
async fn no_statement_reads_a_table_that_grows_for_ever() {
    let shelf = Shelf::new(Db::Sqlite).await;
    let mut connection = shelf.raw().await;
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut files);
    let (mut explained, mut whole, mut scans) = (0, BTreeSet::new(), Vec::new());
    for sql in files.iter().flat_map(|file| statements(&std::fs::read_to_string(file).unwrap(), "1")) {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        // One is PostgreSQL's.
        let Ok(rows) = sqlx::query(explain).fetch_all(&mut connection).await else { continue };
        explained += 1;
        let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let Some(table) = steps.iter().find_map(|step| scanned(step)) else { continue };
        match WHOLE.iter().find(|(begin, _)| sql.starts_with(begin)) {
            Some((begin, _)) => drop(whole.insert(*begin)),
            None => scans.push(format!("{table} is read from end to end: {sql}")),
        }
    }
    connection.close().await.unwrap();
    assert!(scans.is_empty(), "{}", scans.join("\n"));
    assert!(explained > 90, "{explained} statements were found");
    assert_eq!(whole.len(), WHOLE.len(), "an exception that nobody needs: {whole:?}");
}

#[test]
fn planted_scans_are_seen() {
    for step in ["SCAN keys", "SCAN k", "SCAN effects USING INDEX effects_one_create"] {
        assert!(scanned(step).is_some(), "{step}");
    }
    for step in
        ["SEARCH keys USING INDEX keys_hash (account=?)", "SCAN meta", "SCAN runs USING INDEX runs_open"]
    {
        assert!(scanned(step).is_none(), "{step}");
    }
    let source = "q(\"SELECT a FROM b WHERE c = $1 \\\n  AND d IN (MARKS)\"); \"else\"";
    assert_eq!(statements(source, "1"), ["SELECT a FROM b WHERE c = 1 AND d IN (1, 1)"]);
}
