//! `keys suggest`: what could be tidied up. Nothing is changed, and no price is known.

use std::collections::HashMap;

use serde::Serialize;

use crate::domain::key::{MicroUsd, RemoteKey};
use crate::domain::suggestion::{Limited, UNUSED, resets_after};
use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::engine::commands::by_hand::account_keys;
use crate::engine::{Engine, EngineError, session};
use crate::store::{KeyFilter, KeyRow, Role};

/// So many keys of one kind are named; of more, the first.
const NAMED: i64 = 200;

/// One suggestion.
#[derive(Debug, Serialize)]
pub struct SuggestionView {
    /// `unused`, `double`, `ownerless` or `limit`.
    pub about: &'static str,
    /// Whose keys.
    pub provider_type: String,
    /// Of a stored key.
    pub number: Option<i64>,
    /// Of one key.
    pub masked_key: Option<String>,
    /// What was seen.
    pub text: String,
}

/// What could be tidied up, and the accounts that could not be asked for limits and use, with the reason.
#[derive(Debug, Serialize)]
pub struct SuggestionsView {
    /// By what they are about.
    pub suggestions: Vec<SuggestionView>,
    /// Name and reason.
    pub not_asked: Vec<(String, String)>,
}

/// Looks at the stored keys, and at the accounts of the configuration.
pub async fn suggest(engine: &Engine) -> Result<SuggestionsView, EngineError> {
    let now = engine.store().now().await?;
    let (mut listed, mut not_asked) = (Vec::new(), Vec::new());
    for account in engine.accounts() {
        match keys_of(engine, &account.name).await {
            Ok(keys) => listed.push((account.provider.clone(), keys)),
            Err(error) => not_asked.push((account.name.clone(), error.to_string())),
        }
    }
    let mut suggestions = unused(engine, &listed, now).await?;
    suggestions.extend(double(engine).await?);
    suggestions.extend(ownerless(engine).await?);
    suggestions.extend(limits(&listed, now));
    Ok(SuggestionsView { suggestions, not_asked })
}

async fn keys_of(engine: &Engine, account: &str) -> Result<Vec<RemoteKey>, EngineError> {
    let mut session = session::wait_for_session(engine, account, Class::Person).await?;
    let keys = account_keys(&mut session).await;
    session.close().await?;
    keys
}

/// Stored keys that nobody was given for long, and that their provider saw nobody use.
async fn unused(
    engine: &Engine,
    listed: &[(String, Vec<RemoteKey>)],
    now: Timestamp,
) -> Result<Vec<SuggestionView>, EngineError> {
    let since = now.plus(Span(-UNUSED.0));
    let filter =
        KeyFilter { active: Some(true), unused_since: Some(since), limit: NAMED, ..KeyFilter::default() };
    let last_use = |key: &RemoteKey| key.usage.figures().and_then(|figures| figures.last_used_at);
    let all = listed.iter().flat_map(|(_, keys)| keys);
    let seen: HashMap<&str, Timestamp> =
        all.filter_map(|key| Some((key.hash.as_str(), last_use(key)?))).collect();
    let is_used =
        |row: &KeyRow| row.hash.as_deref().and_then(|hash| seen.get(hash)).is_some_and(|at| *at >= since);
    let rows = engine.store().list_keys(&filter).await?;
    let unused = rows.iter().filter(|row| row.role == Role::Manual && !is_used(row));
    let text = "was handed out to nobody for 30 days";
    Ok(unused.map(|row| of_key("unused", row, text.to_owned())).collect())
}

/// One secret in two rows.
async fn double(engine: &Engine) -> Result<Vec<SuggestionView>, EngineError> {
    let mut found = Vec::new();
    for fingerprint in engine.store().double_fingerprints(NAMED).await? {
        let rows = engine.store().keys_with_fingerprint(&fingerprint).await?;
        let mut living = rows.iter().filter(|row| row.role != Role::Dead && !row.is_placeholder());
        let Some(first) = living.next() else { continue };
        let number = first.number.map_or_else(|| "none".to_owned(), |number| number.to_string());
        let text = format!("is the same key as {} number {number}", first.provider);
        found.extend(living.map(|row| of_key("double", row, text.clone())));
    }
    Ok(found)
}

async fn ownerless(engine: &Engine) -> Result<Vec<SuggestionView>, EngineError> {
    let counts = engine.store().ownerless_keys().await?;
    let view = |(provider, count): (String, i64)| SuggestionView {
        about: "ownerless",
        text: format!("keys without an owner, whom nobody can be asked about: {count}"),
        provider_type: provider,
        number: None,
        masked_key: None,
    };
    Ok(counts.into_iter().map(view).collect())
}

/// Keys whose limit would not hold anybody back who stole them.
fn limits(listed: &[(String, Vec<RemoteKey>)], now: Timestamp) -> Vec<SuggestionView> {
    let mut found = Vec::new();
    for (provider, keys) in listed {
        for key in keys.iter().filter(|key| key.is_live(now)) {
            let (Some(limit), Some(figures), Some(made_at)) =
                (key.limit, key.usage.figures(), key.created_at)
            else {
                continue;
            };
            let word = key.limit_reset.as_deref();
            let limited = Limited { limit, resets_after: resets_after(word), used: figures.usage, made_at };
            let Some(usual) = limited.far_above(now) else { continue };
            found.push(SuggestionView {
                about: "limit",
                provider_type: provider.clone(),
                number: None,
                masked_key: Some(key.label.clone()),
                text: format!(
                    "{} may spend {} and uses {}",
                    key.name,
                    spending(limit, word),
                    spending(usual, word)
                ),
            });
        }
    }
    found
}

fn spending(usd: MicroUsd, word: Option<&str>) -> String {
    match word {
        Some(word) => format!("${:.2} {word}", usd.usd()),
        None => format!("${:.2}", usd.usd()),
    }
}

fn of_key(about: &'static str, row: &KeyRow, text: String) -> SuggestionView {
    SuggestionView {
        about,
        provider_type: row.provider.clone(),
        number: row.number,
        masked_key: Some(row.mask.clone()),
        text,
    }
}
