//! Destinations by hand: what each of them shows, and the current key once more.

use crate::destination::{Delivery, Standing};
use crate::domain::rotation::Level;
use crate::engine::commands::view::{CheckedView, DestinationView, destination_view};
use crate::engine::passes::mirror;
use crate::engine::publish::{address, provisioning_copy, repair};
use crate::engine::session::{Session, keys, standing};
use crate::engine::{Account, ConfiguredDestination, Engine, EngineError};

/// Every destination that somebody publishes to, those for provisioning keys with their account.
pub fn all_destinations(
    engine: &Engine,
) -> impl Iterator<Item = (&ConfiguredDestination, Option<&Account>)> + '_ {
    let copies = engine.accounts().flat_map(|account| {
        account.provisioning_destinations.iter().map(move |place| (place, Some(account)))
    });
    engine.destinations().map(|place| (place, None)).chain(copies)
}

/// One of them, or an error that names the nearest.
pub fn any_destination<'e>(
    engine: &'e Engine,
    name: &str,
) -> Result<(&'e ConfiguredDestination, Option<&'e Account>), EngineError> {
    let found = all_destinations(engine).find(|(place, _)| place.target.name == name);
    found.ok_or_else(|| {
        EngineError::unknown(
            "destination",
            name,
            all_destinations(engine).map(|(place, _)| &place.target.name),
        )
    })
}

/// Each of them, and what it holds.
pub async fn destination_views(engine: &Engine) -> Result<Vec<DestinationView>, EngineError> {
    let mut views = Vec::new();
    for (place, account) in all_destinations(engine) {
        views.push(destination_view(engine, place, account).await?);
    }
    Ok(views)
}

/// Asks a destination what it shows and what our credentials may do there. Changes nothing.
pub async fn check_destination(engine: &Engine, name: &str) -> Result<CheckedView, EngineError> {
    let (place, account) = any_destination(engine, name)?;
    let (mut ok, mut seen) = match place.adapter.preflight(engine.deadline()).await {
        Ok(found) => (true, found.iter().map(ToString::to_string).collect()),
        Err(failure) => (false, vec![address::with_hint(&failure)]),
    };
    let standing = match account {
        None => standing_of(engine, name).await?,
        Some(account) => provisioning_copy::standing_of_copy(engine, account, place).await?,
    };
    let standing = match standing {
        None => "nothing was ever written".to_owned(),
        Some(Ok(standing)) => {
            ok &= matches!(standing, Standing::Confirmed | Standing::Effective | Standing::Unprovable);
            said(&standing)
        }
        Some(Err(why)) => {
            ok = false;
            if !seen.contains(&why) {
                seen.push(why);
            }
            "could not be looked at".to_owned()
        }
    };
    if let Some(trouble) = mirror::mirror_trouble(engine, place).await? {
        ok = false;
        seen.push(format!("mirror: {trouble}"));
    }
    Ok(CheckedView { name: name.to_owned(), ok, standing, seen })
}

/// Installs the tables of a destination that is one, or takes over those that are there.
pub async fn migrate_destination(engine: &Engine, name: &str) -> Result<Vec<String>, EngineError> {
    let place = engine.destination(name)?;
    let ledger = place.adapter.ledger().ok_or_else(|| {
        EngineError::usage(
            format!("destination {name} is of type {}: there is nothing to migrate", place.kind),
            "only destinations of type postgres have tables",
        )
    })?;
    let did = ledger.migrate(engine.deadline()).await;
    did.map_err(|failure| EngineError::outside(format!("{name} could not be migrated"), failure))
}

/// What the newest write to this destination looks like now.
async fn standing_of(engine: &Engine, name: &str) -> Result<Option<Result<Standing, String>>, EngineError> {
    let place = engine.destination(name)?;
    let rows = engine.parts.store.holdings_at(&place.target.address).await?;
    let Some(newest) = rows.into_iter().find(|row| row.fact.level > Level::Pending) else {
        return Ok(None);
    };
    let Some(key) = engine.parts.store.key(&newest.fact.key).await? else { return Ok(None) };
    let Some(secret) = engine.open(&key)? else { return Ok(Some(Ok(Standing::Unprovable))) };
    let delivery = Delivery {
        secret,
        rotation: newest.writer.clone(),
        generation: key.generation.unwrap_or_default(),
        destination: name.to_owned(),
    };
    let look = place.adapter.look(&delivery, &newest.evidence, engine.deadline()).await;
    Ok(Some(look.map(|look| look.standing).map_err(|failure| address::with_hint(&failure))))
}

fn said(standing: &Standing) -> String {
    match standing {
        Standing::Accepted(why) => format!("accepted: {why}"),
        Standing::Confirmed => "holds the key that was last written".to_owned(),
        Standing::Effective => "holds the key that was last written, and consumers run with it".to_owned(),
        Standing::Held(how) => format!("holds the key that was last written, but {how}"),
        Standing::Drift(how) => format!("changed by somebody else: {how}"),
        Standing::Missing => "empty".to_owned(),
        Standing::Unprovable => "cannot be told: no write of rekeyd's is on record".to_owned(),
    }
}

/// Writes the current key to a destination whatever it holds, and looks whether it arrived.
///
/// # Errors
/// Refused while the account is frozen, and for a key that was not just tested valid (R13).
pub async fn publish_by_hand(
    session: &mut Session<'_>,
    rotation: &str,
    name: &str,
) -> Result<String, EngineError> {
    session.not_frozen().await?;
    let key = keys::current(session.engine, rotation).await?.ok_or_else(|| {
        EngineError::usage(
            format!("rotation {rotation} has no current key"),
            "adopt one, or run the first rotation",
        )
    })?;
    let place = session.engine.destination(name)?.clone();
    repair::publish_current(session, rotation, &place, &key).await
}

/// The provisioning key for scripts, written again and proved.
///
/// # Errors
/// Refused while the account is frozen, when it is another account than the keys of the entry's rotations are on,
/// and unless the key is proved to be a provisioning key.
pub async fn publish_copy_by_hand(session: &mut Session<'_>, name: &str) -> Result<String, EngineError> {
    session.not_frozen().await?;
    let account = session.account;
    let place = account.provisioning_destinations.iter().find(|place| place.target.name == name);
    let place = place.ok_or_else(|| {
        EngineError::unknown(
            "destination",
            name,
            account.provisioning_destinations.iter().map(|p| &p.target.name),
        )
    })?;
    if let Some(reason) = standing::stranger(session).await? {
        return Err(EngineError::Refused(format!("refused: {reason}")));
    }
    provisioning_copy::copy_again(session, place).await
}
