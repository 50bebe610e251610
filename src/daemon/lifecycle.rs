//! From ready to stopped.
//!
//! The first SIGTERM or SIGINT is a soft stop: passes begin nothing, every visit finishes and commits the call in
//! flight and gives its lease back. After [`SOFT`], or with a second signal, it is a hard one: what is in flight is
//! journalled, and the next process asks what became of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::service::Service;
use super::ticker::Ticker;
use super::{DaemonError, heartbeat, systemd};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::time::Span;
use crate::engine::passes;
use crate::store::StoreError;

/// A stop takes no longer than this; systemd waits 30 s.
const SOFT: Span = Span::seconds(20);
/// What `config_rejected` is about.
const SUBJECT: Subject = Subject::Configuration;

/// Reads the configuration anew: what it makes, or all that is wrong with it. The second of the pair names what needs a
/// restart to apply.
pub type Reload = Box<
    dyn Fn(Arc<Live>) -> Pin<Box<dyn Future<Output = Result<(Live, Vec<String>), String>> + Send>>
        + Send
        + Sync,
>;

/// The signals that steer the daemon. Until somebody listens, each of them simply ends the process: so they are
/// listened for before anything else is done, and what comes before the daemon is ready is not lost.
pub struct Signals {
    hangup: Signal,
    stop: StopSignals,
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> Result<Self, DaemonError> {
        let stop = StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop })
    }

    /// Ends when one of them says stop.
    pub async fn asked_to_stop(&mut self) {
        self.stop.next().await;
    }
}

impl StopSignals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs until a signal says stop. Everything that can refuse has been done: store, key, listener.
pub async fn run(service: Arc<Service>, reload: Reload, signals: Signals) -> Result<(), DaemonError> {
    let Signals { mut hangup, stop: stopping } = signals;
    let hard = heed_stop(&service, stopping);
    let ticker = Ticker::start(&service).await?;
    let mut companions = JoinSet::new();
    companions.spawn(systemd::keep_status(Arc::clone(&service)));
    companions.spawn(systemd::feed_watchdog(Arc::clone(&service)));
    companions.spawn(keep_heartbeat(Arc::clone(&service)));
    let presence = tokio::spawn(keep_presence(Arc::clone(&service)));
    systemd::tell(&[NotifyState::Ready, NotifyState::Status(&systemd::status(&service).await)]);
    tracing::info!(database = service.live().engine.store().kind().word(), "ready");
    resolve_rejection(&service).await;
    loop {
        tokio::select! {
            biased;
            () = service.stop.cancelled() => break,
            _ = hangup.recv() => {}
        }
        tokio::select! {
            biased;
            () = service.stop.cancelled() => break,
            () = reload_now(&service, &reload) => {}
        }
    }
    systemd::tell(&[NotifyState::Stopping, NotifyState::Status("finishing the call in flight")]);
    stop(&service, ticker, presence, &hard).await;
    companions.shutdown().await;
    if service.is_outdated() {
        return Err(StoreError::NewerSchema.into());
    }
    tracing::info!("stopped");
    Ok(())
}

async fn keep_heartbeat(service: Arc<Service>) {
    let live = service.live();
    let current = || service.live().heartbeat.clone();
    heartbeat::keep(current, &service.health, live.engine.clock(), &service.stop).await;
}

/// Command lines leave the work to a daemon that lives and makes progress. Who leaves has said its last word here: an
/// announcement that a reload or a stop overtook is taken back.
async fn keep_presence(service: Arc<Service>) {
    while !service.stop.is_cancelled() {
        let live = service.live();
        if service.health.progresses()
            && let Err(error) = passes::announce(&live.engine).await
        {
            tracing::debug!(%error, "nobody hears that this daemon lives");
        }
        if !Arc::ptr_eq(&live, &service.live()) {
            take_leave(&live).await;
        }
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = live.engine.clock().sleep(passes::PRESENCE) => {}
        }
    }
    take_leave(&service.live()).await;
}

async fn take_leave(live: &Live) {
    if let Err(error) = passes::take_leave(&live.engine).await {
        tracing::debug!(%error, "commands go on leaving the work to this daemon for a while");
    }
}

/// The first signal asks to stop, the second does not ask. Returns the second.
fn heed_stop(service: &Arc<Service>, mut signals: StopSignals) -> CancellationToken {
    let (soft, hard) = (service.stop.clone(), CancellationToken::new());
    let told = hard.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: the call in flight is finished first");
        soft.cancel();
        signals.next().await;
        tracing::warn!("stopping at once: the next start asks what became of the call in flight");
        told.cancel();
    });
    hard
}

async fn stop(service: &Service, ticker: Ticker, presence: JoinHandle<()>, hard: &CancellationToken) {
    let live = service.live();
    let soft = async {
        if let Err(error) = presence.await {
            tracing::debug!(%error, "the presence of this daemon");
        }
        ticker.stop().await;
        service.accounts.empty().await;
    };
    tokio::select! {
        () = soft => {}
        () = hard.cancelled() => {}
        () = live.engine.clock().sleep(SOFT) => {
            tracing::warn!("a call did not end in time; the next start asks what became of it");
        }
    }
}

/// SIGHUP: the new configuration, or an alert and the old one.
async fn reload_now(service: &Arc<Service>, reload: &Reload) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    systemd::tell(&states);
    let before = service.live();
    match reload(Arc::clone(&before)).await {
        Ok((live, restart)) => {
            service.swap(live);
            take_leave(&before).await;
            tracing::info!("the configuration was read again");
            if !restart.is_empty() {
                tracing::warn!(changed = restart.join(", "), "these apply only after a restart");
            }
            resolve_rejection(service).await;
        }
        Err(error) => {
            tracing::error!(error, "the new configuration was rejected; the old one stays");
            tell_rejection(service, &error).await;
        }
    }
    systemd::tell(&[NotifyState::Ready, NotifyState::Status(&systemd::status(service).await)]);
}

async fn tell_rejection(service: &Service, error: &str) {
    let live = service.live();
    let detail = format!(
        "A reload was refused, and the old settings stay: {error}. `rekeyd config check` shows all of it; \
         after that `systemctl reload rekeyd`."
    );
    let alert = NewAlert::new(Kind::ConfigRejected, SUBJECT, detail);
    let entry = live.engine.entry("config.rejected", &SUBJECT, error);
    if let Err(error) = live.engine.store().raise(&alert, &entry).await {
        tracing::warn!(%error, "the alert could not be stored");
    }
}

async fn resolve_rejection(service: &Service) {
    let live = service.live();
    let entry = live.engine.entry("config.applied", &SUBJECT, "");
    if let Err(error) = live.engine.store().resolve(Kind::ConfigRejected, &SUBJECT, &entry).await {
        tracing::warn!(%error, "the alert could not be resolved");
    }
}
