//! Keys that somebody picked from a list, by their ids: each for itself, and what came of each.

use std::collections::BTreeMap;

use super::by_hand::delete_key_by_id;
use super::kept::belongs_to_no_rotation;
use super::people::note_refusal;
use super::providers::accounts_can_spare;
use super::update_key::{UpdateKey, update_key};
use super::view::{KeyView, UndoneView, key_view};
use crate::engine::commands::given::provider_of;
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, Role};

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// From now on it is tested and handed out.
    Activate,
    /// And not any more.
    Deactivate,
    /// It leaves the store.
    Delete {
        /// Its provider stops to honour it.
        at_provider: bool,
    },
}

/// The living key with this id.
pub async fn key_with_id(engine: &Engine, id: &str) -> Result<KeyRow, EngineError> {
    let key = engine.parts.store.key(id).await?.filter(|key| key.role != Role::Dead);
    key.ok_or_else(|| {
        EngineError::not_there(format!("there is no key {id}"), "`rekeyd keys list` shows them")
    })
}

/// These keys, once every rule lets all of them go together. Changes nothing.
///
/// # Errors
/// Refused for a generation of a rotation (R15), and when the last usable regular key of a configured account is among them.
pub async fn may_go(engine: &Engine, ids: &[String]) -> Result<Vec<KeyView>, EngineError> {
    let (mut views, mut hashes) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    for id in ids {
        let key = key_with_id(engine, id).await?;
        belongs_to_no_rotation(&key)?;
        let of_kind = hashes.entry(provider_of(engine, &key.provider).await?.kind).or_default();
        of_kind.extend(key.hash.clone());
        views.push(key_view(&key));
    }
    for (kind, hashes) in &hashes {
        accounts_can_spare(engine, kind, hashes).await?;
    }
    Ok(views)
}

/// Does it to one key after the other. Answers those that it was not done to, and why.
pub async fn do_to_each(engine: &Engine, ids: &[String], deed: Deed) -> Result<Vec<UndoneView>, EngineError> {
    let mut undone = Vec::new();
    for id in ids {
        // Somebody else may have deleted it since it was picked.
        let key = match key_with_id(engine, id).await {
            Err(EngineError::Absent { .. }) => continue,
            key => key?,
        };
        let Err(error) = do_to(engine, &key, deed).await else { continue };
        if !error.concerns_one() {
            return Err(error);
        }
        if error.exit_status() == 3 {
            note_refusal(engine, "request.refused", &format!("key {id}"), &error.to_string()).await?;
        }
        undone.push(UndoneView { key: key_view(&key), why: error.to_string() });
    }
    Ok(undone)
}

async fn do_to(engine: &Engine, key: &KeyRow, deed: Deed) -> Result<(), EngineError> {
    let active = match deed {
        Deed::Delete { at_provider } => return delete_key_by_id(engine, &key.id, at_provider).await,
        Deed::Activate => true,
        Deed::Deactivate => false,
    };
    belongs_to_no_rotation(key)?;
    let change = UpdateKey { is_active: Some(active), ..UpdateKey::default() };
    update_key(engine, &key.provider, key.number.unwrap_or_default(), change).await?;
    Ok(())
}
