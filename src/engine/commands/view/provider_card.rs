//! A provider at a glance: how many of its keys are in which state, and how it answers.

use serde::Serialize;

use super::provider::{ProviderView, provider_view, provider_views};
use super::{AlertView, alert_views};
use crate::domain::alert::Kind;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;
use crate::engine::{Engine, EngineError};
use crate::provider::Capability;
use crate::store::{Answering, KeyCount};

/// A provider at a glance.
#[derive(Debug, Serialize)]
pub struct ProviderCardView {
    /// Who it is.
    #[serde(flatten)]
    pub provider: ProviderView,
    /// States of its active keys, the worst first, and how many are in each.
    pub states: Vec<(String, i64)>,
    /// Keys that are neither tested nor handed out.
    pub inactive: i64,
    /// When one of its keys was tested last.
    pub tested_at: Option<String>,
    /// How long its answers take on average, in milliseconds.
    pub latency_ms: Option<i64>,
    /// Since when it cannot be reached, while it cannot.
    pub unreachable_since: Option<String>,
    /// Whether rekeyd issues and ends its keys itself.
    pub rotates_by_api: bool,
}

/// What is known of all providers.
struct Known {
    counts: Vec<KeyCount>,
    answering: Vec<Answering>,
    alerts: Vec<AlertView>,
}

impl Known {
    async fn of(engine: &Engine) -> Result<Self, EngineError> {
        Ok(Self {
            counts: engine.store().count_by_verdict().await?,
            answering: engine.store().answering().await?,
            alerts: alert_views(engine, false).await?,
        })
    }

    fn card(&self, provider: ProviderView) -> ProviderCardView {
        let name = &provider.provider_type;
        let own = || self.counts.iter().filter(|count| count.provider == *name);
        let answers = self.answering.iter().find(|answers| answers.provider == *name);
        let subject = format!("provider {name}");
        let silent = self
            .alerts
            .iter()
            .find(|alert| alert.kind == Kind::ProviderUnreachable.word() && alert.subject == subject);
        ProviderCardView {
            states: states(own()),
            inactive: own().filter(|count| !count.is_active).map(|count| count.count).sum(),
            tested_at: answers.and_then(|answers| answers.tested_at).map(Timestamp::rfc3339),
            latency_ms: answers.and_then(|answers| answers.latency_ms),
            unreachable_since: silent.map(|alert| alert.opened_at.clone()),
            rotates_by_api: provider.capabilities.contains(&Capability::RotatesByApi),
            provider,
        }
    }
}

/// Every provider at a glance.
pub async fn provider_cards(engine: &Engine) -> Result<Vec<ProviderCardView>, EngineError> {
    let known = Known::of(engine).await?;
    Ok(provider_views(engine).await?.into_iter().map(|provider| known.card(provider)).collect())
}

/// One provider at a glance.
pub async fn provider_card(engine: &Engine, name: &str) -> Result<ProviderCardView, EngineError> {
    Ok(Known::of(engine).await?.card(provider_view(engine, name).await?))
}

/// States of active keys, the worst first.
fn states<'c>(counts: impl Iterator<Item = &'c KeyCount>) -> Vec<(String, i64)> {
    const WORST_FIRST: [Verdict; 6] = [
        Verdict::Invalid,
        Verdict::QuotaExhausted,
        Verdict::Restricted,
        Verdict::Unverified,
        Verdict::Untested,
        Verdict::Valid,
    ];
    let rank = |word: &str| WORST_FIRST.iter().position(|verdict| verdict.as_str() == word);
    let mut states: Vec<(String, i64)> =
        counts.filter(|count| count.is_active).map(|count| (count.verdict.clone(), count.count)).collect();
    states.sort_by_key(|(word, _)| rank(word));
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_goes_first() {
        let count = |verdict: &str, is_active, count| KeyCount {
            provider: "openai".to_owned(),
            verdict: verdict.to_owned(),
            is_active,
            count,
        };
        let counts = [count("valid", true, 7), count("invalid", true, 1), count("valid", false, 2)];
        assert_eq!(states(counts.iter()), [("invalid".to_owned(), 1), ("valid".to_owned(), 7)]);
    }
}
