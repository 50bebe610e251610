//! What is to be written so that a table follows the store. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::destination::LedgerEntry;
use crate::domain::secret::Secret;
use crate::domain::verdict::Verdict;
use crate::store::{KeyRow, Role};

/// What the store wants of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wish {
    /// Keys to mirror, by number.
    pub(crate) keys: BTreeMap<i64, Wanted>,
    /// Numbers that belong to some key of ours: their rows are nobody's leftovers.
    pub(crate) taken: BTreeSet<i64>,
    /// Verdicts of all keys that may stand there, by fingerprint.
    pub(crate) statuses: BTreeMap<String, String>,
    /// The row of the rotation, where one publishes here.
    pub(crate) rotation_row: Option<i64>,
    /// `on_drift = "overwrite"`.
    pub(crate) overwrite: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) fingerprint: String,
    pub(crate) is_active: bool,
    pub(crate) priority: i64,
    pub(crate) status: String,
}

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// Another key, or the first: needs a fresh test (R13).
    Key { id: String, entry: LedgerEntry },
    /// The same key, said to be different.
    Same(LedgerEntry),
}

impl Write {
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Key { entry, .. } | Self::Same(entry) => entry.number,
        }
    }
}

/// What a look comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    /// Numbers at which somebody else's key stands.
    pub(crate) foreign: Vec<i64>,
    /// Numbers at which a key is handed out that the store has replaced, and the row of its successor, which is not tested
    /// valid yet.
    pub(crate) replaced: Vec<(i64, String)>,
}

/// A row and its fingerprint.
pub(crate) type Seen = (LedgerEntry, String);

/// What is to be written so that the rows are as they should be.
pub(super) fn plan(wish: &Wish, rows: &[Seen], ours: &BTreeMap<i64, BTreeSet<String>>) -> Plan {
    let mut plan = Plan::default();
    let at = |number: i64| rows.iter().find(|(entry, _)| entry.number == number);
    let is_ours = |number: i64, print: &str| ours.get(&number).is_some_and(|known| known.contains(print));
    for (number, wanted) in &wish.keys {
        match at(*number) {
            Some((entry, _)) if entry.generation.is_some() => {}
            Some((entry, print)) if *print == wanted.fingerprint => {
                plan.writes.extend(wanted.differs_from(entry).then(|| wanted.said_by(entry)));
            }
            Some((_, print)) if !wish.overwrite && !is_ours(*number, print) => plan.foreign.push(*number),
            Some((entry, _)) if !wanted.is_active => plan.writes.extend(inactive(entry)),
            row if wanted.is_active && wanted.status == Verdict::Valid.as_str() => {
                let entry = wanted.entry(*number, row.and_then(|(entry, _)| entry.seq));
                plan.writes.push(Write::Key { id: wanted.id.clone(), entry });
            }
            Some((entry, print)) if entry.is_active && is_ours(*number, print) => {
                plan.replaced.push((*number, wanted.id.clone()));
            }
            _ => {}
        }
    }
    for (entry, print) in rows {
        let of_rotation = wish.rotation_row == Some(entry.number);
        let left_over = is_ours(entry.number, print) && !wish.keys.contains_key(&entry.number);
        if !of_rotation && !left_over {
            continue;
        }
        // Also when the same key is stored under another number by now.
        if !of_rotation && !wish.taken.contains(&entry.number) {
            plan.writes.extend(inactive(entry));
            continue;
        }
        let news = wish.statuses.get(print).filter(|status| **status != entry.status);
        plan.writes
            .extend(news.map(|status| Write::Same(LedgerEntry { status: status.clone(), ..entry.clone() })));
    }
    plan
}

/// The row no longer handed out.
pub(super) fn inactive(entry: &LedgerEntry) -> Option<Write> {
    entry.is_active.then(|| Write::Same(LedgerEntry { is_active: false, ..entry.clone() }))
}

impl Wanted {
    fn differs_from(&self, entry: &LedgerEntry) -> bool {
        (self.is_active, Some(self.priority), &self.status)
            != (entry.is_active, entry.priority, &entry.status)
    }

    /// The row with the same key, as it should be. To hand it out again is to publish it.
    fn said_by(&self, entry: &LedgerEntry) -> Write {
        let (priority, status) = (Some(self.priority), self.status.clone());
        let like = LedgerEntry { is_active: self.is_active, priority, status, ..entry.clone() };
        match (entry.is_active, self.is_active) {
            (false, true) if self.status == Verdict::Valid.as_str() => {
                Write::Key { id: self.id.clone(), entry: like }
            }
            (false, true) => Write::Same(LedgerEntry { is_active: false, ..like }),
            _ => Write::Same(like),
        }
    }

    /// A row with this key; its secret is filled in when it is written.
    fn entry(&self, number: i64, seq: Option<i64>) -> LedgerEntry {
        LedgerEntry {
            number,
            secret: Secret::new(""),
            is_active: true,
            priority: Some(self.priority),
            status: self.status.clone(),
            generation: None,
            seq,
        }
    }
}

impl Wish {
    pub(crate) fn digest(&self) -> String {
        hex::encode(Sha256::digest(json!(self).to_string().as_bytes()))
    }
}

impl Wanted {
    pub(crate) fn of(row: &KeyRow, fingerprint: String) -> Self {
        let (is_active, priority) = (row.is_active, row.priority);
        Self { id: row.id.clone(), fingerprint, is_active, priority, status: status(row) }
    }
}

/// A key that the provider no longer has is dead, whatever its last test said.
pub(super) fn status(row: &KeyRow) -> String {
    if row.role == Role::Dead { Verdict::Invalid.as_str().to_owned() } else { row.verdict.clone() }
}

#[cfg(test)]
mod tests;
