//! The one place that says what a test changes: the key's health and verdict, the facts that a run decides by
//! (R13), the history, the audit trail, what people are told. Passes, steps of runs and commands all end here.

use crate::domain::rotation::facts::{KeyFacts, TestResult};
use crate::domain::schedule::rhythm;
use crate::domain::schedule::rhythm::Turn;
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::domain::verdict::{Health, Observation, Occasion, Outcome, Reason, Step, Verdict};
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
    /// The row of the catalog that it was tested by, where the provider has a name of its own.
    kind: Option<String>,
}

impl Sighting {
    /// Nothing but an observation.
    pub(crate) fn new(seen: Observation, why: Occasion) -> Self {
        Self { seen, why, result: None, kind: None }
    }

    /// The same of a provider of this kind: tests of some cost their owner something.
    pub(crate) fn of_kind(self, kind: &str) -> Self {
        Self { kind: Some(kind.to_owned()), ..self }
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
    /// The least time to the next look, where each costs the customer something.
    floor: Span,
    /// Its health before.
    before: Health,
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

    /// Its health before this look.
    pub(crate) fn before(&self) -> &Health {
        &self.before
    }

    /// The key is in doubt, or bad, since this look.
    pub(crate) fn is_refused_first(&self) -> bool {
        let fell = |health: &Health| health.doubted_at().is_some() || health.turned_bad_at().is_some();
        !fell(&self.before) && fell(&self.step.health)
    }

    /// The mass guard keeps the key's own alerts until then, or lets go of them.
    pub(crate) fn hold(&mut self, until: Option<Timestamp>) {
        self.step.health.hold(until);
    }
}

/// Takes one look in, which was asked at this moment (R19). None when another one that was asked later is taken in
/// already, or when the row has another secret by now than the one with this fingerprint, which was asked with: what a key
/// showed before says nothing about it any more.
pub(crate) fn fold(
    engine: &Engine,
    mut row: KeyRow,
    asked_with: Option<&String>,
    look: &Sighting,
    asked: Stamp,
) -> Option<Folded> {
    if row.fingerprint.as_ref() != asked_with {
        return None;
    }
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
    let kind = look.kind.as_deref().unwrap_or(&row.provider);
    let floor = engine.parts.tester.min_interval(kind).unwrap_or(Span::ZERO);
    let (before, seen) = (row.health.clone(), look.seen.clone());
    Some(Folded { row, seen, facts, step, floor, before, now: asked.ours })
}

/// A look of the future is one of a clock that went back since.
fn is_overtaken(row: &KeyRow, asked: Stamp, now: Timestamp) -> bool {
    let last = row.facts.tested.as_ref().map(|(_, at)| at.ours);
    last.is_some_and(|last| asked.ours < last && last <= now)
}

/// All that is committed for it, in one transaction. Whoever looked, what it says against a current key is asked after.
pub(crate) fn tested(engine: &Engine, folded: Folded) -> Vec<Change> {
    let heals = |name: &&str| engine.parts.rotations.get(*name).is_some_and(|rotation| rotation.heal);
    let doubted = folded.current_in_doubt().filter(heals).map(str::to_owned);
    let Folded { row, seen, facts, step, floor, now, .. } = folded;
    let mut health = step.health;
    let mut told = Vec::new();
    if is_told_of(&row) {
        let (after, tells) = health.tell(now);
        told = alerts::changes(&row, &after, &seen, &tells);
        health = after;
    }
    // Before the alerts, as in every transaction that changes both.
    let mut changes: Vec<Change> =
        doubted.map(|rotation| Change::WantsHealing { rotation }).into_iter().collect();
    if let Some(change) = step.change {
        let detail = format!("{} → {}: {}", change.from, change.to, seen.detail);
        changes.push(Change::Audit(engine.entry("key.verdict", &alerts::subject(&row), detail)));
    }
    let next_look_at = next_look_at(engine, &row.id, &health, &seen, floor);
    let (health, seen) = (Box::new(health), Box::new(seen));
    changes.push(Change::Tested { id: row.id, facts, health, seen, next_look_at });
    changes.extend(told);
    changes
}

/// Its own moment in a period of the schedule, or sooner, when something waits for another look.
fn next_look_at(engine: &Engine, id: &str, health: &Health, seen: &Observation, floor: Span) -> Timestamp {
    let now = engine.parts.clock.now();
    let turn = Turn {
        offset: rhythm::offset(id),
        settled_at: health.settled_at.filter(|at| *at <= now),
        floor,
        retry_after: seen.retry_after.unwrap_or(Span::ZERO),
    };
    let regular = engine.parts.tests.rhythm.next(turn, now);
    health.look_again_at().map_or(regular, |again| again.min(regular))
}

/// People hear of keys that consumers use. A candidate's troubles are its run's to tell.
fn is_told_of(row: &KeyRow) -> bool {
    row.is_active && matches!(row.role, Role::Current | Role::Manual)
}
