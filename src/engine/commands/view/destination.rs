//! `destinations list | check | publish`.

use schemars::JsonSchema;
use serde::Serialize;

use super::rotation::rotation_view;
use crate::engine::session::keys::rotation_of_destination;
use crate::engine::{Account, ConfiguredDestination, Engine, EngineError};

/// A row of `destinations list`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct DestinationView {
    pub address: String,
    /// When it was last looked at.
    pub checked_at: Option<String>,
    pub drift: Option<String>,
    pub error: Option<String>,
    pub generation: Option<i64>,
    /// `regular` or `provisioning` keys.
    pub holds: &'static str,
    pub level: Option<&'static str>,
    pub name: String,
    pub required: bool,
    pub rotation: Option<String>,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// A row of `destinations check`: what one destination showed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedView {
    /// Its name.
    pub name: String,
    /// It could be written, and nobody else changed it.
    pub ok: bool,
    /// What it holds, as far as it can be told.
    pub standing: String,
    /// Each call that was made, and with which permission; or the failure with its hint.
    pub seen: Vec<String>,
}

/// `destinations publish`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PublishedView {
    pub destination: String,
    pub result: String,
}

/// One destination, and what it holds; with an account it is given its provisioning key.
pub(crate) async fn destination_view(
    engine: &Engine,
    place: &ConfiguredDestination,
    account: Option<&Account>,
) -> Result<DestinationView, EngineError> {
    let name = &place.target.name;
    let rotation = rotation_of_destination(engine, name).map(|rotation| rotation.name.clone());
    let held = match &rotation {
        Some(rotation) => rotation_view(engine, rotation).await?.destinations,
        None => Vec::new(),
    };
    let held = held.into_iter().find(|target| target.name == *name);
    Ok(DestinationView {
        address: place.target.address.clone(),
        generation: held.as_ref().and_then(|held| held.generation),
        level: held.as_ref().map(|held| held.level),
        holds: if account.is_some() { "provisioning" } else { "regular" },
        name: name.clone(),
        required: place.target.required,
        rotation,
        kind: place.kind,
        checked_at: held.as_ref().and_then(|held| held.checked_at.clone()),
        drift: held.as_ref().and_then(|held| held.drift.clone()),
        error: held.and_then(|held| held.error),
    })
}
