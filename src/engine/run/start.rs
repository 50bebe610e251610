//! New runs: by schedule, by hand, and the emergency that takes over an open run and inherits its keys.

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::rotation::{Emergency, Event, KeyRef, Retiree, Run, Trigger, apply, spread};
use crate::domain::time::{Span, Timestamp, Until};
use crate::engine::session::{Session, commit, consequences, keys};
use crate::engine::{EngineError, Rotation};
use crate::store::{Change, KeyRow, NewRun, Role, RotationRow, RunRow, new_id};

/// What starts an ordinary run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A person.
    Manual,
    /// The schedule, with the due time that this run stands for.
    Scheduled(Timestamp),
}

/// Starts an ordinary run.
///
/// # Errors
/// Refused while the account is frozen, the rotation paused or in want of an adopt; not done when a run is open.
pub async fn start_run(session: &mut Session<'_>, name: &str, start: Start) -> Result<Run, EngineError> {
    let rotation = session.rotation_of_this_account(name)?.clone();
    let row = session.rotation_row(name).await?;
    may_start(session, &row).await?;
    let generations = session.engine.parts.store.generations(name).await?;
    let (trigger, due_at) = match start {
        Start::Manual => (Trigger::Manual, None),
        Start::Scheduled(due) => (Trigger::Schedule, Some(due)),
    };
    let mut run =
        Run::new(new_id(), name.to_owned(), session.identity.clone(), trigger, rotation.policy.clone());
    let current = generations.iter().find(|key| key.role == Role::Current);
    run.predecessor = current.and_then(key_ref);
    let living = generations.iter().filter(|key| !matches!(key.role, Role::Dead));
    run.retirees =
        living.filter_map(key_ref).map(|key| Retiree::new(key, false, run.policy.observe)).collect();
    if let Start::Scheduled(_) = start {
        run.spread = spread_of(session);
    }
    let new =
        NewRun { run: run.clone(), due_at, previous_generation: current.and_then(|key| key.generation) };
    let entry =
        session.engine.entry("run.started", format!("rotation {name} run {}", run.id), run.trigger.word());
    let mut changes = vec![Change::StartRun(Box::new(new)), Change::Audit(entry)];
    if let Start::Scheduled(_) = start {
        changes.push(commit::next_due_at_start(session, &rotation));
    }
    let committed = session.commit(&changes).await;
    match committed {
        Err(EngineError::Store(error)) if error.is_conflict("runs_one_open") => {
            Err(run_is_open(session, name).await?)
        }
        other => other.map(|()| run),
    }
}

/// R12: persons and emergencies wait for no others.
fn spread_of(session: &Session<'_>) -> Span {
    let engine = session.engine;
    let rotations = engine.rotations().filter(|rotation| rotation.account == session.account.name).count();
    spread(rotations, session.account.max_deletes_per_hour, engine.parts.clock.fraction())
}

async fn run_is_open(session: &Session<'_>, name: &str) -> Result<EngineError, EngineError> {
    let open = session.engine.parts.store.open_run(name).await?;
    let id = open.map(|row| row.run.id).unwrap_or_default();
    Ok(EngineError::Absent {
        text: format!("a run of rotation {name} is open: {id}"),
        hint: Some(format!("follow it with `rekeyd runs watch {id}`")),
    })
}

async fn may_start(session: &Session<'_>, row: &RotationRow) -> Result<(), EngineError> {
    session.not_frozen().await?;
    if row.paused {
        return Err(paused(row));
    }
    keys::wants_adopt(row)
}

/// Starts an emergency: a leaked generation (`None`: the current one), or a dead current key. It supersedes an
/// open or parked run and inherits its keys. A leaked generation that is already retiring needs no new key.
pub async fn start_emergency(
    session: &mut Session<'_>,
    trigger: Trigger,
    name: &str,
    generation: Option<i64>,
    reason: &str,
) -> Result<Run, EngineError> {
    let rotation = session.rotation_of_this_account(name)?.clone();
    let row = session.rotation_row(name).await?;
    session.not_frozen().await?;
    if trigger == Trigger::Heal {
        // After a thaw nobody but a person knows which key production uses.
        keys::wants_adopt(&row)?;
        may_heal(&row, &rotation, session.clock())?;
    }
    let generations = session.engine.parts.store.generations(name).await?;
    let open = session.engine.parts.store.open_run(name).await?;
    let target = pick(&generations, generation, name)?;
    let run = emergency_run(session, &rotation, trigger, &generations, open.as_ref(), target);
    let run = run.ok_or_else(|| no_such_generation(name))?;
    let mut changes = take_over(session, open.as_ref(), &run).await?;
    let new = NewRun { run: run.clone(), due_at: None, previous_generation: target.generation };
    changes.push(Change::StartRun(Box::new(new)));
    changes.push(Change::Audit(session.engine.entry(
        "run.started",
        format!("rotation {name} run {}", run.id),
        format!("{}: {reason}", run.trigger.word()),
    )));
    changes.push(emergency_alert(&run, target, reason));
    if trigger == Trigger::Heal {
        changes.push(Change::Healed { rotation: name.to_owned(), at: session.until(Span::ZERO).set_at });
    }
    session.commit(&changes).await?;
    Ok(run)
}

/// Closes the open run in the same transaction that starts its successor.
async fn take_over(
    session: &mut Session<'_>,
    open: Option<&RunRow>,
    by: &Run,
) -> Result<Vec<Change>, EngineError> {
    let Some(open) = open else { return Ok(Vec::new()) };
    session.engine.parts.store.claim_run(&session.lease, &open.run.id).await?;
    let event = Event::Superseded { by: by.id.clone() };
    let after = apply(&open.run, &event)?;
    let mut changes = vec![commit::run_change(&after, Some(format!("superseded by {}", by.id)))];
    changes.extend(consequences::consequences(session, &open.run, &event, &after));
    changes.extend(commit::closing(session, &open.run.id).await?);
    Ok(changes)
}

/// The run of the emergency, and what it takes over (rotation.md, "Emergency" and "Self-healing").
fn emergency_run(
    session: &Session<'_>,
    rotation: &Rotation,
    trigger: Trigger,
    generations: &[KeyRow],
    open: Option<&RunRow>,
    target: &KeyRow,
) -> Option<Run> {
    let open = open.map(|row| &row.run);
    let candidate = open.and_then(|run| run.candidate.as_ref());
    let known = candidate.and_then(|key| generations.iter().find(|row| row.id == key.id));
    let living = generations.iter().filter(|key| key.role != Role::Dead);
    let current = generations.iter().find(|key| key.role == Role::Current);
    let emergency = Emergency {
        id: new_id(),
        rotation: &rotation.name,
        account: &session.identity,
        trigger,
        policy: &rotation.policy,
        target: key_ref(target)?,
        retiring: target.role == Role::Retiring,
        living: living.filter_map(key_ref).collect(),
        current: current.and_then(key_ref),
        open,
        candidate: known.map(|row| &row.facts),
        now: session.now(),
    };
    Some(emergency.run())
}

/// A person holds new runs.
pub(crate) fn paused(row: &RotationRow) -> EngineError {
    let name = &row.name;
    let what = if row.healing_paused { "paused, its healing too" } else { "paused" };
    EngineError::Refused(format!(
        "refused: rotation {name} is {what}; `rekeyd rotations resume {name}` ends that"
    ))
}

/// The generation that is meant: by number, else the current one.
fn pick<'k>(generations: &'k [KeyRow], number: Option<i64>, name: &str) -> Result<&'k KeyRow, EngineError> {
    let found = match number {
        Some(number) => generations.iter().find(|key| key.generation == Some(number)),
        None => generations.iter().find(|key| key.role == Role::Current),
    };
    match found {
        Some(key) if key.role == Role::Dead => Err(EngineError::Usage {
            text: format!(
                "generation {} of rotation {name} is already dead",
                key.generation.unwrap_or_default()
            ),
            hint: None,
        }),
        Some(key) => Ok(key),
        None => Err(no_such_generation(name)),
    }
}

fn no_such_generation(name: &str) -> EngineError {
    EngineError::Usage {
        text: format!("rotation {name} has no such generation"),
        hint: Some(format!("`rekeyd rotations show {name}` shows them")),
    }
}

fn may_heal(row: &RotationRow, rotation: &Rotation, now: Timestamp) -> Result<(), EngineError> {
    let refused = |text: &str| Err(EngineError::Refused(text.to_owned()));
    match (rotation.heal, row.healing_paused, cooling_down(row, rotation, now)) {
        (false, ..) => refused("on_invalid = \"alert\": a person must start the next run"),
        (_, true, _) => Err(paused(row)),
        (_, _, Some(_)) => refused("it was healed already within heal_cooldown"),
        _ => Ok(()),
    }
}

/// The wait between two healings, while it lasts.
pub(crate) fn cooling_down(row: &RotationRow, rotation: &Rotation, now: Timestamp) -> Option<Until> {
    let until = Until::after(row.healed_at?, rotation.heal_cooldown);
    until.left(now).map(|_| until)
}

/// What a run needs to know of a stored generation; `None` for a row without hash.
fn key_ref(key: &KeyRow) -> Option<KeyRef> {
    Some(KeyRef {
        id: key.id.clone(),
        generation: key.generation?,
        hash: key.hash.clone()?,
        has_secret: key.secret.is_some(),
    })
}

fn emergency_alert(run: &Run, target: &KeyRow, reason: &str) -> Change {
    let (kind, detail) = match run.trigger {
        Trigger::Leak => (
            Kind::LeakDetected,
            format!(
                "Generation {} ({}) of rotation {} is known to strangers: {reason}. It is replaced at once, and disabled and \
                 deleted as soon as every required destination holds the new key.",
                target.generation.unwrap_or_default(),
                target.mask,
                run.rotation
            ),
        ),
        _ => (
            Kind::KeyInvalid,
            format!(
                "The current key of rotation {} (generation {}, {}) is dead: {reason}. A new one is issued and published now.",
                run.rotation,
                target.generation.unwrap_or_default(),
                target.mask
            ),
        ),
    };
    let mut alert =
        NewAlert::new(kind, Subject::Rotation(run.rotation.clone()), detail).rotation(run.rotation.clone());
    alert.severity = crate::domain::alert::Severity::Critical;
    Change::Alert(alert)
}
