//! `providers list | show | add | delete`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::verdict::Verdict;
use crate::engine::commands::given::provider_of;
use crate::engine::{Engine, EngineError};
use crate::provider::Capability;
use crate::store::{KeyCount, KeyRow, ProviderRow};

/// A provider, of the catalog or added: the fields of the REST list (interface.md §3).
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §3")]
pub struct ProviderView {
    pub provider_type: String,
    pub kind: String,
    pub name: String,
    pub description: &'static str,
    pub key_format: &'static str,
    pub docs_url: &'static str,
    pub base_url: Option<String>,
    pub configured: bool,
    pub status: String,
    pub keys_total: i64,
    pub keys_valid: i64,
    pub capabilities: &'static [Capability],
}

/// Every provider: the REST answer (interface.md §3).
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProvidersView {
    /// The catalog in its order, then those that were added.
    pub providers: Vec<ProviderView>,
}

/// `providers delete`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeletedProviderView {
    /// Its name.
    pub deleted: String,
    /// Masks of the keys that the vendor still honours.
    pub still_honoured: Vec<String>,
}

/// What was removed.
pub fn deleted_provider_view(name: &str, keys: &[KeyRow]) -> DeletedProviderView {
    let honoured = keys.iter().filter(|key| !key.is_placeholder());
    DeletedProviderView {
        deleted: name.to_owned(),
        still_honoured: honoured.map(|key| key.mask.clone()).collect(),
    }
}

/// Every provider: the catalog in its order, then those that were added.
pub async fn provider_views(engine: &Engine) -> Result<Vec<ProviderView>, EngineError> {
    let stored = engine.parts.store.providers().await?;
    let kinds = engine.parts.tester.kinds();
    let counts = engine.parts.store.count_by_verdict().await?;
    let of_catalog = kinds.iter().map(|kind| {
        let row = stored.iter().find(|row| row.name == **kind).cloned();
        row.unwrap_or_else(|| ProviderRow::of_catalog(kind))
    });
    let added = stored.iter().filter(|row| !kinds.contains(&row.name.as_str())).cloned();
    Ok(of_catalog.chain(added).filter_map(|row| view(engine, &row, &counts)).collect())
}

/// One provider.
pub async fn provider_view(engine: &Engine, name: &str) -> Result<ProviderView, EngineError> {
    let row = provider_of(engine, name).await?;
    let counts = engine.parts.store.count_by_verdict().await?;
    view(engine, &row, &counts).ok_or_else(|| EngineError::Usage {
        text: format!("this version knows no provider of kind {}", row.kind),
        hint: None,
    })
}

fn view(engine: &Engine, row: &ProviderRow, counts: &[KeyCount]) -> Option<ProviderView> {
    let profile = engine.parts.tester.profile(&row.kind)?;
    let own: Vec<&KeyCount> = counts.iter().filter(|count| count.provider == row.name).collect();
    let keys_total = own.iter().map(|count| count.count).sum();
    let at_account = || engine.accounts().find(|account| account.provider == row.name);
    let base_url = row.base_url.clone().or_else(|| at_account().map(|account| account.base_url.to_string()));
    Some(ProviderView {
        provider_type: row.name.clone(),
        kind: row.kind.clone(),
        name: row.title.clone().unwrap_or_else(|| title(row, profile.title)),
        description: profile.description,
        key_format: profile.key_format,
        docs_url: profile.docs_url,
        base_url: base_url.or_else(|| Some(profile.base_url.to_owned()).filter(|url| !url.is_empty())),
        configured: keys_total > 0,
        status: status(&own).to_owned(),
        keys_total,
        keys_valid: own.iter().filter(|count| is_valid(count)).map(|count| count.count).sum(),
        capabilities: profile.capabilities,
    })
}

fn title(row: &ProviderRow, kind: &str) -> String {
    if row.name == row.kind { kind.to_owned() } else { row.name.clone() }
}

fn is_valid(count: &KeyCount) -> bool {
    count.is_active && count.verdict == Verdict::Valid.as_str()
}

/// The best verdict of an active key; `not_configured` without one.
fn status(counts: &[&KeyCount]) -> &'static str {
    const BEST_FIRST: [Verdict; 6] = [
        Verdict::Valid,
        Verdict::Unverified,
        Verdict::Untested,
        Verdict::Restricted,
        Verdict::QuotaExhausted,
        Verdict::Invalid,
    ];
    let has =
        |verdict: &Verdict| counts.iter().any(|count| count.is_active && count.verdict == verdict.as_str());
    BEST_FIRST.iter().find(|verdict| has(verdict)).map_or("not_configured", |verdict| verdict.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_provider_is_that_of_its_best_active_key() {
        let count = |verdict: &str, is_active| KeyCount {
            provider: "openai".to_owned(),
            verdict: verdict.to_owned(),
            is_active,
            count: 1,
        };
        let (dead, idle, valid) = (count("invalid", true), count("valid", false), count("valid", true));
        assert_eq!(status(&[]), "not_configured");
        assert_eq!(status(&[&idle, &count("placeholder", false)]), "not_configured");
        assert_eq!(status(&[&dead, &idle]), "invalid");
        assert_eq!(status(&[&dead, &valid]), "valid");
    }
}
