//! `keys list | show | add | update | test | delete`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::domain::listing::Page;
use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::Verdict;
use crate::engine::commands::given::provider_of;
use crate::engine::passes::KeyReport;
use crate::engine::{Engine, EngineError, error};
use crate::store::{KeyFilter, KeyRow, KeySort, ObservationRow, PLACEHOLDER};

/// So many keys are a page, where nobody says how many.
pub const PAGE: i64 = 1000;

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
    pub owner: Option<String>,
    pub note: Option<String>,
    pub expires_at: Option<String>,
    pub handed_out_at: Option<String>,
}

/// Which stored keys are asked for; what is `None` is not asked. Spans count from now.
#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    /// Of this provider.
    pub provider: Option<String>,
    /// With this status.
    pub status: Option<String>,
    /// Active or not.
    pub active: Option<bool>,
    /// With these words in what their last test said.
    pub reason: Option<String>,
    /// Of this person.
    pub owner: Option<String>,
    /// With these letters in name, note, owner or the shown end of the key.
    pub search: Option<String>,
    /// Given to nobody for so long, and stored before.
    pub unused: Option<Span>,
    /// Whose secret is older.
    pub older: Option<Span>,
    /// That expire sooner.
    pub expiring: Option<Span>,
    /// That are to be tested now.
    pub due: bool,
    /// In which order.
    pub sort: KeySort,
    /// At most so many; [`PAGE`] when nobody says.
    pub limit: Option<i64>,
    /// After so many.
    pub offset: i64,
}

/// A page of stored keys.
#[derive(Debug, Serialize)]
pub struct FoundKeysView {
    /// Its rows.
    pub keys: Vec<KeyView>,
    /// How many there are on all pages.
    pub total: i64,
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

/// A key that was stored just now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoredKeyView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Something that the reader should know.
    pub warning: Option<String>,
}

/// What a test that a person asked for showed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeyTriedView {
    /// The provider accepts the key.
    pub success: bool,
    /// What the test showed: `valid`, `invalid`, `restricted`, …
    pub status: String,
    /// The same in a sentence.
    pub detail: String,
    /// Milliseconds that it took.
    pub latency_ms: i64,
    /// When, RFC 3339 UTC.
    pub tested_at: String,
}

/// `keys delete`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct DeletedKeyView {
    pub at_provider: bool,
    pub deleted: i64,
}

/// The stored keys that are asked for, without those that are gone at the provider.
pub async fn find_keys(engine: &Engine, query: KeyQuery) -> Result<FoundKeysView, EngineError> {
    if let Some(name) = &query.provider {
        provider_of(engine, name).await?;
    }
    if let Some(status) = &query.status {
        is_status(status)?;
    }
    let filter = filter(query, engine.store().now().await?);
    let keys = engine.store().list_keys(&filter).await?.iter().map(key_view).collect();
    Ok(FoundKeysView { keys, total: engine.store().count_keys(&filter).await? })
}

fn is_status(word: &str) -> Result<(), EngineError> {
    let words = Verdict::ALL.into_iter().map(Verdict::as_str).chain([PLACEHOLDER]);
    if words.clone().any(|one| one == word) {
        return Ok(());
    }
    let nearest = error::nearest(word, words.clone()).unwrap_or_default();
    let all = words.collect::<Vec<_>>().join(", ");
    Err(EngineError::usage(
        format!("no key has the status {word:?}"),
        format!("the nearest is {nearest}; there are {all}"),
    ))
}

fn filter(query: KeyQuery, now: Timestamp) -> KeyFilter {
    let ago = |span: Option<Span>| span.map(|span| now.plus(Span(-span.0)));
    KeyFilter {
        provider: query.provider,
        status: query.status,
        active: query.active,
        reason: query.reason,
        owner: query.owner,
        search: query.search,
        stored_before: ago(query.older),
        expires_before: query.expiring.map(|span| now.plus(span)),
        unused_since: ago(query.unused),
        due_before: query.due.then_some(now),
        sort: query.sort,
        limit: query.limit.unwrap_or(PAGE).max(0),
        offset: query.offset.max(0),
    }
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
        owner: key.about.owner.clone(),
        note: key.about.note.clone(),
        expires_at: key.about.expires_at.or(key.health.expires_at).map(Timestamp::rfc3339),
        handed_out_at: key.handed_out_at.map(Timestamp::rfc3339),
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
