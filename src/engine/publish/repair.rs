//! The current key, once more to one address.

use crate::destination::Delivery;
use crate::domain::rotation::Level;
use crate::domain::rotation::facts::TestResult;
use crate::engine::publish::{address, deliver};
use crate::engine::session::{Session, test_key};
use crate::engine::{ConfiguredDestination, EngineError};
use crate::store::{Change, EffectKind, KeyRow};

/// A publish that belongs to no run: a fresh test (R13), intent, write, outcome, a look, and the step after it.
pub(crate) async fn publish_current(
    session: &mut Session<'_>,
    rotation: &str,
    place: &ConfiguredDestination,
    key: &KeyRow,
) -> Result<String, EngineError> {
    if test_key::test_key(session, key, None, None).await? != TestResult::Valid {
        return Err(EngineError::Refused(
            "refused: the current key was not tested valid just now".to_owned(),
        ));
    }
    let secret = session.engine.open(key)?.ok_or_else(|| {
        EngineError::Refused("refused: nobody has the secret of the current key".to_owned())
    })?;
    let (name, generation) = (place.target.name.clone(), key.generation.unwrap_or_default());
    let before = address::row_of(session, place, key, rotation).await?;
    let effect = deliver::effect_of(session, None, EffectKind::Publish, &place.target, generation).await?;
    let mut row = before.clone();
    (row.fact.level, row.fact.checked, row.fact.drift) = (Level::Intended, None, None);
    let deadline = session.deadline_for(place).await?;
    session
        .commit(&[
            Change::Intend(effect.clone()),
            Change::Holding { row: Box::new(row.clone()), fresh_write: true },
        ])
        .await?;
    let delivery = Delivery { secret, rotation: rotation.to_owned(), generation, destination: name.clone() };
    match session.holding(place, place.adapter.publish(&delivery, deadline)).await? {
        Ok(evidence) => session.commit(&deliver::accepted(session, &effect.id, row, key, evidence)).await?,
        Err(failure) => {
            let level = before.fact.level.min(Level::Intended);
            session.commit(&deliver::not_taken(session, None, &effect.id, level, row, &failure)).await?;
            return Err(EngineError::outside(format!("{name} did not take the key"), failure));
        }
    }
    let row = address::row_of(session, place, key, rotation).await?;
    let (_, did) = deliver::look_and_go_on(session, place, row, &delivery, None).await?;
    Ok(did)
}
