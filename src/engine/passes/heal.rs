//! Self-healing (rotation.md): a current key that tests invalid twice, and that the account itself shows as gone
//! or disabled by somebody else, is replaced without a person. What the account's own answer settles does not wait
//! for the mass guard.
//!
//! Each rotation is asked about by itself, and waits for its account by itself. Where the account stayed busy or did
//! not answer, the wish stands in the store, and a later tick asks again ([`waits`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::rotation::facts::Remote;
use crate::domain::rotation::{State, Trigger};
use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::Verdict;
use crate::engine::run::start;
use crate::engine::session::Session;
use crate::engine::{Engine, EngineError, Rotation, session};
use crate::store::{Change, KeyRow, Lease, Role};

/// So long a rotation waits for its account before the wish is kept for another tick.
pub(crate) const PATIENCE: Span = Span::seconds(30);
const MEMORY: &str = "healing";

/// A rotation whose healing could not be asked for yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Wait {
    attempts: u32,
    not_before: Timestamp,
}

/// What came of asking for one rotation.
pub(crate) struct Answer {
    pub(crate) rotation: String,
    pub(crate) healed: Result<bool, EngineError>,
}

/// Rotations that wait to be asked about, and may be now.
pub(crate) async fn waits(engine: &Engine, now: Timestamp) -> Result<Vec<String>, EngineError> {
    let waits: BTreeMap<String, Wait> = engine.parts.store.memory_or_anew(MEMORY).await?;
    let due = |wait: &Wait| wait.not_before <= now || wait.not_before.since(now) > Span::hours(1);
    let known = waits.into_iter().filter(|(name, _)| engine.parts.rotations.contains_key(name));
    Ok(known.filter(|(_, wait)| due(wait)).map(|(name, _)| name).collect())
}

/// Remembers whether the rotation has to be asked about again. True when an emergency was started.
pub(crate) async fn note(engine: &Engine, lease: &Lease, answer: &Answer) -> Result<bool, EngineError> {
    let rotation = answer.rotation.as_str();
    let mut waits: BTreeMap<String, Wait> = engine.parts.store.memory_or_anew(MEMORY).await?;
    let before = waits.remove(rotation);
    let now = engine.clock().now();
    let attempts = before.map_or(0, |wait: Wait| wait.attempts);
    let again = match &answer.healed {
        // It was waited for: the next wait may begin at once.
        Err(EngineError::Busy(_)) => Some(Wait { attempts, not_before: now }),
        Err(EngineError::Outside { .. } | EngineError::Store(_)) => {
            let not_before = now.plus(engine.backoff(attempts));
            Some(Wait { attempts: attempts.saturating_add(1), not_before })
        }
        _ => None,
    };
    if let Err(error) = &answer.healed {
        // Cooling down, frozen, or the account does not answer: the key's own alert stands.
        tracing::warn!(rotation, %error, again = again.is_some(), "not healed");
    }
    if again != before {
        waits.extend(again.map(|wait| (rotation.to_owned(), wait)));
        let change = Change::Remember { subject: MEMORY.to_owned(), doc: json!(waits) };
        engine.parts.store.commit(lease, &[change]).await?;
    }
    Ok(matches!(answer.healed, Ok(true)))
}

/// Looks at one rotation, and starts an emergency when its current key is dead. Waits for the account while another
/// works on it.
pub(crate) async fn heal_one(
    engine: &Engine,
    rotation: &Rotation,
    patience: Span,
    stop: &CancellationToken,
) -> Answer {
    let healed = ask(engine, rotation, patience, stop).await;
    Answer { rotation: rotation.name.clone(), healed }
}

async fn ask(
    engine: &Engine,
    rotation: &Rotation,
    patience: Span,
    stop: &CancellationToken,
) -> Result<bool, EngineError> {
    if dead_current(engine, &rotation.name).await?.is_none() {
        return Ok(false);
    }
    let mut session = session::wait_for_session_or_stop(engine, &rotation.account, patience, stop).await?;
    let healed = start_healing(&mut session, &rotation.name).await;
    session.close().await?;
    healed
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
