//! What the store knows of the rows that a mirror writes: an address each, and one record of it like any other (R20).
//!
//! A key that a table may hand out stands at that row's address: the guard asks for it as for what a rotation wrote. It
//! stands there from the intent on, until a look shows the row without it, or inactive.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::plan::{Seen, Wish};
use crate::destination::Ledger;
use crate::domain::rotation::Level;
use crate::domain::time::{Stamp, Timestamp, Until};
use crate::engine::publish::address;
use crate::engine::{ConfiguredDestination, Engine, EngineError};
use crate::store::{Change, HoldingRow, mirror_of};

/// Every address of a table to which its mirror ever wrote, with all that was written there.
pub(super) struct Record {
    writer: String,
    table: String,
    /// The newest write to an address first.
    rows: Vec<HoldingRow>,
}

impl Record {
    pub(super) async fn read(engine: &Engine, ledger: &dyn Ledger) -> Result<Self, EngineError> {
        let table = ledger.table();
        let writer = mirror_of(&table);
        let rows = engine.parts.store.holdings_around(&writer).await?;
        Ok(Self { writer, table, rows })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn number(&self, row: &HoldingRow) -> Option<i64> {
        row.fact.address.strip_prefix(&self.table)?.parse().ok()
    }

    fn at(&self, number: i64) -> impl Iterator<Item = &HoldingRow> {
        self.rows.iter().filter(move |row| self.number(row) == Some(number))
    }

    fn mine(&self) -> impl Iterator<Item = (i64, &HoldingRow)> {
        let mine = self.rows.iter().filter(|row| row.writer == self.writer);
        mine.filter_map(|row| Some((self.number(row)?, row)))
    }

    /// Another writer's held change there is none of ours, whichever key it shows.
    fn is_held(&self, number: i64) -> bool {
        let newest = self.at(number).find(|row| row.fact.level > Level::Pending);
        newest.is_some_and(|row| row.fact.drift.is_some() && row.writer != self.writer)
    }

    /// Fingerprints that the mirror may have written, by number: what else stands there is somebody else's.
    pub(super) fn ours(&self) -> BTreeMap<i64, BTreeSet<String>> {
        let mut ours = BTreeMap::<i64, BTreeSet<String>>::new();
        for (number, row) in self.mine().filter(|(number, _)| !self.is_held(*number)) {
            let before = row.evidence[BEFORE].as_str().map(str::to_owned);
            ours.entry(number).or_default().extend(row.fingerprint.clone().into_iter().chain(before));
        }
        ours
    }

    /// What a look proves of each address, by what was known of it before. What was not seen there is not handed out, unless
    /// a write of it whose outcome nobody knows may still land (R19).
    pub(super) fn seen(&self, wish: &Wish, rows: &[Seen], place: &str, looked: Looked) -> Vec<Change> {
        let shown = |number: i64| rows.iter().find(|(entry, _)| entry.number == number && entry.is_active);
        let is_there =
            |number: i64, print: Option<&String>| shown(number).is_some_and(|(_, seen)| print == Some(seen));
        let mut changes = Vec::new();
        for (number, row) in self.mine() {
            let may_be =
                is_there(number, row.fingerprint.as_ref()) || row.fact.landing.left(looked.clock).is_some();
            if !may_be && row.fact.level > Level::Pending {
                changes.push(self.shown(number, taken_back(row, place)));
            }
        }
        for (number, row) in self.mine().filter(|(number, _)| !self.is_held(*number)) {
            if is_there(number, row.fingerprint.as_ref()) && self.is_news(number, row) {
                changes.push(self.shown(number, proved(row.clone(), place, looked.at)));
            }
        }
        // A row with the key that we would write is ours, whoever wrote it.
        for (number, wanted) in &wish.keys {
            let known = self.at(*number).any(|row| row.fact.key == wanted.id);
            if !known && is_there(*number, Some(&wanted.fingerprint)) {
                let address = format!("{}{number}", self.table);
                let row = address::blank(&address, &wanted.id, place, &self.writer);
                changes.push(self.shown(*number, proved(row, place, looked.at)));
            }
        }
        changes
    }

    /// It says nothing once a write of that address has begun that this record does not know.
    fn shown(&self, number: i64, row: HoldingRow) -> Change {
        let known = self.at(number).map(|row| row.seq).max().unwrap_or_default();
        Change::Shown { row: Box::new(row), known }
    }

    /// Whether the record does not say yet that this key is what stands there; and while another key waits for the
    /// proof, each look is one.
    fn is_news(&self, number: i64, row: &HoldingRow) -> bool {
        let waits = self.at(number).any(|other| other.fact.key != row.fact.key && other.fact.may_hold());
        row.fact.level < Level::Confirmed || row.fact.drift.is_some() || row.damaged || waits
    }

    /// The row of this key at this number, as it is before it is written.
    pub(super) async fn row(
        &self,
        engine: &Engine,
        number: i64,
        key: &str,
        place: &ConfiguredDestination,
    ) -> Result<(HoldingRow, Option<String>), EngineError> {
        let address = format!("{}{number}", self.table);
        let rows = engine.parts.store.holdings_at(&address).await?;
        let drift = rows.iter().find_map(|row| row.fact.drift.clone());
        let known = rows.into_iter().find(|row| row.fact.key == key);
        let name = &place.target.name;
        let blank = || address::blank(&address, key, name, &self.writer);
        let mut row = known.unwrap_or_else(blank);
        row.writer.clone_from(&self.writer);
        row.fact.destination.clone_from(name);
        Ok((row, drift))
    }

    /// A row that was just made inactive is not handed out: a write that was to change the row before that cannot land any
    /// more.
    pub(super) fn inactive(&self, number: i64, print: &str, place: &str) -> Vec<Change> {
        let of_print = |row: &&HoldingRow| row.fingerprint.as_deref() == Some(print);
        let rows = self.mine().filter(|(at, _)| *at == number).map(|(_, row)| row);
        let back = |row| Change::Holding { row: Box::new(taken_back(row, place)), fresh_write: false };
        rows.filter(of_print).map(back).collect()
    }

    /// What somebody else put there, on the record of its address.
    pub(super) fn foreign(&self, numbers: &[i64]) -> Vec<Change> {
        let drift = |number: &i64| Change::Drift {
            address: format!("{}{number}", self.table),
            drift: Some("a key that rekeyd does not know stands there".to_owned()),
        };
        numbers.iter().map(drift).collect()
    }
}

/// When a table was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    pub(super) at: Stamp,
    /// The same on the database's clock, which waits are on (R18).
    pub(super) clock: Timestamp,
}

/// A key that is on its way to a row: its address as it was before, with this write's place in the order of writes.
pub(super) struct Intent {
    pub(super) before: HoldingRow,
    /// Fingerprint of the key.
    pub(super) print: String,
}

impl Intent {
    /// It was written, and read back.
    pub(super) fn done(self, place: &str, at: Stamp) -> Change {
        let written = HoldingRow { fingerprint: Some(self.print), evidence: Value::Null, ..self.before };
        Change::Seen(Box::new(proved(written, place, at)))
    }

    /// Nothing was written. What was proved of an earlier write says nothing about the time after a refusal.
    pub(super) fn undone(self) -> Change {
        let mut row = self.before;
        (row.fact.level, row.fact.checked) = (row.fact.level.min(Level::Intended), None);
        Change::Seen(Box::new(row))
    }
}

/// The fingerprint of what a write was to replace, in its evidence: until the write is proved, that may stand there still.
const BEFORE: &str = "before";

/// The record from the intent on: it may stand there.
pub(super) fn intended(mut row: HoldingRow, print: String, landing: Until) -> HoldingRow {
    let replaced = row.fingerprint.replace(print);
    row.evidence = replaced.map_or(row.evidence, |print| json!({ BEFORE: print }));
    (row.fact.level, row.fact.checked, row.fact.drift) = (Level::Intended, None, None);
    (row.fact.landing, row.released) = (landing, false);
    row
}

/// Nothing of it is there any more.
fn taken_back(row: &HoldingRow, place: &str) -> HoldingRow {
    let mut row = row.clone();
    (row.fact.level, row.fact.checked, row.fact.error) = (Level::Pending, None, None);
    (row.fact.permanent, row.fact.attempts) = (false, 0);
    (row.fact.until, row.fact.landing) = (Until::OVER, Until::OVER);
    place.clone_into(&mut row.fact.destination);
    row
}

/// It is handed out there, and nothing else is.
fn proved(mut row: HoldingRow, place: &str, at: Stamp) -> HoldingRow {
    (row.fact.level, row.fact.checked, row.fact.drift) = (Level::Confirmed, Some(at), None);
    (row.fact.error, row.fact.permanent, row.fact.attempts) = (None, false, 0);
    (row.fact.until, row.released) = (Until::OVER, false);
    place.clone_into(&mut row.fact.destination);
    row
}
