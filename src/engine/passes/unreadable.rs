//! Rows of the store that cannot be read, and keys that cannot be opened: an alert about each (R21). All others pass
//! them by, so this look is the only one that sees them all.

use std::collections::BTreeMap;

use serde_json::json;

use crate::crypto::CryptoError;
use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::engine::testing::{alerts, endpoint};
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Damaged, KeyRow, Lease, ProviderRow, Role};

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
    for row in store.keys().await?.iter().filter(|row| row.role != Role::Dead) {
        if let Some(how) = closed(engine, row) {
            let alert = of_key(row, how);
            found.insert(alert.subject.to_string(), alert);
        }
    }
    for provider in store.providers().await?.iter().filter(|one| endpoint::is_forged(engine, one)) {
        let alert = of_endpoint(provider);
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

/// Why one of its secrets cannot be opened.
fn closed(engine: &Engine, row: &KeyRow) -> Option<&'static str> {
    let error = engine.open(row).err().or_else(|| engine.open_api_secret(row).err())?;
    Some(match error {
        EngineError::Crypto(CryptoError::Moved) => {
            "cannot be used: what is sealed in its row was sealed for something else. Somebody who writes to this \
             database moved it there"
        }
        _ => "cannot be opened: it was sealed with an encryption key that this process does not have",
    })
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

fn of_endpoint(provider: &ProviderRow) -> NewAlert {
    let detail = format!(
        "Keys of provider {} are not tested: the address that the database holds for it was not written by rekeyd.",
        provider.name
    );
    NewAlert::new(Kind::KeyUnreadable, Subject::Provider(provider.name.clone()), detail)
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
