//! Whose turn it is at an account (rotation.md, R22): who waits, in which class, and when a holder gives way.
//!
//! Priority chooses the next step, never breaks one off. Who waits rises one class every two seconds, and of two in one
//! class the one that came first goes first; so nobody waits for ever, whatever comes after.

use super::rotation::Trigger;
use super::time::Span;

/// Who waits rises one class whenever so much time is over.
const RISE: Span = Span::seconds(2);
/// Who has held an account for so long makes room for its equals, too.
pub const TURN: Span = Span::seconds(10);

/// What work on an account is for, the least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A look at the account itself.
    Watching,
    /// A look at destinations between rotations.
    Drift,
    /// Ordinary runs.
    Runs,
    /// The current key of a rotation is dead.
    Healing,
    /// Somebody sits at a terminal.
    Person,
    /// A stranger knows a key.
    Leak,
}

impl Class {
    const ALL: [Self; 6] = [Self::Watching, Self::Drift, Self::Runs, Self::Healing, Self::Person, Self::Leak];

    /// The class of the next step of a run.
    pub fn of_run(trigger: Trigger, asked: bool) -> Self {
        match trigger {
            Trigger::Leak => Self::Leak,
            _ if asked => Self::Person,
            Trigger::Heal => Self::Healing,
            _ => Self::Runs,
        }
    }

    /// What stands in the store, where 0 is nobody.
    pub fn rank(self) -> i64 {
        self as i64 + 1
    }

    /// The class of a rank; `None` for nobody.
    pub fn of_rank(rank: i64) -> Option<Self> {
        let place = usize::try_from(rank.checked_sub(1)?).ok()?;
        Some(Self::ALL[place.min(Self::ALL.len() - 1)])
    }

    /// The class in which somebody of this one stands after a while.
    #[must_use]
    pub fn after(self, waited: Span) -> Self {
        let risen = self.rank().saturating_add(waited.0.max(0) / RISE.0);
        Self::of_rank(risen).unwrap_or(self)
    }

    /// How long somebody of this class stands in line before it goes, to come again another time.
    pub const fn patience(self) -> Span {
        match self {
            Self::Leak | Self::Person => Span::seconds(60),
            Self::Healing | Self::Watching => Span::seconds(30),
            Self::Runs | Self::Drift => Span::seconds(10),
        }
    }
}

/// Somebody who waits for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Tells it from the others; grows.
    pub ticket: u64,
    /// What it wants the account for.
    pub class: Class,
    /// Since when, on the clock of `now`.
    pub since: Span,
}

impl Waiter {
    /// In which class it stands by now.
    pub fn standing(&self, now: Span) -> Class {
        self.class.after(Span(now.0 - self.since.0))
    }
}

/// The one whose turn it is.
pub fn first(waiting: &[Waiter], now: Span) -> Option<Waiter> {
    let before =
        |one: &&Waiter| (one.standing(now), std::cmp::Reverse(one.since), std::cmp::Reverse(one.ticket));
    waiting.iter().max_by_key(before).copied()
}

/// Whether the holder of an account, between two of its steps, gives it to whoever waits in this class.
pub fn gives_way(holder: Class, held: Span, waiting: Option<Class>) -> bool {
    waiting.is_some_and(|waiting| waiting > holder || waiting == holder && held >= TURN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiter(ticket: u64, class: Class, since: i64) -> Waiter {
        Waiter { ticket, class, since: Span(since) }
    }

    #[test]
    fn the_more_urgent_goes_first_and_of_equals_the_one_that_came_first() {
        let mut waiting: Vec<Waiter> = (0..).zip(Class::ALL).map(|(n, class)| waiter(n, class, 0)).collect();
        for class in Class::ALL.into_iter().rev() {
            let next = first(&waiting, Span(0)).unwrap();
            assert_eq!(next.class, class);
            waiting.retain(|one| one.ticket != next.ticket);
        }
        assert_eq!(first(&waiting, Span(0)), None);
        let equals = [waiter(7, Class::Runs, 5), waiter(8, Class::Runs, 4), waiter(9, Class::Runs, 4)];
        assert_eq!(first(&equals, Span(10)).unwrap().ticket, 8);
    }

    #[test]
    fn who_waits_rises_one_class_every_two_seconds() {
        let drift = Class::Drift;
        assert_eq!(drift.after(Span(1_999)), Class::Drift);
        assert_eq!(drift.after(Span(2_000)), Class::Runs);
        assert_eq!(drift.after(Span::seconds(4)), Class::Healing);
        assert_eq!(drift.after(Span::hours(1)), Class::Leak);
        assert_eq!(drift.after(Span(-5)), Class::Drift, "a clock that goes back degrades nobody");
    }

    #[test]
    fn a_holder_gives_way_to_a_higher_class_and_after_its_turn_to_an_equal() {
        assert!(gives_way(Class::Runs, Span(0), Some(Class::Healing)));
        assert!(!gives_way(Class::Runs, Span(0), Some(Class::Runs)));
        assert!(gives_way(Class::Runs, TURN, Some(Class::Runs)));
        assert!(!gives_way(Class::Runs, Span::hours(1), Some(Class::Drift)));
        assert!(!gives_way(Class::Watching, Span::hours(1), None));
    }

    #[test]
    fn every_class_has_a_rank_of_its_own() {
        for class in Class::ALL {
            assert_eq!(Class::of_rank(class.rank()), Some(class));
        }
        assert_eq!(Class::of_rank(0), None);
        assert_eq!(Class::of_rank(-3), None);
        assert_eq!(Class::of_rank(i64::MIN), None);
        assert_eq!(Class::of_rank(99), Some(Class::Leak));
    }

    #[test]
    fn the_step_of_a_run_is_as_urgent_as_what_it_is_for() {
        assert_eq!(Class::of_run(Trigger::Schedule, false), Class::Runs);
        assert_eq!(Class::of_run(Trigger::Schedule, true), Class::Person);
        assert_eq!(Class::of_run(Trigger::Heal, false), Class::Healing);
        assert_eq!(Class::of_run(Trigger::Leak, true), Class::Leak);
    }

    fn class() -> impl Strategy<Value = Class> {
        proptest::sample::select(Class::ALL.to_vec())
    }

    proptest! {
        /// Whoever comes later, in whatever class and however often: after five rises it is the turn of who came first,
        /// and after that only those go before it that had come before it.
        #[test]
        fn nobody_starves(
            mine in class(),
            before in proptest::collection::vec((class(), 0..20_000_i64), 0..12),
            after in proptest::collection::vec(class(), 0..200),
            step in 1..3_000_i64,
        ) {
            const COME: i64 = 20_000;
            let highest = RISE.0 * 5;
            let mut waiting: Vec<Waiter> =
                before.iter().zip(1..).map(|((class, since), n)| waiter(n, *class, *since)).collect();
            let older = i64::try_from(waiting.len()).unwrap();
            waiting.push(waiter(0, mine, COME));
            let (mut now, mut newcomers) = (COME, (100..).zip(after.into_iter().cycle()));
            let mut served = false;
            while !served {
                // Before each step somebody new comes, for as long as this goes on.
                if let Some((ticket, class)) = newcomers.next() {
                    waiting.push(waiter(ticket, class, now));
                }
                let next = first(&waiting, Span(now)).unwrap();
                waiting.retain(|one| one.ticket != next.ticket);
                served = next.ticket == 0;
                now += step;
                prop_assert!(now - COME <= highest + step * (older + 2), "it waits for ever");
            }
        }

        /// Nobody of a lower standing goes before one of a higher.
        #[test]
        fn the_highest_standing_goes_first(
            waiting in proptest::collection::vec((class(), 0..30_000_i64), 1..20),
            now in 0..60_000_i64,
        ) {
            let waiting: Vec<Waiter> =
                (0..).zip(&waiting).map(|(n, (class, since))| waiter(n, *class, *since)).collect();
            let next = first(&waiting, Span(now)).unwrap();
            for other in &waiting {
                prop_assert!(other.standing(Span(now)) <= next.standing(Span(now)));
            }
        }
    }
}
