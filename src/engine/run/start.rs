//! New runs: by schedule, by hand, and the emergency that takes over an open run and inherits its keys.

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::rotation::{Event, KeyRef, Phase, Retiree, Run, State, Trigger, apply};
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
/// Refused while the account is frozen, the rotation paused or in want of an adopt; usage when a run is open.
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

async fn run_is_open(session: &Session<'_>, name: &str) -> Result<EngineError, EngineError> {
    let open = session.engine.parts.store.open_run(name).await?;
    let id = open.map(|row| row.run.id).unwrap_or_default();
    Ok(EngineError::Usage {
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
        cooled_down(&row, rotation.heal, rotation.heal_cooldown, session.clock())?;
    }
    let generations = session.engine.parts.store.generations(name).await?;
    let open = session.engine.parts.store.open_run(name).await?;
    let target = pick(&generations, generation, name)?;
    let run = emergency_run(session, &rotation, trigger, &generations, open.as_ref(), target);
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

fn emergency_run(
    session: &Session<'_>,
    rotation: &Rotation,
    trigger: Trigger,
    generations: &[KeyRow],
    open: Option<&RunRow>,
    target: &KeyRow,
) -> Run {
    let id = new_id();
    let urgent = trigger == Trigger::Leak;
    let retiring = target.role == Role::Retiring;
    if let (Some(open), true) = (open.filter(|open| carries_on(&open.run)), retiring) {
        return escalate(&open.run, id, trigger, target);
    }
    let policy = rotation.policy.clone();
    let mut run = Run::new(id, rotation.name.clone(), session.identity.clone(), trigger, policy);
    run.predecessor = key_ref(target);
    let inherited = open.map(|open| open.run.retirees.clone()).unwrap_or_default();
    let living = generations.iter().filter(|key| key.role != Role::Dead).filter_map(key_ref);
    for key in living {
        let known = inherited.iter().find(|retiree| retiree.key.id == key.id).cloned();
        let is_target = key.id == target.id;
        let mut retiree = known.unwrap_or_else(|| Retiree::new(key, false, run.policy.observe));
        if let Phase::Revived { .. } = retiree.phase {
            // It was on its way back and is on its way out again: it must go quiet like any other.
            retiree.phase = Phase::Live { quiet: None };
        }
        if is_target && urgent {
            retiree.urgent = true;
            retiree.observe = Span::ZERO;
        }
        run.retirees.push(retiree);
    }
    run.retirees.sort_by_key(|retiree| !retiree.urgent);
    if retiring && let Some(current) = generations.iter().find(|key| key.role == Role::Current) {
        // Already on its way out, and no run at work: no create, the current key is only proved again.
        run.candidate = key_ref(current);
        run.retirees.retain(|retiree| retiree.key.id != current.id);
        run.published = true;
        run.state = State::Publishing;
    }
    run
}

/// A run whose new key is there and goes on being brought in: an emergency of its old key continues it.
fn carries_on(run: &Run) -> bool {
    let state = run.state.underlying();
    run.candidate.is_some() && matches!(state, State::Publishing | State::Grace { .. } | State::Observing)
}

/// The same run under a new id, with the leaked key in a hurry.
fn escalate(open: &Run, id: String, trigger: Trigger, target: &KeyRow) -> Run {
    let mut run = open.clone();
    run.id = id;
    run.trigger = trigger;
    run.state = open.state.underlying().clone();
    run.waits.clear();
    if !run.retirees.iter().any(|retiree| retiree.key.id == target.id) {
        run.retirees.extend(key_ref(target).map(|key| Retiree::new(key, true, Span::ZERO)));
    }
    for retiree in run.retirees.iter_mut().filter(|retiree| retiree.key.id == target.id) {
        retiree.urgent = true;
        retiree.observe = Span::ZERO;
    }
    if let State::Observing = run.state {
        // Urgent keys are worked in grace, where nobody waits for them.
        let now = crate::domain::time::Stamp { ours: Timestamp(0), theirs: Some(Timestamp(0)) };
        run.state = State::Grace { since: now, overlap_told: true };
    }
    run
}

/// A person holds new runs.
pub(crate) fn paused(row: &RotationRow) -> EngineError {
    let name = &row.name;
    EngineError::Refused(format!(
        "refused: rotation {name} is paused; `rekeyd rotations resume {name}` ends that"
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
        None => Err(EngineError::Usage {
            text: format!("rotation {name} has no such generation"),
            hint: Some(format!("`rekeyd rotations show {name}` shows them")),
        }),
    }
}

fn cooled_down(row: &RotationRow, heal: bool, cooldown: Span, now: Timestamp) -> Result<(), EngineError> {
    if !heal {
        return Err(EngineError::Refused(
            "on_invalid = \"alert\": a person must start the next run".to_owned(),
        ));
    }
    let recent = row.healed_at.and_then(|at| Until::after(at, cooldown).left(now));
    if recent.is_some() {
        return Err(EngineError::Refused("it was healed already within heal_cooldown".to_owned()));
    }
    Ok(())
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
