//! A key for an application or a script: the best there is, or the one that was meant, or another provider's. Whom it
//! is given to is recorded before it is.

use crate::domain::hand_out::{Group, Strategy, by_lot, in_order, providers};
use crate::domain::secret::Secret;
use crate::engine::commands::given::provider_of;
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, Wanted};

/// A key may stop to be usable between being found and being recorded; so often another one is looked for.
const ATTEMPTS: i64 = 5;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Name of the provider.
    pub provider: String,
    /// Which of its keys.
    pub strategy: Strategy,
    /// Where else, in this order, when it has none.
    pub fallback: Vec<String>,
    /// The same by the name of an order of the configuration.
    pub preference: Option<String>,
    /// Of that order only these, where who asks may not have every provider's.
    pub only: Option<Vec<String>>,
}

/// A key that is given out.
#[derive(Debug)]
pub struct HandedOut {
    /// Its row.
    pub key: KeyRow,
    /// The key.
    pub secret: Secret,
    /// Its second secret.
    pub api_secret: Option<Secret>,
}

/// Finds a usable key, records that it is given, and gives it.
///
/// # Errors
/// [`EngineError::Absent`] when nobody has one.
pub async fn hand_out(engine: &Engine, ask: &Ask) -> Result<HandedOut, EngineError> {
    let then = match &ask.preference {
        Some(name) => preference(engine, ask, name)?,
        None => ask.fallback.clone(),
    };
    let asked = providers(&ask.provider, &then);
    for provider in &asked {
        provider_of(engine, provider).await?;
    }
    if let Some(given) = from(engine, &ask.provider, &ask.strategy).await? {
        return Ok(given);
    }
    // A certain key was meant: another one only where somebody said so.
    let closed = !ask.strategy.is_open();
    let others = asked.iter().filter(|provider| closed || **provider != ask.provider);
    let strategy = if ask.strategy == Strategy::Random { Strategy::Random } else { Strategy::Best };
    for provider in others.filter(|_| !closed || asked.len() > 1) {
        if let Some(given) = from(engine, provider, &strategy).await? {
            return Ok(given);
        }
    }
    Err(EngineError::Absent {
        text: format!("no usable key of {}", asked.join(" or ")),
        hint: Some(format!("`rekeyd keys list --provider {}` says how they are", ask.provider)),
    })
}

fn preference(engine: &Engine, ask: &Ask, name: &str) -> Result<Vec<String>, EngineError> {
    let known = &engine.parts.preferences;
    let order = known.get(name).ok_or_else(|| EngineError::unknown("preference", name, known.keys()))?;
    let may = |provider: &&String| ask.only.as_ref().is_none_or(|only| only.contains(provider));
    Ok(order.iter().filter(may).cloned().collect())
}

/// A usable key of one provider.
async fn from(
    engine: &Engine,
    provider: &str,
    strategy: &Strategy,
) -> Result<Option<HandedOut>, EngineError> {
    let wanted = Wanted { provider, strategy, now: engine.parts.store.now().await? };
    let groups = engine.parts.store.giveable(&wanted).await?;
    for equals in in_order(strategy, &groups) {
        if let Some(given) = one_of(engine, &wanted, &equals).await? {
            return Ok(Some(given));
        }
    }
    Ok(None)
}

/// One of equals by lot, or the next one that can be given.
async fn one_of(
    engine: &Engine,
    wanted: &Wanted<'_>,
    equals: &[Group],
) -> Result<Option<HandedOut>, EngineError> {
    let count: i64 = equals.iter().map(|group| group.count).sum();
    let first = by_lot(count, engine.parts.clock.fraction());
    for attempt in 0..count.min(ATTEMPTS) {
        let place = (first + attempt) % count;
        let Some(key) = engine.parts.store.giveable_at(wanted, equals, place).await? else { continue };
        if let Some(given) = give(engine, key).await? {
            return Ok(Some(given));
        }
    }
    Ok(None)
}

/// The key with its secrets, recorded. `None` when it cannot be opened, or may not be given any more.
async fn give(engine: &Engine, key: KeyRow) -> Result<Option<HandedOut>, EngineError> {
    let Some(secret) = engine.open_or_pass_by(&key) else { return Ok(None) };
    let api_secret = engine.open_api_secret(&key)?;
    let subject = format!("provider {} number {}", key.provider, key.number.unwrap_or_default());
    let entry = engine.entry("key.handed_out", subject, key.mask.clone());
    if !engine.parts.store.record_hand_out(&key.id, &entry).await? {
        return Ok(None);
    }
    Ok(Some(HandedOut { key, secret, api_secret }))
}
