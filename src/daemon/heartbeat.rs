//! Tells an outside monitor that passes progress. Silence is the message when they do not.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::service::Service;
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

/// Calls for as long as the daemon lives; follows reloads.
pub(super) async fn keep(service: Arc<Service>) {
    let mut last: Option<Span> = None;
    let mut trouble = None;
    while !service.stop.is_cancelled() {
        let live = service.live();
        let clock = live.engine.clock();
        let now = clock.monotonic();
        if let Some(heartbeat) = &live.heartbeat {
            let due = last.is_none_or(|last| now.0 - last.0 >= heartbeat.every.0);
            if due && service.health.progresses() {
                last = Some(now);
                let outcome = heartbeat.beat().await.err();
                if outcome != trouble {
                    if let Some(error) = &outcome {
                        tracing::warn!(error, "the heartbeat was not heard");
                    } else {
                        tracing::info!("the heartbeat is heard again");
                    }
                    trouble = outcome;
                }
            }
        }
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = clock.sleep(LOOK) => {}
        }
    }
}
