//! How one call to the outside ended when it did not simply succeed, and what that allows.
//!
//! The table is rotation.md's ("issuing" and "Retry"): only a vendor's own error proves that nothing was
//! done; everything else is [`FailureKind::Unclear`] and must be settled by looking.

use serde::{Deserialize, Serialize};

use super::time::{Span, Timestamp};

/// What a failed call proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// 401 in the vendor's own error form: the credential was not accepted this time.
    Unauthorized,
    /// 403 in the vendor's own error form, or a wrong kind of credential: a permission is missing.
    Forbidden,
    /// 404 in the vendor's own error form.
    NotFound,
    /// 400, 402, 422 in the vendor's own error form: the request was refused, nothing was done.
    Refused,
    /// 429, or a vendor's own "slow down" in another status (GitHub's secondary limit is a 403).
    RateLimited,
    /// Timeout, reset, 5xx, 3xx, 408, 409, HTML, an unreadable 2xx: it may or may not have been done.
    Unclear,
    /// Nothing was sent: the deadline had already passed, or something local (a file, a name) was in the way.
    NotSent,
    /// Nothing was sent: this process has called there too often without anything coming of it (R16).
    OverBudget,
}

/// A failed call: what it proves and what to tell people. Never holds key material: `message` is redacted
/// and bounded by whoever builds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the failure proves.
    pub kind: FailureKind,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// One sentence for people, redacted, at most 300 characters.
    pub message: String,
    /// The next move for the reader, e.g. which token permission is missing.
    pub hint: Option<String>,
    /// How long the vendor asked us to wait.
    pub retry_after: Option<Span>,
    /// The vendor's clock (`Date` header), where the answer told it.
    pub date: Option<Timestamp>,
}

impl Failure {
    /// A failure with a message and nothing else known.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, message: message.into(), hint: None, retry_after: None, date: None }
    }

    /// The same failure with the next move for the reader.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// True when trying the same again cannot help until a person changes something (rotation.md, Retry).
    pub fn is_permanent(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Unauthorized | FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Refused
        )
    }
}

/// A successful call's value and the vendor's clock at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// What was answered.
    pub value: T,
    /// The vendor's `Date` header, whole seconds, where there was one.
    pub date: Option<Timestamp>,
}

/// What a call to the outside gives.
pub type Called<T> = Result<Reply<T>, Failure>;
