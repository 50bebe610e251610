//! Real time plus an offset that a test moves: the only file of the room that reads a clock.
//!
//! Moving the offset is how a test lets an hour pass (a lagging listing catches up, a key expires) and how
//! it makes the provider's clock disagree with ours (rotation.md R11). Instants are whole milliseconds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// One simulator's idea of the time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    /// Now, by this simulator's clock.
    #[expect(clippy::disallowed_methods, reason = "the simulators own their own, real, time")]
    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(3) + TimeDelta::seconds(self.offset_seconds.load(Ordering::SeqCst))
    }

    /// Puts the clock this many seconds ahead of real time (behind it when negative).
    pub(crate) fn set_offset(&self, seconds: i64) {
        self.offset_seconds.store(seconds, Ordering::SeqCst);
    }

    /// The value of a `Date` header: RFC 7231, whole seconds.
    pub(crate) fn http_date(&self) -> String {
        self.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// Whether `span` has not yet passed since `start`.
pub(crate) fn within(span: Duration, start: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    !span.is_zero() && now < start + TimeDelta::from_std(span).expect("simulated spans are hours, not ages")
}

/// Waits in real time: a simulated delay is one that the client really feels.
#[expect(clippy::disallowed_methods, reason = "a simulated delay is real")]
pub(crate) async fn rest(span: Duration) {
    tokio::time::sleep(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_header_follows_the_offset() {
        let clock = Clock::default();
        clock.set_offset(-10 * 366 * 86_400);
        let date = clock.http_date();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        let parsed = DateTime::parse_from_rfc2822(&date).unwrap();
        assert!((clock.now() - parsed.to_utc()).num_seconds().abs() <= 1);
    }

    #[test]
    fn within_is_half_open() {
        let start = DateTime::UNIX_EPOCH;
        assert!(within(Duration::from_secs(2), start, start + TimeDelta::seconds(1)));
        assert!(!within(Duration::from_secs(2), start, start + TimeDelta::seconds(2)));
        assert!(!within(Duration::ZERO, start, start));
    }
}
