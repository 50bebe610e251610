//! The budgets of this process (rotation.md, R16): every call to a destination or to an account is counted before it
//! goes out, and what would exceed the budget is refused with a failure of its own kind. Whoever asked waits like after
//! any other failure: longer each time, and stored.
//!
//! Counted are the engine's questions and writes, whatever requests one takes: a listing is one, with all its pages.
//! Leaks, healing and all other work have a budget each, and each another one for the question who the account is: none
//! keeps another from the account, and a run that exhausted its own keeps nobody from coming in. Tests of keys are paced
//! by their schedule and counted nowhere.

mod issuer;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use self::issuer::CountedIssuer;
use self::place::CountedPlace;
use crate::clock::Clock;
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::budget::{Budget, Proved, proofs};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::Level;
use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::engine::parts::{ConfiguredDestination, Parts};
use crate::store::Change;

/// Calls a minute to one destination.
const OF_A_PLACE: usize = 60;

/// Calls a minute to one account.
const OF_AN_ACCOUNT: usize = 120;

/// So often it is noted that a budget is still exceeded.
const NOTED_AGAIN: Span = Span::minutes(1);

/// What calls are for. Each has budgets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Ordinary,
    Healing,
    Leak,
}

impl Lane {
    const COUNT: usize = 3;

    fn of(class: Class) -> Self {
        match class {
            Class::Leak => Self::Leak,
            Class::Healing => Self::Healing,
            Class::Person | Class::Runs | Class::Drift | Class::Watching => Self::Ordinary,
        }
    }

    /// That of whoever calls now.
    fn now() -> Self {
        LANE.try_with(|lane| *lane).unwrap_or(Self::Ordinary)
    }
}

tokio::task_local! {
    static LANE: Lane;
}

/// Work of a class, which is whose its calls are. The more urgent may begin in the midst of other work, and what it does
/// is its own.
pub(crate) async fn working_for<T>(class: Class, work: impl Future<Output = T>) -> T {
    LANE.scope(Lane::of(class).max(Lane::now()), work).await
}

/// Where a memory says when a budget was exceeded last.
pub(crate) fn memory(subject: &Subject) -> String {
    format!("call budget of {subject}")
}

/// What is called there, and what came of it.
pub(crate) struct Meter {
    subject: Subject,
    most: usize,
    account: Option<String>,
    rotation: Option<String>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    work: [Budget; Lane::COUNT],
    opening: [Budget; Lane::COUNT],
    proved: Proved,
    refused: Option<Span>,
    told: Option<Span>,
}

impl Meter {
    fn new(subject: Subject, most: usize, clock: &Arc<dyn Clock>) -> Self {
        let budgets = || std::array::from_fn(|_| Budget::new(most));
        let (work, opening) = (budgets(), budgets());
        let state = State { work, opening, proved: Proved::default(), refused: None, told: None };
        let clock = Arc::clone(clock);
        Self { subject, most, account: None, rotation: None, clock, state: Mutex::new(state) }
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more call of whoever works now.
    fn ask(&self) -> Result<(), Failure> {
        self.count(|state| &mut state.work[Lane::now() as usize])
    }

    /// The question who the account is, before anybody works on it.
    fn ask_who(&self) -> Result<(), Failure> {
        self.count(|state| &mut state.opening[Lane::now() as usize])
    }

    fn count(&self, of: impl FnOnce(&mut State) -> &mut Budget) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        let refused = self.with(|state| {
            let taken = of(state).take(now);
            if taken.is_err() {
                state.refused = Some(now);
            }
            taken
        });
        refused.map_err(|_| {
            let text = format!(
                "{} was called {} times within a minute and nothing came of it",
                self.subject, self.most
            );
            Failure::new(FailureKind::OverBudget, text)
        })
    }

    /// Something was proved: when that is new, what was asked for it no longer counts.
    fn proved(&self, fact: &str) {
        self.with(|state| {
            if state.proved.is_news(fact) {
                state.work.iter_mut().chain(&mut state.opening).for_each(Budget::refill);
            }
        });
    }

    /// True when it was exceeded, and people were not told for a while.
    fn is_news(&self) -> bool {
        let late = |told: Span, refused: Span| refused.0 - told.0 >= NOTED_AGAIN.0;
        self.with(|state| {
            state.refused.is_some_and(|refused| state.told.is_none_or(|told| late(told, refused)))
        })
    }

    fn alert(&self) -> NewAlert {
        let detail = format!(
            "rekeyd called {} {} times within a minute, and nothing that it proved came of it. What would exceed that \
             waits, longer each time.",
            self.subject, self.most
        );
        let alert = NewAlert::new(Kind::CallBudget, self.subject.clone(), detail);
        NewAlert { account: self.account.clone(), rotation: self.rotation.clone(), ..alert }
    }
}

/// A budget that was exceeded, to be told.
pub(crate) struct News {
    meter: Arc<Meter>,
    pub(crate) alert: NewAlert,
}

impl News {
    /// The alert, and when it was so.
    pub(crate) fn changes(&self, now: Timestamp) -> [Change; 2] {
        let remembered = Change::Remember { subject: memory(&self.alert.subject), doc: json!(Some(now)) };
        [Change::Alert(self.alert.clone()), remembered]
    }

    /// It was committed.
    pub(crate) fn told(self) {
        let now = self.meter.clock.monotonic();
        self.meter.with(|state| state.told = Some(now));
    }
}

/// The budgets of all accounts, by their names, and of all destinations, by their addresses.
#[derive(Default)]
pub(crate) struct Budgets {
    accounts: BTreeMap<String, Arc<Meter>>,
    places: BTreeMap<String, Arc<Meter>>,
}

impl Budgets {
    /// Puts a meter before everything that the engine calls.
    pub(crate) fn over(parts: &mut Parts) -> Self {
        let mut budgets = Self::default();
        let Parts { accounts, destinations, rotations, clock, .. } = parts;
        for account in accounts.values_mut() {
            let subject = Subject::Account(account.name.clone());
            let meter = Meter::new(subject, OF_AN_ACCOUNT, clock);
            let meter = Arc::new(Meter { account: Some(account.name.clone()), ..meter });
            account.issuer =
                Arc::new(CountedIssuer { inner: Arc::clone(&account.issuer), meter: Arc::clone(&meter) });
            budgets.accounts.insert(account.name.clone(), meter);
            for place in &mut account.provisioning_destinations {
                budgets.count(place, Some(account.name.clone()), None, clock);
            }
        }
        for place in destinations.values_mut() {
            let targets = |name: &str| {
                rotations
                    .values()
                    .find(|rotation| rotation.policy.targets.iter().any(|target| target.name == name))
            };
            let (account, rotation) = match targets(&place.target.name) {
                Some(rotation) => (Some(rotation.account.clone()), Some(rotation.name.clone())),
                None => (None, None),
            };
            budgets.count(place, account, rotation, clock);
        }
        budgets
    }

    fn count(
        &mut self,
        place: &mut ConfiguredDestination,
        account: Option<String>,
        rotation: Option<String>,
        clock: &Arc<dyn Clock>,
    ) {
        let subject = Subject::Destination(place.target.name.clone());
        let new = || Arc::new(Meter { account, rotation, ..Meter::new(subject, OF_A_PLACE, clock) });
        let meter = Arc::clone(self.places.entry(place.target.address.clone()).or_insert_with(new));
        place.adapter = Arc::new(CountedPlace { inner: Arc::clone(&place.adapter), meter });
    }

    /// What a commit proved: of the account, and of destinations.
    pub(crate) fn note(&self, account: &str, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Run { run, .. } => {
                    for fact in proofs(run) {
                        self.proved_of(account, &fact);
                    }
                }
                Change::Holding { row, .. } | Change::Seen(row) if row.fact.level >= Level::Confirmed => {
                    if let Some(meter) = self.places.get(&row.fact.address) {
                        meter.proved(&format!("{} {}", row.fact.key, row.fact.level.word()));
                    }
                }
                _ => {}
            }
        }
    }

    /// A fact about the account.
    pub(crate) fn proved_of(&self, account: &str, fact: &str) {
        if let Some(meter) = self.accounts.get(account) {
            meter.proved(fact);
        }
    }

    /// Budgets that were exceeded and that nobody was told of.
    pub(crate) fn news(&self) -> Vec<News> {
        let meters = self.accounts.values().chain(self.places.values()).filter(|meter| meter.is_news());
        meters.map(|meter| News { alert: meter.alert(), meter: Arc::clone(meter) }).collect()
    }
}
