//! Where a key is tested, when a pass is due, and which keys are tested at all.

use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, ProviderRow, Role};

/// Tests of stored keys.
pub(crate) const QUEUE: &str = "queue:tests";

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every active key.
    All,
    /// The active keys of one provider.
    Provider(String),
    /// One key by id, active or not.
    Key(String),
}

/// Why they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The schedule: keys without a fresh conclusive look.
    Schedule,
    /// Between passes: keys that wait for a second look.
    Again,
    /// A person: all of them, now.
    Person,
}

/// What a pass is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which keys.
    pub which: Which,
    /// Why.
    pub why: Why,
}

impl Scope {
    /// True for a key that the pass is about.
    pub(crate) fn includes(&self, row: &KeyRow) -> bool {
        match &self.which {
            Which::All => is_tested(row),
            Which::Provider(name) => is_tested(row) && row.provider == *name,
            Which::Key(id) => row.id == *id && !matches!(row.role, Role::Dead | Role::Retiring),
        }
    }
}

/// Where keys of a provider are tested: where their account is, else where the provider's row says.
pub(crate) async fn endpoint(
    engine: &Engine,
    provider: &ProviderRow,
    identity: Option<&str>,
) -> Result<Option<url::Url>, EngineError> {
    let entries = match identity {
        Some(identity) => engine.parts.store.entries_of(identity).await?,
        None => Vec::new(),
    };
    let own = entries.iter().find_map(|name| engine.parts.accounts.get(name));
    let any = || engine.accounts().find(|account| account.provider == provider.name);
    Ok(match own.or_else(any) {
        Some(account) => Some(account.base_url.clone()),
        None => provider.base_url.as_deref().and_then(|url| url::Url::parse(url).ok()),
    })
}

pub(crate) async fn pass_is_due(engine: &Engine, interval: Span) -> Result<bool, EngineError> {
    let last: Option<Timestamp> = engine.parts.store.memory_or_anew("pass").await?;
    let age = last.map(|at| engine.clock().now().since(at));
    Ok(age.is_none_or(|age| age >= interval || age < Span::ZERO))
}

/// Tombstones, inactive keys and placeholders are not tested. A retiring key is watched through the account only:
/// a test with it would keep it from going quiet. A candidate is its run's.
pub(crate) fn is_tested(row: &KeyRow) -> bool {
    row.is_active && row.secret.is_some() && matches!(row.role, Role::Current | Role::Manual)
}
