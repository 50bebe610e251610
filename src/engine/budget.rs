//! The budgets of this process (rotation.md, R16): every call to a destination or to an account is counted before it
//! goes out, and what would exceed the budget is refused with a failure of its own kind. Whoever asked waits like after
//! any other failure: longer each time, and stored.
//!
//! Counted are the engine's questions and writes, whatever requests one takes: a listing is one, with all its pages.
//! Opening an account has a budget of its own, so that a run that exhausted the other one keeps nobody else from the
//! account; so have leaks and healing. Tests of keys are paced by their schedule and counted nowhere.

mod issuer;
mod place;

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
use crate::engine::parts::{ConfiguredDestination, Parts};
use crate::store::Change;

/// Calls a minute to one destination.
const OF_A_PLACE: usize = 60;

/// Calls a minute to one account.
const OF_AN_ACCOUNT: usize = 120;

/// So often it is noted that a budget is still exceeded.
const NOTED_AGAIN: Span = Span::minutes(1);

/// Whose calls these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Ordinary,
    /// A leak, or healing.
    Urgent,
    /// Who the account is, before anybody works on it.
    Opening,
}

tokio::task_local! {
    static URGENT: bool;
}

/// Work whose calls are a leak's or healing's when `urgent`; such work may begin in the midst of other work.
pub(crate) async fn urgently<T>(urgent: bool, work: impl Future<Output = T>) -> T {
    URGENT.scope(urgent || is_urgent(), work).await
}

fn is_urgent() -> bool {
    URGENT.try_with(|urgent| *urgent).unwrap_or(false)
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
    ordinary: Budget,
    urgent: Budget,
    opening: Budget,
    proved: Proved,
    refused: Option<Span>,
    told: Option<Span>,
}

impl Meter {
    fn new(subject: Subject, most: usize, clock: &Arc<dyn Clock>) -> Self {
        let (ordinary, urgent, opening) = (Budget::new(most), Budget::new(most), Budget::new(most));
        let state = State { ordinary, urgent, opening, proved: Proved::default(), refused: None, told: None };
        let clock = Arc::clone(clock);
        Self { subject, most, account: None, rotation: None, clock, state: Mutex::new(state) }
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more call of whoever works now.
    fn ask(&self) -> Result<(), Failure> {
        self.count(if is_urgent() { Lane::Urgent } else { Lane::Ordinary })
    }

    fn count(&self, lane: Lane) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        let refused = self.with(|state| {
            let budget = match lane {
                Lane::Ordinary => &mut state.ordinary,
                Lane::Urgent => &mut state.urgent,
                Lane::Opening => &mut state.opening,
            };
            let taken = budget.take(now);
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
                state.ordinary.refill();
                state.urgent.refill();
                state.opening.refill();
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
                Change::Holding { row, .. } if row.fact.level >= Level::Confirmed => {
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
