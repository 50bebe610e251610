//! Questions about stored keys that several flows ask.

use serde_json::json;

use crate::engine::session::Session;
use crate::engine::{Engine, EngineError, Rotation};
use crate::provider::IssuedKey;
use crate::store::{About, KeyRow, NewKey, NewProvider, Origin, Role, RotationRow, new_id};

/// The current key of a rotation.
pub(crate) async fn current(engine: &Engine, rotation: &str) -> Result<Option<KeyRow>, EngineError> {
    let generations = engine.parts.store.generations(rotation).await?;
    Ok(generations.into_iter().find(|key| key.role == Role::Current))
}

/// The row of a key that this account just issued under a name, of no rotation and with a number; its secret is not in it
/// yet.
pub(crate) fn issued_row(session: &Session<'_>, name: &str, issued: &IssuedKey) -> NewKey {
    NewKey {
        id: new_id(),
        provider: session.account.provider.clone(),
        name: "manual".to_owned(),
        priority: 50,
        is_active: true,
        settings: json!({}),
        secret: None,
        api_secret: None,
        fingerprint: Some(session.engine.parts.fingerprints.of(&issued.secret)),
        mask: issued.secret.mask(),
        hash: Some(issued.remote.hash.clone()),
        account: Some(session.identity.clone()),
        rotation: None,
        generation: None,
        role: Role::Manual,
        origin: Origin::Created,
        issued_name: Some(name.to_owned()),
        numbered: true,
        is_placeholder: false,
        about: About::default(),
    }
}

/// The provider row that this account's keys belong to.
pub(crate) fn provider_row(session: &Session<'_>) -> NewProvider {
    NewProvider {
        name: session.account.provider.clone(),
        kind: session.account.provider.clone(),
        title: None,
        endpoint: None,
    }
}

/// The rotation that publishes to a destination.
pub fn rotation_of_destination<'e>(engine: &'e Engine, place: &str) -> Option<&'e Rotation> {
    engine.rotations().find(|rotation| rotation.policy.targets.iter().any(|target| target.name == place))
}

pub(crate) fn wants_adopt(row: &RotationRow) -> Result<(), EngineError> {
    if !row.needs_adopt {
        return Ok(());
    }
    Err(EngineError::Usage {
        text: format!("rotation {} needs to know its current key again after the thaw", row.name),
        hint: Some(format!("`rekeyd rotations adopt {} --secret-stdin` (or --hash)", row.name)),
    })
}

/// Our stored key behind a hash, if any. An error when a row with that hash cannot be read: then nobody may say that it is
/// not ours.
pub(crate) async fn stored_key(session: &Session<'_>, hash: &str) -> Result<Option<KeyRow>, EngineError> {
    let mut same = session.engine.parts.store.keys_with_hash(hash).await?.into_iter();
    // A key that a person stored names no account; the hash is that of its secret, so it is this one.
    let mine = |key: &KeyRow| match key.account.as_deref() {
        Some(account) => account == session.identity,
        None => key.provider == session.account.provider,
    };
    Ok(same.find(mine))
}
