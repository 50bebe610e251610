//! What could be tidied up, without knowing prices.

use crate::domain::key::MicroUsd;
use crate::domain::time::{Span, Timestamp};

/// A key that nobody was given for so long is not needed.
pub const UNUSED: Span = Span::hours(30 * 24);
/// A limit this many times what is used holds nothing back.
const FAR: i64 = 10;
/// Limits below this are small anyhow.
const SMALL: MicroUsd = MicroUsd(10_000_000);

/// A limit of a key, and how the key was used.
#[derive(Debug, Clone, Copy)]
pub struct Limited {
    /// What it may spend ...
    pub limit: MicroUsd,
    /// ... each so long; `None` for good.
    pub resets_after: Option<Span>,
    /// What it spent since it was made.
    pub used: MicroUsd,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Limited {
    /// What it spends on the average while its limit lasts; `None` for a key too young to say.
    fn usual(&self, now: Timestamp) -> Option<MicroUsd> {
        let age = now.since(self.made_at);
        if age < UNUSED {
            return None;
        }
        let Some(period) = self.resets_after.filter(|period| *period < age) else { return Some(self.used) };
        Some(MicroUsd(self.used.0 / (age.0 / period.0).max(1)))
    }

    /// The usual use, when the limit is far above it.
    pub fn far_above(&self, now: Timestamp) -> Option<MicroUsd> {
        let usual = self.usual(now)?;
        (self.limit >= SMALL && self.limit.0 / FAR >= usual.0).then_some(usual)
    }
}

/// How long a limit lasts, by the provider's word; `None` for good.
pub fn resets_after(word: Option<&str>) -> Option<Span> {
    match word {
        Some("daily") => Some(Span::hours(24)),
        Some("weekly") => Some(Span::hours(7 * 24)),
        Some("monthly") => Some(Span::hours(30 * 24)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAYS: i64 = 24 * 3_600_000;

    fn limited(limit: f64, word: Option<&str>, used: f64, days: i64) -> Option<f64> {
        let money = MicroUsd::from_usd;
        let made_at = NOW.plus(Span(-days * DAYS));
        let key =
            Limited { limit: money(limit), resets_after: resets_after(word), used: money(used), made_at };
        key.far_above(NOW).map(MicroUsd::usd)
    }

    #[test]
    fn a_limit_is_far_above_what_the_key_uses_while_it_lasts() {
        assert_eq!(limited(100.0, Some("monthly"), 60.0, 300), Some(6.0));
        assert_eq!(limited(100.0, Some("monthly"), 200.0, 300), None, "20 a month");
        assert_eq!(limited(100.0, None, 9.0, 300), Some(9.0));
        assert_eq!(limited(100.0, None, 60.0, 300), None);
        assert_eq!(limited(100.0, Some("daily"), 0.0, 20), None, "too young to say");
        assert_eq!(limited(5.0, Some("daily"), 0.0, 300), None, "small anyhow");
    }
}
