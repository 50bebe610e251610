//! Providers under names of their own, and the end of a provider with all its keys.

use url::Url;

use crate::crypto::{Purpose, Use};
use crate::domain::guard::Refusal;
use crate::domain::name::Name;
use crate::domain::secret::{Secret, looks_like_key};
use crate::domain::turn::Class;
use crate::engine::commands::by_hand::{count_usable_but, listed};
use crate::engine::commands::given::{provider_of, two_kinds_at};
use crate::engine::commands::kept::{belongs_to_no_rotation, tables_follow};
use crate::engine::session::Session;
use crate::engine::testing::endpoint::{bare, keeps_secrets};
use crate::engine::{Engine, EngineError, error, session};
use crate::store::{KeyRow, NewProvider, ProviderRow};

/// A provider under a name of its own.
#[derive(Debug, Clone)]
pub struct AddProvider {
    /// Its name.
    pub name: String,
    /// Its row of the catalog, whose tests it has; `None` for `custom`.
    pub kind: Option<String>,
    /// Where its API is; `None` for where the catalog says.
    pub base_url: Option<String>,
    /// Its name for people.
    pub title: Option<String>,
}

/// Adds a provider under a name of its own, an alias of a kind of the catalog.
///
/// # Errors
/// Refused for a base URL that reaches private addresses, unless the configuration allows it.
pub async fn add_provider(engine: &Engine, add: AddProvider) -> Result<ProviderRow, EngineError> {
    let name = Name::parse(&add.name)
        .map_err(|why| EngineError::usage(why.to_string(), "a name like vision-nova"))?
        .to_string();
    is_free(engine, &name).await?;
    let kind = kind_of(engine, add.kind.as_deref())?;
    if add.title.as_deref().is_some_and(|title| title.split_whitespace().any(looks_like_key)) {
        return Err(EngineError::usage("there is a key in the title", "nothing was stored"));
    }
    let base_url = add.base_url.as_deref().map(|url| endpoint(engine, url)).transpose()?;
    if base_url.is_none()
        && engine.parts.tester.profile(&kind).is_none_or(|profile| profile.base_url.is_empty())
    {
        return Err(EngineError::usage(
            format!("a provider of kind {kind} needs to know where its API is"),
            "--base-url https://llm.example.com/v1",
        ));
    }
    if let Some(known) =
        base_url.as_ref().and_then(|url| two_kinds_at(engine, url)).filter(|known| *known != kind)
    {
        return Err(EngineError::usage(
            format!(
                "at this base URL is the API of {known}, whose keys of both kinds look alike: kind {kind} cannot tell them apart"
            ),
            format!("--kind {known}"),
        ));
    }
    let sealing = engine.sealing_key().await?;
    let seal = |url: &Url| {
        let sealed =
            engine.seal(&sealing, &Purpose::of(Use::Endpoint, &name), &Secret::new(url.to_string()))?;
        Ok::<_, EngineError>((url.to_string(), sealed))
    };
    let endpoint = base_url.as_ref().map(seal).transpose()?;
    let said = base_url.as_ref().map_or_else(|| "the catalog's address".to_owned(), ToString::to_string);
    let entry = engine.entry("provider.added", format!("provider {name}"), format!("kind {kind}, {said}"));
    let new = NewProvider { name: name.clone(), kind, title: add.title, endpoint };
    engine.parts.store.add_provider(&new, &entry).await?;
    provider_of(engine, &name).await
}

async fn is_free(engine: &Engine, name: &str) -> Result<(), EngineError> {
    let in_catalog = engine.parts.tester.kinds().contains(&name);
    if !in_catalog && engine.parts.store.provider(name).await?.is_none() {
        return Ok(());
    }
    let whose = if in_catalog { "in the catalog" } else { "there" };
    Err(EngineError::Taken {
        text: format!("a provider {name} is {whose} already"),
        hint: Some(format!(
            "`rekeyd providers show {name}`; another name: `rekeyd providers add {name}-2 --kind KIND`"
        )),
    })
}

fn kind_of(engine: &Engine, kind: Option<&str>) -> Result<String, EngineError> {
    let kind = kind.unwrap_or("custom");
    let kinds = engine.parts.tester.kinds();
    if kinds.contains(&kind) {
        return Ok(kind.to_owned());
    }
    let nearest = error::nearest(kind, kinds.iter().copied()).unwrap_or_default();
    Err(EngineError::usage(
        format!("the catalog has no kind {kind:?}"),
        format!("the nearest is {nearest}; there are {}", kinds.join(", ")),
    ))
}

/// A base URL that a person named: with TLS, unless it is on this machine, and public, unless the configuration says
/// otherwise.
fn endpoint(engine: &Engine, text: &str) -> Result<Url, EngineError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err(EngineError::usage("the base URL is no URL", "--base-url https://llm.example.com/v1"));
    };
    if bare(&url) != url || url.query().is_some() || url.fragment().is_some() {
        return Err(EngineError::usage(
            "the base URL has a user, a query or a fragment, where keys do not belong",
            "--base-url https://llm.example.com/v1",
        ));
    }
    if !keeps_secrets(&url) {
        return Err(EngineError::usage(
            "keys would travel in clear to this base URL",
            "https://, unless it is on this machine",
        ));
    }
    if !engine.parts.tester.may_ask(&url) {
        return Err(EngineError::Refused(
            "refused: this base URL is on a private network, or on this machine; `[tests] allow_private_endpoints = true` \
             allows that"
                .to_owned(),
        ));
    }
    Ok(url)
}

/// Removes a provider with all its keys from the store, and says nothing to the vendor: answers the keys that it still
/// honours.
///
/// # Errors
/// Refused while one of the keys is a generation of a rotation (R15), and when the last usable regular key of a configured
/// account is among them.
pub async fn delete_provider(engine: &Engine, name: &str) -> Result<Vec<KeyRow>, EngineError> {
    let (provider, keys) = removable(engine, name).await?;
    let forget = !engine.parts.tester.kinds().contains(&name);
    let entries = keys.iter().map(|key| {
        let number = key.number.unwrap_or_default();
        let entry = engine.entry("key.removed", format!("provider {name} number {number}"), key.mask.clone());
        (key.id.clone(), entry)
    });
    let entries: Vec<_> = entries.collect();
    let detail = format!("{} keys", keys.len());
    let entry = engine.entry("provider.removed", format!("provider {}", provider.name), detail);
    if !engine.parts.store.remove_provider(name, &entries, forget, &entry).await? {
        return Err(EngineError::Refused(format!(
            "refused: provider {name} got another key meanwhile; nothing was removed"
        )));
    }
    let ids: Vec<String> = keys.iter().map(|key| key.id.clone()).collect();
    tables_follow(engine, &ids).await?;
    Ok(keys)
}

/// Takes away a provider that was made for a key which was not stored. One that has a key stays.
pub(super) async fn take_back_provider(engine: &Engine, name: &str) -> Result<bool, EngineError> {
    let entry = engine.entry("provider.removed", format!("provider {name}"), "its first key was not stored");
    Ok(engine.parts.store.remove_provider(name, &[], true, &entry).await?)
}

/// The provider and all its keys, once every rule allows their end.
pub async fn removable(engine: &Engine, name: &str) -> Result<(ProviderRow, Vec<KeyRow>), EngineError> {
    let provider = provider_of(engine, name).await.map_err(|error| match error {
        EngineError::NoSuch { text, hint } => {
            EngineError::Absent { text: format!("{text}: nothing was removed"), hint }
        }
        other => other,
    })?;
    let keys = engine.parts.store.living_keys(name).await?;
    keys.iter().try_for_each(belongs_to_no_rotation)?;
    let hashes: Vec<String> = keys.iter().filter_map(|key| key.hash.clone()).collect();
    accounts_can_spare(engine, &provider.kind, &hashes).await?;
    if keys.is_empty() && engine.parts.store.provider(name).await?.is_none() {
        return Err(EngineError::Absent {
            text: format!("provider {name} has no keys, and the catalog keeps its name: nothing was removed"),
            hint: None,
        });
    }
    Ok((provider, keys))
}

/// Refuses when an account of this kind has no usable key but these.
pub(super) async fn accounts_can_spare(
    engine: &Engine,
    kind: &str,
    hashes: &[String],
) -> Result<(), EngineError> {
    for account in engine.parts.accounts.values().filter(|account| account.provider == kind) {
        if hashes.is_empty() {
            break;
        }
        let mut session = session::wait_for_session(engine, &account.name, Class::Person).await?;
        let allowed = something_remains(&mut session, hashes).await;
        session.close().await?;
        allowed?;
    }
    Ok(())
}

/// Refuses when the account has no usable key but these.
async fn something_remains(session: &mut Session<'_>, hashes: &[String]) -> Result<(), EngineError> {
    listed(session).await?;
    let now = session.now().ours;
    let keys = || session.listing.iter().flat_map(|listing| &listing.keys);
    let Some(one) = keys().find(|key| hashes.contains(&key.hash) && key.is_live(now)) else { return Ok(()) };
    if count_usable_but(session, hashes) > 0 {
        return Ok(());
    }
    Err(Refusal::LastRegularKey {
        label: one.label.clone(),
        name: one.name.clone(),
        account: session.account.name.clone(),
    }
    .into())
}
