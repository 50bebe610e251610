//! Working a run from the command line, step by step, with each step shown; or following another process that
//! works it.

use crate::cli::output::say;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::{Opened, Progress, Session};
use crate::engine::{Engine, commands};

/// Longer waits than this are the daemon's.
const SHORT_WAIT: Span = Span::seconds(20);
/// Between two looks at a run that another process works.
const FOLLOW: Span = Span(500);

/// A daemon that did nothing to a run for so long is not waited for any more.
const STILL: Span = Span::seconds(30);

/// Set by Ctrl-C: the step under way is finished and committed, then the lease is given back.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt {
    pressed: Arc<AtomicBool>,
    /// A daemon works the run, this command only watches.
    watches: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens for Ctrl-C; a second one ends the process at once.
    pub(super) fn listen() -> Self {
        let interrupt = Self::default();
        let Self { pressed, watches } = interrupt.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if pressed.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
                if watches.load(Ordering::SeqCst) {
                    say!("no longer watching; the daemon goes on with it");
                } else {
                    say!("stopping after this step; the next run carries on");
                }
            }
        });
        interrupt
    }

    fn is_set(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}

/// How working a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Terminal, in this state.
    Finished(&'static str),
    /// A timed wait; the daemon goes on.
    Waiting(Timestamp, Vec<String>),
    /// Another process works it by a newer configuration; what to say of it, and whether its end was waited for.
    Left(String, bool),
    /// Ctrl-C.
    Interrupted,
}

/// Works a run until it ends, or watches a daemon work it; without `wait`, until the first wait that is not a matter of
/// seconds.
pub(super) async fn run_to_end(
    engine: &Engine,
    account: &str,
    run: &str,
    wait: bool,
) -> anyhow::Result<Ending> {
    let interrupt = Interrupt::listen();
    let mut last = None;
    let mut moved = engine.clock().monotonic();
    loop {
        if interrupt.is_set() {
            return Ok(Ending::Interrupted);
        }
        let served = commands::is_served(engine, run).await?;
        interrupt.watches.swap(served, Ordering::SeqCst);
        let before = last;
        let progress = if served {
            follow(engine, run, &mut last).await?
        } else {
            work(engine, account, run, &interrupt, &mut last).await?
        };
        if !served || last != before {
            moved = engine.clock().monotonic();
        }
        match progress {
            Progress::Finished => {
                let run = commands::run_status(engine, run).await?;
                return Ok(Ending::Finished(run.map_or("gone", |run| run.state)));
            }
            Progress::Left(why) => return Ok(Ending::Left(why, wait)),
            Progress::Again => {}
            Progress::Wait(until, blockers) => {
                let left = until.since(engine.clock().now());
                let status = commands::run_status(engine, run).await?;
                let long = !wait && (left > SHORT_WAIT || status.as_ref().is_some_and(|run| run.is_timed));
                let still = !wait && engine.clock().monotonic().0 - moved.0 > STILL.0;
                if long || still || status.is_some_and(|run| run.needs_a_person) {
                    return Ok(Ending::Waiting(until, blockers));
                }
                engine.clock().sleep(left.clamp(Span(100), Span::seconds(2))).await;
            }
        }
    }
}

/// Whether a run goes on only after somebody looked.
pub(super) async fn needs_a_person(engine: &Engine, run: &str) -> anyhow::Result<bool> {
    Ok(commands::run_status(engine, run).await?.is_some_and(|run| run.needs_a_person))
}

async fn work(
    engine: &Engine,
    account: &str,
    run: &str,
    interrupt: &Interrupt,
    last: &mut Option<&'static str>,
) -> anyhow::Result<Progress> {
    match commands::open_session(engine, account).await? {
        Opened::Busy => follow(engine, run, last).await,
        Opened::Ready(mut session) => {
            let progress = steps(&mut session, run, interrupt, last).await;
            session.close().await?;
            progress
        }
    }
}

async fn steps(
    session: &mut Session<'_>,
    run: &str,
    interrupt: &Interrupt,
    last: &mut Option<&'static str>,
) -> anyhow::Result<Progress> {
    loop {
        let report = commands::step(session, run).await?;
        show(report.state, report.did.as_deref());
        *last = Some(report.state);
        match report.progress {
            Progress::Again if !interrupt.is_set() && !session.gives_way_after(report.looked).await? => {}
            other => return Ok(other),
        }
    }
}

/// Another process works on the account: show what becomes of the run.
async fn follow(engine: &Engine, run: &str, last: &mut Option<&'static str>) -> anyhow::Result<Progress> {
    let Some(status) = commands::run_status(engine, run).await? else { return Ok(Progress::Finished) };
    if *last != Some(status.state) {
        show(status.state, Some("another rekeyd process is working on this run"));
        *last = Some(status.state);
    }
    if !status.is_open {
        return Ok(Progress::Finished);
    }
    let soon = engine.clock().now().plus(FOLLOW);
    Ok(Progress::Wait(status.wake_at.max(soon), status.blockers))
}

fn show(state: &str, did: Option<&str>) {
    if let Some(did) = did {
        say!("{state:<12} {did}");
    }
}
