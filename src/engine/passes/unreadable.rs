//! Rows of the store that cannot be read, and keys that cannot be opened: an alert about each (R21). All others pass
//! them by, so this look is the only one that sees them all.

use std::collections::BTreeMap;

use serde_json::json;

use crate::crypto::Sealed;
use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::engine::testing::alerts;
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Damaged, KeyRow, Lease, Role};

const MEMORY: &str = "unreadable";
/// Between two looks at all of the store.
const RHYTHM: Span = Span::seconds(30);

/// True when all of the store should be looked at.
pub(crate) async fn is_due(engine: &Engine) -> Result<bool, EngineError> {
    let last: Option<Timestamp> = engine.parts.store.memory_or_anew(MEMORY).await?;
    let age = last.map(|at| engine.clock().now().since(at));
    Ok(age.is_none_or(|age| age >= RHYTHM || age < Span::ZERO))
}

/// Opens and resolves the alerts, so that they say what is so now.
pub(crate) async fn tell(engine: &Engine, lease: &Lease) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let kind = Kind::KeyUnreadable;
    let mut found = BTreeMap::new();
    for damaged in store.damaged().await? {
        let alert = of_row(&damaged);
        found.insert(alert.subject.to_string(), alert);
    }
    for row in store.keys().await?.iter().filter(|row| row.role != Role::Dead && !opens(engine, row)) {
        let alert = of_sealed(row);
        found.insert(alert.subject.to_string(), alert);
    }
    let told = store.open_subjects(kind).await?;
    let over = told.iter().filter(|subject| !found.contains_key(&subject.to_string()));
    let mut changes: Vec<Change> =
        over.map(|subject| Change::Resolve { kind, subject: subject.clone() }).collect();
    let new = found.into_values().filter(|alert| !told.contains(&alert.subject));
    changes.extend(new.map(Change::Alert));
    changes.push(Change::Remember { subject: MEMORY.to_owned(), doc: json!(Some(engine.clock().now())) });
    Ok(store.commit(lease, &changes).await?)
}

fn opens(engine: &Engine, row: &KeyRow) -> bool {
    let second = row.api_secret.clone().map(Sealed::from_stored);
    engine.open(row).is_ok() && second.is_none_or(|sealed| engine.parts.ring.open(&sealed).is_ok())
}

fn of_sealed(row: &KeyRow) -> NewAlert {
    let how = "cannot be opened: it was sealed with an encryption key that this process does not have";
    of_key(row, how)
}

fn of_row(damaged: &Damaged) -> NewAlert {
    if let Some(row) = &damaged.key {
        return of_key(
            row,
            &format!("cannot be read: the store holds an unreadable value in {}", damaged.column),
        );
    }
    let subject = Subject::Row { table: damaged.table.to_owned(), id: damaged.id.clone() };
    let detail = if damaged.table == "holdings" {
        format!(
            "What rekeyd noted of address {} cannot be read ({}): it counts as holding every key that was ever written \
             there, nothing is written over it, and those keys stay alive. Look at what stands there, then \
             `rekeyd destinations publish` its destination.",
            damaged.id, damaged.column
        )
    } else {
        format!("Row {} of {} cannot be read: {}.", damaged.id, damaged.table, damaged.column)
    };
    let mut alert = NewAlert::new(Kind::KeyUnreadable, subject, detail);
    alert.rotation.clone_from(&damaged.rotation);
    alert
}

fn of_key(row: &KeyRow, how: &str) -> NewAlert {
    let mut alert =
        NewAlert::new(Kind::KeyUnreadable, alerts::subject(row), format!("{} {how}.", alerts::named(row)));
    alert.rotation.clone_from(&row.rotation);
    if row.role == Role::Current {
        alert.severity = Severity::Critical;
    }
    alert
}
