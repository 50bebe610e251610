//! When stored keys are looked at: each once in each period of a schedule, at a moment of its own.
//!
//! A period begins with a time of the cron expression and ends with the next. A key's moment in it follows from its id
//! alone: neither a start nor a changed configuration makes all keys due at once, and every process comes to the same.

use std::sync::Arc;

use chrono_tz::Tz;
use croner::Cron;

use super::{occurrence, occurrence_up_to};
use crate::domain::time::{Span, Timestamp};

/// An expression that names no time any more is asked again after this.
const NEVER: Span = Span::hours(24);
/// A provider that asks for more time than this is asked again all the same.
const PATIENCE: Span = Span::hours(1);
/// Periods that are looked through for a moment: the first may be over, the second too near.
const PERIODS: usize = 4;

/// `[tests] schedule`, `timezone` and `spread`.
#[derive(Debug, Clone)]
pub struct Rhythm {
    /// Its times begin the periods.
    pub cron: Arc<Cron>,
    /// The zone of the expression.
    pub zone: Tz,
    /// A period longer than this has its looks in so much of its beginning.
    pub spread: Span,
}

/// What decides about one key's next look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// Where in each period its moment is, `0.0..=1.0`: [`offset`].
    pub offset: f64,
    /// Its last conclusive look: for half a period nothing new is expected.
    pub settled_at: Option<Timestamp>,
    /// The least time between two looks, where each costs the customer something.
    pub floor: Span,
    /// How long the provider asked us to wait.
    pub retry_after: Span,
}

impl Rhythm {
    /// The next moment of a key that is looked at now.
    pub fn next(&self, turn: Turn, now: Timestamp) -> Timestamp {
        let earliest = now.plus(turn.floor.max(turn.retry_after.min(PATIENCE)));
        let begin = occurrence_up_to(&self.cron, self.zone, earliest);
        let mut begin = begin.or_else(|| occurrence(&self.cron, self.zone, earliest));
        for _ in 0..PERIODS {
            let Some(from) = begin else { break };
            let Some(to) = occurrence(&self.cron, self.zone, from) else { break };
            let length = to.since(from);
            let moment = from.plus(length.min(self.spread).portion(turn.offset));
            let fresh = turn.settled_at.is_some_and(|at| moment < at.plus(Span(length.0 / 2)));
            if moment > now && moment >= earliest && !fresh {
                return moment;
            }
            begin = Some(to);
        }
        earliest.plus(NEVER)
    }

    /// The latest moment that [`Rhythm::next`] gives any key with this floor: a look that is noted for later is of another
    /// configuration, or of a clock that went back since.
    pub fn latest(&self, floor: Span, now: Timestamp) -> Timestamp {
        let last = Turn { offset: 1.0, settled_at: Some(now), floor, retry_after: PATIENCE };
        self.next(last, now)
    }

    /// True when a period began after `last`. A moment of the future is one of a clock that went back.
    pub fn began_since(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(last) = last else { return true };
        last > now || occurrence_up_to(&self.cron, self.zone, now).is_some_and(|began| began > last)
    }
}

/// Where in each period the moment of a key is: by its id, evenly over all ids.
pub fn offset(key: &str) -> f64 {
    // FNV-1a: ids of one minute differ in few characters, and must not lie beside each other.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    f64::from(u32::try_from(mixed >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use croner::parser::{CronParser, Seconds};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn rhythm(expression: &str, zone: Tz) -> Rhythm {
        let cron = CronParser::builder().seconds(Seconds::Required).build().parse(expression).unwrap();
        Rhythm { cron: Arc::new(cron), zone, spread: Span::minutes(15) }
    }

    fn due(rhythm: &Rhythm, offset: f64, settled: Option<&str>, now: &str) -> String {
        let turn = Turn { offset, settled_at: settled.map(at), ..Turn::default() };
        rhythm.next(turn, at(now)).rfc3339()
    }

    #[test]
    fn a_key_has_its_own_moment_in_each_period() {
        let quarter = rhythm("0 */15 * * * *", Tz::UTC);
        let now = "2026-11-28T10:03:00Z";
        assert_eq!(due(&quarter, 0.5, None, now), "2026-11-28T10:07:30.000Z");
        assert_eq!(due(&quarter, 0.1, None, now), "2026-11-28T10:16:30.000Z", "over in this period");
        assert_eq!(due(&quarter, 0.5, Some(now), now), "2026-11-28T10:22:30.000Z", "seen a moment ago");
        assert_eq!(due(&quarter, 0.5, Some("2026-11-28T09:52:30Z"), now), "2026-11-28T10:07:30.000Z");
    }

    #[test]
    fn a_schedule_is_true_cron_in_its_zone() {
        let nightly = rhythm("0 0 3 * * *", Tz::Europe__Berlin);
        let night = due(&nightly, 0.0, None, "2026-07-01T12:00:00Z");
        assert_eq!(night, "2026-07-02T01:00:00.000Z", "three o'clock in Berlin's summer");
        assert_eq!(due(&nightly, 1.0, None, "2026-12-01T12:00:00Z"), "2026-12-02T02:15:00.000Z", "spread");
        let working = rhythm("0 0 9 * * Mon-Fri", Tz::UTC);
        assert_eq!(due(&working, 0.0, None, "2026-11-27T12:00:00Z"), "2026-11-30T09:00:00.000Z", "Monday");
        let twice = rhythm("0 0 9,10 * * *", Tz::UTC);
        assert_eq!(due(&twice, 0.0, None, "2026-11-28T09:00:00Z"), "2026-11-28T10:00:00.000Z");
        assert_eq!(due(&twice, 0.0, None, "2026-11-28T10:00:00Z"), "2026-11-29T09:00:00.000Z", "not at 11");
    }

    #[test]
    fn what_costs_or_was_asked_for_is_waited_for() {
        let minute = rhythm("0 * * * * *", Tz::UTC);
        let now = at("2026-11-28T10:00:30Z");
        let floor = Turn { floor: Span::hours(6), ..Turn::default() };
        assert_eq!(minute.next(floor, now).rfc3339(), "2026-11-28T16:01:00.000Z");
        let asked = Turn { retry_after: Span::minutes(5), ..Turn::default() };
        assert_eq!(minute.next(asked, now).rfc3339(), "2026-11-28T10:06:00.000Z");
        let forever = Turn { retry_after: Span::hours(1000), ..Turn::default() };
        assert_eq!(minute.next(forever, now).rfc3339(), "2026-11-28T11:01:00.000Z");
    }

    #[test]
    fn a_period_that_began_is_seen_once() {
        let nightly = rhythm("0 0 3 * * *", Tz::UTC);
        let began = |last: Option<&str>, now| nightly.began_since(last.map(at), at(now));
        assert!(began(None, "2026-11-28T10:00:00Z"));
        assert!(!began(Some("2026-11-28T03:00:00Z"), "2026-11-28T10:00:00Z"));
        assert!(began(Some("2026-11-28T02:59:00Z"), "2026-11-28T03:00:00Z"));
        assert!(began(Some("2027-11-28T02:59:00Z"), "2026-11-28T03:00:00Z"), "a clock that went back");
    }

    #[test]
    fn moments_lie_evenly() {
        let mut tenths = [0; 10];
        for n in 0..10_000 {
            let id = format!("0199d3a0-7c11-7000-8000-{n:012}");
            let tenth = (0..9).find(|tenth| offset(&id) * 10.0 < f64::from(tenth + 1)).unwrap_or(9);
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    proptest! {
        /// Whatever the schedule and the key: the next look is in the future, not before it may be, not after the latest,
        /// and the looks of a day are as many as its periods.
        #[test]
        fn every_key_is_looked_at_once_a_period(
            place in 0.0..1.0f64,
            start in 1_700_000_000_000i64..1_900_000_000_000,
            hourly in any::<bool>(),
        ) {
            let rhythm = rhythm(if hourly { "0 0 * * * *" } else { "0 */15 * * * *" }, Tz::UTC);
            let (mut now, mut looks) = (Timestamp(start), 0);
            while now < Timestamp(start).plus(Span::hours(24)) {
                let turn = Turn { offset: place, settled_at: Some(now), ..Turn::default() };
                let next = rhythm.next(turn, now);
                prop_assert!(next > now && next <= rhythm.latest(Span::ZERO, now));
                (now, looks) = (next, looks + 1);
            }
            let periods = if hourly { 24 } else { 96 };
            prop_assert!((periods - 1..=periods + 1).contains(&looks), "{looks}");
        }
    }
}
