//! Rows of the store that cannot be read, and keys that cannot be opened: an alert about each (R21). All others pass
//! them by, so this look is the only one that sees them all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::crypto::CryptoError;
use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::engine::testing::{alerts, endpoint};
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Damaged, KeyRow, Lease, ProviderRow, Role};

const MEMORY: &str = "unreadable keys";
/// Between two looks.
const RHYTHM: Span = Span::seconds(30);
/// Keys that are opened in one look; of more stored keys a page is looked at after the other.
const PAGE: i64 = 500;

/// How far the looks have come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Walk {
    looked_at: Option<Timestamp>,
    /// The last key of the page before.
    after: String,
    /// What could not be read on the pages before.
    found: BTreeSet<String>,
}

/// True when another look should be taken.
pub(crate) async fn is_due(engine: &Engine) -> Result<bool, EngineError> {
    let walk: Walk = engine.parts.store.memory_or_anew(MEMORY).await?;
    let age = walk.looked_at.map(|at| engine.clock().now().since(at));
    Ok(age.is_none_or(|age| age >= RHYTHM || age < Span::ZERO))
}

/// Opens the alerts of what cannot be read, and resolves those of what can be, once all was looked at since.
pub(crate) async fn tell(engine: &Engine, lease: &Lease) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let kind = Kind::KeyUnreadable;
    let mut walk: Walk = store.memory_or_anew(MEMORY).await?;
    let page = store.page_of_keys(&walk.after, PAGE).await?;
    let mut alerts: Vec<NewAlert> = page.damaged.iter().chain(&store.damaged().await?).map(of_row).collect();
    alerts.extend(page.keys.iter().filter_map(|row| Some(of_key(row, closed(engine, row)?))));
    let providers = store.providers().await?;
    alerts.extend(providers.iter().filter(|one| endpoint::is_forged(engine, one)).map(of_endpoint));
    walk.found.extend(alerts.iter().map(|alert| alert.subject.to_string()));
    let told = store.open_subjects(kind).await?;
    let mut changes = Vec::new();
    if page.last.is_none() {
        let over = told.iter().filter(|subject| !walk.found.contains(&subject.to_string()));
        changes.extend(over.map(|subject| Change::Resolve { kind, subject: subject.clone() }));
        walk.found.clear();
    }
    walk.after = page.last.unwrap_or_default();
    walk.looked_at = Some(engine.clock().now());
    let new = alerts.into_iter().filter(|alert| !told.contains(&alert.subject));
    changes.extend(new.map(Change::Alert));
    changes.push(Change::Remember { subject: MEMORY.to_owned(), doc: json!(walk) });
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
