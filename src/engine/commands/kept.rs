//! A stored key by its number, and the tables that hand it out.

use std::collections::BTreeSet;

use crate::domain::turn::Class;
use crate::engine::commands::mirror::mirror_by_hand;
use crate::engine::passes::mirror;
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, Role};

/// The stored key with this number, or an error that says how to find it.
pub async fn numbered(engine: &Engine, provider: &str, number: i64) -> Result<KeyRow, EngineError> {
    engine.parts.store.key_numbered(provider, number).await?.ok_or_else(|| EngineError::Absent {
        text: format!("provider {provider} has no key number {number}: nothing was done"),
        hint: Some("`rekeyd keys list` shows them".to_owned()),
    })
}

/// The stored key with this id, or an error that says how to find it.
pub(super) async fn with_id(engine: &Engine, id: &str) -> Result<KeyRow, EngineError> {
    let key = engine.parts.store.key(id).await?.filter(|key| key.role != Role::Dead);
    key.ok_or_else(|| {
        EngineError::not_there(format!("there is no key {id}"), "`rekeyd keys list` shows them")
    })
}

/// Its number in its provider.
pub(super) fn number_of(key: &KeyRow) -> Result<i64, EngineError> {
    key.number.ok_or_else(|| {
        EngineError::Refused(format!("refused: {} has no number: its rotation has it in hand", key.mask))
    })
}

/// The stored key with this number that may be tested: no placeholder is, ever.
pub async fn testable(engine: &Engine, provider: &str, number: i64) -> Result<KeyRow, EngineError> {
    let key = numbered(engine, provider, number).await?;
    if key.is_placeholder() {
        return Err(a_placeholder(provider, number));
    }
    Ok(key)
}

/// What only stands where a key belongs can be kept, and nothing else.
pub(super) fn a_placeholder(provider: &str, number: i64) -> EngineError {
    EngineError::usage(
        format!("{provider} number {number} is a placeholder, which is never tested nor handed out"),
        format!("give it its key first: `rekeyd keys update {provider} {number}`"),
    )
}

/// R15: a generation changes only through its rotation.
pub(super) fn belongs_to_no_rotation(key: &KeyRow) -> Result<(), EngineError> {
    let Some(rotation) = &key.rotation else { return Ok(()) };
    Err(EngineError::Refused(format!(
        "refused: this key is generation {} of rotation {rotation}: it changes only through its rotation",
        key.generation.unwrap_or_default()
    )))
}

/// Tables that hand these keys out do what the store says, as soon as they can be reached.
pub(super) async fn tables_follow(engine: &Engine, ids: &[String]) -> Result<(), EngineError> {
    let mut tables = BTreeSet::new();
    for id in ids {
        let places = mirror::mirrored_at(engine, id).await?;
        tables.extend(places.into_iter().map(|(place, _)| place.target.name.clone()));
    }
    for destination in &tables {
        if let Err(error) = mirror_by_hand(engine, destination, Class::Person.patience()).await {
            tracing::warn!(%destination, %error, "its table does not follow the store yet");
        }
    }
    Ok(())
}
