//! Where a key is tested, when a pass is due, and which keys are tested at all.

use url::Url;

use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
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

impl Why {
    /// How long work of this class waits for its account. A person who looks at everything does not wait: the daemon
    /// comes to it.
    pub(crate) fn patience(self, class: Class) -> Span {
        match self {
            Self::Person => Span::seconds(2),
            Self::Schedule | Self::Again => class.patience(),
        }
    }
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

/// What a key is not tested for.
pub(crate) const NOWHERE: &str = "not tested: its account is not in the configuration any more, and where that was is \
                                  not known";

/// Where keys of a provider are tested: a key of an account where that account is or, once no entry of the
/// configuration shows it, where it last was; any other key where the provider's row says. `None` is the catalog's
/// own address, which is nowhere for a key of an account ([`is_nowhere`]).
pub(crate) async fn endpoint(
    engine: &Engine,
    provider: &ProviderRow,
    identity: Option<&str>,
) -> Result<Option<Url>, EngineError> {
    let Some(identity) = identity else {
        let any = engine.accounts().find(|account| account.provider == provider.name);
        let row = || provider.base_url.as_deref().and_then(|url| Url::parse(url).ok());
        return Ok(any.map(|account| account.base_url.clone()).or_else(row));
    };
    let entries = engine.parts.store.entries_of(identity).await?;
    if let Some(own) = entries.iter().find_map(|name| engine.parts.accounts.get(name)) {
        return Ok(Some(own.base_url.clone()));
    }
    let last: Option<String> = engine.parts.store.memory(&place(identity)).await?;
    Ok(last.and_then(|url| Url::parse(&url).ok()))
}

/// A secret goes nowhere but to its account: true for a key of one that nobody knows the way to.
pub(crate) fn is_nowhere(row: &KeyRow, base_url: Option<&Url>) -> bool {
    row.account.is_some() && base_url.is_none()
}

/// Where the store remembers where an account was.
pub(crate) fn place(identity: &str) -> String {
    format!("place:{identity}")
}

/// A URL as it may be stored: without a user.
pub(crate) fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    // Neither fails for a URL with a host, and one without has no user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
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
