//! Which rotation is due, and when it is due next.
//!
//! A look takes no arguments: [`Engine::look_at_schedules`] compares the store with the schedules, moves due
//! times that are missing or impossible, and says which accounts have something to start. Under an account's
//! lease [`Session::start_due`] looks again, so that of several processes one starts the run. The next due time is
//! committed together with the start of a run, and again with its end; a start that fails comes back with
//! backoff, not at the next regular time.

use std::collections::{BTreeMap, BTreeSet};

use super::session::Session;
use super::start::Start;
use super::{Engine, EngineError, Rotation};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::rotation::{ASKED, Run, State, Trigger};
use crate::domain::schedule::{Look, Schedule};
use crate::domain::time::Timestamp;
use crate::store::{Change, RotationRow};

/// Runs that one visit to an account starts; hundreds that are due at once are spread over many visits.
const STARTS: usize = 3;
/// Failures in a row that lengthen the wait before the next try.
const COUNTED_FAILURES: i64 = 10;

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
    fn look(&self, rotation: &Rotation, fraction: f64) -> Look {
        let stored = self.rows.get(&rotation.name).and_then(|row| row.next_due_at);
        rotation.schedule.look(stored, self.now, self.issued.get(&rotation.name).copied(), fraction)
    }

    /// The due time of a rotation that may start now.
    fn may_start(&self, rotation: &Rotation, fraction: f64) -> Option<Timestamp> {
        let row = self.rows.get(&rotation.name)?;
        let held = row.paused || row.needs_adopt || self.running.contains(&rotation.name);
        (!held && self.look(rotation, fraction) == Look::Start).then_some(row.next_due_at).flatten()
    }
}

impl Engine {
    /// One look at every schedule. Returns the names of accounts with a run to start.
    pub async fn look_at_schedules(&self) -> Result<BTreeSet<String>, EngineError> {
        let ledger = self.ledger().await?;
        let mut accounts = BTreeSet::new();
        for rotation in self.rotations() {
            let fraction = self.parts.clock.fraction();
            if let Look::Move(due) = ledger.look(rotation, fraction) {
                self.move_due(&ledger, &rotation.name, due).await?;
            } else if ledger.may_start(rotation, fraction).is_some() {
                accounts.insert(rotation.account.clone());
            }
        }
        self.tell_overdue(&ledger).await?;
        Ok(accounts)
    }

    async fn ledger(&self) -> Result<Ledger, EngineError> {
        let store = &self.parts.store;
        let rows = store.rotations().await?;
        let open = store.open_runs().await?;
        Ok(Ledger {
            now: self.parts.clock.now(),
            rows: rows.into_iter().map(|row| (row.name.clone(), row)).collect(),
            issued: store.issued().await?,
            running: open.into_iter().map(|row| row.run.rotation).collect(),
        })
    }

    async fn move_due(&self, ledger: &Ledger, name: &str, due: Option<Timestamp>) -> Result<(), EngineError> {
        let row = ledger.rows.get(name);
        if row.is_none() {
            self.parts.store.ensure_rotation(name, None).await?;
        }
        let stored = row.and_then(|row| row.next_due_at);
        if self.parts.store.move_due(name, stored, due).await? {
            let show = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
            tracing::info!(rotation = name, from = show(stored), to = show(due), "due time");
        }
        Ok(())
    }

    /// A key that is older than `max_age`, and keys that no longer are.
    async fn tell_overdue(&self, ledger: &Ledger) -> Result<(), EngineError> {
        let store = &self.parts.store;
        let told = store.open_subjects(Kind::RotationOverdue).await?;
        for rotation in self.rotations() {
            let subject = format!("rotation {}", rotation.name);
            let issued = ledger.issued.get(&rotation.name).copied();
            let overdue = issued.filter(|at| rotation.schedule.is_overdue(ledger.now, *at));
            match (overdue, told.contains(&subject)) {
                (Some(issued), false) => {
                    let entry = self.entry("rotation.overdue", subject.clone(), issued.rfc3339());
                    let detail = overdue_text(rotation, ledger, issued);
                    let mut alert = NewAlert::new(Kind::RotationOverdue, subject, detail);
                    alert.account = Some(rotation.account.clone());
                    store.raise(&alert.rotation(rotation.name.clone()), &entry).await?;
                }
                (None, true) => {
                    let entry = self.entry("rotation.in_time", subject.clone(), "");
                    store.resolve(Kind::RotationOverdue, &subject, &entry).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
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

impl Session<'_> {
    /// Starts runs of this account that are due, a few at most, the one that waits longest first. Returns their ids.
    pub async fn start_due(&mut self) -> Result<Vec<String>, EngineError> {
        if self.engine.parts.store.freeze_of(&self.identity).await?.is_some() {
            return Ok(Vec::new());
        }
        // Again, under the lease: another process may have started them meanwhile.
        let ledger = self.engine.ledger().await?;
        let engine = self.engine;
        let mine = engine.rotations().filter(|rotation| rotation.account == self.account.name);
        let mut due: Vec<(Timestamp, &Rotation)> =
            mine.filter_map(|rotation| Some((ledger.may_start(rotation, 0.0)?, rotation))).collect();
        due.sort_by_key(|(at, _)| *at);
        let mut started = Vec::new();
        for (at, rotation) in due.into_iter().take(STARTS) {
            match self.start_run(&rotation.name, Start::Scheduled(at)).await {
                Ok(run) => {
                    tracing::info!(rotation = %rotation.name, run = %run.id, due = at.rfc3339(), "started");
                    started.push(run.id);
                }
                Err(EngineError::Store(error)) if error.is_conflict("runs_due") => {
                    self.had_its_run(&ledger, rotation, at).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(started)
    }

    /// A clock went back: this due time had its run already. What became of it says when the next is due.
    async fn had_its_run(
        &self,
        ledger: &Ledger,
        rotation: &Rotation,
        due: Timestamp,
    ) -> Result<(), EngineError> {
        let row = self.engine.parts.store.run_for_due(&rotation.name, due).await?;
        let failed = row.is_some_and(|row| has_failed(&row.run));
        let fraction = self.engine.parts.clock.fraction();
        let next = if failed {
            Some(Schedule::retry(ledger.now, 1, fraction))
        } else {
            rotation.schedule.next_due(ledger.now.max(due), Some(ledger.now), fraction)
        };
        self.engine.move_due(ledger, &rotation.name, next).await
    }

    /// The due time after the one that a run starts for. `every` counts from the key that this run will issue, so
    /// that is settled at its end.
    pub(super) fn next_due_at_start(&self, rotation: &Rotation) -> Change {
        let now = self.engine.parts.clock.now();
        let fraction = self.engine.parts.clock.fraction();
        let at = rotation.schedule.next_due(now, Some(now), fraction);
        Change::Due { rotation: rotation.name.clone(), at }
    }

    /// The due time after a run that ends: regular when it is done or a person ended it; soon when a scheduled one
    /// failed. Another run that failed leaves the schedule as it is.
    pub(super) async fn next_due_at_end(&self, after: &Run) -> Result<Option<Change>, EngineError> {
        let superseded = matches!(after.state, State::Superseded { .. });
        let rotation = self.engine.parts.rotations.get(&after.rotation);
        let (Some(rotation), true, false) = (rotation, after.state.is_terminal(), superseded) else {
            return Ok(None);
        };
        let store = &self.engine.parts.store;
        let now = self.engine.parts.clock.now();
        let fraction = self.engine.parts.clock.fraction();
        let at = if after.state == State::Done {
            let issued = store.issued().await?.get(&after.rotation).copied();
            rotation.schedule.next_due(now, Some(issued.unwrap_or(now)), fraction)
        } else if !has_failed(after) {
            rotation.schedule.next_due(now, Some(now), fraction)
        } else if after.trigger == Trigger::Schedule {
            let ended = store.ended_runs(&after.rotation, COUNTED_FAILURES).await?;
            let before = ended.iter().take_while(|row| has_failed(&row.run)).count();
            Some(Schedule::retry(now, u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1), fraction))
        } else {
            return Ok(None);
        };
        Ok(Some(Change::Due { rotation: after.rotation.clone(), at }))
    }
}

/// Ended without a new key, and no person wanted that.
fn has_failed(run: &Run) -> bool {
    let ended = matches!(run.state, State::Aborted { .. } | State::RolledBack { .. });
    ended && run.state.reason() != Some(ASKED)
}
