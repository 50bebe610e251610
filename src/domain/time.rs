//! Instants and spans as plain numbers, so that decisions can be replayed.
//!
//! Source of the two-clock rule: rotation.md R11. A waiting time has passed only when it has passed on our
//! clock *and* on the provider's, so that a jump of either clock causes no destructive act (I13).

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A span in milliseconds; may be negative when clocks go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// A span of whole minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// A span of whole hours.
    pub const fn hours(hours: i64) -> Self {
        Self::minutes(hours * 60)
    }

    /// This part of it, `0.0..=1.0`: jitter is drawn with it.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "spans are far below 2^52 ms"
    )]
    pub fn portion(self, fraction: f64) -> Self {
        Self((self.0 as f64 * fraction.clamp(0.0, 1.0)) as i64)
    }

    /// The same span for `tokio` and `reqwest`; a negative one is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Exponential back-off: the longest wait after this many failures, doubled by each of them, `first` after none.
/// Whoever wants jitter takes a [`Span::portion`] of it.
#[must_use]
pub fn backoff(first: Span, longest: Span, failures: u32) -> Span {
    Span(first.0.saturating_mul(1 << failures.min(32))).min(longest)
}

impl From<std::time::Duration> for Span {
    fn from(value: std::time::Duration) -> Self {
        Self(i64::try_from(value.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    /// The moment `span` after this one, saturating.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; negative when it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with milliseconds, for people and JSON.
    pub fn rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            .unwrap_or_default()
    }

    /// More than [`CLOCK_SLACK`] ahead of `now`: noted before the clock went back (rotation.md, R18).
    pub const fn is_future(self, now: Self) -> bool {
        self.0 > now.plus(CLOCK_SLACK).0
    }

    /// Parses an RFC 3339 time, `…Z` or with an offset (OpenRouter sends both).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_millis()))
    }

    /// The same, or a day, `2027-01-31`, which begins at midnight UTC: what people type.
    pub fn parse_day_or_time(text: &str) -> Option<Self> {
        let midnight = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        Self::parse_rfc3339(text).or_else(|| midnight().map(|at| Self(at.and_utc().timestamp_millis())))
    }
}

/// One moment on two clocks: ours, and the provider's as its `Date` header told it (whole seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Our own clock.
    pub ours: Timestamp,
    /// The provider's clock, where an answer of this session told it.
    pub theirs: Option<Timestamp>,
}

/// The two clocks may differ by this much before every destructive act waits (R11).
pub const MAX_SKEW: Span = Span::minutes(5);

impl Stamp {
    /// Time since `earlier`: the *smaller* of the two clocks' answers. Without the provider's clock on both
    /// sides only ours is known, and then nothing is proved: `None`. A clock on which `earlier` lies in the future,
    /// now that both agree, was wrong when it was noted, and does not count: else a clock that was once a year
    /// ahead would stop a run for a year.
    pub fn elapsed_since(self, earlier: Self) -> Option<Span> {
        let theirs = self.theirs?.since(earlier.theirs?);
        let ours = self.ours.since(earlier.ours);
        let impossible = |elapsed: Span| elapsed.0 < -MAX_SKEW.0;
        Some(match (impossible(ours), impossible(theirs)) {
            (true, false) if self.clocks_agree() => theirs,
            (false, true) if self.clocks_agree() => ours,
            _ => ours.min(theirs),
        })
    }

    /// True when at least `span` has passed on both clocks.
    pub fn passed(self, earlier: Self, span: Span) -> bool {
        span <= Span::ZERO || self.elapsed_since(earlier).is_some_and(|elapsed| elapsed >= span)
    }

    /// True when this moment is not before `earlier`. Noted from two answers, the provider's clock, which is told in
    /// whole seconds, may run back by one: then ours decides.
    pub fn follows(self, earlier: Self) -> bool {
        let in_order = self.ours >= earlier.ours;
        match self.elapsed_since(earlier) {
            Some(elapsed) => elapsed >= Span::ZERO || (in_order && elapsed >= Span::seconds(-1)),
            None => in_order,
        }
    }

    /// True when `earlier` is at most `span` old on both clocks, and on neither of them in the future.
    pub fn fresh(self, earlier: Self, span: Span) -> bool {
        let within = |age: Span| age >= Span::seconds(-2) && age <= span;
        let theirs = match (self.theirs, earlier.theirs) {
            (Some(now), Some(then)) => within(now.since(then)),
            _ => true,
        };
        within(self.ours.since(earlier.ours)) && theirs
    }

    /// True when the clocks are known and agree within [`MAX_SKEW`].
    pub fn clocks_agree(self) -> bool {
        self.theirs.is_some_and(|theirs| self.ours.since(theirs).0.abs() <= MAX_SKEW.0)
    }
}

/// A moment counts as one of the future only when it is this far ahead of a clock that was read before it (rotation.md,
/// R18). A transaction reads the clock and then waits for a row, which somebody else may write meanwhile: what is a
/// little ahead is no sign of a clock that went back. Longer than any transaction waits.
pub const CLOCK_SLACK: Span = Span::minutes(1);

/// A wait that remembers when it was set (rotation.md, R18). Over at its end; over, too, before it was set: then the
/// clock went back, and no wait may last for as long as that. Both moments are on one clock, the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Until {
    /// When it was set.
    pub set_at: Timestamp,
    /// When it ends.
    pub at: Timestamp,
}

impl Until {
    /// No wait at all.
    pub const OVER: Self = Self { set_at: Timestamp(0), at: Timestamp(0) };

    /// From now on, for so long.
    #[must_use]
    pub const fn after(now: Timestamp, span: Span) -> Self {
        Self { set_at: now, at: now.plus(span) }
    }

    /// The same, but not longer than `most` from when it was set.
    #[must_use]
    pub fn at_most(self, most: Span) -> Self {
        Self { at: self.at.min(self.set_at.plus(most)), ..self }
    }

    /// What is left of it; `None` when it is over.
    pub fn left(self, now: Timestamp) -> Option<Span> {
        (!self.set_at.is_future(now) && now < self.at).then(|| self.at.since(now))
    }

    /// How long it has been over; `None` while it lasts. One that was set before the clock went back has been over for
    /// ever: nobody knows for how long.
    pub fn over_for(self, now: Timestamp) -> Option<Span> {
        match self.left(now) {
            Some(_) => None,
            None if self.set_at.is_future(now) => Some(Span(i64::MAX)),
            None => Some(now.since(self.at)),
        }
    }
}

impl Default for Until {
    fn default() -> Self {
        Self::OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_type_a_day_or_a_time() {
        let read = |text| Timestamp::parse_day_or_time(text).map(Timestamp::rfc3339);
        assert_eq!(read("2030-01-31").as_deref(), Some("2030-01-31T00:00:00.000Z"));
        assert_eq!(read("2030-01-31T10:00:00+02:00").as_deref(), Some("2030-01-31T08:00:00.000Z"));
        assert_eq!(["soon", "2030-02-30", "31.1.2030", ""].map(read), [None, None, None, None]);
    }

    #[test]
    fn a_wait_is_over_at_its_end_and_before_it_was_set() {
        let wait = Until::after(Timestamp(100_000), Span::hours(24));
        let left = |now| wait.left(Timestamp(now)).map(|span| span.0);
        assert_eq!(
            [39_999, 40_000, 100_000, 86_499_999, 86_500_000].map(left),
            [None, Some(86_460_000), Some(86_400_000), Some(1), None],
            "what was set within a minute was set by somebody who read the clock later"
        );
        let over = |now| wait.over_for(Timestamp(now)).map(|span| span.0);
        assert_eq!(
            [39_999, 100_000, 86_500_000, 86_500_007].map(over),
            [Some(i64::MAX), None, Some(0), Some(7)]
        );
        let wait = Until::after(Timestamp(1000), Span::hours(24));
        assert_eq!(wait.at_most(Span(5)).left(Timestamp(1004)), Some(Span(1)));
        assert_eq!((Until::OVER.left(Timestamp(0)), Until::OVER.left(Timestamp(9))), (None, None));
    }

    #[test]
    fn backoff_doubles_from_the_first_to_the_longest_and_never_overflows() {
        let wait = |failures| backoff(Span::seconds(5), Span::minutes(15), failures).0 / 1000;
        assert_eq!([0, 1, 2, 7, 8, 60, u32::MAX].map(wait), [5, 10, 20, 640, 900, 900, 900]);
        assert_eq!(backoff(Span(i64::MAX), Span(i64::MAX), 40), Span(i64::MAX));
    }

    #[test]
    fn a_portion_is_never_more_than_the_whole() {
        assert_eq!(
            [-1.0, 0.0, 0.5, 1.0, 7.0].map(|part| Span(1000).portion(part).0),
            [0, 0, 500, 1000, 1000]
        );
    }
}
