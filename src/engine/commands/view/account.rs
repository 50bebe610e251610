//! `accounts list | show | keys | thaw`. Money is in USD.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::key::{MicroUsd, RemoteKey};
use crate::domain::time::Timestamp;
use crate::engine::session::Session;
use crate::engine::{Engine, EngineError};
use crate::provider::Credits;
use crate::store::KeyRow;

/// A row of `accounts list`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct ListedAccountView {
    /// Why it is frozen (R9).
    pub frozen: Option<String>,
    /// Who it is at the provider (R8), once known.
    pub identity: Option<String>,
    pub name: String,
    pub provider: String,
}

/// `accounts show`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct AccountView {
    pub credits_total_usd: f64,
    pub credits_used_usd: f64,
    pub enabled_keys: usize,
    pub identity: String,
    pub keys: usize,
    pub name: String,
}

/// A row of `accounts keys`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of RemoteKey")]
pub struct RemoteKeyView {
    pub hash: String,
    pub name: String,
    pub label: String,
    pub disabled: bool,
    pub limit: Option<f64>,
    pub limit_remaining: Option<f64>,
    pub limit_reset: Option<String>,
    pub include_byok_in_limit: bool,
    pub usage: Option<f64>,
    pub byok_usage: Option<f64>,
    pub last_used_at: Option<String>,
    pub expires_at: Option<String>,
    pub created_at: Option<String>,
    pub workspace: Option<String>,
}

/// `accounts keys NAME create`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct IssuedKeyView {
    pub hash: Option<String>,
    pub id: String,
    pub masked_key: String,
    pub number: Option<i64>,
    /// For people only.
    #[serde(skip)]
    pub provider: String,
}

/// `accounts keys NAME disable | enable | delete | limit`: what was done, to the key with this hash.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variants say what they are")]
pub enum HandledKeyView {
    Disabled(String),
    Enabled(String),
    Deleted(String),
    Limited(String),
}

/// `accounts thaw`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ThawedView {
    /// Names of the keys that will never be touched.
    pub foreign: Vec<String>,
    /// Name of the account.
    pub thawed: String,
}

/// Every account of the configuration, as the store knows it.
pub async fn account_views(engine: &Engine) -> Result<Vec<ListedAccountView>, EngineError> {
    let mut views = Vec::new();
    for account in engine.accounts() {
        let identity = engine.store().entry_identity(&account.name).await?;
        let known = match &identity {
            Some(identity) => engine.store().account(identity).await?,
            None => None,
        };
        views.push(ListedAccountView {
            frozen: known.and_then(|account| account.frozen),
            identity,
            name: account.name.clone(),
            provider: account.provider.clone(),
        });
    }
    Ok(views)
}

/// One account by its listing and its credits.
pub fn account_view(session: &Session<'_>, keys: &[RemoteKey], credits: &Credits) -> AccountView {
    AccountView {
        credits_total_usd: credits.total.usd(),
        credits_used_usd: credits.used.usd(),
        enabled_keys: keys.iter().filter(|key| !key.disabled).count(),
        identity: session.identity().to_owned(),
        keys: keys.len(),
        name: session.account.name.clone(),
    }
}

/// The keys of an account's listing.
pub fn remote_key_views(keys: &[RemoteKey]) -> Vec<RemoteKeyView> {
    keys.iter().map(remote_key_view).collect()
}

fn remote_key_view(key: &RemoteKey) -> RemoteKeyView {
    let figures = key.usage.figures();
    RemoteKeyView {
        hash: key.hash.clone(),
        name: key.name.clone(),
        label: key.label.clone(),
        disabled: key.disabled,
        limit: key.limit.map(MicroUsd::usd),
        limit_remaining: key.limit_remaining.map(MicroUsd::usd),
        limit_reset: key.limit_reset.clone(),
        include_byok_in_limit: key.include_byok_in_limit,
        usage: figures.map(|figures| figures.usage.usd()),
        byok_usage: figures.map(|figures| figures.byok_usage.usd()),
        last_used_at: figures.and_then(|figures| figures.last_used_at).map(Timestamp::rfc3339),
        expires_at: key.expires_at.map(Timestamp::rfc3339),
        created_at: key.created_at.map(Timestamp::rfc3339),
        workspace: key.workspace_id.clone(),
    }
}

/// A key that was issued by hand.
pub fn issued_key_view(key: KeyRow) -> IssuedKeyView {
    IssuedKeyView {
        hash: key.hash,
        id: key.id,
        masked_key: key.mask,
        number: key.number,
        provider: key.provider,
    }
}

/// An account that is frozen no more.
pub fn thawed_view(account: &str, foreign: Vec<RemoteKey>) -> ThawedView {
    ThawedView { foreign: foreign.into_iter().map(|key| key.name).collect(), thawed: account.to_owned() }
}
