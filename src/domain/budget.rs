//! A budget of calls (rotation.md, R16): how many may go out within a minute while nothing that we proved progresses.
//!
//! It is the last wall against frenzy: whoever repeats a call has a wait of its own that grows and is stored, and never
//! meets it. What counts as progress is a fact that was not proved before: that somebody else changes something, and we
//! mend it again and again, is none.

use std::collections::{BTreeSet, VecDeque};

use super::rotation::{Phase, Run, State};
use super::time::Span;

/// The time that a budget is about.
const MINUTE: Span = Span::minutes(1);

/// So many facts are remembered at the least; twice as many at the most.
const REMEMBERED: usize = 4096;

/// The calls of the last minute, and what has been proved. All moments are of one monotonic clock.
#[derive(Debug, Clone)]
pub struct Budget {
    most: usize,
    /// When each call of the last minute went out since something was proved, oldest first.
    calls: VecDeque<Span>,
}

impl Budget {
    /// So many calls a minute.
    pub const fn new(most: usize) -> Self {
        Self { most, calls: VecDeque::new() }
    }

    /// One more call, when there is room for it. `Err` says how long there will be none.
    ///
    /// # Errors
    /// When as many calls as there may be went out within the last minute.
    pub fn take(&mut self, now: Span) -> Result<(), Span> {
        while self.calls.front().is_some_and(|at| now.0.saturating_sub(at.0) >= MINUTE.0) {
            self.calls.pop_front();
        }
        match self.calls.front() {
            Some(oldest) if self.calls.len() >= self.most => {
                Err(Span(MINUTE.0.saturating_sub(now.0.saturating_sub(oldest.0))))
            }
            None if self.most == 0 => Err(MINUTE),
            _ => {
                self.calls.push_back(now);
                Ok(())
            }
        }
    }

    /// Something was proved for the first time: what was asked for it no longer counts.
    pub fn refill(&mut self) {
        self.calls.clear();
    }
}

/// Facts that were proved, each counted once. The oldest are forgotten; no frenzy goes round through thousands of them.
#[derive(Debug, Clone, Default)]
pub struct Proved {
    lately: BTreeSet<String>,
    before: BTreeSet<String>,
}

impl Proved {
    /// True when it was not known yet.
    pub fn is_news(&mut self, fact: &str) -> bool {
        if self.lately.contains(fact) || self.before.contains(fact) {
            return false;
        }
        if self.lately.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(fact.to_owned())
    }
}

/// What a run has proved so far. A state that is reached again, and a key that somebody enables and we disable again,
/// are the same facts as before.
pub fn proofs(run: &Run) -> Vec<String> {
    let state = match &run.state {
        // Reached without any proof, or by giving up.
        State::Planned
        | State::Issuing { .. }
        | State::Verifying { .. }
        | State::Aborting { .. }
        | State::Aborted { .. }
        | State::Parked { .. }
        | State::Superseded { .. } => None,
        State::Publishing
        | State::Grace { .. }
        | State::Observing
        | State::RollingBack { .. }
        | State::Done
        | State::RolledBack { .. } => Some(format!("{} {}", run.id, run.state.word())),
    };
    let of_keys = run.retirees.iter().filter_map(|retiree| match retiree.phase {
        Phase::Disabled { by_us: true, .. } => Some(format!("{} disabled {}", run.id, retiree.key.hash)),
        Phase::Dead => Some(format!("{} dead {}", run.id, retiree.key.hash)),
        _ => None,
    });
    state.into_iter().chain(of_keys).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However calls come, no minute sees more than the budget; and who asks again once the wait is over is let out.
        #[test]
        fn no_minute_sees_more_calls(most in 1_usize..20, steps in prop::collection::vec(0_i64..20_000, 1..300)) {
            let (mut budget, mut now, mut sent) = (Budget::new(most), Span(0), Vec::new());
            for step in steps {
                now = Span(now.0 + step);
                match budget.take(now) {
                    Ok(()) => sent.push(now),
                    Err(wait) => {
                        prop_assert!(wait > Span::ZERO && wait <= MINUTE);
                        prop_assert!(budget.clone().take(Span(now.0 + wait.0)).is_ok());
                        prop_assert!(budget.clone().take(Span(now.0 + wait.0 - 1)).is_err());
                    }
                }
            }
            for (index, at) in sent.iter().enumerate() {
                let within = sent[index..].iter().filter(|later| later.0 - at.0 < MINUTE.0).count();
                prop_assert!(within <= most, "{within} calls within a minute");
            }
        }

        /// A clock that stands still or a budget of nothing refuses; it never panics.
        #[test]
        fn it_is_total(most in 0_usize..3, moments in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut budget = Budget::new(most);
            let taken = moments.into_iter().filter(|at| budget.take(Span(*at)).is_ok()).count();
            prop_assert!(most > 0 || taken == 0);
        }
    }

    #[test]
    fn what_is_proved_again_is_no_news() {
        let mut proved = Proved::default();
        assert!(proved.is_news("a holds b") && !proved.is_news("a holds b"));
        for n in 0..REMEMBERED {
            assert!(proved.is_news(&n.to_string()));
        }
        assert!(!proved.is_news("a holds b"), "it is remembered for a long time");
    }

    #[test]
    fn a_refill_makes_room() {
        let mut budget = Budget::new(2);
        assert!(budget.take(Span(0)).is_ok() && budget.take(Span(1)).is_ok());
        assert_eq!(budget.take(Span(1)), Err(Span(59_999)));
        budget.refill();
        assert!(budget.take(Span(1)).is_ok());
    }
}
