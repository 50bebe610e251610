//! When a rotation is due: a cron expression in an IANA zone, or a span since the last key was issued; moved
//! into a window where there is one; with jitter that is drawn once and becomes part of the stored due time.
//!
//! Pure: the caller brings the present moment, the stored due time and a random fraction. [`Schedule::look`] is
//! the whole decision of a tick, so that a restart, a missed tick, a changed configuration and a clock that
//! jumped are the same code:
//!
//! - A due time in the past is caught up **once**, however many were missed: the next one is always counted
//!   from the present moment.
//! - Daylight saving: a fixed time that a day does not have is due at the first moment after the gap; one that a
//!   day has twice is due at the first of the two. croner decides that; the tests of this file hold it to it.
//! - A due time that this schedule cannot have given (the configuration or the clock changed since) is counted
//!   anew. Starting a run is never destructive, and what follows is held by the two-clock rule (R11).

pub mod rhythm;
mod window;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;

use super::time::{Span, Timestamp, backoff};

pub use rhythm::Rhythm;
pub use window::Window;

/// The longest wait before a failed start is tried again.
const LONGEST_RETRY: Span = Span::hours(6);
/// The wait after the first failure; doubled with each.
const FIRST_RETRY: Span = Span::minutes(5);
/// A due time of a window's last moments may be looked at a little after its end.
const LATE: Span = Span::minutes(15);
/// Without a key nothing says how old a due time may be; older than this nobody waits for it.
const FORGOTTEN: Span = Span::hours(24 * 400);

/// When runs are due, before window and jitter.
#[derive(Debug, Clone, PartialEq)]
pub enum Cadence {
    /// At these times, in the schedule's zone.
    Cron(Arc<Cron>),
    /// This long after the last key was issued.
    Every(Span),
}

/// When runs of a rotation are due.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Before window and jitter.
    pub cadence: Cadence,
    /// The zone of a cron expression and of the window.
    pub zone: Tz,
    /// When a run should start: a preference, never a reason to exceed `max_age`.
    pub window: Option<Window>,
    /// A key should not get older.
    pub max_age: Span,
    /// A run is due up to this much later than the cadence says.
    pub jitter: Span,
}

/// What a look at a rotation's due time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not yet, or never.
    Wait,
    /// The stored due time is missing, impossible or outside the window: store this one.
    Move(Option<Timestamp>),
    /// Start a run now, for the stored due time.
    Start,
}

impl Schedule {
    /// The next due time after `now`; `issued` is when the current key was, `fraction` (0.0..1.0) draws the jitter.
    /// `None` when nothing says when: `every` without a key waits for the first run by hand.
    pub fn next_due(&self, now: Timestamp, issued: Option<Timestamp>, fraction: f64) -> Option<Timestamp> {
        let issued = issued.map(|at| at.min(now));
        let (base, jitter) = match &self.cadence {
            Cadence::Cron(cron) => {
                let base = occurrence(cron, self.zone, now)?;
                let following = occurrence(cron, self.zone, base).map_or(self.jitter, |at| at.since(base));
                (base, self.jitter.min(Span(following.0 / 2)))
            }
            Cadence::Every(every) => (issued?.plus(*every), self.jitter),
        };
        let delay = jitter.portion(fraction);
        let due = base.plus(delay);
        Some(self.in_window(due, delay, issued).unwrap_or(due))
    }

    /// The whole decision of a tick; see the head of this file.
    pub fn look(
        &self,
        stored: Option<Timestamp>,
        now: Timestamp,
        issued: Option<Timestamp>,
        fraction: f64,
    ) -> Decision {
        let next = || self.next_due(now, issued, fraction);
        let Some(due) = stored else {
            return next().map_or(Decision::Wait, |due| Decision::Move(Some(due)));
        };
        if !self.is_plausible(due, now, issued) {
            return Decision::Move(next());
        }
        if due > now {
            return Decision::Wait;
        }
        let missed = now.since(due) > LATE;
        let punctual = !missed && self.window.as_ref().is_some_and(|window| window.is_open(due, self.zone));
        match self.in_window(now, self.jitter.portion(fraction), issued.map(|at| at.min(now))) {
            Some(opening) if opening > now && !punctual => Decision::Move(Some(opening)),
            _ => Decision::Start,
        }
    }

    /// When a start that failed for the `failures`th time in a row is tried again.
    pub fn retry(now: Timestamp, failures: u32, fraction: f64) -> Timestamp {
        let half = Span(backoff(FIRST_RETRY, LONGEST_RETRY, failures.saturating_sub(1)).0 / 2);
        now.plus(half).plus(half.portion(fraction))
    }

    /// True when the key is older than it should ever get.
    pub fn is_overdue(&self, now: Timestamp, issued: Timestamp) -> bool {
        now.since(issued) > self.max_age
    }

    /// `due`, or the next opening of the window; `None` when to wait for it would exceed `max_age`.
    fn in_window(&self, due: Timestamp, delay: Span, issued: Option<Timestamp>) -> Option<Timestamp> {
        let Some(window) = &self.window else { return Some(due) };
        let opening = window.at_or_after(due, delay, self.zone)?;
        let too_late = issued.is_some_and(|at| opening > at.plus(self.max_age));
        (opening == due || !too_late).then_some(opening)
    }

    /// False for a due time that this schedule cannot have given at any moment up to now: the clock or the
    /// configuration changed since.
    fn is_plausible(&self, due: Timestamp, now: Timestamp, issued: Option<Timestamp>) -> bool {
        let issued = issued.filter(|at| *at <= now);
        let oldest = issued.unwrap_or_else(|| now.plus(Span(-FORGOTTEN.0)));
        let regular = match &self.cadence {
            Cadence::Cron(cron) => occurrence(cron, self.zone, now),
            Cadence::Every(every) => Some(now.plus(*every)),
        };
        let latest = regular.unwrap_or(now).plus(self.jitter).max(now.plus(LONGEST_RETRY));
        let latest = match &self.window {
            Some(window) => window.at_or_after(latest, Span::ZERO, self.zone).unwrap_or(latest),
            None => latest,
        };
        due >= oldest && due <= latest.plus(self.jitter)
    }
}

/// The first time after `after` that a cron expression names in a zone.
pub fn occurrence(cron: &Cron, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    // Whole seconds: what croner compares.
    let second = Timestamp(after.0.div_euclid(1000) * 1000);
    let next = cron.find_next_occurrence(&local(second, zone)?, false).ok()?;
    Some(Timestamp(next.timestamp_millis()))
}

/// The last time up to `until` that a cron expression names in a zone.
fn occurrence_up_to(cron: &Cron, zone: Tz, until: Timestamp) -> Option<Timestamp> {
    let second = Timestamp(until.0.div_euclid(1000) * 1000);
    let last = cron.find_previous_occurrence(&local(second, zone)?, true).ok()?;
    Some(Timestamp(last.timestamp_millis()))
}

/// The wall clock of a zone.
fn local(at: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    Some(DateTime::<Utc>::from_timestamp_millis(at.0)?.with_timezone(&zone))
}

#[cfg(test)]
mod tests;
