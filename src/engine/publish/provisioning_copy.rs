//! The provisioning key for scripts: published to GitHub when it changes or somebody changed it there, and nowhere
//! else. It is never stored as a key: in the record of its address (R20) it goes by its hash.

use crate::destination::{Delivery, Standing};
use crate::domain::key::KeyKind;
use crate::domain::outcome::Failure;
use crate::domain::rotation::{Level, OnDrift};
use crate::engine::publish::{address, deliver};
use crate::engine::session::{Session, in_doubt};
use crate::engine::{Account, ConfiguredDestination, Engine, EngineError};
use crate::store::{HoldingRow, copy_of, provisioning_key};

/// The only kind of destination that takes a provisioning key (product.md, "store keys where they belong").
const ONLY: &str = "github";

/// The number that evidence of a copy is about: it has no generations, and another key is another row.
const GENERATION: i64 = 1;

/// What the newest write of the provisioning key to this place looks like now.
pub(crate) async fn standing_of_copy(
    engine: &Engine,
    account: &Account,
    place: &ConfiguredDestination,
) -> Result<Option<Result<Standing, String>>, EngineError> {
    let rows = engine.parts.store.holdings_at(&place.target.address).await?;
    let Some(row) = rows.into_iter().find(|row| row.fact.level > Level::Pending) else { return Ok(None) };
    if row.fact.key != key_of(account) {
        return Ok(Some(Ok(Standing::Accepted("it was last given another key".to_owned()))));
    }
    let delivery = delivered(account, place, &row);
    let look = place.adapter.look(&delivery, &row.evidence, engine.deadline()).await;
    Ok(Some(look.map(|look| look.standing).map_err(|failure| address::with_hint(&failure))))
}

fn key_of(account: &Account) -> String {
    provisioning_key(&account.provisioning_key.sha256_hex())
}

fn delivery(account: &Account, place: &ConfiguredDestination) -> Delivery {
    Delivery {
        secret: account.provisioning_key.clone(),
        rotation: copy_of(&account.name),
        generation: GENERATION,
        destination: place.target.name.clone(),
    }
}

/// What was delivered, as its evidence tells: older versions counted the writes of a copy.
fn delivered(account: &Account, place: &ConfiguredDestination, row: &HoldingRow) -> Delivery {
    let generation = row.evidence["generation"].as_i64().unwrap_or(GENERATION);
    Delivery { generation, ..delivery(account, place) }
}

/// Brings every copy up to date.
pub(crate) async fn publish_provisioning(session: &mut Session<'_>) -> Result<(), EngineError> {
    let frozen = session.engine.parts.store.freeze_of(&session.identity).await?.is_some();
    if frozen {
        return Ok(());
    }
    for place in &session.account.provisioning_destinations {
        copy(session, place).await?;
    }
    Ok(())
}

async fn copy(session: &mut Session<'_>, place: &ConfiguredDestination) -> Result<(), EngineError> {
    let mut row = row_of(session, place).await?;
    if row.fact.until.left(session.clock()).is_some() {
        return Ok(());
    }
    if row.fact.level >= Level::Accepted {
        row = look(session, place, row).await?;
    }
    let waits = row.fact.until.left(session.clock()).is_some();
    if waits || !is_to_be_written(place, &row) {
        return Ok(());
    }
    // What was not taken stands in the record, and is tried again when its wait is over.
    write(session, place, row).await.map(drop)
}

/// Nothing of it is there, or somebody else changed it and `on_drift` says to write over that.
fn is_to_be_written(place: &ConfiguredDestination, row: &HoldingRow) -> bool {
    match &row.fact.drift {
        Some(how) => place.target.on_drift == OnDrift::Overwrite || how == deliver::NOTHING_THERE,
        None => row.fact.level < Level::Accepted,
    }
}

/// The record of this key at this place. Drift is the address's, whichever key waits for it.
async fn row_of(session: &Session<'_>, place: &ConfiguredDestination) -> Result<HoldingRow, EngineError> {
    let (address, key) = (&place.target.address, key_of(session.account));
    let rows = session.engine.parts.store.holdings_at(address).await?;
    let drift = rows.iter().find_map(|row| row.fact.drift.clone());
    let writer = copy_of(&session.account.name);
    let blank = || address::blank(address, &key, &place.target.name, &writer);
    let mut row = rows.into_iter().find(|row| row.fact.key == key).unwrap_or_else(blank);
    (row.fact.drift, row.writer) = (drift, writer);
    place.target.name.clone_into(&mut row.fact.destination);
    Ok(row)
}

async fn look(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: HoldingRow,
) -> Result<HoldingRow, EngineError> {
    let delivery = delivered(session.account, place, &row);
    let (row, _, alert) = deliver::look(session, place, row, &delivery, &delivery.rotation, None).await?;
    // What is gone is written again at once: nobody need hear of it.
    let alert = alert.filter(|_| row.fact.drift.as_deref() != Some(deliver::NOTHING_THERE));
    let mut changes = address::looked(&row, place, alert);
    changes.extend(in_doubt::proved(session, &row, GENERATION).await?);
    session.commit(&changes).await?;
    Ok(row)
}

/// Writes it whatever is there.
pub(crate) async fn copy_again(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
) -> Result<String, EngineError> {
    let row = row_of(session, place).await?;
    let name = &place.target.name;
    match write(session, place, row).await? {
        Ok(row) => Ok(format!("wrote the provisioning key to {name} ({})", row.fact.level.word())),
        Err(failure) => {
            Err(EngineError::outside(format!("{name} did not take the provisioning key"), failure))
        }
    }
}

async fn write(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: HoldingRow,
) -> Result<Result<HoldingRow, Failure>, EngineError> {
    may_copy(session, place).await?;
    let what = format!("provisioning key of account {}", session.account.name);
    let delivery = delivery(session.account, place);
    let (_, taken) = deliver::write(session, None, place, row, &delivery, &what).await?;
    if let Err(failure) = taken {
        return Ok(Err(failure));
    }
    let row = row_of(session, place).await?;
    Ok(Ok(look(session, place, row).await?))
}

/// The second wall: only to GitHub, and only what was just proved to be a provisioning key.
async fn may_copy(session: &mut Session<'_>, place: &ConfiguredDestination) -> Result<(), EngineError> {
    if place.kind != ONLY {
        return Err(EngineError::Refused(format!(
            "refused: a provisioning key is never published to {}, a {} destination",
            place.target.name, place.kind
        )));
    }
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami_provisioning(deadline).await;
    let key = session.noting(called).map_err(|failure| {
        EngineError::outside("the provisioning key's kind could not be proved", failure)
    })?;
    if key.kind != KeyKind::Provisioning {
        return Err(EngineError::Refused(format!(
            "refused: the provisioning key of account {} is a regular key",
            session.account.name
        )));
    }
    Ok(())
}
