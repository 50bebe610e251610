//! What a decision can be: an event to apply as it is, one look, one effect, or a wait.

use serde::{Deserialize, Serialize};

use super::{Event, KeyRef};
use crate::domain::time::Span;

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
    /// Let the new key be named wherever the old one is named by its hash.
    Inherit,
    /// Look what names the old key and not the new one.
    Compare,
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
    /// Nothing to do for a while.
    Wait {
        /// Until the next look.
        span: Span,
        /// What is being waited for.
        blockers: Vec<Blocker>,
    },
    /// Terminal.
    Finished,
}

/// One thing that a run waits for (rotation.md, R17).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blocker {
    /// In one sentence, for people.
    pub text: String,
    /// Who or what must change first; `None` for a wait that the policy names.
    pub cause: Option<Cause>,
    /// How long until the run can go on without anybody else's doing; `None` when nobody knows.
    pub left: Option<Span>,
}

impl Blocker {
    /// A wait that the policy names: grace, quiet, observing, a pause.
    pub(super) fn policy(text: impl Into<String>) -> Self {
        Self { text: text.into(), cause: None, left: None }
    }

    /// The same with its moment. Nobody knows it while the provider does not tell the time (R11): then that is the cause.
    #[must_use]
    pub(super) fn over_in(self, left: Option<Span>) -> Self {
        if left.is_some() {
            return Self { left, ..self };
        }
        let cause = self.cause.unwrap_or(Cause::Account);
        Self::cause(cause, format!("{} (the provider's clock is not known)", self.text))
    }

    /// Nobody knows when: `cause` must change first.
    pub(super) fn cause(cause: Cause, text: impl Into<String>) -> Self {
        Self { text: text.into(), cause: Some(cause), left: None }
    }
}

/// Who or what holds a run up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "on", content = "name")]
pub enum Cause {
    /// The account or its provider.
    Account,
    /// A destination, by its name in the configuration.
    Destination(String),
    /// Somebody must say something.
    Person,
}

impl Directive {
    /// What it sees is for the step after it: it counts for a short while, or only for who looked.
    pub fn is_look(&self) -> bool {
        matches!(
            self,
            Self::Reconcile | Self::CheckProvisioning | Self::Test(_) | Self::Check { .. } | Self::Read(_)
        )
    }

    /// Wait for `span` because of `blocker`.
    pub(super) fn wait(span: Span, blocker: Blocker) -> Self {
        Self::Wait { span: span.max(SHORTEST), blockers: vec![blocker] }
    }

    /// The name of the call that it stands for: a wait belongs to it alone (R18).
    pub fn call(&self) -> String {
        let of = |what: &str, key: &KeyRef| format!("{what} generation {}", key.generation);
        match self {
            Self::Preflight => "preflight".to_owned(),
            Self::Create => "create".to_owned(),
            Self::Reconcile => "list".to_owned(),
            Self::CheckProvisioning => "check the provisioning key".to_owned(),
            Self::Test(key) => of("test", key),
            Self::Read(key) => of("read", key),
            Self::Inherit => "inherit".to_owned(),
            Self::Compare => "compare".to_owned(),
            Self::Enable(key) => of("enable", key),
            Self::Disable { key, .. } => of("disable", key),
            Self::Delete { key, .. } => of("delete", key),
            Self::Publish { address, key } => format!("{} at {address}", of("publish", key)),
            Self::Check { address, key } => format!("{} at {address}", of("check", key)),
            Self::Supersede { .. } => "heal".to_owned(),
            Self::Apply(_) | Self::Wait { .. } | Self::Finished => String::new(),
        }
    }
}

/// No look comes sooner after another.
pub(super) const SHORTEST: Span = Span(200);
