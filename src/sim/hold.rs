//! A request that is stopped on its way until the test lets it go.
//!
//! This is how a test kills the client exactly before or exactly after an effect: hold the request, wait
//! until it has [arrived](Held::arrived), kill, look at the world. Three ends are possible:
//!
//! | end | request held before its effect | request held after it |
//! |---|---|---|
//! | [`Held::release`] | takes effect and is answered | is answered |
//! | the client hangs up | never takes effect (but see [`Held::survive_client`]) | the effect stands |
//! | [`Held`] is dropped | never takes effect, connection reset | the effect stands, connection reset |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::wire::Client;

/// The test's end of a held request. Dropping it without a release resets the request's connection.
#[derive(Debug)]
pub struct Held {
    gate: Arc<Gate>,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct Gate {
    arrived: watch::Sender<bool>,
    verdict: watch::Sender<Option<Verdict>>,
    survives_client: AtomicBool,
}

/// What became of a held request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Released,
    /// Nobody waits for it any more.
    Abandoned,
}

impl Held {
    /// A closed gate, and the test's hand on it.
    pub(crate) fn pair() -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate {
            arrived: watch::Sender::new(false),
            verdict: watch::Sender::new(None),
            survives_client: AtomicBool::new(false),
        });
        (Self { gate: Arc::clone(&gate) }, gate)
    }

    /// Waits until a request stands at the gate. Held *after*, its effect has then taken place.
    pub async fn arrived(&self) {
        let mut arrived = self.gate.arrived.subscribe();
        arrived.wait_for(|arrived| *arrived).await.expect("the gate lives as long as this hand on it");
    }

    /// Lets the request go on, now or when it comes.
    pub fn release(&self) {
        self.gate.verdict.send_replace(Some(Verdict::Released));
    }

    /// The held request takes effect on [`release`](Self::release) even though its client has hung up
    /// meanwhile: the call that lands late (rotation.md R4, fault 19).
    #[must_use]
    pub fn survive_client(self) -> Self {
        self.gate.survives_client.store(true, Ordering::SeqCst);
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.verdict.send_if_modified(|verdict| {
            let open = verdict.is_none();
            verdict.get_or_insert(Verdict::Abandoned);
            open
        });
    }
}

impl Gate {
    /// Reports the arrival, then waits for the test's word or the client's end.
    pub(crate) async fn pass(&self, client: &mut Client) -> Verdict {
        let mut verdict = self.verdict.subscribe();
        self.arrived.send_replace(true);
        let survives = self.survives_client.load(Ordering::SeqCst);
        let word = verdict.wait_for(Option::is_some);
        tokio::select! {
            biased;
            () = client.gone(), if !survives => Verdict::Abandoned,
            word = word => word.ok().and_then(|word| *word).unwrap_or(Verdict::Abandoned),
        }
    }
}
