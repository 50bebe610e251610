//! What a decision can be: an event to apply as it is, one look, one effect, or a wait.

use super::{Event, KeyRef};
use crate::domain::time::{Span, Stamp, Timestamp};

/// What to do now. Every variant but `Apply`, `Wait` and `Finished` is one call to the outside, or one
/// round of reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Directive {
    /// Commit this event; nothing outside is touched.
    Apply(Event),
    /// Prove that a rotation could work: list, read each required destination, canary, clocks.
    Preflight,
    /// Commit an intent with a unique name, then ask the provider for a key.
    Create,
    /// List the account: strays, unknown keys (R9).
    Reconcile,
    /// Ask what the provisioning key says of itself.
    CheckProvisioning,
    /// Test one of our keys with the bytes read back from the store.
    Test(KeyRef),
    /// Write a key to a destination.
    Publish {
        /// Where.
        address: String,
        /// Which key.
        key: KeyRef,
    },
    /// Look whether a destination holds a key.
    Check {
        /// Where.
        address: String,
        /// Which key.
        key: KeyRef,
    },
    /// Read a key at the provider.
    Read(KeyRef),
    /// Enable a key that this run disabled.
    Enable(KeyRef),
    /// Disable a key, through the guard.
    Disable {
        /// Which key.
        key: KeyRef,
        /// Leaked: the breaker does not hold it.
        urgent: bool,
    },
    /// Delete a key, through the guard.
    Delete {
        /// Which key.
        key: KeyRef,
        /// Leaked: the breaker does not hold it.
        urgent: bool,
    },
    /// No way on and no way back: start a healing run that inherits the keys.
    Supersede {
        /// What happened.
        reason: String,
    },
    /// Nothing to do before `until` (our clock).
    Wait {
        /// When to look again.
        until: Timestamp,
        /// What is being waited for, one sentence each.
        blockers: Vec<String>,
    },
    /// Terminal.
    Finished,
}

impl Directive {
    /// Wait for `span` because of `blocker`.
    pub(super) fn wait(now: Stamp, span: Span, blocker: impl Into<String>) -> Self {
        Self::Wait { until: now.ours.plus(span.max(Span(200))), blockers: vec![blocker.into()] }
    }
}
