//! A key that a person gives to rekeyd to keep: its kind is proved, it is tested, then it is stored.

use serde_json::Value;

use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Stamp;
use crate::domain::verdict::{Observation, Occasion, Outcome, Reason};
use crate::engine::testing::record::Sighting;
use crate::engine::testing::{endpoint, record};
use crate::engine::{Engine, EngineError, error};
use crate::net::Deadline;
use crate::store::{Change, KeyRow, NewKey, NewProvider, Origin, ProviderRow, Role, new_id};

/// A key that a person gives to rekeyd to keep.
#[derive(Debug)]
pub struct AddKey {
    /// Name of its provider.
    pub provider: String,
    /// Name for people.
    pub name: Option<String>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: i64,
    /// The key.
    pub secret: Secret,
    /// A second secret, where the provider has one.
    pub api_secret: Option<Secret>,
    /// Free JSON.
    pub settings: Value,
    /// Neither tested nor handed out when false.
    pub is_active: bool,
    /// Ask the provider first.
    pub test: bool,
}

/// A key that was added, and what its test showed.
#[derive(Debug)]
pub struct Added {
    /// The stored row.
    pub key: KeyRow,
    /// Something that the reader should know.
    pub warning: Option<String>,
}

/// A key is malformed when it is empty, longer than 8 KiB, or has spaces or control characters (interface.md §3).
fn well_formed(secret: &Secret) -> Result<(), EngineError> {
    let text = secret.expose();
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.len() > 8 * 1024 {
        "it is longer than 8 KiB"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it has spaces or control characters in it"
    } else {
        return Ok(());
    };
    Err(EngineError::Usage { text: format!("this is not a key: {reason}"), hint: None })
}

/// 100 production, 50 to 90 backup, below 50 testing.
fn in_range(priority: i64) -> Result<(), EngineError> {
    if (0..=100).contains(&priority) {
        return Ok(());
    }
    Err(EngineError::usage(
        format!("there is no priority {priority}"),
        "from 0 to 100: 100 is production, 50 to 90 backup, below 50 testing",
    ))
}

/// Stores a key of any provider. A provisioning key is refused, always; a key that the provider refuses is
/// refused unless `test` is off; a placeholder is stored inactive. Where keys come in two kinds the kind is asked for even then (product.md).
pub async fn add_key(engine: &Engine, mut add: AddKey) -> Result<Added, EngineError> {
    well_formed(&add.secret)?;
    in_range(add.priority)?;
    if add.secret.is_placeholder() {
        (add.is_active, add.test) = (false, false);
    }
    let provider = provider_of(engine, &add.provider).await?;
    let fingerprint = engine.parts.fingerprints.of(&add.secret);
    let known = engine.parts.store.keys_with_fingerprint(&fingerprint).await?;
    if let Some(known) = known.iter().find(|key| key.role != Role::Dead) {
        return Err(EngineError::Usage {
            text: format!("this key is stored already: {} number {}", known.provider, number_of(known)),
            hint: None,
        });
    }
    if engine.accounts().any(|account| account.provisioning_key == add.secret) {
        return Err(wrong_kind());
    }
    let seen = first_test(engine, &provider, &add).await?;
    let warning = first_warning(engine, &provider, &add, seen.as_ref());
    let sealing = engine.sealing_key().await?;
    let new = given_key(engine, &add, fingerprint);
    let new = engine.with_secrets(&sealing, new, Some(&add.secret), add.api_secret.as_ref())?;
    let entry = engine.entry("key.added", format!("provider {}", add.provider), new.mask.clone());
    let row = NewProvider { name: provider.name.clone(), kind: provider.kind.clone(), endpoint: None };
    let key = engine.parts.store.add_key(&row, &new, &entry).await?;
    if let Some(seen) = seen {
        record_first(engine, &key.id, seen).await?;
    }
    let key = engine.parts.store.key(&key.id).await?.unwrap_or(key);
    Ok(Added { key, warning })
}

/// Its secrets are not in it yet.
fn given_key(engine: &Engine, add: &AddKey, fingerprint: String) -> NewKey {
    NewKey {
        id: new_id(),
        provider: add.provider.clone(),
        name: add.name.clone().unwrap_or_else(|| add.provider.clone()),
        priority: add.priority,
        is_active: add.is_active,
        settings: add.settings.clone(),
        secret: None,
        api_secret: None,
        fingerprint: Some(fingerprint),
        mask: add.secret.mask(),
        hash: engine.identity_at(&add.provider, &add.secret),
        account: None,
        rotation: None,
        generation: None,
        role: Role::Manual,
        origin: Origin::Given,
        issued_name: None,
        numbered: true,
    }
}

/// The stored provider, or the row of the catalog with this name.
pub async fn provider_of(engine: &Engine, name: &str) -> Result<ProviderRow, EngineError> {
    let stored = engine.parts.store.providers().await?;
    if let Some(row) = stored.into_iter().find(|row| row.name == name) {
        return Ok(row);
    }
    let kinds = engine.parts.tester.kinds();
    if kinds.contains(&name) {
        return Ok(ProviderRow {
            name: name.to_owned(),
            kind: name.to_owned(),
            base_url: None,
            base_url_seal: None,
        });
    }
    let nearest = error::nearest(name, kinds.iter().copied()).unwrap_or_default();
    Err(EngineError::usage(
        format!("there is no provider {name:?}"),
        format!("the nearest name is {nearest}; the catalog has {}", kinds.join(", ")),
    ))
}

/// Asks the provider what the key is before it is stored.
async fn first_test(
    engine: &Engine,
    provider: &ProviderRow,
    add: &AddKey,
) -> Result<Option<Observation>, EngineError> {
    if !add.test && !engine.parts.tester.has_two_kinds(&provider.kind) {
        return Ok(None);
    }
    let endpoint = endpoint::endpoint(engine, provider, None).await?;
    let base = endpoint.base().map_err(|why| EngineError::Refused(format!("refused: {why}")))?;
    let deadline = Deadline::after(engine.parts.tests.timeout.to_std());
    let tester = &engine.parts.tester;
    let seen = tester.test(&provider.kind, base, &add.secret, &add.settings, deadline).await;
    match (seen.outcome(), seen.reason()) {
        (Outcome::Restricted, Some(Reason::WrongKind)) => Err(wrong_kind()),
        (Outcome::Invalid, _) if add.test => Err(EngineError::Outside {
            what: "the provider does not accept this key".to_owned(),
            failure: Failure::new(FailureKind::Refused, seen.detail)
                .hint("check that it was copied whole; --no-test stores it all the same"),
        }),
        _ => Ok(Some(seen)),
    }
}

fn first_warning(
    engine: &Engine,
    provider: &ProviderRow,
    add: &AddKey,
    seen: Option<&Observation>,
) -> Option<String> {
    let mut said = Vec::new();
    if add.secret.is_placeholder() {
        return Some(
            "this looks like a placeholder: stored inactive, never tested nor handed out".to_owned(),
        );
    }
    if let Some(form) = engine.parts.tester.odd_form(&provider.kind, &add.secret) {
        said.push(format!("keys of provider {} usually look like this: {form}", provider.name));
    }
    match seen {
        None => said.push("not tested".to_owned()),
        Some(seen) if seen.outcome() == Outcome::Valid => {}
        Some(seen) if seen.outcome().is_conclusive() => said.push(format!("stored, but {}", seen.detail)),
        Some(seen) => said.push(format!("stored, but it could not be tested: {}", seen.detail)),
    }
    (!said.is_empty()).then(|| said.join("; "))
}

async fn record_first(engine: &Engine, id: &str, seen: Observation) -> Result<(), EngineError> {
    let now = Stamp { ours: engine.clock().now(), theirs: seen.date };
    let look = Sighting::new(seen, Occasion::Extra);
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let folded = rows.into_iter().filter_map(|row| record::fold(engine, row, &look, now));
        Ok(folded.flat_map(|folded| record::tested(engine, folded)).collect())
    };
    engine.parts.store.commit_tests(None, &[id.to_owned()], decide).await
}

fn number_of(key: &KeyRow) -> String {
    key.number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

/// A provisioning key where a regular one belongs.
pub(crate) fn wrong_kind() -> EngineError {
    EngineError::Refused(
        "refused: this is a provisioning key: it manages keys and cannot call a model, so it is never stored as a \
         regular one; put it where accounts.provisioning_key points"
            .to_owned(),
    )
}
