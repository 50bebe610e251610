//! The long-running process: a plain loop that looks at the store and works what is due.
//!
//! A tick takes no arguments: it looks at the store, so that a restart, a lost signal and a normal second are the
//! same code. SIGTERM and SIGINT finish and commit the call in flight, then give the leases back.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::settings::{Log, LogFormat};
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError, Opened, Progress};
use crate::store::RunRow;

/// Between two looks at the store.
const TICK: Span = Span::seconds(1);

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The filter is not one.
    #[error("[log] filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else logs already.
    #[error("logging could not start: {0}")]
    Log(String),
    /// The system does not let us listen for signals.
    #[error("signals cannot be listened for: {0}")]
    Signals(#[from] std::io::Error),
}

/// Starts logging to stderr.
pub fn log(settings: &Log) -> Result<(), DaemonError> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        _ => builder.with_ansi(false).try_init(),
    };
    started.map_err(|error| DaemonError::Log(error.to_string()))
}

/// Works until a signal says stop.
pub async fn run(engine: Engine) -> Result<(), DaemonError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    tracing::info!(database = engine.store().kind().word(), "ready");
    while !stop.is_cancelled() {
        if let Err(error) = tick(&engine, &stop).await {
            tracing::warn!(%error, "tick");
        }
        let _ = engine.deliver_notices().await.inspect_err(|error| tracing::warn!(%error, "notices"));
        tokio::select! {
            () = stop.cancelled() => {}
            () = engine.clock().sleep(TICK) => {}
        }
    }
    engine.store().close().await;
    tracing::info!("stopped");
    Ok(())
}

/// One look at the store: every open run that is awake is worked until it waits.
async fn tick(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    let now = engine.clock().now();
    let open = engine.store().open_runs().await?;
    let awake: Vec<&RunRow> = open.iter().filter(|row| is_awake(row, now)).collect();
    for account in engine.accounts() {
        let mine: Vec<&&RunRow> = awake.iter().filter(|row| belongs(engine, row, &account.name)).collect();
        if mine.is_empty() || stop.is_cancelled() {
            continue;
        }
        match engine.open_session(&account.name).await {
            Ok(Opened::Ready(mut session)) => {
                for row in mine {
                    if let Err(error) = work(&mut session, &row.run.id, stop).await {
                        tracing::warn!(run = %row.run.id, %error, "step");
                    }
                }
                session.close().await?;
            }
            Ok(Opened::Busy) => {}
            Err(error) => tracing::warn!(account = %account.name, %error, "session"),
        }
    }
    Ok(())
}

/// Awake now, or asleep until a moment that only a jumped clock could have set.
fn is_awake(row: &RunRow, now: crate::domain::time::Timestamp) -> bool {
    let left = row.wake_at.since(now);
    left <= Span::ZERO || left > Span::hours(2)
}

fn belongs(engine: &Engine, row: &RunRow, account: &str) -> bool {
    engine.rotation(&row.run.rotation).is_ok_and(|rotation| rotation.account == account)
}

async fn work(
    session: &mut crate::engine::Session<'_>,
    run: &str,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    while !stop.is_cancelled() {
        let report = session.step(run).await?;
        if report.progress != Progress::Again {
            break;
        }
    }
    Ok(())
}
