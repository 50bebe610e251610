//! The fold: observations in, a sticky verdict out.
//!
//! ```text
//!                 conclusive                       invalid                invalid again,
//! untested ──────────────────────► valid, … ──────────────► (suspicion) ──────────────────► invalid
//!     └─ unverified ─► unverified      ▲   any other conclusive │        not before confirm_after  │
//!                                      └───────────────────────┴──────────────────────────────────┘
//! ```
//!
//! The first good look moves the verdict away from invalid; the *alert* closes on the second
//! ([`super::tell`]). A passing 401 of the provider therefore never reaches anybody (wire-facts.md).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Observation, Outcome, Reason, Verdict};
use crate::domain::time::{CLOCK_SLACK, Span, Stamp, Timestamp, backoff};

/// Four changes of verdict within this time are flapping.
pub const FLAPPING_WINDOW: Span = Span::hours(6);
/// So many changes.
pub const FLAPPING_CHANGES: usize = 4;
/// A suspicion that meets inconclusive looks is looked at again after ever longer times, up to this.
const LOOK_AGAIN_CAP: Span = Span::minutes(15);

/// Why a key is being looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A scheduled pass; only these count for "3 passes".
    Pass,
    /// A second look, a person's wish, a step of a run.
    Extra,
}

/// One look said invalid; nobody is told before another one says so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// When the first look said so.
    pub since: Timestamp,
    /// Not before then does another look count.
    pub look_again_at: Timestamp,
    /// Inconclusive looks since.
    pub tries: u32,
}

/// A condition of a key that people are told of, once when it begins and once when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    /// Not accepted, seen twice.
    Invalid,
    /// Alive, and may not do this.
    Restricted,
    /// Alive, without money or limit.
    QuotaExhausted,
    /// Rate limited for long.
    RateLimited,
    /// A known expiry date is near.
    Expiring,
    /// The verdict does not come to rest; until it does, nothing else is told.
    Flapping,
}

impl Concern {
    /// True for those that follow from the verdict.
    pub const fn is_verdict(self) -> bool {
        matches!(self, Self::Invalid | Self::Restricted | Self::QuotaExhausted)
    }
}

/// The same thing seen in pass after pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// When it was seen first.
    pub since: Timestamp,
    /// In how many passes.
    pub passes: u32,
}

impl Streak {
    /// One pass more.
    pub fn extend(before: Option<Self>, now: Timestamp) -> Self {
        let start = Self { since: now, passes: 0 };
        let streak = before.unwrap_or(start);
        Self { passes: streak.passes.saturating_add(1), ..streak }
    }

    /// Seen in so many passes, or for so long.
    pub fn lasts(self, passes: u32, span: Span, now: Timestamp) -> bool {
        self.passes >= passes || now.since(self.since) >= span
    }
}

/// All that is remembered of a key's tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Health {
    /// What is held of the key.
    pub verdict: Verdict,
    /// Why, for bad verdicts.
    pub reason: Option<Reason>,
    /// Since when this verdict stands.
    pub since: Option<Timestamp>,
    /// The last look of any kind.
    pub looked_at: Option<Timestamp>,
    /// The last conclusive look.
    pub settled_at: Option<Timestamp>,
    /// The last look that said valid, on both clocks (R11, R13).
    pub valid_at: Option<Stamp>,
    /// The provider said invalid once.
    pub suspicion: Option<Suspicion>,
    /// When the provider says that the key expires.
    pub expires_at: Option<Timestamp>,
    /// Conclusive looks since the last one that said invalid; two close its alert.
    pub good_looks: u32,
    /// Rate limits in a row.
    pub limited: Option<Streak>,
    /// The last changes of verdict, oldest first.
    pub changes: Vec<Timestamp>,
    /// Mass guard: nothing new is told before a look at or after this moment.
    pub held_until: Option<Timestamp>,
    /// What people have been told and not been told to be over.
    pub told: BTreeSet<Concern>,
    /// The last expiry warning given, in days ahead.
    pub told_days: Option<i64>,
}

/// A verdict that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictChange {
    /// Before.
    pub from: Verdict,
    /// After.
    pub to: Verdict,
    /// Why, for bad verdicts.
    pub reason: Option<Reason>,
}

/// What one observation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The key's health now. What to tell of it: [`Health::tell`].
    pub health: Health,
    /// The verdict changed.
    pub change: Option<VerdictChange>,
    /// When the key should be looked at out of turn.
    pub look_again_at: Option<Timestamp>,
}

impl Health {
    /// Takes one observation in. `confirm_after` is the least time between the two looks that make a key
    /// invalid.
    pub fn observe(&self, seen: &Observation, why: Occasion, now: Timestamp, confirm_after: Span) -> Step {
        let mut next = self.clone();
        next.looked_at = Some(now);
        next.note_streaks(seen.outcome(), why, now);
        let to = match seen.outcome() {
            Outcome::Invalid => next.doubt(now, confirm_after),
            Outcome::Valid => Some(next.settle(Verdict::Valid, now)),
            Outcome::Restricted => Some(next.settle(Verdict::Restricted, now)),
            Outcome::QuotaExhausted => Some(next.settle(Verdict::QuotaExhausted, now)),
            Outcome::Unverified if self.verdict == Verdict::Untested => Some(Verdict::Unverified),
            _ => {
                next.postpone(seen.retry_after, now, confirm_after);
                None
            }
        };
        if seen.outcome() == Outcome::Valid {
            next.valid_at = Some(Stamp { ours: now, theirs: seen.date });
        }
        next.expires_at = seen.expires_at.or(self.expires_at);
        let change = to.and_then(|to| next.turn(to, seen.reason(), now));
        let look_again_at = next.suspicion.map(|suspicion| suspicion.look_again_at);
        Step { health: next, change, look_again_at }
    }

    /// True when it should be looked at out of turn: a suspicion or the mass guard waits for this look.
    pub fn is_due_again(&self, now: Timestamp) -> bool {
        self.look_again_at().is_some_and(|at| at <= now)
    }

    /// When it should be looked at out of turn, if at all.
    pub fn look_again_at(&self) -> Option<Timestamp> {
        let held = self.held_until.filter(|until| self.looked_at < Some(*until));
        let again = self.suspicion.map(|suspicion| suspicion.look_again_at);
        again.into_iter().chain(held).min()
    }

    /// Since when it is in doubt.
    pub fn doubted_at(&self) -> Option<Timestamp> {
        self.suspicion.map(|suspicion| suspicion.since)
    }

    /// Since when its verdict is bad.
    pub fn turned_bad_at(&self) -> Option<Timestamp> {
        self.since.filter(|_| self.verdict.is_bad())
    }

    /// Invalid was seen: the first time it is doubted, the second time it is believed.
    fn doubt(&mut self, now: Timestamp, confirm_after: Span) -> Option<Verdict> {
        self.settled_at = Some(now);
        self.good_looks = 0;
        if self.verdict == Verdict::Invalid {
            return Some(Verdict::Invalid);
        }
        // A suspicion of the future is one of a clock that went back since (R18).
        match self.suspicion.filter(|suspicion| suspicion.since <= now.plus(CLOCK_SLACK)) {
            Some(suspicion) if now >= suspicion.look_again_at => {
                self.suspicion = None;
                Some(Verdict::Invalid)
            }
            Some(_) => None,
            None => {
                let look_again_at = now.plus(confirm_after);
                self.suspicion = Some(Suspicion { since: now, look_again_at, tries: 0 });
                None
            }
        }
    }

    fn settle(&mut self, verdict: Verdict, now: Timestamp) -> Verdict {
        self.settled_at = Some(now);
        self.suspicion = None;
        self.good_looks = self.good_looks.saturating_add(1);
        verdict
    }

    /// An inconclusive look settles no suspicion: another one follows, later and later.
    fn postpone(&mut self, retry_after: Option<Span>, now: Timestamp, confirm_after: Span) {
        let Some(suspicion) = &mut self.suspicion else { return };
        suspicion.tries = suspicion.tries.saturating_add(1);
        let wait = backoff(confirm_after, LOOK_AGAIN_CAP.max(confirm_after), suspicion.tries);
        suspicion.look_again_at = now.plus(wait.max(retry_after.unwrap_or(Span::ZERO)));
    }

    fn note_streaks(&mut self, outcome: Outcome, why: Occasion, now: Timestamp) {
        if outcome == Outcome::RateLimited && why == Occasion::Pass {
            self.limited = Some(Streak::extend(self.limited, now));
        } else if outcome.is_conclusive() {
            self.limited = None;
        }
    }

    /// Moves the verdict and remembers when. Becoming known for the first time is no flapping.
    fn turn(&mut self, to: Verdict, reason: Option<Reason>, now: Timestamp) -> Option<VerdictChange> {
        let from = std::mem::replace(&mut self.verdict, to);
        self.reason = self.refined(reason, now);
        if from == to {
            return None;
        }
        self.since = Some(now);
        if from.is_settled() {
            self.changes.push(now);
            let surplus = self.changes.len().saturating_sub(FLAPPING_CHANGES);
            self.changes.drain(..surplus);
        }
        Some(VerdictChange { from, to, reason: self.reason })
    }

    /// OpenRouter's text does not tell revoked from expired: the known date does (providers.md).
    fn refined(&self, reason: Option<Reason>, now: Timestamp) -> Option<Reason> {
        match (reason, self.expires_at) {
            (Some(Reason::Rejected), Some(at)) if at <= now => Some(Reason::Expired),
            _ => reason,
        }
    }
}

#[cfg(test)]
mod tests;
