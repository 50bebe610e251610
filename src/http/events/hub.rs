//! One look at the store a second for all who listen.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::domain::time::Span;
use crate::engine::commands::{Changed, Feed};
use crate::http::api::Engines;

/// Between two looks.
const PACE: Span = Span::seconds(1);
/// So many changes a slow listener may be behind, before it is told that everything changed.
const BEHIND: usize = 64;

/// Where all listeners are told.
pub(in crate::http) struct Hub {
    engines: Arc<dyn Engines>,
    told: Sender<Changed>,
    /// Somebody looks. Changed under its lock only, so that who comes while the last one leaves is not forgotten.
    is_looking: Mutex<bool>,
    stopping: CancellationToken,
}

impl Hub {
    /// One that nobody listens to yet.
    pub(in crate::http) fn new(engines: Arc<dyn Engines>, stopping: CancellationToken) -> Arc<Self> {
        let (told, _) = channel(BEHIND);
        Arc::new(Self { engines, told, is_looking: Mutex::new(false), stopping })
    }

    /// Ends when the daemon stops: listeners leave before anything else.
    pub(in crate::http) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Changes from now on.
    pub(in crate::http) fn listen(self: &Arc<Self>) -> Receiver<Changed> {
        let receiver = self.told.subscribe();
        let mut is_looking = self.is_looking.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_looking {
            *is_looking = true;
            tokio::spawn(Arc::clone(self).look());
        }
        receiver
    }

    async fn look(self: Arc<Self>) {
        let mut feed = Feed::default();
        while self.has_listeners() {
            let engine = self.engines.engine();
            match feed.look(&engine).await {
                Ok(changed) if changed.topics.is_empty() => {}
                // Who has left meanwhile is told nothing.
                Ok(changed) => drop(self.told.send(changed)),
                Err(error) => tracing::debug!(%error, "nobody could be told what changed"),
            }
            tokio::select! {
                () = engine.clock().sleep(PACE) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    fn has_listeners(&self) -> bool {
        let mut is_looking = self.is_looking.lock().unwrap_or_else(PoisonError::into_inner);
        *is_looking = self.told.receiver_count() > 0;
        *is_looking
    }
}
