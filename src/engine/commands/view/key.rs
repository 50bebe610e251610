//! `keys list | show | add | test | delete`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::domain::listing::Page;
use crate::engine::commands::add_key::provider_of;
use crate::engine::passes::KeyReport;
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, ObservationRow, Role};

/// A stored key, masked: a row of `keys list`, `keys show` and `keys add`. The fields of the REST list
/// (interface.md §3).
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §3")]
pub struct KeyView {
    pub id: String,
    pub provider_type: String,
    pub name: String,
    pub number: Option<i64>,
    pub masked_key: String,
    pub priority: i64,
    pub is_active: bool,
    pub status: String,
    pub status_detail: Option<String>,
    pub last_tested_at: Option<String>,
    pub latency_ms: Option<i64>,
    pub config: Value,
    pub created_at: String,
    pub updated_at: String,
    pub rotation: Option<String>,
    pub generation: Option<i64>,
    pub role: &'static str,
}

/// A row of `keys test`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of the history and of the keys list")]
pub struct TestedKeyView {
    pub id: String,
    pub provider_type: String,
    pub number: Option<i64>,
    pub name: String,
    pub masked_key: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub detail: String,
    pub latency_ms: i64,
    pub status: String,
    pub rotation: Option<String>,
}

/// A page of the stored keys: `providers` is what the rows were called before there were pages.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeyListView {
    /// The keys.
    pub providers: Vec<KeyView>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Keys of the whole list, narrowed by the filters.
    pub total: usize,
}

impl From<Page<KeyView>> for KeyListView {
    fn from(page: Page<KeyView>) -> Self {
        Self { providers: page.items, next_cursor: page.next_cursor, total: page.total }
    }
}

/// One test in the history of a key.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of ObservationRow")]
pub struct KeyTestView {
    pub at: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub status: Option<i64>,
    pub provider_code: Option<String>,
    pub latency_ms: i64,
    pub detail: String,
}

/// One test in the history of a key.
pub fn key_test_view(row: ObservationRow) -> KeyTestView {
    KeyTestView {
        at: row.at,
        outcome: row.outcome,
        reason: row.reason,
        status: row.status,
        provider_code: row.provider_code,
        latency_ms: row.latency_ms,
        detail: row.detail,
    }
}

/// `keys delete`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct DeletedKeyView {
    pub at_provider: bool,
    pub deleted: i64,
}

/// The stored keys, of one provider or of all, without those that are gone at the provider.
pub async fn key_views(engine: &Engine, provider: Option<&str>) -> Result<Vec<KeyView>, EngineError> {
    if let Some(name) = provider {
        provider_of(engine, name).await?;
    }
    let keys = engine.store().keys().await?;
    let shown = keys.iter().filter(|key| key.role != Role::Dead);
    Ok(shown.filter(|key| provider.is_none_or(|name| key.provider == name)).map(key_view).collect())
}

/// One stored key.
pub fn key_view(key: &KeyRow) -> KeyView {
    KeyView {
        id: key.id.clone(),
        provider_type: key.provider.clone(),
        name: key.name.clone(),
        number: key.number,
        masked_key: key.mask.clone(),
        priority: key.priority,
        is_active: key.is_active,
        status: key.verdict.clone(),
        status_detail: key.detail.clone(),
        last_tested_at: key.facts.tested.as_ref().map(|(_, at)| at.ours.rfc3339()),
        latency_ms: key.latency_ms,
        config: key.settings.clone(),
        created_at: key.created_at.rfc3339(),
        updated_at: key.updated_at.rfc3339(),
        rotation: key.rotation.clone(),
        generation: key.generation,
        role: key.role.word(),
    }
}

/// One key that was just tested.
pub fn tested_key_view(report: KeyReport) -> TestedKeyView {
    let KeyReport { key, last } = report;
    TestedKeyView {
        id: key.id,
        provider_type: key.provider,
        number: key.number,
        name: key.name,
        masked_key: key.mask,
        outcome: last.outcome,
        reason: last.reason,
        detail: last.detail,
        latency_ms: last.latency_ms,
        status: key.verdict,
        rotation: key.rotation,
    }
}
