//! Time and randomness, as a parameter. The linter bans the real ones outside this file and `net`.

use async_trait::async_trait;

use crate::domain::time::{Span, Timestamp};

/// A source of time and of unguessable names.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock. May jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never jumps.
    fn monotonic(&self) -> Span;

    /// Waits.
    async fn sleep(&self, span: Span);

    /// 16 hex digits that nobody else will ever make.
    fn nonce(&self) -> String;

    /// A number in `0.0..1.0`, for jitter.
    fn fraction(&self) -> f64;
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
    fn default() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
    fn now(&self) -> Timestamp {
        Timestamp(chrono::Utc::now().timestamp_millis())
    }

    fn monotonic(&self) -> Span {
        Span::from(self.started.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }

    fn nonce(&self) -> String {
        format!("{:016x}", rand::random::<u64>())
    }

    fn fraction(&self) -> f64 {
        rand::random::<f64>()
    }
}
