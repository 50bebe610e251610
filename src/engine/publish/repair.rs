//! The current key, once more to one address.

use crate::destination::Delivery;
use crate::domain::rotation::facts::TestResult;
use crate::engine::publish::{address, deliver};
use crate::engine::session::{Session, test_key};
use crate::engine::{ConfiguredDestination, EngineError};
use crate::store::KeyRow;

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
    let delivery = Delivery { secret, rotation: rotation.to_owned(), generation, destination: name.clone() };
    let what = format!("generation {generation} ({})", key.mask);
    let (_, taken) = deliver::write(session, None, place, before, &delivery, &what).await?;
    if let Err(failure) = taken {
        return Err(EngineError::outside(format!("{name} did not take the key"), failure));
    }
    let row = address::row_of(session, place, key, rotation).await?;
    let (_, did) = deliver::look_and_go_on(session, place, row, &delivery, None).await?;
    Ok(did)
}
