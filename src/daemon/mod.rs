//! The long-running process: it looks at the store when woken, works what is due, and stops well.
//!
//! ```text
//! logging     where lines go: the journal with fields, JSON, text
//! health      do passes progress, can the store be written: /readyz, the watchdog
//! heartbeat   tells an outside monitor that passes progress
//! live        what one configuration makes: the engine and its companions
//! accounts    visits: one task an account, each alone on its account, none waiting for another
//! service     all of these, for the tasks below: swapped by a reload, asked to stop
//! ticker      tokio-cron-scheduler wakes the passes; the list of passes
//! systemd     READY, STATUS, WATCHDOG, RELOADING, STOPPING
//! lifecycle   from ready to stopped: signals, reload, the soft and the hard stop
//! ```
//!
//! A tick takes no arguments: it looks at the store, so that a restart, a lost signal and a normal second are
//! the same code.

mod accounts;
mod health;
mod heartbeat;
mod lifecycle;
mod live;
mod logging;
mod service;
mod systemd;
mod ticker;

pub use health::NotReady;
pub use heartbeat::Heartbeat;
pub use lifecycle::{Reload, Signals, run};
pub use live::Live;
pub use logging::log;
pub use service::Service;
pub use ticker::{PASSES, Pass};

/// Why the daemon could not start, or did not go on.
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
    /// The database is not ours to work on any more.
    #[error("stopped: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The scheduler refused a job.
    #[error("the passes could not be scheduled: {0}")]
    Scheduler(#[from] tokio_cron_scheduler::JobSchedulerError),
}
