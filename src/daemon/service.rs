//! What all tasks of the daemon share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::health::{Health, NotReady};
use super::live::Live;

/// The daemon, as its tasks and the HTTP room see it.
pub struct Service {
    live: RwLock<Arc<Live>>,
    /// Whether passes progress.
    pub(super) health: Health,
    /// Who works on which account.
    pub(super) accounts: Arc<Accounts>,
    /// Asked to stop: finish the call in flight, begin nothing.
    pub(super) stop: CancellationToken,
    outdated: AtomicBool,
}

impl Service {
    /// A daemon that has not started yet.
    pub fn new(live: Live) -> Arc<Self> {
        let clock = Arc::clone(&live.engine.parts.clock);
        Arc::new(Self {
            live: RwLock::new(Arc::new(live)),
            health: Health::new(clock),
            accounts: Arc::default(),
            stop: CancellationToken::new(),
            outdated: AtomicBool::new(false),
        })
    }

    /// The engine and its companions of the present configuration. Work that holds it goes on with it after a swap.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the passes use these.
    pub(super) fn swap(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }

    /// Cancelled when the daemon is asked to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A newer program has migrated the database: this one stops.
    pub(super) fn outdated(&self) {
        self.outdated.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// Whether that is why it stops.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// When each pass last came to its end, in seconds since 1970.
    pub fn passes(&self) -> Vec<(&'static str, f64)> {
        self.health.last_done()
    }

    /// Why this process should get no work from a load balancer; empty when it is ready.
    pub async fn not_ready(&self) -> Vec<NotReady> {
        self.health.not_ready(&self.live().engine).await
    }
}
