//! A key under a name: stored where its provider has none of that name, else in the place of the one that is there.

use serde_json::{Map, Value};

use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::engine::commands::add_key::{AddKey, add_key};
use crate::engine::commands::given;
use crate::engine::commands::providers::{AddProvider, add_provider, take_back_provider};
use crate::engine::commands::update_key::{Expiry, UpdateKey, change};
use crate::engine::commands::view::{StoredKeyView, key_view, provider_view};
use crate::engine::{Engine, EngineError};
use crate::store::{About, KeyRow};

/// What a key without a word about it is: production.
const PRIORITY: i64 = 100;

/// A key, and what is said of it; of one that is there already, what is `None` stays.
#[derive(Debug)]
pub struct PutKey {
    /// Name of its provider.
    pub provider: String,
    /// Where a provider that nobody knows yet is.
    pub base_url: Option<String>,
    /// Its name; the provider's when nobody says.
    pub name: Option<String>,
    /// The key.
    pub secret: Secret,
    /// A second secret, where the provider has one.
    pub api_secret: Option<Secret>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: Option<i64>,
    /// Neither tested nor handed out when false.
    pub is_active: Option<bool>,
    /// Free JSON.
    pub settings: Option<Value>,
    /// Whose.
    pub owner: Option<String>,
    /// What it is for.
    pub note: Option<String>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// Store it even when the provider does not accept it.
    pub force: bool,
}

/// What became of it.
#[derive(Debug)]
pub enum Put {
    /// It is a new one.
    Added(StoredKeyView),
    /// It took the place of another.
    Replaced(StoredKeyView),
}

/// Stores a key, or puts it in the place of the one with this name.
///
/// # Errors
/// A conflict when several keys have that name; else those of [`add_key`] and [`super::update_key()`].
pub async fn put_key(engine: &Engine, mut put: PutKey) -> Result<Put, EngineError> {
    given::well_formed(&put.secret)?;
    let is_new = match put.base_url.take() {
        Some(url) => is_made(engine, &put.provider, url).await?,
        None => false,
    };
    let provider = put.provider.clone();
    let done = stored(engine, put).await;
    if is_new && done.is_err() {
        // Nothing of what was refused stays, unless somebody else's key is there by now. That it does is no answer.
        take_back_provider(engine, &provider).await.ok();
    }
    done
}

async fn stored(engine: &Engine, put: PutKey) -> Result<Put, EngineError> {
    let provider = given::provider_of(engine, &put.provider).await?;
    let name = put.name.clone().unwrap_or_else(|| provider.name.clone());
    let keys = engine.parts.store.living_keys(&provider.name).await?;
    let mut named: Vec<KeyRow> = keys.into_iter().filter(|key| key.name == name).collect();
    if named.len() > 1 {
        return Err(EngineError::Conflict {
            text: format!("provider {} has {} keys of the name {name:?}", provider.name, named.len()),
            hint: Some(
                "say another name, or give the one that is meant its new key by its number".to_owned(),
            ),
        });
    }
    match named.pop() {
        None => {
            let added = add_key(engine, as_new(put)).await?;
            Ok(Put::Added(StoredKeyView { key: key_view(&added.key), warning: added.warning }))
        }
        Some(row) => {
            let update = as_change(put, &row);
            let updated = change(engine, row, update).await?;
            Ok(Put::Replaced(StoredKeyView { key: key_view(&updated.key), warning: updated.warning }))
        }
    }
}

fn as_new(put: PutKey) -> AddKey {
    AddKey {
        provider: put.provider,
        name: put.name,
        priority: put.priority.unwrap_or(PRIORITY),
        secret: put.secret,
        api_secret: put.api_secret,
        settings: put.settings.unwrap_or_else(|| Value::Object(Map::new())),
        is_active: put.is_active.unwrap_or(true),
        test: true,
        force: put.force,
        about: About { owner: put.owner, note: put.note, expires_at: put.expires_at },
    }
}

fn as_change(put: PutKey, row: &KeyRow) -> UpdateKey {
    // What stood for a key was put aside; the key itself is not, unless somebody says so.
    let waited = row.is_placeholder().then_some(true);
    UpdateKey {
        is_active: put.is_active.or(waited).filter(|_| !put.secret.is_placeholder()),
        name: None,
        priority: put.priority,
        secret: Some(put.secret),
        api_secret: put.api_secret,
        settings: put.settings,
        owner: put.owner,
        note: put.note,
        expiry: put.expires_at.map_or(Expiry::AsItWas, Expiry::At),
        test: true,
        force: put.force,
    }
}

/// Makes a provider at this address, if nobody knows one of this name. One that is there stays where it is.
async fn is_made(engine: &Engine, name: &str, url: String) -> Result<bool, EngineError> {
    let Ok(known) = provider_view(engine, name).await else {
        let add = AddProvider { name: name.to_owned(), kind: None, base_url: Some(url), title: None };
        add_provider(engine, add).await?;
        return Ok(true);
    };
    let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
    match known.base_url {
        Some(at) if same(&at, &url) => Ok(false),
        at => Err(EngineError::Taken {
            text: format!("provider {name} is at {}", at.as_deref().unwrap_or("no address of its own")),
            hint: Some(format!(
                "add it under another name there: `rekeyd providers add {name}-2 --kind {} --base-url URL`",
                known.kind
            )),
        }),
    }
}
