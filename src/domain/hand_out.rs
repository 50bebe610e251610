//! Which key an application is given: one that works before one that nobody tested, that one before one that may not do
//! everything; production before backup; by lot among equals. Never an inactive, retiring or invalid one, nor one without
//! money.

use super::verdict::Verdict;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// The best there is: highest priority, by lot among equals.
    Best,
    /// Any of those that work, whatever their priority.
    Random,
    /// This one.
    Number(i64),
    /// The best of those with this name.
    Name(String),
}

impl Strategy {
    /// False when a certain key was meant: then another one is given only where that was asked for.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Best | Self::Random)
    }
}

/// Keys of one provider that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// What is held of them.
    pub verdict: Verdict,
    /// Their priority.
    pub priority: i64,
    /// How many there are.
    pub count: i64,
}

/// The verdicts of keys that may be given, the best first; those on one line are equals.
pub const USABLE: [&[Verdict]; 3] =
    [&[Verdict::Valid], &[Verdict::Untested, Verdict::Unverified], &[Verdict::Restricted]];

fn rank(verdict: Verdict) -> Option<usize> {
    USABLE.iter().position(|equals| equals.contains(&verdict))
}

/// The groups to draw from, in this order; those in one list are equals, so that a lot among all of their keys
/// is fair. Groups that may not be given are left out.
pub fn in_order(strategy: &Strategy, groups: &[Group]) -> Vec<Vec<Group>> {
    let by_priority = *strategy != Strategy::Random;
    let place = |group: &Group| {
        let rank = rank(group.verdict)?;
        Some((rank, if by_priority { -group.priority } else { 0 }))
    };
    let mut usable: Vec<Group> =
        groups.iter().filter(|group| group.count > 0 && place(group).is_some()).copied().collect();
    usable.sort_by_key(place);
    usable.chunk_by(|one, other| place(one) == place(other)).map(<[Group]>::to_vec).collect()
}

/// One of `count` by lot: `fraction` is from 0 to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a store has fewer keys than 2^52"
)]
pub fn by_lot(count: i64, fraction: f64) -> i64 {
    let drawn = (count.max(0) as f64 * fraction.clamp(0.0, 1.0)) as i64;
    drawn.min(count - 1).max(0)
}

/// Where to look for a key, in this order: first where it was asked for, each provider once.
pub fn providers<'a>(first: &'a str, then: &'a [String]) -> Vec<&'a str> {
    let mut order = vec![first];
    for name in then {
        if !order.contains(&name.as_str()) {
            order.push(name);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(verdict: Verdict, priority: i64) -> Group {
        Group { verdict, priority, count: 1 }
    }

    fn order(strategy: &Strategy, groups: &[Group]) -> Vec<Vec<(Verdict, i64)>> {
        let order = in_order(strategy, groups).into_iter();
        order.map(|equals| equals.iter().map(|group| (group.verdict, group.priority)).collect()).collect()
    }

    #[test]
    fn what_works_comes_before_what_may_and_production_before_backup() {
        use Verdict::{Invalid, QuotaExhausted, Restricted, Untested, Unverified, Valid};
        let groups: Vec<Group> = [
            (Invalid, 100),
            (QuotaExhausted, 100),
            (Restricted, 100),
            (Unverified, 70),
            (Untested, 70),
            (Untested, 100),
            (Valid, 50),
            (Valid, 90),
        ]
        .map(|(verdict, priority)| group(verdict, priority))
        .to_vec();
        let best = order(&Strategy::Best, &groups);
        let expected = vec![
            vec![(Valid, 90)],
            vec![(Valid, 50)],
            vec![(Untested, 100)],
            vec![(Unverified, 70), (Untested, 70)],
            vec![(Restricted, 100)],
        ];
        assert_eq!(best, expected);
        let random = order(&Strategy::Random, &groups);
        assert_eq!(random[0], [(Valid, 50), (Valid, 90)], "whatever the priority, but never a worse verdict");
        assert_eq!(random.len(), 3);
        assert_eq!(order(&Strategy::Best, &groups[..2]), Vec::<Vec<(Verdict, i64)>>::new());
    }

    #[test]
    fn a_lot_falls_on_each_of_them() {
        assert_eq!([0.0, 0.34, 0.67, 0.999, 1.0].map(|fraction| by_lot(3, fraction)), [0, 1, 2, 2, 2]);
        assert_eq!(by_lot(1, 0.5), 0);
    }

    #[test]
    fn each_provider_is_asked_once() {
        let then = ["groq", "openai", "groq"].map(str::to_owned);
        assert_eq!(providers("openai", &then), ["openai", "groq"]);
    }
}
