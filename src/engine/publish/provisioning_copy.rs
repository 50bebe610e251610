//! The provisioning key for scripts: published to GitHub when it changes or somebody changed it there, and nowhere
//! else. It is never stored as a key; what is kept is its hash and the destination's evidence.

use crate::destination::{Delivery, Standing};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::key::KeyKind;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::{Level, OnDrift};
use crate::domain::time::Until;
use crate::engine::publish::address;
use crate::engine::session::Session;
use crate::engine::session::commit::LONGEST_WAIT;
use crate::engine::{Account, ConfiguredDestination, Engine, EngineError};
use crate::store::{Change, CopyRow};

/// The only kind of destination that takes a provisioning key (product.md, "store keys where they belong").
const ONLY: &str = "github";

/// What a look at a copy asks for.
enum Next {
    Nothing,
    Write,
}

/// What the newest write of the provisioning key to this place looks like now.
pub(crate) async fn standing_of_copy(
    engine: &Engine,
    account: &Account,
    place: &ConfiguredDestination,
) -> Result<Option<Result<Standing, String>>, EngineError> {
    let Some(row) = engine.parts.store.provisioning_copy(&place.target.address).await? else {
        return Ok(None);
    };
    if row.hash != account.provisioning_key.sha256_hex() {
        return Ok(Some(Ok(Standing::Accepted("it was last given an earlier provisioning key".to_owned()))));
    }
    let look = place.adapter.look(&copy_delivery(account, &row), &row.evidence, engine.deadline()).await;
    Ok(Some(look.map(|look| look.standing).map_err(|failure| address::with_hint(&failure))))
}

fn copy_delivery(account: &Account, row: &CopyRow) -> Delivery {
    Delivery {
        secret: account.provisioning_key.clone(),
        rotation: format!("account:{}", account.name),
        generation: row.writes,
        destination: row.destination.clone(),
    }
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
    let mut row = copy_row(session, place).await?;
    if row.until.left(session.clock()).is_some() {
        return Ok(());
    }
    if let Next::Write = look_at_copy(session, place, &mut row).await? {
        write_copy(session, place, &mut row).await?;
    }
    Ok(())
}

async fn copy_row(session: &Session<'_>, place: &ConfiguredDestination) -> Result<CopyRow, EngineError> {
    let address = &place.target.address;
    let known = session.engine.parts.store.provisioning_copy(address).await?;
    Ok(known.unwrap_or_else(|| CopyRow {
        address: address.clone(),
        account: session.account.name.clone(),
        destination: place.target.name.clone(),
        hash: String::new(),
        writes: 0,
        level: Level::Pending,
        evidence: serde_json::Value::Null,
        error: None,
        attempts: 0,
        until: Until::OVER,
    }))
}

/// Writes it whatever is there.
pub(crate) async fn copy_again(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
) -> Result<String, EngineError> {
    let mut row = copy_row(session, place).await?;
    row.error = None;
    write_copy(session, place, &mut row).await?;
    let name = &place.target.name;
    match (row.error, row.level) {
        (Some(error), _) => {
            let failure = Failure::new(FailureKind::Unclear, error);
            Err(EngineError::outside(format!("{name} did not take the provisioning key"), failure))
        }
        (None, level) => Ok(format!("wrote the provisioning key to {name} ({})", level.word())),
    }
}

async fn look_at_copy(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: &mut CopyRow,
) -> Result<Next, EngineError> {
    let same = row.hash == session.account.provisioning_key.sha256_hex();
    if !same || row.level < Level::Accepted {
        return Ok(Next::Write);
    }
    let deadline = session.deadline().await?;
    let look = match place.adapter.look(&copy_delivery(session.account, row), &row.evidence, deadline).await {
        Ok(look) => look,
        Err(failure) => {
            copy_failed(session, row, &failure).await?;
            return Ok(Next::Nothing);
        }
    };
    match look.standing {
        Standing::Confirmed | Standing::Held(_) | Standing::Effective => {
            row.evidence = look.evidence;
            copy_proved(session, row).await?;
            Ok(Next::Nothing)
        }
        Standing::Unprovable => Ok(Next::Nothing),
        Standing::Drift(how) if place.target.on_drift == OnDrift::Hold => {
            copy_drifted(session, row, &how).await?;
            Ok(Next::Nothing)
        }
        Standing::Accepted(_) | Standing::Drift(_) | Standing::Missing => Ok(Next::Write),
    }
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

async fn write_copy(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: &mut CopyRow,
) -> Result<(), EngineError> {
    may_copy(session, place).await?;
    row.hash = session.account.provisioning_key.sha256_hex();
    row.account.clone_from(&session.account.name);
    row.destination.clone_from(&place.target.name);
    row.writes += 1;
    row.level = Level::Intended;
    let deadline = session.deadline_for(place).await?;
    session.commit(&[Change::ProvisioningCopy(Box::new(row.clone()))]).await?;
    let delivery = copy_delivery(session.account, row);
    match place.adapter.publish(&delivery, deadline).await {
        Ok(evidence) => row.evidence = evidence,
        Err(failure) => return copy_failed(session, row, &failure).await,
    }
    row.level = Level::Accepted;
    let subject = format!("destination {}", row.destination);
    let detail = format!("provisioning key of account {}", session.account.name);
    let entry = session.engine.entry("destination.written", subject, detail);
    session.commit(&[Change::ProvisioningCopy(Box::new(row.clone())), Change::Audit(entry)]).await?;
    let deadline = session.deadline().await?;
    match place.adapter.look(&delivery, &row.evidence, deadline).await {
        Ok(look) if matches!(look.standing, Standing::Confirmed | Standing::Effective) => {
            row.evidence = look.evidence;
            copy_proved(session, row).await
        }
        Ok(_) => Ok(()),
        Err(failure) => copy_failed(session, row, &failure).await,
    }
}

async fn copy_proved(session: &Session<'_>, row: &mut CopyRow) -> Result<(), EngineError> {
    row.level = Level::Confirmed;
    row.error = None;
    row.attempts = 0;
    row.until = Until::OVER;
    let subject = Subject::Destination(row.destination.clone());
    session
        .commit(&[
            Change::ProvisioningCopy(Box::new(row.clone())),
            Change::Resolve { kind: Kind::DestinationFailed, subject: subject.clone() },
            Change::Resolve { kind: Kind::DestinationDrift, subject },
        ])
        .await
}

async fn copy_drifted(session: &Session<'_>, row: &CopyRow, how: &str) -> Result<(), EngineError> {
    let detail = format!(
        "Somebody else changed destination {}, which holds the provisioning key of account {} for scripts: {how}. It is left \
         as it is (on_drift = \"hold\"). Find out who did it, then `rekeyd destinations publish {}`.",
        row.destination, session.account.name, row.destination
    );
    session.commit(&[Change::Alert(copy_alert(session, Kind::DestinationDrift, row, detail))]).await
}

async fn copy_failed(session: &Session<'_>, row: &mut CopyRow, failure: &Failure) -> Result<(), EngineError> {
    row.error = Some(failure.to_string());
    row.attempts += 1;
    let wait = failure.retry_after.unwrap_or_else(|| session.engine.backoff(row.attempts));
    row.until = session.until(wait.min(LONGEST_WAIT));
    let mut changes = vec![Change::ProvisioningCopy(Box::new(row.clone()))];
    if address::is_told(failure, row.attempts) {
        let hint = failure.hint.as_ref().map(|hint| format!(" {hint}.")).unwrap_or_default();
        let detail = format!(
            "Destination {} does not take or prove the provisioning key of account {}: {failure}.{hint}",
            row.destination, session.account.name
        );
        changes.push(Change::Alert(copy_alert(session, Kind::DestinationFailed, row, detail)));
    }
    session.commit(&changes).await
}

fn copy_alert(session: &Session<'_>, kind: Kind, row: &CopyRow, detail: String) -> NewAlert {
    let mut alert = NewAlert::new(kind, Subject::Destination(row.destination.clone()), detail);
    alert.account = Some(session.account.name.clone());
    alert
}
