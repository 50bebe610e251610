//! What people are told of a provider after a pass over its keys: an outage, or an incident that makes many
//! keys look bad at once (the mass guard). Per provider, so that one outage is one mail.

use serde::{Deserialize, Serialize};

use super::health::Streak;
use crate::domain::time::{Span, Timestamp};

/// An outage is told after so many passes ...
const UNREACHABLE_PASSES: u32 = 3;
/// ... or after this long.
const UNREACHABLE_FOR: Span = Span::minutes(15);
/// The keys' own alerts wait for a look this much later.
pub const MASS_HOLD: Span = Span::minutes(10);

/// While more keys may turn bad, the alert of one that did waits this long for them.
pub const COMPANY_HOLD: Span = Span::seconds(15);

/// What a pass saw of one provider, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassCount {
    /// Active keys of the provider.
    pub keys: usize,
    /// Keys that were looked at.
    pub looked: usize,
    /// Looks that did not reach the provider.
    pub unreachable: usize,
    /// Keys whose verdict turned bad.
    pub turned_bad: usize,
    /// Keys that were refused once, and wait for the second look.
    pub doubted: usize,
    /// Keys whose verdict is bad now.
    pub bad: usize,
}

impl PassCount {
    /// At least two keys and half of them turned bad at once: an outage, our own address, a moved endpoint.
    /// Then each of these keys is held: [`super::Health::hold`] until now + [`MASS_HOLD`].
    pub const fn is_incident(self) -> bool {
        Self::is_mass(self.turned_bad, self.keys)
    }

    /// What the keys that turned bad so far are while `coming` others are still to be heard of: looks on their way,
    /// and second looks that are due soon. `waited`: since when the oldest of their alerts is held.
    pub fn mass(self, coming: usize, waited: Span) -> Mass {
        if self.is_incident() {
            return Mass::Incident;
        }
        let possible = Self::is_mass(self.turned_bad + coming, self.keys);
        // Of thousands of keys behind a slow host the last is heard of in an hour: meanwhile what was seen says enough.
        let likely = Self::is_mass(self.turned_bad + self.doubted, self.looked);
        if possible && (likely || waited < COMPANY_HOLD) { Mass::Open } else { Mass::Single }
    }

    const fn is_mass(bad: usize, keys: usize) -> bool {
        bad >= 2 && bad * 2 >= keys
    }
}

/// Whether keys that turned bad are one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mass {
    /// They are: the provider is told of, the keys' own alerts wait.
    Incident,
    /// More may follow: the keys' own alerts wait until that is known.
    Open,
    /// They are not: each is told by itself.
    Single,
}

/// What people are told of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderTell {
    /// No test gets through.
    UnreachableBegins,
    /// Tests get through again.
    UnreachableEnds,
    /// Many keys turned bad at once.
    IncidentBegins,
    /// Fewer than two keys, or than half of them, are bad.
    IncidentEnds,
}

/// What is remembered of a provider between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct ProviderHealth {
    /// Passes in a row in which no look got through.
    pub unreachable: Option<Streak>,
    /// People know of the outage.
    pub told_unreachable: bool,
    /// People know of the incident.
    pub told_incident: bool,
}

impl ProviderHealth {
    /// Takes one pass in and says what to tell.
    #[must_use]
    pub fn pass(self, count: PassCount, now: Timestamp) -> (Self, Vec<ProviderTell>) {
        let mut next = self;
        let mut tells = Vec::new();
        next.note_reach(count, now);
        let away =
            next.unreachable.is_some_and(|streak| streak.lasts(UNREACHABLE_PASSES, UNREACHABLE_FOR, now));
        if away && !self.told_unreachable {
            next.told_unreachable = true;
            tells.push(ProviderTell::UnreachableBegins);
        } else if next.unreachable.is_none() && self.told_unreachable {
            next.told_unreachable = false;
            tells.push(ProviderTell::UnreachableEnds);
        }
        if count.is_incident() && !self.told_incident {
            next.told_incident = true;
            tells.push(ProviderTell::IncidentBegins);
        } else if self.told_incident && !PassCount::is_mass(count.bad, count.keys) {
            next.told_incident = false;
            tells.push(ProviderTell::IncidentEnds);
        }
        (next, tells)
    }

    /// Takes in what a pass has seen so far: an incident is told when it is one, not at the end.
    #[must_use]
    pub fn so_far(self, count: PassCount) -> (Self, Vec<ProviderTell>) {
        let begins = count.is_incident() && !self.told_incident;
        let next = Self { told_incident: self.told_incident || begins, ..self };
        (next, if begins { vec![ProviderTell::IncidentBegins] } else { Vec::new() })
    }

    /// One look that got through ends an outage; a pass that looked at nothing says nothing.
    fn note_reach(&mut self, count: PassCount, now: Timestamp) {
        if count.looked > count.unreachable {
            self.unreachable = None;
        } else if count.looked > 0 {
            self.unreachable = Some(Streak::extend(self.unreachable, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn after(state: &mut ProviderHealth, minutes: i64, count: PassCount) -> Vec<ProviderTell> {
        let (next, tells) = state.pass(count, NOW.plus(Span::minutes(minutes)));
        *state = next;
        tells
    }

    #[test]
    fn an_outage_is_told_after_three_passes_or_fifteen_minutes_and_once() {
        let down = PassCount { keys: 5, looked: 5, unreachable: 5, ..PassCount::default() };
        let half = PassCount { unreachable: 4, ..down };
        let idle = PassCount { looked: 0, unreachable: 0, ..down };
        let mut state = ProviderHealth::default();
        assert_eq!(after(&mut state, 0, down), []);
        assert_eq!(after(&mut state, 1, down), []);
        assert_eq!(after(&mut state, 2, half), [], "one look got through");
        assert_eq!(after(&mut state, 3, down), []);
        assert_eq!(after(&mut state, 4, idle), []);
        assert_eq!(after(&mut state, 4, down), []);
        assert_eq!(after(&mut state, 5, down), [ProviderTell::UnreachableBegins]);
        assert_eq!(after(&mut state, 60, down), []);
        assert_eq!(after(&mut state, 61, half), [ProviderTell::UnreachableEnds]);
        assert_eq!(after(&mut state, 70, down), []);
        assert_eq!(after(&mut state, 85, down), [ProviderTell::UnreachableBegins], "fifteen minutes");
    }

    #[test]
    fn the_mass_guard_needs_two_keys_and_half() {
        let count =
            |keys, turned_bad| PassCount { keys, turned_bad, bad: turned_bad, ..PassCount::default() };
        assert!(!count(1, 1).is_incident());
        assert!(!count(5, 2).is_incident());
        assert!(count(4, 2).is_incident());
        let mut state = ProviderHealth::default();
        assert_eq!(after(&mut state, 0, count(4, 3)), [ProviderTell::IncidentBegins]);
        let still = PassCount { turned_bad: 0, ..count(4, 3) };
        assert_eq!(after(&mut state, 15, still), []);
        assert_eq!(after(&mut state, 30, PassCount { bad: 1, ..still }), [ProviderTell::IncidentEnds]);
    }

    #[test]
    fn alerts_wait_while_the_count_is_open_and_not_longer() {
        let soon = Span::seconds(1);
        let seen = |looked, turned_bad| PassCount { keys: 10, looked, turned_bad, ..PassCount::default() };
        assert_eq!(seen(1, 1).mass(9, soon), Mass::Open, "the others may follow");
        assert_eq!(seen(7, 1).mass(3, soon), Mass::Single, "four of ten are no half");
        assert_eq!(seen(5, 5).mass(5, soon), Mass::Incident);
        assert_eq!(seen(10, 4).mass(0, soon), Mass::Single);
        let alone = PassCount { keys: 1, looked: 1, turned_bad: 1, ..PassCount::default() };
        assert_eq!(alone.mass(0, soon), Mass::Single, "one key is no crowd");
        // Behind a slow host, when the wait is over.
        assert_eq!(seen(4, 1).mass(6, COMPANY_HOLD), Mass::Single, "three others are well");
        assert_eq!(seen(4, 2).mass(6, COMPANY_HOLD), Mass::Open, "half of what was seen is bad");
        let doubted = PassCount { doubted: 3, ..seen(4, 1) };
        assert_eq!(doubted.mass(6, COMPANY_HOLD), Mass::Open, "and so will they be");
    }

    #[test]
    fn an_incident_is_told_when_it_is_one_and_once() {
        let half = PassCount { keys: 4, looked: 2, turned_bad: 2, bad: 2, ..PassCount::default() };
        let all = PassCount { looked: 4, turned_bad: 4, bad: 4, ..half };
        let one = PassCount { turned_bad: 1, ..half };
        let state = ProviderHealth::default();
        assert_eq!(state.so_far(one), (state, vec![]));
        let (told, tells) = state.so_far(half);
        assert_eq!(tells, [ProviderTell::IncidentBegins]);
        assert_eq!(told.so_far(all), (told, vec![]));
        assert_eq!(told.pass(all, NOW).1, []);
    }
}
