//! Do passes progress, can the store be written. For `/readyz`, the watchdog and the heartbeat.
//!
//! Two stamps a pass: *tried* feeds the watchdog (a database that is away must not get the daemon killed),
//! *done* feeds readiness and the heartbeat. All on the monotonic clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::time::Span;
use crate::engine::{Engine, commands};
use crate::store::StoreError;

/// The store answers within this, or it is away.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at the store are shared by all who ask within this time: `/readyz` needs no login.
const SHARED_FOR: Span = Span::seconds(1);

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// `database`, `leases`, `pass`, `stopping`. A pass that fails is one too.
    pub what: &'static str,
    /// In words, without addresses and names of the inside.
    pub why: String,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    tried: Span,
    done: Span,
    longest: Span,
    /// Failures in a row.
    failures: u32,
}

/// So many failures in a row are no accident.
const FAILING: u32 = 3;

impl Beat {
    fn is_failing(&self) -> bool {
        self.failures >= FAILING
    }
}

/// What was seen of the passes and of the store.
pub(super) struct Health {
    clock: Arc<dyn Clock>,
    beats: Mutex<BTreeMap<&'static str, Beat>>,
    store: tokio::sync::Mutex<Option<(Span, Option<NotReady>)>>,
}

impl Health {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, beats: Mutex::default(), store: tokio::sync::Mutex::default() }
    }

    /// From now on this pass must come to its end within `longest`, again and again.
    pub(super) fn watch(&self, pass: &'static str, longest: Span) {
        let now = self.clock.monotonic();
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.insert(pass, Beat { tried: now, done: now, longest, failures: 0 });
    }

    /// A pass came to its end. Answers whether it has failed so often in a row that people must know.
    pub(super) fn note(&self, pass: &'static str, done: bool) -> bool {
        let now = self.clock.monotonic();
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(beat) = beats.get_mut(pass) {
            beat.tried = now;
            if done {
                (beat.done, beat.failures) = (now, 0);
            } else {
                beat.failures = beat.failures.saturating_add(1);
            }
            return beat.is_failing();
        }
        false
    }

    /// When each pass was last done, in seconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    pub(super) fn last_done(&self) -> Vec<(&'static str, f64)> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |beat: &Beat| (wall.0 - (now.0 - beat.done.0)) as f64 / 1000.0;
        beats.iter().map(|(pass, beat)| (*pass, at(beat))).collect()
    }

    /// True while every pass comes to an end, good or bad.
    pub(super) fn turns(&self) -> bool {
        let now = self.clock.monotonic();
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.values().all(|beat| now.0 - beat.tried.0 <= beat.longest.0)
    }

    /// True while every pass does its work.
    pub(super) fn progresses(&self) -> bool {
        self.late().is_empty()
    }

    fn late(&self) -> Vec<NotReady> {
        let now = self.clock.monotonic();
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let why = |pass: &str, beat: &Beat| {
            let late = now.0 - beat.done.0 > beat.longest.0;
            let since = format!("pass {pass} was not done for {} s", (now.0 - beat.done.0) / 1000);
            let failing = format!("pass {pass} failed {} times in a row", beat.failures);
            late.then_some(since).or(beat.is_failing().then_some(failing))
        };
        let late = beats.iter().filter_map(|(pass, beat)| why(pass, beat));
        late.map(|why| NotReady { what: "pass", why }).collect()
    }

    pub(super) async fn not_ready(&self, engine: &Engine) -> Vec<NotReady> {
        // The cause before what follows from it.
        let mut reasons: Vec<NotReady> = self.store(engine).await.into_iter().collect();
        reasons.extend(self.late());
        reasons
    }

    /// One look for all who ask at once.
    async fn store(&self, engine: &Engine) -> Option<NotReady> {
        let mut shared = self.store.lock().await;
        let now = self.clock.monotonic();
        if let Some((seen, reason)) = shared.as_ref()
            && now.0 - seen.0 < SHARED_FOR.0
        {
            return reason.clone();
        }
        let reason = look_at_store(engine).await;
        *shared = Some((self.clock.monotonic(), reason.clone()));
        reason
    }
}

async fn look_at_store(engine: &Engine) -> Option<NotReady> {
    let not_ready = |what, why: &str| Some(NotReady { what, why: why.to_owned() });
    match tokio::time::timeout(PATIENCE, engine.store().now()).await {
        Err(_) => return not_ready("database", "it does not answer"),
        Ok(Err(error)) => return not_ready("database", in_public(&error)),
        Ok(Ok(_)) => {}
    }
    match tokio::time::timeout(PATIENCE, commands::prove_writable(engine)).await {
        Err(_) => not_ready("leases", "the database does not take writes in time"),
        Ok(Err(error)) => not_ready("leases", in_public(&error)),
        Ok(Ok(())) => None,
    }
}

/// The cause in words that may be read without login; the log has the rest.
fn in_public(error: &StoreError) -> &'static str {
    match error {
        StoreError::Away(_) => "it cannot be reached",
        StoreError::Full => "no space is left on its disk",
        StoreError::ReadOnly => "it is read-only",
        StoreError::Busy => "it is locked by another process",
        _ => "it answers with an error",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::super::ticker::PASSES;
    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Default)]
    struct Hands(AtomicI64);

    #[async_trait::async_trait]
    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn monotonic(&self) -> Span {
            Span(self.0.load(Ordering::SeqCst))
        }
        async fn sleep(&self, _: Span) {}
        fn nonce(&self) -> String {
            String::new()
        }
        fn fraction(&self) -> f64 {
            0.0
        }
    }

    fn watched(clock: &Arc<Hands>) -> Health {
        let health = Health::new(Arc::clone(clock) as Arc<dyn Clock>);
        for pass in PASSES {
            health.watch(pass.name, pass.longest);
        }
        health
    }

    #[test]
    fn failing_passes_feed_the_watchdog_but_not_readiness() {
        let clock = Arc::new(Hands::default());
        let health = watched(&clock);
        let note_all = |done| {
            for pass in PASSES {
                health.note(pass.name, done);
            }
        };
        assert!(health.progresses() && health.turns());
        clock.0.store(61_000, Ordering::SeqCst);
        assert!(!health.progresses() && !health.turns());
        note_all(false);
        assert!(!health.progresses(), "they failed");
        assert!(health.turns(), "but they come to an end");
        note_all(true);
        assert!(health.progresses());
        clock.0.store(122_000, Ordering::SeqCst);
        health.note("due", true);
        assert!(!health.progresses() && !health.turns(), "one of them hangs");
        assert!(health.late().iter().any(|late| late.why.contains("runs")), "{:?}", health.late());
    }

    #[test]
    fn three_failures_in_a_row_are_told() {
        let health = watched(&Arc::new(Hands::default()));
        assert!(!health.note("due", false) && !health.note("due", false));
        assert!(health.late().is_empty());
        assert!(health.note("due", false));
        assert_eq!(health.late()[0].why, "pass due failed 3 times in a row");
        assert!(health.turns(), "the watchdog is for what hangs");
        assert!(!health.note("due", true) && health.late().is_empty());
    }

    #[test]
    fn a_silent_mail_server_and_slow_providers_are_no_hang() {
        let clock = Arc::new(Hands::default());
        let health = watched(&clock);
        clock.0.store(600_000, Ordering::SeqCst);
        for pass in PASSES.iter().filter(|pass| pass.longest < Span::minutes(10)) {
            health.note(pass.name, true);
        }
        assert!(health.progresses() && health.turns());
        clock.0.store(3_601_000, Ordering::SeqCst);
        assert!(!health.turns(), "an hour is too long for anything");
    }
}
