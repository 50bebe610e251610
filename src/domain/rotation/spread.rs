//! When a scheduled run may retire its old key, so that the runs of one schedule do not fill the breaker in one go (R12).

use crate::domain::time::Span;

/// Longer than this no run waits for others.
const MOST: Span = Span::hours(24);

/// How much longer than its policy says a scheduled run lets both keys live: none while the breaker has room for all
/// rotations of the account at once, else a moment of its own within so many hours that half of the room stays free.
/// `fraction` (0.0..1.0) draws it, once.
pub fn spread(rotations: usize, max_kills_an_hour: u32, fraction: f64) -> Span {
    // Each disables a key, and deletes it later.
    let kills = i64::try_from(rotations).unwrap_or(i64::MAX).saturating_mul(2);
    let room = i64::from(max_kills_an_hour.max(1));
    if kills <= room {
        return Span::ZERO;
    }
    let hours = kills.saturating_mul(2).div_euclid(room);
    Span::hours(hours.min(MOST.0 / Span::hours(1).0)).portion(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_breaker_has_room_for_is_not_spread() {
        assert_eq!(spread(5, 10, 0.9), Span::ZERO);
        assert_eq!(spread(0, 0, 0.9), Span::ZERO);
    }

    #[test]
    fn many_rotations_take_moments_of_their_own_and_none_waits_for_days() {
        let moments: Vec<i64> = (0..50).map(|n| spread(50, 10, f64::from(n) / 50.0).0).collect();
        assert_eq!((moments[0], moments[25]), (0, Span::hours(10).0));
        for hour in 0..20 {
            let (from, to) = (Span::hours(hour).0, Span::hours(hour + 1).0);
            let at_once = moments.iter().filter(|at| (from..to).contains(*at)).count();
            assert!(at_once <= 5, "{at_once} in hour {hour}: as many are deleted while others are disabled");
        }
        assert!(spread(usize::MAX, 1, 0.999) <= Span::hours(24));
    }
}
