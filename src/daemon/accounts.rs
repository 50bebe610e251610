//! Visits to accounts: one task each, so that a slow account makes no other wait; one at a time for each account.
//!
//! A visit starts what is due, then works every run that is awake, step by step. Between two steps it makes room for
//! whoever is more urgent (R22), and after [`TURN`] it ends: the next one looks anew at what there is. Asked to stop, it finishes and commits the
//! call in flight and gives the lease back.

use std::collections::BTreeMap;
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
            let outcome = call_on(&live.engine, &stop, &taken.account).await;
            let now = live.engine.clock().monotonic();
            let outcome = outcome.map_err(|error| error.to_string());
            remember(&live.engine, &taken.account, outcome.as_ref().err()).await;
            accounts.note(&taken.account, now, outcome);
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
async fn call_on(engine: &Engine, stop: &CancellationToken, account: &str) -> Result<(), EngineError> {
    let begun = engine.clock().monotonic();
    loop {
        let class =
            passes::runs_awake(engine, account).await?.first().map_or(Class::Runs, |(_, class)| *class);
        let patience = class.patience();
        let waited = engine::wait_for_session_or_stop(engine, account, class, patience, stop).await;
        let mut session = match waited {
            // A later visit finds what is to be done.
            Err(EngineError::Busy(_)) => return Ok(()),
            waited => waited?,
        };
        let worked = work(stop, &mut session, begun).await;
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

/// Starts what is due, then works what is awake, the most urgent first.
async fn work(
    stop: &CancellationToken,
    session: &mut Session<'_>,
    begun: Span,
) -> Result<Worked, EngineError> {
    let (engine, account) = (session.engine(), session.account_name());
    let is_over = || engine.clock().monotonic().0 - begun.0 > TURN.0 || stop.is_cancelled();
    let awake = passes::runs_awake(engine, account).await?;
    if !awake.first().is_some_and(|(_, class)| *class > Class::Runs) {
        passes::start_due(session).await?;
    }
    for (run, class) in passes::runs_awake(engine, account).await? {
        session.works_for(class);
        let mut go_on = true;
        while go_on {
            if is_over() {
                return Ok(Worked::Enough);
            }
            if session.gives_way().await? {
                return Ok(Worked::GaveWay);
            }
            go_on = match engine::step(session, &run).await {
                Ok(report) => report.progress == Progress::Again,
                Err(error) if !error.concerns_one() => return Err(error),
                Err(error) => {
                    tracing::warn!(run, %error, "step");
                    false
                }
            };
        }
    }
    Ok(Worked::Enough)
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
