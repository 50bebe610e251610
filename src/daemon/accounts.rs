//! Visits to accounts: one task each, so that a slow account makes no other wait; one at a time for each account.
//!
//! A visit starts what is due, then works every run that is awake, step by step. Between two steps it makes room for
//! whoever is more urgent (R22), and after [`TURN`] it ends: the next one looks anew at what there is. Asked to stop, it finishes and commits the
//! call in flight and gives the lease back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::live::Live;
use crate::domain::time::{Span, backoff};
use crate::domain::turn::{Class, TURN};
use crate::engine::{self, Engine, EngineError, Progress, Session, passes};

/// Visits at one time; each mostly waits for the network.
const AT_ONCE: usize = 32;
/// The wait after an account could not be opened, doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Span = Span::seconds(2);
/// An account that stays shut is tried this often.
const LONGEST_WAIT: Span = Span::minutes(1);

/// Who works on which account.
pub(super) struct Accounts {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    seats: Mutex<BTreeMap<String, Seat>>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tasks: TaskTracker::new(), seats: Mutex::default() }
    }
}

/// What is remembered of one account; lost by a restart without harm.
#[derive(Debug, Default)]
struct Seat {
    taken: bool,
    failures: u32,
    /// Not before this moment of the monotonic clock.
    not_before: Span,
    trouble: Option<String>,
    /// Since when each of its runs waits for its next step.
    waits: BTreeMap<String, Span>,
}

impl Accounts {
    fn with<R>(&self, account: &str, change: impl FnOnce(&mut Seat) -> R) -> R {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        change(seats.entry(account.to_owned()).or_default())
    }

    fn take(&self, account: &str, now: Span) -> bool {
        self.with(account, |seat| {
            let free = !seat.taken && now >= seat.not_before;
            seat.taken |= free;
            free
        })
    }

    /// Notes how a visit ended, and says in the log what is new.
    fn note(&self, account: &str, now: Span, outcome: Result<(), String>) {
        self.with(account, |seat| match outcome {
            Ok(()) => {
                if seat.trouble.is_some() {
                    tracing::info!(account, "the account works again");
                }
                *seat = Seat { taken: seat.taken, ..Seat::default() };
            }
            Err(error) => {
                let wait = backoff(FIRST_WAIT, LONGEST_WAIT, seat.failures);
                seat.failures += 1;
                seat.not_before = Span(now.0 + wait.0);
                if seat.trouble.as_ref() != Some(&error) {
                    tracing::warn!(account, error, "the account cannot be worked on; it is tried again");
                }
                seat.trouble = Some(error);
            }
        });
    }

    /// Begins a visit to an account, unless one is on its way or the account has just failed.
    pub(super) fn visit(self: &Arc<Self>, live: &Arc<Live>, stop: &CancellationToken, account: &str) {
        let now = live.engine.clock().monotonic();
        if stop.is_cancelled() || !self.take(account, now) {
            return;
        }
        let taken = Taken { accounts: Arc::clone(self), account: account.to_owned() };
        let (live, stop) = (Arc::clone(live), stop.clone());
        self.tasks.spawn(async move {
            let accounts = Arc::clone(&taken.accounts);
            let Ok(_place) = Arc::clone(&accounts.places).acquire_owned().await else { return };
            let since = accounts.with(&taken.account, |seat| std::mem::take(&mut seat.waits));
            let mut visit = Visit { begun: live.engine.clock().monotonic(), since, over: BTreeSet::new() };
            let outcome = call_on(&live.engine, &stop, &taken.account, &mut visit).await;
            let now = live.engine.clock().monotonic();
            let outcome = outcome.map_err(|error| error.to_string());
            remember(&live.engine, &taken.account, outcome.as_ref().err()).await;
            accounts.note(&taken.account, now, outcome);
            accounts.with(&taken.account, |seat| seat.waits = visit.since);
        });
    }

    /// When every visit has ended.
    pub(super) async fn empty(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Gives the seat back, also when the visit breaks off.
struct Taken {
    accounts: Arc<Accounts>,
    account: String,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.accounts.with(&self.account, |seat| seat.taken = false);
    }
}

/// For whoever tells people of runs that nobody comes to.
async fn remember(engine: &Engine, account: &str, failure: Option<&String>) {
    if let Err(error) = passes::note_visit(engine, account, failure.map(String::as_str)).await {
        tracing::debug!(account, %error, "the visit could not be noted");
    }
}

/// Works on an account until nothing there is awake, or its turn is over. In between it goes back into the line for
/// whoever is more urgent.
async fn call_on(
    engine: &Engine,
    stop: &CancellationToken,
    account: &str,
    visit: &mut Visit,
) -> Result<(), EngineError> {
    loop {
        let awake = visit.awake(engine, account).await?;
        let class = awake.iter().map(|one| one.class).max().unwrap_or(Class::Runs);
        let patience = class.patience();
        let waited = engine::wait_for_session_or_stop(engine, account, class, patience, stop).await;
        let mut session = match waited {
            // A later visit finds what is to be done.
            Err(EngineError::Busy(_)) => return Ok(()),
            waited => waited?,
        };
        let worked = visit.work(stop, &mut session).await;
        session.close().await?;
        if let Worked::Enough = worked? {
            return Ok(());
        }
    }
}

/// How work on an account ended.
enum Worked {
    /// Nothing is awake, or it was long enough.
    Enough,
    /// Somebody else goes first.
    GaveWay,
}

/// What a visit knows of the runs of its account.
struct Visit {
    begun: Span,
    /// Since when a run waits for its next step.
    since: BTreeMap<String, Span>,
    /// Those that have come to a wait, or to an end.
    over: BTreeSet<String>,
}

/// A run with a step to do.
struct Awake {
    run: String,
    class: Class,
    since: Span,
}

impl Visit {
    /// Runs with a step to do, and how they stand to one another.
    async fn awake(&mut self, engine: &Engine, account: &str) -> Result<Vec<Awake>, EngineError> {
        let now = engine.clock().monotonic();
        let awake = passes::runs_awake(engine, account).await?;
        self.since.retain(|run, _| awake.iter().any(|(known, _)| known == run));
        let left = awake.into_iter().filter(|(run, _)| !self.over.contains(run));
        Ok(left
            .map(|(run, class)| {
                let since = *self.since.entry(run.clone()).or_insert(now);
                Awake { run, class, since }
            })
            .collect())
    }

    /// Starts what is due, then works what is awake: the most urgent first, and of equals the one that waits longest.
    async fn work(
        &mut self,
        stop: &CancellationToken,
        session: &mut Session<'_>,
    ) -> Result<Worked, EngineError> {
        let (engine, account) = (session.engine(), session.account_name());
        if stop.is_cancelled() {
            return Ok(Worked::Enough);
        }
        if !self.awake(engine, account).await?.iter().any(|one| one.class > Class::Runs) {
            passes::start_due(session).await?;
        }
        let mut awake = self.awake(engine, account).await?;
        loop {
            // Nobody rises here: two dozen runs that wait long must not go before a dead key, each to its end.
            let order = |at: &usize| (awake[*at].class, Reverse(awake[*at].since));
            let Some(next) = (0..awake.len()).max_by_key(order) else { return Ok(Worked::Enough) };
            let Awake { run, class, .. } = awake.swap_remove(next);
            session.works_for(class);
            self.since.remove(&run);
            match self.steps(stop, session, &run).await? {
                Worked::GaveWay => return Ok(Worked::GaveWay),
                Worked::Enough if self.is_over(engine, stop) => return Ok(Worked::Enough),
                Worked::Enough => self.over.insert(run),
            };
        }
    }

    /// Steps of one run, until it waits.
    async fn steps(
        &self,
        stop: &CancellationToken,
        session: &mut Session<'_>,
        run: &str,
    ) -> Result<Worked, EngineError> {
        let (engine, mut looked) = (session.engine(), false);
        loop {
            if self.is_over(engine, stop) {
                return Ok(Worked::Enough);
            }
            if session.gives_way_after(looked).await? {
                return Ok(Worked::GaveWay);
            }
            match engine::step(session, run).await {
                Ok(report) if report.progress == Progress::Again => looked = report.looked,
                Ok(_) => return Ok(Worked::Enough),
                Err(error) if !error.concerns_one() => return Err(error),
                Err(error) => {
                    tracing::warn!(run, %error, "step");
                    return Ok(Worked::Enough);
                }
            }
        }
    }

    fn is_over(&self, engine: &Engine, stop: &CancellationToken) -> bool {
        engine.clock().monotonic().0 - self.begun.0 > TURN.0 || stop.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visit_at_a_time_and_failures_make_it_wait() {
        let accounts = Accounts::default();
        assert!(accounts.take("main", Span(0)));
        assert!(!accounts.take("main", Span(0)), "single-flight");
        assert!(accounts.take("other", Span(0)), "others do not wait");
        accounts.note("main", Span(0), Err("away".to_owned()));
        accounts.with("main", |seat| seat.taken = false);
        assert!(!accounts.take("main", Span(1999)));
        assert!(accounts.take("main", Span(2000)));
        for _ in 0..40 {
            accounts.note("main", Span(2000), Err("away".to_owned()));
        }
        accounts.with("main", |seat| seat.taken = false);
        assert!(!accounts.take("main", Span(61_999)));
        assert!(accounts.take("main", Span(62_000)));
        accounts.note("main", Span(62_000), Ok(()));
        accounts.with("main", |seat| seat.taken = false);
        assert!(accounts.take("main", Span(62_000)));
    }
}
