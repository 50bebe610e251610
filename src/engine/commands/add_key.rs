//! A key that a person gives to rekeyd to keep: its kind is proved, it is tested, then it is stored.

use serde_json::Value;

use crate::domain::secret::Secret;
use crate::engine::commands::given;
use crate::engine::commands::given::{Given, Said};
use crate::engine::{Engine, EngineError};
use crate::store::{About, KeyRow, NewKey, NewProvider, Origin, ProviderRow, Role, new_id};

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
    /// Store it even when the provider does not accept it.
    pub force: bool,
    /// What people say of it.
    pub about: About,
}

impl AddKey {
    /// What everybody is shown.
    pub(super) fn said(&self) -> Said<'_> {
        Said { name: self.name.as_deref(), about: Some(&self.about), settings: Some(&self.settings) }
    }

    /// What nobody is.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        [Some(&self.secret), self.api_secret.as_ref()].into_iter().flatten().collect()
    }
}

/// A key that was added, and what its test showed.
#[derive(Debug)]
pub struct Added {
    /// The stored row.
    pub key: KeyRow,
    /// Something that the reader should know.
    pub warning: Option<String>,
}

/// Stores a key of any provider, unless it is known or refused; a placeholder is stored inactive.
pub async fn add_key(engine: &Engine, mut add: AddKey) -> Result<Added, EngineError> {
    given::well_formed(&add.secret)?;
    given::in_range(add.priority)?;
    given::is_object(&add.settings)?;
    given::second_well_formed(add.api_secret.as_ref())?;
    given::may_be_shown(add.said(), &add.secrets())?;
    add.is_active &= !add.secret.is_placeholder();
    let provider = given::provider_of(engine, &add.provider).await?;
    let fingerprint = given::not_here_yet(engine, &add.provider, &add.secret, None).await?;
    let given = Given {
        provider: &provider,
        secret: &add.secret,
        settings: &add.settings,
        test: add.test,
        force: add.force,
    };
    let seen = given::first_test(engine, given).await?;
    let warning = given::warning(engine, given, seen.as_ref());
    let sealing = engine.sealing_key().await?;
    let new = new_row(engine, &add, &provider, fingerprint.clone());
    let new = engine.with_secrets(&sealing, new, Some(&add.secret), add.api_secret.as_ref())?;
    let entry = engine.entry("key.added", format!("provider {}", add.provider), new.mask.clone());
    let key = engine.parts.store.add_key(&NewProvider::known(&provider), &new, &entry).await?;
    if let Some(seen) = seen {
        given::record_first(engine, &provider, &key.id, &fingerprint, seen, add.force).await?;
    }
    let key = engine.parts.store.key(&key.id).await?.unwrap_or(key);
    Ok(Added { key, warning })
}

/// Its secrets are not in it yet.
pub(super) fn new_row(engine: &Engine, add: &AddKey, provider: &ProviderRow, fingerprint: String) -> NewKey {
    NewKey {
        id: new_id(),
        provider: provider.name.clone(),
        name: add.name.clone().unwrap_or_else(|| provider.name.clone()),
        priority: add.priority,
        is_active: add.is_active,
        settings: add.settings.clone(),
        secret: None,
        api_secret: None,
        fingerprint: Some(fingerprint),
        mask: add.secret.mask(),
        hash: engine.identity_at(&provider.kind, &add.secret),
        account: None,
        rotation: None,
        generation: None,
        role: Role::Manual,
        origin: Origin::Given,
        issued_name: None,
        numbered: true,
        is_placeholder: add.secret.is_placeholder(),
        about: add.about.clone(),
    }
}
