//! One test of one key, as it is kept in the history.

use serde::Serialize;

use super::rule::Judgement;
use super::{Outcome, Reason};
use crate::domain::time::{Span, Timestamp};

/// What one test showed. Written to the history, never read back into one: what is read back from a store is
/// a name ([`Outcome`]), and moves no verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation {
    outcome: Outcome,
    reason: Option<Reason>,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// The provider's own code for it, at most 64 plain characters.
    pub provider_code: Option<String>,
    /// Time from the first step of the call to the last byte, in milliseconds.
    pub latency_ms: u64,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Span>,
    /// When the provider says that the key expires, where its answer tells.
    pub expires_at: Option<Timestamp>,
    /// The provider's clock (`Date`), for R11.
    pub date: Option<Timestamp>,
    /// One sentence for people, redacted, at most 300 characters.
    pub detail: String,
}

impl Observation {
    /// An observation with nothing but a judgement and a sentence. The sentence must be redacted already.
    pub fn new(judgement: Judgement, detail: impl Into<String>) -> Self {
        Self {
            outcome: judgement.outcome(),
            reason: judgement.reason(),
            status: None,
            provider_code: None,
            latency_ms: 0,
            retry_after: None,
            expires_at: None,
            date: None,
            detail: detail.into(),
        }
    }

    /// What was seen.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why, for restricted, exhausted and invalid keys.
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The same observation with a weaker judgement. A judgement that is not `invalid` cannot be turned into
    /// it, because only a rule makes one.
    #[must_use]
    pub fn judged(self, judgement: Judgement, detail: impl Into<String>) -> Self {
        Self { outcome: judgement.outcome(), reason: judgement.reason(), detail: detail.into(), ..self }
    }
}
