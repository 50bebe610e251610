//! What its provider says of a key now: of one that is stored, or of one that somebody only asks about.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::secret::Secret;
use crate::domain::verdict::Outcome;
use crate::engine::commands::given;
use crate::engine::commands::kept::{number_of, testable, with_id};
use crate::engine::commands::view::KeyTriedView;
use crate::engine::passes::{Scope, Which, Why, check_keys};
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, PLACEHOLDER};

/// Asks the provider about a key that is stored nowhere.
pub async fn try_given(
    engine: &Engine,
    provider: &str,
    secret: &Secret,
) -> Result<KeyTriedView, EngineError> {
    given::well_formed(secret)?;
    let provider = given::provider_of(engine, provider).await?;
    let tested_at = engine.clock().now().rfc3339();
    if secret.is_placeholder() {
        let detail = "this only stands where a key belongs: it was not tested".to_owned();
        let status = PLACEHOLDER.to_owned();
        return Ok(KeyTriedView { success: false, status, detail, latency_ms: 0, tested_at });
    }
    let seen = given::look(engine, &provider, secret, &json!({})).await?;
    let entry = engine.entry("key.tested", format!("provider {}", provider.name), secret.mask());
    engine.parts.store.audit_alone(&entry).await?;
    Ok(KeyTriedView {
        success: seen.outcome() == Outcome::Valid,
        status: seen.outcome().as_str().to_owned(),
        latency_ms: i64::try_from(seen.latency_ms).unwrap_or(i64::MAX),
        detail: seen.detail,
        tested_at,
    })
}

/// Tests a stored key now: the one with this id, else the one of the provider that counts most. What that shows counts like
/// any other test.
///
/// # Errors
/// [`EngineError::NoSuch`] without such a key, a conflict while another process does not come to its end with it.
pub async fn try_stored(
    engine: &Engine,
    provider: &str,
    id: Option<&str>,
) -> Result<KeyTriedView, EngineError> {
    let key = meant(engine, provider, id).await?;
    let subject = format!("provider {provider} number {}", number_of(&key)?);
    let entry = engine.entry("key.tested", subject, key.mask.clone());
    engine.parts.store.audit_alone(&entry).await?;
    let scope = Scope { which: Which::Key(key.id), why: Why::Person };
    let report = check_keys(engine, &scope, &CancellationToken::new()).await?;
    if report.busy {
        return Err(EngineError::Conflict {
            text: "another rekeyd process is testing this key, and has not come to its end".to_owned(),
            hint: Some("try again in a minute".to_owned()),
        });
    }
    let Some(tested) = report.keys.into_iter().next() else { return Err(none(provider)) };
    Ok(KeyTriedView {
        success: tested.last.outcome == Outcome::Valid.as_str(),
        status: tested.last.outcome,
        detail: tested.last.detail,
        latency_ms: tested.last.latency_ms,
        tested_at: tested.last.at,
    })
}

async fn meant(engine: &Engine, provider: &str, id: Option<&str>) -> Result<KeyRow, EngineError> {
    let Some(id) = id else {
        let first = engine.parts.store.first_key(provider).await?;
        return first.ok_or_else(|| none(provider));
    };
    let key = with_id(engine, id).await?;
    if key.provider != provider {
        return Err(EngineError::not_there(
            format!("provider {provider} has no key {id}"),
            format!("it is one of {}", key.provider),
        ));
    }
    testable(engine, provider, number_of(&key)?).await
}

fn none(provider: &str) -> EngineError {
    EngineError::not_there(
        format!("provider {provider} has no key that can be tested"),
        format!("`rekeyd keys add {provider}` stores one"),
    )
}
