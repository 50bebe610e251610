//! Tells an outside monitor that passes progress. Silence is the message when they do not.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::health::Health;
use crate::clock::Clock;
use crate::domain::time::Span;
use crate::net::{Deadline, Http};

/// A call may take this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether it is time.
const LOOK: Span = Span::seconds(1);

/// Whom to call. The address is a secret: it is never logged.
pub struct Heartbeat {
    /// The one HTTP client.
    pub http: Http,
    /// What is called.
    pub url: Url,
    /// How often.
    pub every: Span,
}

impl Heartbeat {
    async fn beat(&self) -> Result<(), String> {
        let request = self.http.request(http::Method::GET, self.url.clone());
        let answer = self.http.exchange(request, Deadline::after(PATIENCE)).await;
        match answer {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(fault) => Err(format!("{:?}", fault.kind)),
        }
    }
}

/// Calls for as long as the daemon lives; `current` follows reloads.
pub(super) async fn keep(
    current: impl Fn() -> Option<Arc<Heartbeat>>,
    health: &Health,
    clock: &dyn Clock,
    stop: &CancellationToken,
) {
    let mut last: Option<Span> = None;
    let mut trouble = None;
    while !stop.is_cancelled() {
        let now = clock.monotonic();
        if let Some(heartbeat) = current() {
            let due = last.is_none_or(|last| now.0 - last.0 >= heartbeat.every.0);
            if due && health.progresses() {
                last = Some(now);
                let outcome = heartbeat.beat().await.err();
                tell(&mut trouble, outcome);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock.sleep(LOOK) => {}
        }
    }
}

/// Says once that nobody hears it, and once that somebody does again.
fn tell(before: &mut Option<String>, now: Option<String>) {
    match &now {
        Some(error) if before.as_ref() != Some(error) => tracing::warn!(error, "the heartbeat was not heard"),
        None if before.is_some() => tracing::info!("the heartbeat is heard again"),
        _ => {}
    }
    *before = now;
}
