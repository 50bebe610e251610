//! Whether a run, or a rotation, still belongs to this configuration and to this account: the one place that says so
//! (R8, R14).

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::crypto::CryptoError;
use crate::domain::rotation::{Run, Target};
use crate::domain::time::{Span, Timestamp, Until};
use crate::engine::session::Session;
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Daemon, KeyRow, Role, StoreError};

/// How a run stands to what this process was told.
pub(crate) struct Standing {
    /// Why it must park.
    pub(crate) detached: Option<String>,
    /// Destinations that no longer have to be brought to the new key, by the configuration's word.
    pub(crate) dropped: Vec<String>,
}

/// Where a run stands.
pub(crate) fn of(session: &Session<'_>, run: &Run) -> Standing {
    let engine = session.engine;
    Standing {
        detached: another_account(session, &run.account).or_else(|| detached(engine, run)),
        dropped: dropped(engine, run),
    }
}

/// R8: why work of `account` must not go on with this session's provisioning key.
fn another_account(session: &Session<'_>, account: &str) -> Option<String> {
    (account != session.identity).then(|| {
        format!(
            "the provisioning key of account {} belongs to another account now ({} instead of {account}): put the right \
             key back",
            session.account.name, session.identity
        )
    })
}

/// Why these keys are not on this session's account.
pub(crate) fn elsewhere(session: &Session<'_>, generations: &[KeyRow]) -> Option<String> {
    let mut living = generations.iter().filter(|key| key.role != Role::Dead);
    living.find_map(|key| another_account(session, key.account.as_deref()?))
}

/// Why this is not the account that the keys of the entry's rotations are on.
pub(crate) async fn stranger(session: &Session<'_>) -> Result<Option<String>, EngineError> {
    for rotation in session.engine.rotations().filter(|rotation| rotation.account == session.account.name) {
        let generations = match session.engine.parts.store.generations(&rotation.name).await {
            Err(StoreError::Corrupt(_)) => continue,
            read => read?,
        };
        if let Some(reason) = elsewhere(session, &generations) {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// R14: what of a run's snapshot the configuration no longer says.
fn detached(engine: &Engine, run: &Run) -> Option<String> {
    let Some(rotation) = engine.parts.rotations.get(&run.rotation) else {
        return Some(format!("the configuration no longer has rotation {}", run.rotation));
    };
    run.policy.targets.iter().find_map(|target| {
        let listed = rotation.policy.targets.iter().find(|now| now.name == target.name);
        match listed {
            None => Some(format!(
                "the configuration no longer publishes to destination {}: put it back, or say \
                 `rekeyd runs release {} {}`",
                target.name, run.id, target.name
            )),
            Some(now) if now.address != target.address => Some(format!(
                "destination {} now points somewhere else ({} instead of {}): put it back, or say \
                 `rekeyd runs release {} {}`",
                target.name, now.address, target.address, run.id, target.name
            )),
            Some(_) => None,
        }
    })
}

/// What of a run's snapshot no longer has to be brought to the new key, by the configuration's word.
fn dropped(engine: &Engine, run: &Run) -> Vec<String> {
    let Some(rotation) = engine.parts.rotations.get(&run.rotation) else { return Vec::new() };
    let listed = |target: &Target| {
        let same = |now: &&Target| now.name == target.name && now.address == target.address;
        rotation.policy.targets.iter().find(same).is_some_and(|now| now.required)
    };
    run.policy.targets.iter().filter(|target| !listed(target)).map(|target| target.name.clone()).collect()
}

/// Who works a run: what its configuration says of the rotation, and when it was loaded.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Worker {
    run: String,
    policy: String,
    loaded_at: Timestamp,
    /// When a process with this configuration last worked it, or a minute later.
    seen_at: Timestamp,
}

/// Why a process leaves a run to another.
pub(crate) struct Outdated {
    pub(crate) why: String,
    /// The other has not come for so long that a person must be told.
    pub(crate) alone: bool,
}

/// That a process works a run is noted so often.
const SEEN: Span = Span::minutes(1);
/// A process with the newer configuration that did not come for so long has ended: a command, that is.
const GONE: Span = Span::minutes(10);
/// Nobody waits for it as long in an emergency.
const GONE_IN_AN_EMERGENCY: Span = Span::minutes(2);

/// R14: takes the run for this process's configuration. Why it must leave the run instead: another process works it by a
/// configuration that was loaded later and says something else of the rotation.
pub(crate) async fn outdated(session: &Session<'_>, run: &Run) -> Result<Option<Outdated>, EngineError> {
    let (engine, now) = (session.engine, session.clock());
    let subject = format!("policy:{}", run.rotation);
    let mut mine = Worker {
        run: run.id.clone(),
        policy: fingerprint(engine, &run.rotation),
        loaded_at: engine.parts.loaded_at,
        seen_at: now,
    };
    let known: Option<Worker> = engine.parts.store.memory_or_anew(&subject).await?;
    if let Some(known) = known.filter(|known| known.run == mine.run) {
        if known.policy == mine.policy && now.since(known.seen_at) < SEEN {
            return Ok(None);
        }
        // One that was loaded in the future was loaded before the clock went back (R18).
        let future = known.loaded_at.is_future(now);
        if known.policy != mine.policy && known.loaded_at > mine.loaded_at && !future {
            let gone = if run.trigger.is_emergency() { GONE_IN_AN_EMERGENCY } else { GONE };
            let alone = Until::after(known.seen_at, gone).left(now).is_none();
            return Ok(Some(Outdated { why: newer(&known, run), alone }));
        }
        if known.policy == mine.policy {
            mine.loaded_at = mine.loaded_at.max(known.loaded_at);
        }
    }
    session.commit(&[Change::Remember { subject, doc: json!(mine) }]).await?;
    Ok(None)
}

/// R24: why a process without the encryption key that seals now leaves a run: to a living daemon that has the key and says
/// the same of the rotation; or, when it is a command that nobody waits for, to whoever comes with the key. `None` when this
/// process has the key, or is a daemon that works the run alone: it goes on trying, and people are told.
pub(crate) async fn without_the_key(engine: &Engine, run: &Run) -> Result<Option<Outdated>, EngineError> {
    let Err(EngineError::Crypto(CryptoError::Stale(key))) = engine.sealing_key().await else {
        return Ok(None);
    };
    let mine = fingerprint(engine, &run.rotation);
    let daemons = engine.parts.store.daemons(Daemon::SILENT).await?;
    let other = daemons.iter().find(|one| one.works(&run.rotation, &mine) && one.keys.contains(&key));
    let lacks = "this process lacks the encryption key that seals now";
    let why = match other {
        Some(other) => format!("{lacks}, and leaves the run to {}, which has it", other.owner),
        None if daemons.iter().any(|one| one.owner == engine.parts.owner) => return Ok(None),
        None => format!("{lacks}, and no daemon has it: put the newest key first in the list and try again"),
    };
    Ok(Some(Outdated { why, alone: false }))
}

fn newer(known: &Worker, run: &Run) -> String {
    format!(
        "another rekeyd process works this run by a configuration that was loaded later ({}) and says something else of \
         rotation {}: this process leaves the run to it",
        known.loaded_at.rfc3339(),
        run.rotation
    )
}

/// What the configuration says of a rotation and its addresses; of one that it does not have, nothing.
pub(crate) fn fingerprint(engine: &Engine, rotation: &str) -> String {
    let said = engine.parts.rotations.get(rotation).map(|one| json!([one.account, one.policy]));
    hex::encode(Sha256::digest(json!(said).to_string().as_bytes()))
}
