//! Where a key is tested, when a pass is due, and which keys are tested at all.

use url::{Host, Url};

use crate::crypto::{Purpose, Use};
use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::engine::{Engine, EngineError};
use crate::provider::Base;
use crate::store::ProviderRow;

/// Who watches the accounts.
pub(crate) const QUEUE: &str = "queue:accounts";
/// When they were watched.
pub(crate) const WATCHED: &str = "pass";

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every active key.
    All,
    /// The active keys of one provider.
    Provider(String),
    /// One key by id, active or not.
    Key(String),
    /// Some keys by their ids, active or not.
    Keys(Vec<String>),
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

/// Where a key is tested. A secret goes nowhere but there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The catalog's own address.
    Catalog,
    /// Another one, of the configuration.
    At(Url),
    /// Another one, which a person named for the provider.
    Given(Url),
    /// Nowhere, and why: nobody knows the way, or somebody else wrote it.
    Nowhere(&'static str),
}

impl Endpoint {
    /// The address to test at, `None` for the catalog's own; or why there is none.
    pub(crate) fn base(&self) -> Result<Option<Base<'_>>, &'static str> {
        match self {
            Self::Catalog => Ok(None),
            Self::At(url) => Ok(Some(Base::configured(url))),
            Self::Given(url) => Ok(Some(Base { url, is_given: true })),
            Self::Nowhere(why) => Err(why),
        }
    }
}

const UNKNOWN: &str =
    "not tested: its account is not in the configuration any more, and where that was is not known";
const FORGED: &str = "not tested: the address of its provider in the database was not written by rekeyd";

/// Where keys of a provider are tested: a key of an account where that account is or, once no entry of the
/// configuration shows it, where it last was; any other key where the provider's row says. An address of the database
/// counts only when it is sealed.
pub(crate) async fn endpoint(
    engine: &Engine,
    provider: &ProviderRow,
    identity: Option<&str>,
) -> Result<Endpoint, EngineError> {
    let Some(identity) = identity else {
        let any = engine.accounts().find(|account| account.provider == provider.name);
        return Ok(
            any.map_or_else(|| of_row(engine, provider), |account| Endpoint::At(account.base_url.clone()))
        );
    };
    let entries = engine.parts.store.entries_of(identity).await?;
    if let Some(own) = entries.iter().find_map(|name| engine.parts.accounts.get(name)) {
        return Ok(Endpoint::At(own.base_url.clone()));
    }
    Ok(last_place(engine, identity).await?.map_or(Endpoint::Nowhere(UNKNOWN), Endpoint::At))
}

fn of_row(engine: &Engine, provider: &ProviderRow) -> Endpoint {
    let Some(url) = &provider.base_url else { return Endpoint::Catalog };
    match Url::parse(url) {
        Ok(url) if !is_forged(engine, provider) && keeps_secrets(&url) => Endpoint::Given(url),
        _ => Endpoint::Nowhere(FORGED),
    }
}

/// Unencrypted, a secret does not leave this machine.
pub(crate) fn keeps_secrets(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && here
}

/// True for a provider whose address somebody else wrote.
pub(crate) fn is_forged(engine: &Engine, provider: &ProviderRow) -> bool {
    let purpose = Purpose::of(Use::Endpoint, &provider.name);
    let sealed = provider.base_url_seal.as_ref().and_then(|token| engine.open_address(token, &purpose));
    provider.base_url.is_some() && sealed != provider.base_url
}

/// Where an account was when it was last worked on.
pub(crate) async fn last_place(engine: &Engine, identity: &str) -> Result<Option<Url>, EngineError> {
    let token = engine.parts.store.place(identity).await?;
    let url = token.and_then(|token| engine.open_address(&token, &Purpose::of(Use::Place, identity)));
    Ok(url.and_then(|url| Url::parse(&url).ok()))
}

/// A URL as it may be stored: without a user.
pub(crate) fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    // Neither fails for a URL with a host, and one without has no user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

/// True when the accounts were not watched since a period of the schedule began.
pub(crate) async fn watch_is_due(engine: &Engine) -> Result<bool, EngineError> {
    let last: Option<Timestamp> = engine.parts.store.memory_or_anew(WATCHED).await?;
    Ok(engine.parts.tests.rhythm.began_since(last, engine.clock().now()))
}
