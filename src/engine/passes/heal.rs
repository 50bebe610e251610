//! Self-healing (rotation.md): a current key that tests invalid twice, and that the account itself shows as gone
//! or disabled by somebody else, is replaced without a person. What the account's own answer settles does not wait
//! for the mass guard.

use tokio_util::sync::CancellationToken;

use crate::domain::rotation::facts::Remote;
use crate::domain::rotation::{State, Trigger};
use crate::domain::verdict::Verdict;
use crate::engine::run::start;
use crate::engine::session::{Opened, Session};
use crate::engine::testing::endpoint::Why;
use crate::engine::{Engine, EngineError, Rotation, session};
use crate::store::{KeyRow, Role};

/// Looks at every rotation whose current key is dead: of all after a scheduled pass, else of those whose key
/// was just looked at. Answers the rotations that are being healed.
pub(crate) async fn heal(
    engine: &Engine,
    looked: &[String],
    why: Why,
    stop: &CancellationToken,
) -> Result<Vec<String>, EngineError> {
    let mut healing = Vec::new();
    for rotation in engine.rotations().filter(|rotation| rotation.heal) {
        if stop.is_cancelled() {
            break;
        }
        let Some(key) = dead_current(engine, &rotation.name).await? else { continue };
        if why != Why::Schedule && !looked.contains(&key.id) {
            continue;
        }
        match heal_one(engine, rotation).await {
            Ok(true) => healing.push(rotation.name.clone()),
            Ok(false) => {}
            // Cooling down, frozen, or the account does not answer: the key's own alert stands.
            Err(error) => tracing::warn!(rotation = %rotation.name, %error, "not healed"),
        }
    }
    Ok(healing)
}

/// The current key, when it is believed dead and no run is at work that would look after it.
async fn dead_current(engine: &Engine, rotation: &str) -> Result<Option<KeyRow>, EngineError> {
    let generations = engine.parts.store.generations(rotation).await?;
    let current = generations.into_iter().find(|key| key.role == Role::Current);
    let Some(key) = current.filter(|key| key.health.verdict == Verdict::Invalid) else {
        return Ok(None);
    };
    let open = engine.parts.store.open_run(rotation).await?;
    let at_work = open.is_some_and(|row| !matches!(row.run.state, State::Planned | State::Parked { .. }));
    Ok((!at_work).then_some(key))
}

async fn heal_one(engine: &Engine, rotation: &Rotation) -> Result<bool, EngineError> {
    let Opened::Ready(mut session) = session::open_session(engine, &rotation.account).await? else {
        return Ok(false);
    };
    let healed = start_healing(&mut session, &rotation.name).await;
    session.close().await?;
    healed
}

/// Asks the account what became of the key, and starts the emergency.
async fn start_healing(session: &mut Session<'_>, rotation: &str) -> Result<bool, EngineError> {
    // Under the lease: nobody else starts or ends a run now.
    let Some(key) = dead_current(session.engine, rotation).await? else { return Ok(false) };
    let Some(hash) = key.hash.clone() else { return Ok(false) };
    let remote = session.read_remote(&hash).await?;
    let remote = remote.map_err(|failure| EngineError::outside("the key could not be read", failure))?;
    let reason = match remote {
        Remote::Gone => "somebody deleted it at the provider",
        Remote::Disabled => "somebody disabled it at the provider",
        Remote::Enabled(_) => return Ok(false),
    };
    start::start_emergency(session, Trigger::Heal, rotation, None, reason).await?;
    Ok(true)
}
