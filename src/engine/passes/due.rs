//! Which rotation is due, and when it is due next.
//!
//! A look takes no arguments: [`look_at_schedules`] compares the store with the schedules, moves due
//! times that are missing or impossible, and says which accounts have something to start. Under an account's
//! lease [`start_due`] looks again, so that of several processes one starts the run. The next due time is
//! committed together with the start of a run, and again with its end; a start that fails comes back with
//! backoff, not at the next regular time.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::schedule::{Decision, Schedule};
use crate::domain::time::Timestamp;
use crate::engine::run::start;
use crate::engine::run::start::Start;
use crate::engine::session::{Session, commit};
use crate::engine::{Engine, EngineError, Rotation};
use crate::store::{Change, RotationRow};

/// Runs that one visit to an account starts; hundreds that are due at once are spread over many visits.
const STARTS: usize = 3;

/// Everything that a look at the schedules needs of the store, read at once.
struct Ledger {
    now: Timestamp,
    rows: BTreeMap<String, RotationRow>,
    /// When the current key of each rotation was issued.
    issued: BTreeMap<String, Timestamp>,
    /// Rotations with an open run.
    running: BTreeSet<String>,
}

impl Ledger {
    fn look(&self, rotation: &Rotation, fraction: f64) -> Decision {
        let stored = self.rows.get(&rotation.name).and_then(|row| row.next_due_at);
        rotation.schedule.look(stored, self.now, self.issued.get(&rotation.name).copied(), fraction)
    }

    /// The due time of a rotation that may start now.
    fn may_start(&self, rotation: &Rotation, fraction: f64) -> Option<Timestamp> {
        let row = self.rows.get(&rotation.name)?;
        let held = row.paused || row.needs_adopt || self.running.contains(&rotation.name);
        (!held && self.look(rotation, fraction) == Decision::Start).then_some(row.next_due_at).flatten()
    }
}

/// One look at every schedule. Returns the names of accounts with a run to start.
pub async fn look_at_schedules(engine: &Engine) -> Result<BTreeSet<String>, EngineError> {
    let ledger = ledger(engine).await?;
    let mut accounts = BTreeSet::new();
    for rotation in engine.rotations() {
        let fraction = engine.parts.clock.fraction();
        if let Decision::Move(due) = ledger.look(rotation, fraction) {
            move_due(engine, &ledger, &rotation.name, due).await?;
        } else if ledger.may_start(rotation, fraction).is_some() {
            accounts.insert(rotation.account.clone());
        }
    }
    tell_overdue(engine, &ledger).await?;
    Ok(accounts)
}

async fn ledger(engine: &Engine) -> Result<Ledger, EngineError> {
    let store = &engine.parts.store;
    let rows = store.rotations().await?;
    let open = store.open_runs().await?;
    Ok(Ledger {
        now: engine.parts.clock.now(),
        rows: rows.into_iter().map(|row| (row.name.clone(), row)).collect(),
        issued: store.issued().await?,
        running: open.into_iter().map(|row| row.run.rotation).collect(),
    })
}

async fn move_due(
    engine: &Engine,
    ledger: &Ledger,
    name: &str,
    due: Option<Timestamp>,
) -> Result<(), EngineError> {
    let row = ledger.rows.get(name);
    if row.is_none() {
        engine.parts.store.ensure_rotation(name, None).await?;
    }
    let stored = row.and_then(|row| row.next_due_at);
    if engine.parts.store.move_due(name, stored, due).await? {
        let show = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        tracing::info!(rotation = name, from = show(stored), to = show(due), "due time");
    }
    Ok(())
}

/// A key that is older than `max_age`, and keys that no longer are.
async fn tell_overdue(engine: &Engine, ledger: &Ledger) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let told = store.open_subjects(Kind::RotationOverdue).await?;
    for rotation in engine.rotations() {
        let subject = Subject::Rotation(rotation.name.clone());
        let issued = ledger.issued.get(&rotation.name).copied();
        let overdue = issued.filter(|at| rotation.schedule.is_overdue(ledger.now, *at));
        match (overdue, told.contains(&subject)) {
            (Some(issued), false) => {
                let entry = engine.entry("rotation.overdue", &subject, issued.rfc3339());
                let detail = overdue_text(rotation, ledger, issued);
                let mut alert = NewAlert::new(Kind::RotationOverdue, subject, detail);
                alert.account = Some(rotation.account.clone());
                store.raise(&alert.rotation(rotation.name.clone()), &entry).await?;
            }
            (None, true) => {
                let entry = engine.entry("rotation.in_time", &subject, "");
                store.resolve(Kind::RotationOverdue, &subject, &entry).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn overdue_text(rotation: &Rotation, ledger: &Ledger, issued: Timestamp) -> String {
    let name = &rotation.name;
    let row = ledger.rows.get(name);
    let next = match row {
        Some(row) if row.paused => format!("It is paused: `rekeyd rotations resume {name}`."),
        Some(row) if row.needs_adopt => {
            format!("It waits to be told its current key: `rekeyd rotations adopt {name}`.")
        }
        _ if ledger.running.contains(name) => {
            format!("A run is open: `rekeyd why {name}` says what it waits for.")
        }
        Some(row) => match row.next_due_at {
            Some(due) => format!("The next run is due {}.", due.rfc3339()),
            None => format!("No run is due: `rekeyd rotations run {name}`."),
        },
        None => format!("`rekeyd rotations run {name}` starts a run now."),
    };
    format!(
        "The current key of rotation {name} is older than max_age: it was issued {}. It goes on working. {next}",
        issued.rfc3339()
    )
}

/// Starts runs of this account that are due, a few at most, the one that waits longest first. Returns their ids.
pub async fn start_due(session: &mut Session<'_>) -> Result<Vec<String>, EngineError> {
    if session.engine.parts.store.freeze_of(&session.identity).await?.is_some() {
        return Ok(Vec::new());
    }
    // Again, under the lease: another process may have started them meanwhile.
    let ledger = ledger(session.engine).await?;
    let engine = session.engine;
    let mine = engine.rotations().filter(|rotation| rotation.account == session.account.name);
    let mut due: Vec<(Timestamp, &Rotation)> =
        mine.filter_map(|rotation| Some((ledger.may_start(rotation, 0.0)?, rotation))).collect();
    due.sort_by_key(|(at, _)| *at);
    let mut started = Vec::new();
    for (at, rotation) in due.into_iter().take(STARTS) {
        match start::start_run(session, &rotation.name, Start::Scheduled(at)).await {
            Ok(run) => {
                tracing::info!(rotation = %rotation.name, run = %run.id, due = at.rfc3339(), "started");
                started.push(run.id);
            }
            Err(EngineError::Store(error)) if error.is_conflict("runs_due") => {
                had_its_run(session, &ledger, rotation, at).await?;
            }
            // R21: what refuses one rotation is no matter of the others.
            Err(error) if !error.concerns_one() => return Err(error),
            Err(error) => refused(session, rotation, &error).await?,
        }
    }
    Ok(started)
}

/// A due start that was refused: people are told, and it is tried again like one that failed.
async fn refused(session: &Session<'_>, rotation: &Rotation, error: &EngineError) -> Result<(), EngineError> {
    let name = &rotation.name;
    tracing::warn!(rotation = %name, %error, "a due run was not started");
    let hint = error.hint().map(|hint| format!(" Next: {hint}.")).unwrap_or_default();
    let detail = format!(
        "A run of rotation {name} is due and cannot start: {error}.{hint} Its current key goes on working; the start is \
         tried again."
    );
    let alert = NewAlert::new(Kind::RotationFailed, Subject::Rotation(name.clone()), detail);
    let clock = &session.engine.parts.clock;
    let again =
        Change::Due { rotation: name.clone(), at: Some(Schedule::retry(clock.now(), 1, clock.fraction())) };
    session.commit(&[Change::Alert(alert.rotation(name.clone())), again]).await
}

/// A clock went back: this due time had its run already. What became of it says when the next is due.
async fn had_its_run(
    session: &Session<'_>,
    ledger: &Ledger,
    rotation: &Rotation,
    due: Timestamp,
) -> Result<(), EngineError> {
    let row = session.engine.parts.store.run_for_due(&rotation.name, due).await?;
    let failed = row.is_some_and(|row| commit::has_failed(&row.run));
    let fraction = session.engine.parts.clock.fraction();
    let next = if failed {
        Some(Schedule::retry(ledger.now, 1, fraction))
    } else {
        rotation.schedule.next_due(ledger.now.max(due), Some(ledger.now), fraction)
    };
    move_due(session.engine, ledger, &rotation.name, next).await
}
