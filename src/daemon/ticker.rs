//! tokio-cron-scheduler wakes the passes, and does nothing else.
//!
//! It drops and doubles activations, lives on the wall clock and polls twice a second, so it is never the schedule
//! of record: due times are in the store. Its jobs only ring a bell, and each pass has one task that listens to
//! its own bell, which makes a pass single-flight and a doubled ring harmless. The bell also rings by itself after
//! [`PATIENCE`] on the monotonic clock: when the wall clock goes back by a day, the scheduler is silent for a day.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job, JobScheduler};

use super::DaemonError;
use super::live::Live;
use super::service::Service;
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError, commands, passes};
use crate::store::StoreError;

/// Longest silence of a pass.
const PATIENCE: Span = Span::seconds(5);

/// A look at our own store.
const SHORT: Span = Span::seconds(60);
/// A look that calls every provider, or a mail server that thinks about each of many messages.
const LONG: Span = Span::minutes(60);

/// What a pass returns.
pub type Passing = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>;

/// One kind of look at the store. It takes no arguments: what is due, the store says.
pub struct Pass {
    /// For the log and `/readyz`.
    pub name: &'static str,
    /// When it is woken: cron with seconds, in UTC.
    pub wake: &'static str,
    /// A look that takes longer hangs: it makes us unready, and the watchdog kills us. Beyond this come the calls
    /// of a look: every one of them has its own end.
    pub longest: Span,
    /// The look. Long work on accounts goes to [`super::accounts`], so that the pass comes to its end.
    pub look: fn(Arc<Service>, Arc<Live>) -> Passing,
}

/// Every pass of the daemon: one line each.
pub static PASSES: &[Pass] = &[
    Pass {
        name: "due",
        wake: "*/2 * * * * *",
        longest: SHORT,
        look: |service, live| Box::pin(due(service, live)),
    },
    Pass {
        name: "runs",
        wake: "* * * * * *",
        longest: SHORT,
        look: |service, live| Box::pin(runs(service, live)),
    },
    Pass {
        name: "tests",
        wake: "* * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(tests(service, live)),
    },
    Pass {
        name: "accounts",
        wake: "* * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(accounts(service, live)),
    },
    Pass {
        name: "leaks",
        wake: "* * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(leaks(service, live)),
    },
    Pass {
        name: "notices",
        wake: "* * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(notices(service, live)),
    },
    Pass {
        name: "mirror",
        wake: "*/2 * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(mirror(service, live)),
    },
    Pass {
        name: "drift",
        wake: "*/5 * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(drift(service, live)),
    },
    Pass {
        name: "stalled",
        wake: "*/10 * * * * *",
        longest: SHORT,
        look: |service, live| Box::pin(stalled(service, live)),
    },
    Pass {
        name: "retention",
        wake: "30 * * * * *",
        longest: LONG,
        look: |service, live| Box::pin(retention(service, live)),
    },
];

/// Moves due times, and visits accounts that have a run to start.
async fn due(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    for account in passes::look_at_schedules(&live.engine).await? {
        service.accounts.visit(&live, &service.stop, &account);
    }
    Ok(())
}

/// Visits accounts with a run that is awake.
async fn runs(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    for account in passes::accounts_awake(&live.engine).await? {
        service.accounts.visit(&live, &service.stop, &account);
    }
    Ok(())
}

/// Tests the keys that are due.
async fn tests(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::check_tick(&live.engine, &service.stop).await
}

/// Watches the accounts themselves. Its own pass: an account that hangs holds up no test.
async fn accounts(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::watch_tick(&live.engine, &service.stop).await
}

/// Asks for leaked keys when their schedule says so. The emergencies that it starts are worked by `runs`.
async fn leaks(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::look_for_leaks(&live.engine, &service.stop).await
}

/// Tells people what there is to tell. Its own pass: a mail server that is silent holds up nothing else.
async fn notices(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::deliver_notices(&live.engine, &service.stop).await.map(drop)
}

/// Carries verdicts and mirrored keys over to the tables of applications.
async fn mirror(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::mirror(&live.engine, &service.stop).await
}

/// Looks whether somebody else changed a destination. Its own pass: a silent destination holds up nothing else.
async fn drift(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::drift_tick(&live.engine, &service.stop).await
}

/// Tells people of waits that nobody else tells of, and of calls that nothing comes of.
async fn stalled(_: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::tell_budgets(&live.engine).await?;
    passes::tell_stalled(&live.engine).await
}

/// Forgets what is over.
async fn retention(service: Arc<Service>, live: Arc<Live>) -> Result<(), EngineError> {
    passes::forget(&live.engine, &service.stop).await
}

/// The scheduler and the tasks that it wakes.
pub(super) struct Ticker {
    scheduler: JobScheduler,
    tasks: JoinSet<()>,
}

impl Ticker {
    /// Starts the scheduler and one task a pass.
    pub(super) async fn start(service: &Arc<Service>) -> Result<Self, DaemonError> {
        let scheduler = JobScheduler::new().await?;
        let mut tasks = JoinSet::new();
        for pass in PASSES {
            service.health.watch(pass.name, pass.longest);
            let bell = Arc::new(Notify::new());
            let rings = Arc::clone(&bell);
            scheduler
                .add(Job::new_async(pass.wake, move |_, _| {
                    let bell = Arc::clone(&rings);
                    Box::pin(async move { bell.notify_one() })
                })?)
                .await?;
            tasks.spawn(keep(pass, Arc::clone(service), bell));
        }
        scheduler.start().await?;
        Ok(Self { scheduler, tasks })
    }

    /// Waits for the passes that are on their way; they were told by the stop signal.
    pub(super) async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the scheduler did not stop");
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Looks whenever the bell rings, until told to stop.
async fn keep(pass: &'static Pass, service: Arc<Service>, bell: Arc<Notify>) {
    let mut trouble = None;
    // Nothing is known of what the process before this one told.
    let mut told = None;
    while !service.stop.is_cancelled() {
        let live = service.live();
        // A task of its own: a panic ends this look, not the pass.
        let outcome = tokio::spawn((pass.look)(Arc::clone(&service), Arc::clone(&live))).await;
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(EngineError::Store(StoreError::NewerSchema))) => return service.outdated(),
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(format!("it broke off: {error}")),
        };
        let failing = service.health.note(pass.name, failure.is_none());
        alarm(&live.engine, pass.name, &mut told, failing, failure.as_deref()).await;
        tell(pass.name, &mut trouble, failure);
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = bell.notified() => {}
            () = live.engine.clock().sleep(PATIENCE) => {}
        }
    }
}

/// Tells people once that a pass fails again and again, and once that it works. What keeps the pass from working
/// may keep this from being written too: then it is tried with the next look.
async fn alarm(engine: &Engine, pass: &str, told: &mut Option<bool>, failing: bool, failure: Option<&str>) {
    let turned = *told != Some(failing) && (failing || failure.is_none());
    if turned {
        match commands::tell_pass(engine, pass, failure).await {
            Ok(()) => *told = Some(failing),
            Err(error) => tracing::debug!(pass, %error, "nobody could be told of the pass"),
        }
    }
}

/// Says once that a pass fails, and once that it works again.
fn tell(pass: &str, before: &mut Option<String>, now: Option<String>) {
    match (before.as_ref(), &now) {
        (None, None) => {}
        (Some(_), None) => tracing::info!(pass, "the pass works again"),
        (Some(told), Some(error)) if told == error => tracing::debug!(pass, error, "pass"),
        (_, Some(error)) => tracing::warn!(pass, error, "the pass failed; it is tried again"),
    }
    *before = now;
}
