//! What people are told of a key: changes of verdict, not observations (providers.md, "Telling people").
//!
//! [`Health::tell`] compares what holds with what has been told, so that a crash between the two costs
//! nothing: the next call says it again. It must be committed in the transaction that writes the notices.

use std::collections::BTreeSet;

use super::Verdict;
use super::health::{Concern, FLAPPING_CHANGES, FLAPPING_WINDOW, Health};
use crate::domain::time::{Span, Timestamp};

/// Rate limits are silent until they last this long ...
const LIMITED_FOR: Span = Span::hours(6);
/// ... or so many passes.
const LIMITED_PASSES: u32 = 3;
/// Good looks that close an `invalid`.
const GOOD_LOOKS: u32 = 2;
/// Warnings of a known expiry, in days ahead.
const EXPIRY_DAYS: [i64; 3] = [1, 3, 14];
/// A flapping key has come to rest when a bad verdict has stood for this long ...
const RESTS_BAD: Span = Span::hours(1);
/// ... or a good one for this long.
const RESTS_GOOD: Span = FLAPPING_WINDOW;

/// One thing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// It begins.
    Open(Concern),
    /// It is nearer now: the next warning of an expiry, in days ahead.
    Nearer(Concern, i64),
    /// It is over.
    Close(Concern),
}

impl Health {
    /// What to tell now, and the health that remembers having told it.
    #[must_use]
    pub fn tell(&self, now: Timestamp) -> (Self, Vec<Tell>) {
        let mut next = self.clone();
        let mut tells = next.flapping_begins_or_ends(now);
        if !next.told.contains(&Concern::Flapping) {
            tells.extend(next.tell_concerns(now));
        }
        (next, tells)
    }

    /// The mass guard holds this key's own alerts until a look at or after `until`, or lets go of them.
    pub fn hold(&mut self, until: Option<Timestamp>) {
        self.held_until = until;
    }

    /// Since when a verdict stands that nobody was told of.
    pub fn untold_since(&self) -> Option<Timestamp> {
        self.turned_bad_at().filter(|_| !self.told.iter().any(|concern| concern.is_verdict()))
    }

    fn flapping_begins_or_ends(&mut self, now: Timestamp) -> Vec<Tell> {
        let rest = if self.verdict.is_bad() { RESTS_BAD } else { RESTS_GOOD };
        let rested = self.changes.last().is_none_or(|last| now.since(*last) >= rest);
        let restless = self.changes.len() >= FLAPPING_CHANGES
            && self.changes.first().is_some_and(|first| now.since(*first) <= FLAPPING_WINDOW);
        if self.told.contains(&Concern::Flapping) && rested {
            self.told.remove(&Concern::Flapping);
            self.changes.clear();
            return vec![Tell::Close(Concern::Flapping)];
        }
        if restless && self.told.insert(Concern::Flapping) {
            return vec![Tell::Open(Concern::Flapping)];
        }
        Vec::new()
    }

    fn tell_concerns(&mut self, now: Timestamp) -> Vec<Tell> {
        let held = self.held_until.is_some_and(|until| self.looked_at < Some(until));
        let holds = self.concerns(now);
        let mut tells: Vec<Tell> = self.told.difference(&holds).copied().map(Tell::Close).collect();
        let opened = holds.difference(&self.told).filter(|concern| !(held && concern.is_verdict()));
        let opened: BTreeSet<Concern> = opened.copied().collect();
        tells.extend(opened.iter().copied().map(Tell::Open));
        self.told = self.told.intersection(&holds).copied().chain(opened).collect();
        tells.extend(self.tell_expiry(now));
        tells
    }

    /// What holds of the key now.
    fn concerns(&self, now: Timestamp) -> BTreeSet<Concern> {
        let not_closed = self.told.contains(&Concern::Invalid) && self.good_looks < GOOD_LOOKS;
        let limited = self.limited.is_some_and(|streak| streak.lasts(LIMITED_PASSES, LIMITED_FOR, now));
        let all = [
            (Concern::Invalid, self.verdict == Verdict::Invalid || not_closed),
            (Concern::Restricted, self.verdict == Verdict::Restricted),
            (Concern::QuotaExhausted, self.verdict == Verdict::QuotaExhausted),
            (Concern::RateLimited, limited),
            (Concern::Expiring, days_ahead(self.expires_at, now).is_some()),
        ];
        all.into_iter().filter(|(_, holds)| *holds).map(|(concern, _)| concern).collect()
    }

    /// The opening is the first warning; each nearer date is another one.
    fn tell_expiry(&mut self, now: Timestamp) -> Option<Tell> {
        let days = days_ahead(self.expires_at, now);
        let before = std::mem::replace(&mut self.told_days, days);
        match (before, days) {
            (Some(before), Some(days)) if days < before => Some(Tell::Nearer(Concern::Expiring, days)),
            _ => None,
        }
    }
}

/// Which warning an expiry date deserves: 14, 3 or 1 days ahead; a date in the past keeps the last one.
fn days_ahead(expires_at: Option<Timestamp>, now: Timestamp) -> Option<i64> {
    let left = expires_at?.since(now);
    EXPIRY_DAYS.into_iter().find(|days| left <= Span::hours(24 * days))
}
