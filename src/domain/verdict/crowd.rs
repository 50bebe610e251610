//! What people are told of a whole provider: an outage, or an incident that makes many keys look bad at once (the mass
//! guard). Per provider, so that one outage is one mail.
//!
//! Each key has its own moment, and several processes look. So the guard counts what all of them saw since the first
//! refusal of the key in question, in the transaction of its verdict: before that moment the provider was well, and good
//! looks of then say nothing. A first refusal also brings a few other keys forward ([`WITNESSES`]), so that there is
//! something to count.

use serde::{Deserialize, Serialize};

use super::{Health, Outcome};
use crate::domain::time::{Span, Timestamp};

/// An outage is told after so many periods of the schedule without an answer ...
const UNREACHABLE_PERIODS: i64 = 3;
/// ... or after this long.
const UNREACHABLE_FOR: Span = Span::minutes(15);
/// In an incident a key's own alert waits so long from when the key turned bad.
pub const MASS_HOLD: Span = Span::minutes(10);
/// While others may be of the same incident, it waits for another look after this.
pub const COMPANY_HOLD: Span = Span::seconds(15);
/// No look further back than this is counted.
pub const WINDOW: Span = Span::minutes(10);
/// A key that is refused brings so many others of its provider forward, which say whether it is the key or the provider.
pub const WITNESSES: i64 = 3;

/// The keys of one provider that were looked at since a moment. Each key counts once, as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crowd {
    /// Looked at.
    pub looked: usize,
    /// Of these, refused once: they wait for the second look.
    pub doubted: usize,
    /// Of these, turned bad.
    pub turned_bad: usize,
    /// Of these, bad, since whenever.
    pub bad: usize,
}

impl Crowd {
    /// The same after one key went from one health to another. `since`: from when on the crowd is counted.
    #[must_use]
    pub fn after(self, before: &Health, after: &Health, since: Timestamp) -> Self {
        let counted = |at: Option<Timestamp>| usize::from(at.is_some_and(|at| at >= since));
        let moved = |count: usize, of: fn(&Health) -> Option<Timestamp>| {
            count.saturating_sub(counted(of(before))) + counted(of(after))
        };
        let is_bad =
            |health: &Health| usize::from(health.turned_bad_at().is_some()) * counted(health.looked_at);
        Self {
            looked: moved(self.looked, |health| health.looked_at),
            doubted: moved(self.doubted, Health::doubted_at),
            turned_bad: moved(self.turned_bad, Health::turned_bad_at),
            bad: self.bad.saturating_sub(is_bad(before)) + is_bad(after),
        }
    }

    /// What a key that turned bad is, in this crowd.
    pub const fn mass(self) -> Mass {
        if Self::is_mass(self.turned_bad, self.looked) {
            Mass::Incident
        } else if Self::is_mass(self.turned_bad + self.doubted, self.looked) {
            Mass::Open
        } else {
            Mass::Single
        }
    }

    /// At least two keys and half of them: an outage, our own address, a moved endpoint.
    const fn is_mass(bad: usize, looked: usize) -> bool {
        bad >= 2 && bad * 2 >= looked
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

impl Mass {
    /// Until when a key that turned bad at this moment, and of which nobody was told, keeps its alert back. A look at or
    /// after that tells it, or asks again.
    pub fn hold(self, turned: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let last = turned.min(now).plus(MASS_HOLD);
        let until = match self {
            Self::Single => return None,
            Self::Open => now.plus(COMPANY_HOLD).min(last),
            Self::Incident => last,
        };
        (until > now).then_some(until)
    }
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
    /// Fewer than two keys are bad, or than half of those that are looked at.
    IncidentEnds,
}

/// What is remembered of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct ProviderHealth {
    /// Since when no look got through.
    pub silent_since: Option<Timestamp>,
    /// People know of the outage.
    pub told_unreachable: bool,
    /// People know of the incident.
    pub told_incident: bool,
}

impl ProviderHealth {
    /// True when nothing is remembered that a good look changes.
    pub fn is_calm(self) -> bool {
        self == Self::default()
    }

    /// Takes in what one look came to: one that gets through ends an outage. `cut_off`: nothing gets out of this machine,
    /// which says nothing of the provider.
    #[must_use]
    pub fn heard(
        mut self,
        outcome: Outcome,
        now: Timestamp,
        period: Span,
        cut_off: bool,
    ) -> (Self, Option<ProviderTell>) {
        if outcome != Outcome::Unreachable {
            self.silent_since = None;
            let ends = std::mem::take(&mut self.told_unreachable);
            return (self, ends.then_some(ProviderTell::UnreachableEnds));
        }
        let since = self.silent_since.filter(|since| *since <= now).unwrap_or(now);
        self.silent_since = Some(since);
        let patience = UNREACHABLE_FOR.min(Span(period.0.saturating_mul(UNREACHABLE_PERIODS - 1)));
        let begins = !cut_off && !self.told_unreachable && since < now && now.since(since) >= patience;
        self.told_unreachable |= begins;
        (self, begins.then_some(ProviderTell::UnreachableBegins))
    }

    /// Takes in how the keys stand. `recent`: those of the last [`WINDOW`].
    #[must_use]
    pub fn seen(mut self, crowd: Crowd, recent: Crowd) -> (Self, Option<ProviderTell>) {
        if !self.told_incident && crowd.mass() == Mass::Incident {
            self.told_incident = true;
            return (self, Some(ProviderTell::IncidentBegins));
        }
        if self.told_incident && !Crowd::is_mass(recent.bad, recent.looked) {
            self.told_incident = false;
            return (self, Some(ProviderTell::IncidentEnds));
        }
        (self, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::Verdict;
    use crate::domain::verdict::health::Suspicion;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn crowd(looked: usize, doubted: usize, turned_bad: usize) -> Crowd {
        Crowd { looked, doubted, turned_bad, bad: turned_bad }
    }

    #[test]
    fn an_outage_is_told_after_three_periods_or_fifteen_minutes_and_once() {
        let told = |looks: &[(i64, Outcome)], period| {
            let mut state = ProviderHealth::default();
            let tell = |(minute, outcome): &(i64, Outcome)| {
                let (next, tell) = state.heard(*outcome, NOW.plus(Span::minutes(*minute)), period, false);
                state = next;
                tell
            };
            looks.iter().map(tell).collect::<Vec<_>>()
        };
        let (silent, valid) = (Outcome::Unreachable, Outcome::Valid);
        let (begins, ends) = (Some(ProviderTell::UnreachableBegins), Some(ProviderTell::UnreachableEnds));
        let quick =
            [(0, silent), (1, valid), (2, silent), (2, silent), (3, silent), (4, silent), (9, silent)];
        assert_eq!(told(&quick, Span::minutes(1)), [None, None, None, None, None, begins, None]);
        let slow = [(0, silent), (14, silent), (15, silent), (16, Outcome::RateLimited), (17, valid)];
        assert_eq!(told(&slow, Span::hours(1)), [None, None, begins, ends, None]);
        // A night between two looks is long enough; many keys that are looked at in one moment are not.
        let nightly = [(0, silent), (0, silent), (0, silent), (1440, silent)];
        assert_eq!(told(&nightly, Span::hours(24)), [None, None, None, begins]);
        // Nothing gets out: when that is over and it is still silent, it is told.
        let cut_off = |cut_off| {
            let state = ProviderHealth { silent_since: Some(NOW), ..ProviderHealth::default() };
            state.heard(silent, NOW.plus(Span::minutes(60)), Span::minutes(1), cut_off).1
        };
        assert_eq!([true, false].map(cut_off), [None, begins]);
        // A clock that went back proves nothing.
        assert_eq!(told(&[(60, silent), (0, silent)], Span::minutes(1)), [None, None]);
    }

    #[test]
    fn an_incident_needs_two_keys_and_half_of_those_that_were_looked_at() {
        assert_eq!(crowd(1, 0, 1).mass(), Mass::Single, "one key is no crowd");
        assert_eq!(crowd(5, 0, 2).mass(), Mass::Single, "three others are well");
        assert_eq!(crowd(4, 0, 2).mass(), Mass::Incident);
        assert_eq!(crowd(4, 1, 1).mass(), Mass::Open, "the other may follow");
        assert_eq!(crowd(10, 3, 1).mass(), Mass::Single);
    }

    #[test]
    fn an_incident_is_told_once_and_ends_when_most_are_well() {
        let calm = ProviderHealth::default();
        let recent = |looked, bad| Crowd { looked, bad, ..Crowd::default() };
        assert_eq!(calm.seen(crowd(4, 3, 1), recent(4, 1)), (calm, None));
        let (told, tell) = calm.seen(crowd(4, 1, 2), recent(4, 2));
        assert_eq!(tell, Some(ProviderTell::IncidentBegins));
        assert_eq!(told.seen(crowd(4, 0, 4), recent(4, 4)), (told, None));
        assert_eq!(told.seen(Crowd::default(), recent(4, 2)), (told, None), "half of them are bad");
        assert_eq!(told.seen(Crowd::default(), recent(5, 2)), (calm, Some(ProviderTell::IncidentEnds)));
        assert_eq!(told.seen(Crowd::default(), recent(1, 1)).1, Some(ProviderTell::IncidentEnds));
    }

    #[test]
    fn an_alert_waits_for_company_and_never_longer_than_ten_minutes() {
        let hold = |mass: Mass, minutes| {
            let now = NOW.plus(Span::minutes(minutes));
            mass.hold(NOW, now).map(|until| until.since(NOW).0 / 1000)
        };
        assert_eq!([0, 5].map(|minutes| hold(Mass::Single, minutes)), [None, None]);
        assert_eq!([0, 5, 10].map(|minutes| hold(Mass::Open, minutes)), [Some(15), Some(315), None]);
        assert_eq!([0, 9, 10].map(|minutes| hold(Mass::Incident, minutes)), [Some(600), Some(600), None]);
    }

    #[test]
    fn a_key_counts_once_and_as_it_stands_now() {
        let health = |looked: i64, doubted: bool| Health {
            looked_at: Some(NOW.plus(Span::seconds(looked))),
            suspicion: doubted.then_some(Suspicion { since: NOW, look_again_at: NOW, tries: 0 }),
            ..Health::default()
        };
        let since = NOW;
        let first = Crowd::default().after(&Health::default(), &health(0, true), since);
        assert_eq!(first, crowd(1, 1, 0));
        assert_eq!(first.after(&health(0, true), &health(20, false), since), crowd(1, 0, 0));
        let long_ago = first.after(&health(-60, false), &health(1, false), since);
        assert_eq!(long_ago, crowd(2, 1, 0), "it was not counted before");
        let bad = |looked| Health {
            verdict: Verdict::Invalid,
            since: Some(NOW.plus(Span::hours(-1))),
            ..health(looked, false)
        };
        let old = Crowd::default().after(&bad(-120), &bad(-60), since);
        assert_eq!(old.bad, 0, "a dead key that nobody looked at lately keeps no incident open");
        assert_eq!(Crowd::default().after(&bad(-120), &bad(1), since).bad, 1);
    }
}
