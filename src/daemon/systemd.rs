//! What systemd is told. Nothing happens when it does not run us.

use std::sync::Arc;

use sd_notify::NotifyState;

use super::service::Service;
use crate::domain::time::Span;
use crate::engine::commands;

/// Between two looks at what `STATUS=` should say.
const LOOK: Span = Span::seconds(3);

/// Tells the service manager.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// One line of prose about the present.
pub(super) async fn status(service: &Service) -> String {
    match commands::status(&service.live().engine).await {
        Ok(status) => status.to_string(),
        Err(_) => "the database is away; nothing runs until it is back".to_owned(),
    }
}

/// Keeps `STATUS=` up to date.
pub(super) async fn keep_status(service: Arc<Service>) {
    let mut told = String::new();
    while !service.stop.is_cancelled() {
        let now = status(&service).await;
        if now != told {
            tell(&[NotifyState::Status(&now)]);
            told = now;
        }
        let live = service.live();
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = live.engine.clock().sleep(LOOK) => {}
        }
    }
}

/// Feeds the watchdog, but only while passes come to their end; a pass that hangs gets us killed and restarted.
/// Ends only with the process: a stop that hangs is killed too.
pub(super) async fn feed_watchdog(service: Arc<Service>) {
    let mut limit_us = 0;
    if !sd_notify::watchdog_enabled(false, &mut limit_us) {
        return;
    }
    let limit = Span(i64::try_from(limit_us / 1000).unwrap_or(i64::MAX));
    // A third, so that one late ping is no restart.
    let rhythm = Span((limit.0 / 3).max(100));
    loop {
        let stopping = service.stop.is_cancelled();
        if stopping || service.health.turns() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a pass hangs: the watchdog is not fed any more");
        }
        service.live().engine.clock().sleep(rhythm).await;
    }
}
