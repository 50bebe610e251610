//! What somebody else changed at an address.

use crate::destination::{Delivery, Look, Standing};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::rotation::{KeyRef, Level, OnDrift, Run};
use crate::engine::publish::writer;
use crate::engine::session::Session;
use crate::engine::{ConfiguredDestination, EngineError};

/// Looks whether somebody else changed the destination since our last proved write to it, and how. The drift is the
/// address's, whichever key waits for it (R20).
pub(crate) async fn drift_before(
    session: &mut Session<'_>,
    run: &Run,
    place: &ConfiguredDestination,
    key: &KeyRef,
) -> Result<Option<String>, EngineError> {
    if run.trigger.is_emergency() || place.target.on_drift == OnDrift::Overwrite {
        return Ok(None);
    }
    let rows = session.engine.parts.store.holdings_at(&place.target.address).await?;
    let last = rows.into_iter().find(|row| row.fact.level > Level::Pending);
    let Some(last) = last else { return Ok(None) };
    if last.fact.key == key.id {
        return Ok(None);
    }
    if last.damaged {
        return Ok(Some("what rekeyd noted of that write cannot be read".to_owned()));
    }
    // Once seen it holds, also when the key that showed it is gone.
    let known = last.fact.drift.clone();
    if last.fact.level < Level::Confirmed {
        return Ok(known);
    }
    let Some(row) = session.engine.parts.store.key(&last.fact.key).await? else { return Ok(known) };
    let Some(secret) = session.engine.open(&row)? else { return Ok(known) };
    let delivery = Delivery {
        secret,
        rotation: run.rotation.clone(),
        generation: row.generation.unwrap_or_default(),
        destination: place.target.name.clone(),
    };
    let deadline = session.deadline().await?;
    let look = place.adapter.look(&delivery, &last.evidence, deadline).await;
    Ok(match look {
        Ok(Look { standing: Standing::Drift(how), .. }) => Some(how),
        Ok(Look { standing: Standing::Confirmed | Standing::Effective | Standing::Missing, .. }) => None,
        _ => known,
    })
}

/// What people are told, and what becomes of it.
pub(crate) fn alert(written_by: &str, place: &ConfiguredDestination, how: &str) -> NewAlert {
    let name = &place.target.name;
    let what = writer::whose(written_by);
    let next = match place.target.on_drift {
        OnDrift::Hold => format!(
            "rekeyd does not write over it (on_drift = \"hold\"); no key is retired meanwhile. Find out who did it, then \
             `rekeyd destinations publish {name}`."
        ),
        OnDrift::Overwrite => {
            "It is written again (on_drift = \"overwrite\"). Find out who did it: somebody else may count \
                               on what was there."
                .to_owned()
        }
    };
    let detail =
        format!("Destination {name} does not show {what} as rekeyd wrote it there last: {how}. {next}");
    let alert = NewAlert::new(Kind::DestinationDrift, Subject::Destination(name.clone()), detail);
    writer::about(alert, written_by)
}
