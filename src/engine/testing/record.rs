//! The one place that says what a test changes: the key's health and verdict, the facts that a run decides by
//! (R13), the history, the audit trail, what people are told. Passes, steps of runs and commands all end here.

use crate::domain::rotation::facts::{KeyFacts, TestResult};
use crate::domain::time::{Stamp, Timestamp};
use crate::domain::verdict::{Observation, Occasion, Outcome, Reason, Step, Verdict};
use crate::engine::Engine;
use crate::engine::testing::alerts;
use crate::meter;
use crate::store::{Change, KeyRow, Role};

/// One look at one key.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) seen: Observation,
    pub(crate) why: Occasion,
    /// What it comes to for a run, where that is more than the observation says.
    pub(crate) result: Option<TestResult>,
}

impl Sighting {
    /// Nothing but an observation.
    pub(crate) fn new(seen: Observation, why: Occasion) -> Self {
        Self { seen, why, result: None }
    }

    fn result(&self) -> TestResult {
        self.result.clone().unwrap_or_else(|| meaning(&self.seen))
    }
}

/// What an observation means to a run. A spent key proves nothing good: nothing is retired for it (R7).
pub(crate) fn meaning(seen: &Observation) -> TestResult {
    match (seen.outcome(), seen.reason()) {
        (Outcome::Valid, _) => TestResult::Valid,
        (Outcome::Invalid, _) => TestResult::Unauthorized,
        (Outcome::Restricted, Some(Reason::WrongKind)) => TestResult::WrongKind {
            reason: "it is a provisioning key: it cannot call models and must never reach production"
                .to_owned(),
        },
        _ => TestResult::Inconclusive { reason: seen.detail.clone() },
    }
}

/// A look taken in, not yet told.
#[derive(Debug, Clone)]
pub(crate) struct Folded {
    row: KeyRow,
    seen: Observation,
    facts: KeyFacts,
    pub(crate) step: Step,
    now: Timestamp,
}

impl Folded {
    /// Whose.
    pub(crate) fn id(&self) -> &str {
        &self.row.id
    }

    /// The rotation whose current key this look leaves for dead, or in doubt.
    pub(crate) fn current_in_doubt(&self) -> Option<&str> {
        let health = &self.step.health;
        let doubtful = health.verdict == Verdict::Invalid || health.suspicion.is_some();
        self.row.rotation.as_deref().filter(|_| self.row.role == Role::Current && doubtful)
    }

    /// The verdict turned bad with this look.
    pub(crate) fn turned_bad(&self) -> bool {
        self.step.change.is_some_and(|change| change.to.is_bad() && !change.from.is_bad())
    }
}

/// Takes one look in, which was asked at this moment (R19). None when another one that was asked later is taken in
/// already: what a key showed before says nothing about it any more.
pub(crate) fn fold(engine: &Engine, mut row: KeyRow, look: &Sighting, asked: Stamp) -> Option<Folded> {
    // A provider that tells no expiry leaves what a person said of it.
    row.health.expires_at = row.health.expires_at.or(row.about.expires_at);
    if is_overtaken(&row, asked, engine.parts.clock.now()) {
        return None;
    }
    meter::count(&meter::KEY_TESTS, &[&row.provider, look.seen.outcome().as_str()]);
    meter::time(&meter::KEY_TEST_SECONDS, meter::as_number(look.seen.latency_ms) / 1000.0);
    let step = row.health.observe(&look.seen, look.why, asked.ours, engine.parts.confirm_after);
    let result = look.result();
    let refused_since = match &result {
        TestResult::Unauthorized => row.facts.refused_since.or(Some(asked)),
        TestResult::Inconclusive { .. } => row.facts.refused_since,
        _ => None,
    };
    let facts = KeyFacts { tested: Some((result, asked)), refused_since };
    Some(Folded { row, seen: look.seen.clone(), facts, step, now: asked.ours })
}

/// A look of the future is one of a clock that went back since.
fn is_overtaken(row: &KeyRow, asked: Stamp, now: Timestamp) -> bool {
    let last = row.facts.tested.as_ref().map(|(_, at)| at.ours);
    last.is_some_and(|last| asked.ours < last && last <= now)
}

/// All that is committed for it, in one transaction. `hold`: the mass guard keeps the key's own alerts until
/// then.
pub(crate) fn tested(engine: &Engine, folded: Folded, hold: Option<Timestamp>) -> Vec<Change> {
    let Folded { row, seen, facts, step, now } = folded;
    let mut health = step.health;
    if let Some(until) = hold {
        health.hold(until);
    }
    let mut told = Vec::new();
    if is_told_of(&row) {
        let (after, tells) = health.tell(now);
        told = alerts::changes(&row, &after, &seen, &tells);
        health = after;
    }
    let mut changes = Vec::new();
    if let Some(change) = step.change {
        let detail = format!("{} → {}: {}", change.from, change.to, seen.detail);
        changes.push(Change::Audit(engine.entry("key.verdict", &alerts::subject(&row), detail)));
    }
    changes.push(Change::Tested {
        id: row.id.clone(),
        facts,
        health: Box::new(health),
        seen: Box::new(seen),
    });
    changes.extend(told);
    changes
}

/// The mass guard lets go of a key's own alerts: told is what holds by now. `seen` is its last look. One that was
/// replaced meanwhile is told too, and over: nobody should wonder why there is another.
pub(crate) fn let_go(mut row: KeyRow, seen: &Observation, now: Timestamp) -> Vec<Change> {
    let replaced = row.rotation.is_some() && matches!(row.role, Role::Retiring | Role::Dead);
    if replaced {
        row.role = Role::Current;
    }
    row.health.held_until = None;
    let mut changes = Vec::new();
    if replaced || is_told_of(&row) {
        let (health, tells) = row.health.tell(now);
        changes = alerts::changes(&row, &health, seen, &tells);
        row.health = health;
    }
    if replaced {
        let over = |kind| Change::Resolve { kind, subject: alerts::subject(&row) };
        changes.extend(alerts::OF_A_KEY.map(over));
    }
    changes.push(Change::Told { id: row.id, health: Box::new(row.health) });
    changes
}

/// People hear of keys that consumers use. A candidate's troubles are its run's to tell.
fn is_told_of(row: &KeyRow) -> bool {
    row.is_active && matches!(row.role, Role::Current | Role::Manual)
}
