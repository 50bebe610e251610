//! Self-healing (rotation.md): a current key that tests invalid twice, and that the account itself shows as gone,
//! disabled by somebody else or expired, is replaced without a person. What the account's own answer settles does not
//! wait for the mass guard of tests; many rotations at once wait for the first of them ([`mass`]).
//!
//! Each rotation is asked about by itself, and waits for its account by itself. What has to wait stands in the store,
//! and a later tick asks again ([`waits`]).

mod mass;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::rotation::{Trigger, gives_way_to_healing};
use crate::domain::time::{Span, Timestamp, Until};
use crate::domain::turn::Class;
use crate::domain::verdict::Verdict;
use crate::engine::run::start;
use crate::engine::session::{Session, listing};
use crate::engine::{Engine, EngineError, Rotation, budget, session};
use crate::store::{Change, HEALING, KeyRow, Role};

/// Time between two looks at what a person or another rotation must end.
const LOOK: Span = Span::seconds(5);

/// A rotation that is to be asked about again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Wish {
    attempts: u32,
    until: Until,
    /// Since when the account says that the key is gone.
    gone_since: Option<Timestamp>,
    /// What people were told that it waits for.
    told: Option<String>,
}

type Wishes = BTreeMap<String, Wish>;

/// What came of asking for one rotation.
pub(crate) struct Answer {
    pub(crate) rotation: String,
    healed: Result<Asked, EngineError>,
}

/// What the account and the store said.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// An emergency was started.
    Started,
    /// The key works, or a run looks after it.
    Nothing,
    /// It is asked about again after this, and why.
    Later { until: Until, gone_since: Option<Timestamp>, why: Option<String> },
}

impl Asked {
    fn again(now: Timestamp) -> Self {
        Self::Later { until: Until::after(now, LOOK), gone_since: None, why: None }
    }

    fn later(until: Until, why: impl Into<String>) -> Self {
        Self::Later { until, gone_since: None, why: Some(why.into()) }
    }
}

/// Rotations that wait to be asked about, and may be now.
pub(crate) async fn waits(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let wishes: Wishes = engine.parts.store.memory_or_anew(HEALING).await?;
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    let now = engine.parts.store.now().await?;
    let known = wishes.into_iter().filter(|(name, _)| engine.parts.rotations.contains_key(name));
    Ok(known.filter(|(_, wish)| wish.until.left(now).is_none()).map(|(name, _)| name).collect())
}

/// Remembers whether the rotation has to be asked about again, and tells people what it waits for. True when an
/// emergency was started.
pub(crate) async fn note(engine: &Engine, answer: &Answer) -> Result<bool, EngineError> {
    let rotation = answer.rotation.as_str();
    let now = engine.parts.store.now().await?;
    let changes = |mut wishes: Wishes| {
        let before = wishes.remove(rotation);
        let wish = wish(engine, now, before.as_ref(), answer);
        let mut changes = Vec::new();
        if let Some(why) = wish.as_ref().and_then(|wish| wish.told.as_ref())
            && before.as_ref().and_then(|before| before.told.as_ref()) != Some(why)
        {
            changes.push(told(rotation, why));
        }
        if wish != before {
            wishes.extend(wish.map(|wish| (rotation.to_owned(), wish)));
            changes.push(Change::Remember { subject: HEALING.to_owned(), doc: json!(wishes) });
        }
        changes
    };
    engine.parts.store.revise(HEALING, changes).await?;
    Ok(matches!(answer.healed, Ok(Asked::Started)))
}

fn wish(engine: &Engine, now: Timestamp, before: Option<&Wish>, answer: &Answer) -> Option<Wish> {
    let before = before.cloned().unwrap_or_default();
    let error = match &answer.healed {
        Ok(Asked::Started | Asked::Nothing) => return None,
        Ok(Asked::Later { until, gone_since, why }) => {
            let told = why.clone();
            return Some(Wish { attempts: 0, until: *until, gone_since: *gone_since, told });
        }
        Err(error) => error,
    };
    let again = match error {
        // It was waited for: the next wait may begin at once.
        EngineError::Busy(_) => Some(Wish { until: Until::OVER, ..before.clone() }),
        EngineError::Outside { .. } | EngineError::Store(_) => Some(Wish {
            attempts: before.attempts.saturating_add(1),
            until: Until::after(now, engine.backoff(before.attempts)),
            ..before
        }),
        _ => None,
    };
    // Frozen, or the account does not answer: the key's own alert stands.
    tracing::warn!(rotation = %answer.rotation, %error, again = again.is_some(), "not healed");
    again
}

/// The alert of the dead key says what its healing waits for.
fn told(rotation: &str, why: &str) -> Change {
    let detail =
        format!("The current key of rotation {rotation} is dead, and it is not replaced yet: {why}.");
    let mut alert = NewAlert::new(Kind::KeyInvalid, Subject::Rotation(rotation.to_owned()), detail);
    alert.severity = Severity::Critical;
    Change::Alert(alert.rotation(rotation.to_owned()))
}

/// Looks at one rotation, and starts an emergency when its current key is dead. Waits for the account while another
/// works on it.
pub(crate) async fn heal_one(
    engine: &Engine,
    rotation: &Rotation,
    patience: Span,
    stop: &CancellationToken,
) -> Answer {
    let healed = budget::working_for(Class::Healing, ask(engine, rotation, patience, stop)).await;
    Answer { rotation: rotation.name.clone(), healed }
}

async fn ask(
    engine: &Engine,
    rotation: &Rotation,
    patience: Span,
    stop: &CancellationToken,
) -> Result<Asked, EngineError> {
    let Some(patient) = patient(engine, &rotation.name).await? else { return Ok(Asked::Nothing) };
    if patient.dead
        && let Some(later) = held(engine, rotation, patient.key.account.as_deref()).await?
    {
        return Ok(later);
    }
    let (account, class) = (&rotation.account, Class::Healing);
    let mut session = session::wait_for_session_or_stop(engine, account, class, patience, stop).await?;
    let healed = treat(&mut session, rotation).await;
    session.close().await?;
    healed
}

/// What a person, the policy or the others say against healing now: the account need not be asked.
async fn held(
    engine: &Engine,
    rotation: &Rotation,
    identity: Option<&str>,
) -> Result<Option<Asked>, EngineError> {
    let name = &rotation.name;
    let Some(row) = engine.parts.store.rotation(name).await? else { return Ok(None) };
    let now = engine.parts.store.now().await?;
    if row.healing_paused {
        let why = format!("its healing is paused; `rekeyd rotations resume {name}` ends that");
        return Ok(Some(Asked::later(Until::after(now, LOOK), why)));
    }
    if let Some(until) = start::cooling_down(&row, rotation, now) {
        let why = format!(
            "it was healed already at {}, and heal_cooldown holds the next healing until {}",
            until.set_at.rfc3339(),
            until.at.rfc3339()
        );
        return Ok(Some(Asked::later(until, why)));
    }
    let Some(identity) = identity else { return Ok(None) };
    let wave = mass::wave(engine, rotation, identity).await?.filter(|wave| wave.verified().next().is_none());
    Ok(wave.map(|wave| Asked::later(Until::after(now, LOOK), wave.why)))
}

/// A current key in doubt, and no run at work that would look after it.
struct Patient {
    key: KeyRow,
    /// Refused twice. Else only once: its account is asked already what became of it.
    dead: bool,
}

async fn patient(engine: &Engine, rotation: &str) -> Result<Option<Patient>, EngineError> {
    let generations = engine.parts.store.generations(rotation).await?;
    let Some(key) = generations.into_iter().find(|key| key.role == Role::Current) else { return Ok(None) };
    let dead = key.health.verdict == Verdict::Invalid;
    let open = engine.parts.store.open_run(rotation).await?;
    let at_work = open.is_some_and(|row| !gives_way_to_healing(&row.run));
    Ok(((dead || key.health.suspicion.is_some()) && !at_work).then_some(Patient { key, dead }))
}

/// Asks the account what became of the key, and starts the emergency.
async fn treat(session: &mut Session<'_>, rotation: &Rotation) -> Result<Asked, EngineError> {
    // Under the lease: nobody else starts or ends a run now.
    let Some(patient) = patient(session.engine, &rotation.name).await? else { return Ok(Asked::Nothing) };
    let Some(hash) = patient.key.hash.clone() else { return Ok(Asked::Nothing) };
    let shown = listing::look_up(session, &hash).await?;
    let shown = shown.map_err(|failure| EngineError::outside("the key could not be read", failure))?;
    let now = session.clock();
    let reason = match shown {
        None => match gone_twice(session, rotation, now, patient.dead).await? {
            Some(later) => return Ok(later),
            None => "somebody deleted it at the provider",
        },
        Some(key) if is_alive(session, &key) => return Ok(Asked::Nothing),
        // It is one of those that want healing already.
        Some(_) if !patient.dead => return Ok(Asked::again(now)),
        Some(key) if key.disabled => "somebody disabled it at the provider",
        Some(_) => "it expired at the provider",
    };
    let identity = session.identity.clone();
    if let Some(wave) = mass::wave(session.engine, rotation, &identity).await?
        && !wave.is_proved(session).await?
    {
        return Ok(Asked::later(Until::after(now, LOOK), wave.why));
    }
    start::start_emergency(session, Trigger::Heal, &rotation.name, None, reason).await?;
    Ok(Asked::Started)
}

/// A key that is refused although the account shows it like this waits for a person.
fn is_alive(session: &Session<'_>, key: &RemoteKey) -> bool {
    let now = session.now();
    !key.disabled && key.expires_at.is_none_or(|at| at > now.theirs.unwrap_or(now.ours))
}

/// "Gone" is said twice, `confirm_after` apart: a provider that answers 404 for everything does so for a minute. `None`
/// when it was.
async fn gone_twice(
    session: &Session<'_>,
    rotation: &Rotation,
    now: Timestamp,
    dead: bool,
) -> Result<Option<Asked>, EngineError> {
    let wishes: Wishes = session.engine.parts.store.memory_or_anew(HEALING).await?;
    let first = wishes.get(&rotation.name).and_then(|wish| wish.gone_since).unwrap_or(now);
    let until = Until::after(first, rotation.policy.confirm_after);
    if dead && until.left(now).is_none() {
        return Ok(None);
    }
    // Asked again when the second look at the key is over, at the latest.
    let until = if until.left(now).is_some() { until } else { Until::after(now, LOOK) };
    Ok(Some(Asked::Later { until, gone_since: Some(first), why: None }))
}
