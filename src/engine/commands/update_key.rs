//! A key that a person keeps, changed: its secret, what is said of it, whether it is handed out.

use serde_json::Value;

use crate::crypto::{Sealed, Use};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Observation, Outcome};
use crate::engine::commands::by_hand::let_go_everywhere;
use crate::engine::commands::given;
use crate::engine::commands::given::{Given, Said};
use crate::engine::commands::kept::{
    a_placeholder, belongs_to_no_rotation, number_of, numbered, tables_follow, with_id,
};
use crate::engine::{Engine, EngineError};
use crate::store::{About, KeyEdit, KeyRow, NewSecret, Origin};

/// What becomes of the date until which a key is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It stays, unless the key is another one.
    #[default]
    AsItWas,
    /// There is none.
    Never,
    /// This one.
    At(Timestamp),
}

/// What changes of a key; what is `None` stays.
#[derive(Debug)]
pub struct UpdateKey {
    /// Name for people.
    pub name: Option<String>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: Option<i64>,
    /// Another key in its place.
    pub secret: Option<Secret>,
    /// Another second secret.
    pub api_secret: Option<Secret>,
    /// Free JSON, whole.
    pub settings: Option<Value>,
    /// Neither tested nor handed out when false.
    pub is_active: Option<bool>,
    /// Whose; empty for nobody's.
    pub owner: Option<String>,
    /// What it is for; empty for nothing.
    pub note: Option<String>,
    /// Until when it is good.
    pub expiry: Expiry,
    /// Ask the provider for a new secret first.
    pub test: bool,
    /// Store it even when the provider does not accept it.
    pub force: bool,
}

impl Default for UpdateKey {
    fn default() -> Self {
        Self {
            name: None,
            priority: None,
            secret: None,
            api_secret: None,
            settings: None,
            is_active: None,
            owner: None,
            note: None,
            expiry: Expiry::default(),
            test: true,
            force: false,
        }
    }
}

impl UpdateKey {
    /// Nobody said anything.
    pub fn changes_nothing(&self) -> bool {
        let said = [&self.name, &self.owner, &self.note].into_iter().any(Option::is_some);
        let secrets = [&self.secret, &self.api_secret].into_iter().any(Option::is_some);
        let rest = self.priority.is_some() || self.is_active.is_some() || self.settings.is_some();
        !said && !secrets && !rest && self.expiry == Expiry::AsItWas
    }

    /// What people will say of the key. `None` when that stays.
    fn about(&self, old: &About) -> Option<About> {
        let text = |new: &Option<String>, old: &Option<String>| match new {
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            None => old.clone(),
        };
        let new = About {
            owner: text(&self.owner, &old.owner),
            note: text(&self.note, &old.note),
            expires_at: match self.expiry {
                // Another key has another expiry.
                Expiry::AsItWas => old.expires_at.filter(|_| self.secret.is_none()),
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
            },
        };
        (new != *old).then_some(new)
    }

    /// What changes, in words, without a secret.
    fn told(&self, row: &KeyRow) -> String {
        let mut told = Vec::new();
        let mut note = |what: &str, changes: bool| changes.then(|| told.push(what.to_owned()));
        note("key", self.secret.is_some());
        note("second secret", self.api_secret.is_some());
        note("name", self.name.is_some());
        note("settings", self.settings.is_some());
        note("owner", self.owner.is_some());
        note("note", self.note.is_some());
        note("expiry", self.expiry != Expiry::AsItWas);
        if let Some(priority) = self.priority {
            told.push(format!("priority {} → {priority}", row.priority));
        }
        if let Some(active) = self.is_active.filter(|active| *active != row.is_active) {
            told.push(if active { "active" } else { "inactive" }.to_owned());
        }
        format!("{}: {}", row.mask, told.join(", "))
    }
}

/// A key that was changed.
#[derive(Debug)]
pub struct Updated {
    /// The stored row.
    pub key: KeyRow,
    /// Something that the reader should know.
    pub warning: Option<String>,
    /// The mask of the key that was replaced; the provider still honours it.
    pub replaced: Option<String>,
}

/// Changes a key of no rotation. Tables that hand it out follow at once.
///
/// # Errors
/// Refused for a generation of a rotation (R15), a placeholder that would become active, and whatever
/// [`super::add_key()`] refuses of a secret.
pub async fn update_key(
    engine: &Engine,
    provider: &str,
    number: i64,
    update: UpdateKey,
) -> Result<Updated, EngineError> {
    change(engine, numbered(engine, provider, number).await?, update).await
}

/// The same by the id of the key.
pub async fn update_key_by_id(engine: &Engine, id: &str, update: UpdateKey) -> Result<Updated, EngineError> {
    change(engine, with_id(engine, id).await?, update).await
}

pub(super) async fn change(engine: &Engine, row: KeyRow, update: UpdateKey) -> Result<Updated, EngineError> {
    belongs_to_no_rotation(&row)?;
    let (provider, number) = (row.provider.as_str(), number_of(&row)?);
    if let Some(priority) = update.priority {
        given::in_range(priority)?;
    }
    if let Some(settings) = &update.settings {
        given::is_object(settings)?;
    }
    let about = update.about(&row.about);
    given::second_well_formed(update.api_secret.as_ref())?;
    let said =
        Said { name: update.name.as_deref(), about: about.as_ref(), settings: update.settings.as_ref() };
    let secrets: Vec<&Secret> = [&update.secret, &update.api_secret].into_iter().flatten().collect();
    given::may_be_shown(said, &secrets)?;
    let is_placeholder = update.secret.as_ref().map_or(row.is_placeholder(), Secret::is_placeholder);
    if is_placeholder && update.is_active == Some(true) {
        return Err(a_placeholder(provider, number));
    }
    if update.secret.is_some() && row.origin != Origin::Given {
        return Err(EngineError::Refused(format!(
            "refused: rekeyd issued {provider} number {number} itself, and another key is another row: add it with \
             `rekeyd keys add {provider}`"
        )));
    }
    let (secret, seen, warning) = new_secret(engine, &row, &update).await?;
    let is_proved = seen.as_ref().is_some_and(|seen| seen.outcome() == Outcome::Valid);
    if secret.is_some() && !is_proved {
        // What is stored instead may be no key at all: then this one goes as with `keys delete`.
        let_go_everywhere(engine, &row, false).await?;
    }
    let replaced = secret.as_ref().map(|_| row.mask.clone());
    let fingerprint = secret.as_ref().map(|secret| secret.fingerprint.clone());
    let edit = KeyEdit {
        name: update.name.clone(),
        priority: update.priority,
        is_active: if is_placeholder && secret.is_some() { Some(false) } else { update.is_active },
        settings: update.settings.clone(),
        about,
        secret,
        api_secret: second_secret(engine, &row, update.api_secret.as_ref()).await?,
    };
    let entry =
        engine.entry("key.updated", format!("provider {provider} number {number}"), update.told(&row));
    let Some(key) = engine.parts.store.edit_key(&row.id, &edit, &entry).await? else {
        return Err(EngineError::Refused(format!(
            "refused: {provider} number {number} was deleted or taken into a rotation meanwhile"
        )));
    };
    if let (Some(seen), Some(fingerprint)) = (seen, fingerprint) {
        let provider = given::provider_of(engine, &row.provider).await?;
        given::record_first(engine, &provider, &key.id, &fingerprint, seen, update.force).await?;
    }
    tables_follow(engine, std::slice::from_ref(&key.id)).await?;
    let key = engine.parts.store.key(&key.id).await?.unwrap_or(key);
    Ok(Updated { key, warning, replaced })
}

type Proved = (Option<NewSecret>, Option<Observation>, Option<String>);

/// The new secret sealed, what its test showed, and a warning; nothing of them where the old one stays.
async fn new_secret(engine: &Engine, row: &KeyRow, update: &UpdateKey) -> Result<Proved, EngineError> {
    let Some(secret) = &update.secret else { return Ok((None, None, None)) };
    given::well_formed(secret)?;
    let provider = given::provider_of(engine, &row.provider).await?;
    let fingerprint = given::not_here_yet(engine, &row.provider, secret, Some(&row.id)).await?;
    let settings = update.settings.as_ref().unwrap_or(&row.settings);
    let given = Given { provider: &provider, secret, settings, test: update.test, force: update.force };
    let seen = given::first_test(engine, given).await?;
    let warning = given::warning(engine, given, seen.as_ref());
    let sealing = engine.sealing_key().await?;
    let new = NewSecret {
        sealed: engine.seal(&sealing, &row.purpose(Use::Key), secret)?,
        fingerprint,
        mask: secret.mask(),
        hash: engine.identity_at(&provider.kind, secret),
        is_placeholder: secret.is_placeholder(),
    };
    Ok((Some(new), seen, warning))
}

async fn second_secret(
    engine: &Engine,
    row: &KeyRow,
    secret: Option<&Secret>,
) -> Result<Option<Sealed>, EngineError> {
    let Some(secret) = secret else { return Ok(None) };
    let sealing = engine.sealing_key().await?;
    Ok(Some(engine.seal(&sealing, &row.purpose(Use::ApiSecret), secret)?))
}
