//! What a person gives to rekeyd to keep, before it is stored: is it a key, of which kind, is it here already, and does its
//! provider accept it.

use serde_json::Value;
use url::Url;

use crate::domain::secret::{Secret, holds_key};
use crate::domain::time::Stamp;
use crate::domain::verdict::health::Suspicion;
use crate::domain::verdict::{Observation, Occasion, Outcome, Reason};
use crate::engine::testing::record::Sighting;
use crate::engine::testing::{endpoint, record};
use crate::engine::{Engine, EngineError, error};
use crate::net::Deadline;
use crate::store::{About, Change, KeyRow, ProviderRow, Role};

/// No note or name is longer, in characters.
const LONGEST: usize = 1000;

/// A secret that somebody gave for a provider.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) provider: &'a ProviderRow,
    pub(super) secret: &'a Secret,
    pub(super) settings: &'a Value,
    /// Ask the provider first.
    pub(super) test: bool,
    /// Store it even when the provider does not accept it.
    pub(super) force: bool,
}

/// A key is malformed when it is empty, longer than 8 KiB, has spaces or control characters, or is a mask
/// (interface.md §3).
pub(super) fn well_formed(secret: &Secret) -> Result<(), EngineError> {
    let Some(why) = secret.malformation() else { return Ok(()) };
    Err(EngineError::Usage { text: format!("this is not a key: {why}"), hint: None })
}

/// 100 production, 50 to 90 backup, below 50 testing.
pub(super) fn in_range(priority: i64) -> Result<(), EngineError> {
    if (0..=100).contains(&priority) {
        return Ok(());
    }
    Err(EngineError::usage(
        format!("there is no priority {priority}"),
        "from 0 to 100: 100 is production, 50 to 90 backup, below 50 testing",
    ))
}

/// What is said of a key beside its secrets, all of which is shown to everybody.
#[derive(Clone, Copy, Default)]
pub(super) struct Said<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) about: Option<&'a About>,
    pub(super) settings: Option<&'a Value>,
}

/// No key may stand in what is shown: none that looks like one, and none of these, whatever they look like.
pub(super) fn may_be_shown(said: Said<'_>, secrets: &[&Secret]) -> Result<(), EngineError> {
    let Said { name, about, settings } = said;
    let (owner, note) = about.map_or((None, None), |about| (about.owner.as_deref(), about.note.as_deref()));
    let told = |text: &str| holds_key(text) || secrets.iter().any(|secret| holds(text, secret));
    if let Some(text) = [name, owner, note].into_iter().flatten().find(|text| text.chars().count() > LONGEST)
    {
        let length = text.chars().count();
        return Err(EngineError::Usage {
            text: format!("a name, owner or note has at most {LONGEST} characters, not {length}"),
            hint: None,
        });
    }
    if [name, owner, note].into_iter().flatten().any(told) {
        return Err(EngineError::usage(
            "there is a key in the name, the owner or the note, where everybody would read it",
            "nothing was stored",
        ));
    }
    if owner.is_some_and(|owner| !owner.contains('@')) {
        return Err(EngineError::usage("the owner is not an e-mail address", "--owner name@example.com"));
    }
    if settings.is_some_and(|settings| told(&settings.to_string())) {
        return Err(EngineError::usage(
            "there is a key in the settings, where everybody would read it",
            "nothing was stored; a second secret is kept sealed: --api-secret-file PATH, or a field api_secret",
        ));
    }
    Ok(())
}

/// A short secret would be found in any text.
fn holds(text: &str, secret: &Secret) -> bool {
    let secret = secret.expose();
    secret.len() >= 8 && text.contains(secret)
}

/// The same as [`well_formed`] of a second secret.
pub(super) fn second_well_formed(secret: Option<&Secret>) -> Result<(), EngineError> {
    let Some(why) = secret.and_then(Secret::malformation) else { return Ok(()) };
    Err(EngineError::Usage { text: format!("the second secret is none: {why}"), hint: None })
}

/// The row of the catalog by which a key of this provider is asked what it is before it is stored. Where keys come in two
/// kinds the address tells, whatever the provider is called: `custom` would take a provisioning key for any key.
pub(super) fn asked_as(engine: &Engine, provider: &ProviderRow) -> String {
    let url = provider.base_url.as_deref().and_then(|url| Url::parse(url).ok());
    let known = url.and_then(|url| two_kinds_at(engine, &url));
    known.unwrap_or_else(|| provider.kind.clone())
}

/// The kind of provider whose API is at this address and whose keys come in two kinds.
pub(super) fn two_kinds_at(engine: &Engine, url: &Url) -> Option<String> {
    let tester = &engine.parts.tester;
    let same = |other: &Url| {
        other.host_str() == url.host_str() && other.port_or_known_default() == url.port_or_known_default()
    };
    let mut configured = engine.accounts().filter(|account| tester.has_two_kinds(&account.provider));
    if let Some(account) = configured.find(|account| same(&account.base_url)) {
        return Some(account.provider.clone());
    }
    let mut kinds = tester.kinds().into_iter().filter(|kind| tester.has_two_kinds(kind));
    let at = |kind: &&str| {
        let profile = tester.profile(kind);
        profile.and_then(|profile| Url::parse(profile.base_url).ok()).is_some_and(|other| same(&other))
    };
    kinds.find(at).map(str::to_owned)
}

/// Settings are one JSON object.
pub(super) fn is_object(settings: &Value) -> Result<(), EngineError> {
    if settings.is_object() {
        return Ok(());
    }
    Err(EngineError::usage("the settings of a key are a JSON object", r#"{"model": "…"}"#))
}

/// Its fingerprint, when neither a stored key nor a provisioning key of the configuration is the same. `but`: the key that
/// it replaces. A placeholder stands for a key of its provider only.
pub(super) async fn not_here_yet(
    engine: &Engine,
    provider: &str,
    secret: &Secret,
    but: Option<&str>,
) -> Result<String, EngineError> {
    let fingerprint = engine.parts.fingerprints.of(secret);
    let known = engine.parts.store.keys_with_fingerprint(&fingerprint).await?;
    let elsewhere = |key: &KeyRow| secret.is_placeholder() && key.provider != provider;
    let mut living = known.iter().filter(|key| key.role != Role::Dead && but != Some(key.id.as_str()));
    if let Some(known) = living.find(|key| !elsewhere(key)) {
        return Err(EngineError::Taken {
            text: format!("this key is stored already: {} number {}", known.provider, number_of(known)),
            hint: None,
        });
    }
    if engine.accounts().any(|account| account.provisioning_key == *secret) {
        return Err(wrong_kind());
    }
    Ok(fingerprint)
}

/// Asks the provider what the key is before it is stored. A provisioning key is refused, always; a key that the
/// provider refuses is refused unless no test was asked for. Where keys come in two kinds the kind is asked for even then
/// (product.md).
pub(super) async fn first_test(
    engine: &Engine,
    given: Given<'_>,
) -> Result<Option<Observation>, EngineError> {
    let tester = &engine.parts.tester;
    if given.secret.is_placeholder()
        || !given.test && !tester.has_two_kinds(&asked_as(engine, given.provider))
    {
        return Ok(None);
    }
    let seen = look(engine, given.provider, given.secret, given.settings).await?;
    match (seen.outcome(), seen.reason()) {
        (Outcome::Restricted, Some(Reason::WrongKind)) => Err(wrong_kind()),
        (Outcome::Invalid, _) if given.test && !given.force => Err(EngineError::NotAccepted(seen.detail)),
        _ => Ok(Some(seen)),
    }
}

/// What the provider says of a key.
pub(super) async fn look(
    engine: &Engine,
    provider: &ProviderRow,
    secret: &Secret,
    settings: &Value,
) -> Result<Observation, EngineError> {
    let endpoint = endpoint::endpoint(engine, provider, None).await?;
    let base = endpoint.base().map_err(|why| EngineError::Refused(format!("refused: {why}")))?;
    let deadline = Deadline::after(engine.parts.tests.timeout.to_std());
    Ok(engine.parts.tester.test(&asked_as(engine, provider), base, secret, settings, deadline).await)
}

/// What the reader should know of a key that is stored all the same.
pub(super) fn warning(engine: &Engine, given: Given<'_>, seen: Option<&Observation>) -> Option<String> {
    if given.secret.is_placeholder() {
        return Some(
            "this looks like a placeholder: stored inactive, never tested nor handed out".to_owned(),
        );
    }
    let mut said = Vec::new();
    if let Some(form) = engine.parts.tester.odd_form(&given.provider.kind, given.secret) {
        said.push(format!("keys of provider {} usually look like this: {form}", given.provider.name));
    }
    match seen {
        None => said.push("not tested".to_owned()),
        Some(seen) if seen.outcome() == Outcome::Valid => {}
        Some(seen) if seen.outcome().is_conclusive() => said.push(format!("stored, but {}", seen.detail)),
        Some(seen) => said.push(format!("stored, but it could not be tested: {}", seen.detail)),
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// Records the test that was made before the key of this provider with this fingerprint had a row. `force`: who stores a
/// key that is not accepted knows that; there is nothing to wait for before it is invalid.
pub(super) async fn record_first(
    engine: &Engine,
    provider: &ProviderRow,
    id: &str,
    fingerprint: &str,
    seen: Observation,
    force: bool,
) -> Result<(), EngineError> {
    let asked_with = fingerprint.to_owned();
    let now = Stamp { ours: engine.clock().now(), theirs: seen.date };
    let look = Sighting::new(seen, Occasion::Extra).of_kind(&provider.kind);
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let known = |mut row: KeyRow| {
            let settled = Suspicion { since: now.ours, look_again_at: now.ours, tries: 0 };
            row.health.suspicion = (force && look.seen.outcome() == Outcome::Invalid).then_some(settled);
            record::fold(engine, row, Some(&asked_with), &look, now)
        };
        let folded = rows.into_iter().filter_map(known);
        Ok(folded.flat_map(|folded| record::tested(engine, folded)).collect())
    };
    engine.parts.store.commit_tests(None, &[id.to_owned()], decide).await
}

/// The stored provider, or the row of the catalog with this name.
pub async fn provider_of(engine: &Engine, name: &str) -> Result<ProviderRow, EngineError> {
    if let Some(row) = engine.parts.store.provider(name).await? {
        return Ok(row);
    }
    let kinds = engine.parts.tester.kinds();
    if kinds.contains(&name) {
        return Ok(ProviderRow::of_catalog(name));
    }
    let nearest = error::nearest(name, kinds.iter().copied()).unwrap_or_default();
    Err(EngineError::not_there(
        format!("there is no provider {name:?}"),
        format!(
            "the nearest name is {nearest}; the catalog has {}; `rekeyd providers add NAME --kind KIND` adds one of your own",
            kinds.join(", ")
        ),
    ))
}

/// The names that a key can be stored under: of the catalog, and those that were added.
pub async fn provider_names(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let mut names: Vec<String> = engine.parts.tester.kinds().into_iter().map(str::to_owned).collect();
    let stored = engine.parts.store.providers().await?.into_iter().map(|row| row.name);
    names.extend(stored.filter(|name| !engine.parts.tester.kinds().contains(&name.as_str())));
    Ok(names)
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
