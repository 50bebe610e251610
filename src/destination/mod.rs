//! The places that consumers read a key from. One file a kind; this file is all that the engine sees.
//!
//! A destination takes a write ([`Destination::publish`]) and later proves what it holds
//! ([`Destination::look`]). What a kind needs to remember between the two, and to recognise a change by
//! someone else, is its *evidence*: a small JSON object without key material, kept by the store. Some kinds
//! have one more step, a [`Rollout`], so that running consumers take a proved key up.
//!
//! Evidence names the generation that it is about. To a look for another generation it proves nothing
//! ([`Standing::Unprovable`]), so whoever wants to know of drift before a new generation is published looks
//! for the published one.

pub mod command;
pub mod file;
pub mod github;
mod leaks;
pub mod postgres;
pub mod vercel;

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

pub use self::leaks::{Finding, LeakSource};
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::net::Deadline;

/// One key on its way to one destination.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The key material, read back from the store.
    pub secret: Secret,
    /// Name of the rotation.
    pub rotation: String,
    /// Number of the generation.
    pub generation: i64,
    /// Name of the destination in the configuration.
    pub destination: String,
}

/// What a destination shows when it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It took the write but does not show it (yet); the text says what is missing. The next attempt looks
    /// first and, when it is still so, publishes again: a write may have been swallowed.
    Accepted(String),
    /// It proves that it holds the delivered key (rotation.md, "confirmed").
    Confirmed,
    /// It holds the delivered key, and consumers run with it only after what the text says, which is somebody else's to do.
    Held(String),
    /// Consumers run with it (rotation.md, "effective"); only kinds that redeploy ever say so.
    Effective,
    /// Somebody else changed it since our last proved write; the text says how that was seen.
    Drift(String),
    /// There is nothing at the address.
    Missing,
    /// It cannot be told: it never gives values back, and there is no evidence of a write of ours.
    Unprovable,
}

/// A standing with the evidence to keep for the next look.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What was seen.
    pub standing: Standing,
    /// To be kept and handed to the next look.
    pub evidence: Value,
}

/// One call that a rotation would make, for `rotations plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCall {
    /// What is called, e.g. `PUT https://api.github.com/repos/acme/app/actions/secrets/OPENROUTER_API_KEY`.
    pub call: String,
    /// What it does, and what it would replace, in one sentence.
    pub effect: String,
}

/// One thing that [`Destination::preflight`] saw, in one line. Shown, a warning says that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The line.
    pub text: String,
    /// A person should know it before a rotation.
    pub is_warning: bool,
}

impl Remark {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_warning: false }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_warning: true }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_warning { "warning: " } else { "" };
        write!(f, "{mark}{}", self.text)
    }
}

/// What `rotations plan` says of one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The calls, each with what it would replace as it is now.
    pub calls: Vec<PlannedCall>,
    /// What a person should know first.
    pub warnings: Vec<String>,
}

impl Survey {
    /// These calls, and the warnings among what was found.
    fn new(calls: Vec<PlannedCall>, found: Vec<Remark>) -> Self {
        let warnings = found.into_iter().filter(|remark| remark.is_warning).map(|remark| remark.text);
        Self { calls, warnings: warnings.collect() }
    }
}

/// A place that consumers read a key from. Every write is a *put*: repeating it is harmless (R3).
///
/// Failures carry a sentence that says what is missing and a hint how to grant it.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Where the key really goes, without secrets and in one spelling: two entries with one address are one place
    /// (R14, R20).
    fn address(&self) -> String;

    /// What an older version called the same place: its record is taken over.
    fn former_address(&self) -> Option<String> {
        None
    }

    /// Everything that a write changes, where that is more than the address says.
    fn extent(&self) -> Extent {
        Extent { places: vec![self.address()], mirror: None }
    }

    /// An authenticated read that proves that a write could work; changes nothing. Answers what it saw, one
    /// line a call ("GET … with secrets:read: the secret exists since …").
    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure>;

    /// Writes the key. `Ok` means *accepted*; the value is the evidence for [`Destination::look`].
    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure>;

    /// Looks whether it holds the delivered key, by the evidence of the last publish or look
    /// (`Value::Null` when there is none, e.g. for an adopted key).
    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure>;

    /// The key that stands there now, for kinds that give it back as it is; `None` for all others, and where there is
    /// not exactly one.
    async fn held(&self, _deadline: Deadline) -> Result<Option<Secret>, Failure> {
        Ok(None)
    }

    /// The calls that a publish makes, for `plan`.
    fn plan(&self) -> Vec<PlannedCall>;

    /// The same by what is there now: what each write would replace, and what a person should know. Changes nothing.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        Ok(Survey::new(self.plan(), self.preflight(deadline).await?))
    }

    /// How long one publish may take when that is more than an ordinary call (`engine.call_timeout`).
    fn patience(&self) -> Option<Span> {
        None
    }

    /// The step after a proved write, where there is one.
    fn rollout(&self) -> Option<&dyn Rollout> {
        None
    }

    /// The table behind it, where there is one.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }
}

/// What the writes of a destination change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Addresses.
    pub places: Vec<String>,
    /// The beginning of every address that a mirror may write.
    pub mirror: Option<String>,
}

impl Extent {
    /// Whether a write of one would change what the other holds (R20).
    pub fn overlaps(&self, other: &Self) -> bool {
        self.places.iter().any(|place| other.places.contains(place))
            || self.mirrors_over(other)
            || other.mirrors_over(self)
    }

    fn mirrors_over(&self, other: &Self) -> bool {
        let under = |beginning: &String| other.places.iter().any(|place| place.starts_with(beginning));
        self.mirror.as_ref().is_some_and(under)
    }
}

/// A step after a proved write that makes running consumers take the key up: a redeploy, a dispatch event.
///
/// It is a *create* (R3), so it is an effect of its own: taken when a look said [`Standing::Confirmed`] and
/// [`Rollout::due`] holds, its evidence committed with its outcome. Its failure never undoes the publish.
#[async_trait]
pub trait Rollout: Send + Sync {
    /// True when the destination's required level is *effective*; false for a courtesy that blocks nothing.
    fn required(&self) -> bool;

    /// True when the evidence shows a proved write that has not been rolled out.
    fn due(&self, evidence: &Value) -> bool;

    /// Starts it once, or finds it started already where the vendor can be asked. The value is the evidence
    /// for the next look.
    async fn start(
        &self,
        delivery: &Delivery,
        evidence: &Value,
        deadline: Deadline,
    ) -> Result<Value, Failure>;

    /// The evidence to keep when [`Rollout::start`] was refused for good: it is not tried again before a person
    /// says so, and what has failed until then no longer counts.
    fn given_up(&self, evidence: Value) -> Value {
        evidence
    }
}

/// A destination that is one row of a table: other rows may mirror stored keys, and each says how its key is.
///
/// What is written is fenced by the row itself: an [`LedgerEntry`] names the write that it was read after.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Installs the tables and functions, or takes over those that are there. Answers what it did, a line each.
    async fn migrate(&self, deadline: Deadline) -> Result<Vec<String>, Failure>;

    /// The provider whose manually kept keys are mirrored.
    fn mirrors(&self) -> Option<&str>;

    /// What the addresses of its rows begin with; the number follows.
    fn table(&self) -> String;

    /// The number of the row that a rotation publishes to.
    fn own_number(&self) -> i64;

    /// Every row of the provider.
    async fn entries(&self, deadline: Deadline) -> Result<Vec<LedgerEntry>, Failure>;

    /// Writes one row, unless somebody wrote it since it was read.
    async fn put(&self, entry: &LedgerEntry, deadline: Deadline) -> Result<(), Failure>;
}

impl dyn Ledger + '_ {
    /// The address of the row with this number.
    pub fn address_of(&self, number: i64) -> String {
        format!("{}{number}", self.table())
    }
}

/// One row of a [`Ledger`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Number of the key in its provider.
    pub number: i64,
    /// The key.
    pub secret: Secret,
    /// Inactive keys are not handed out.
    pub is_active: bool,
    /// Higher ones are handed out first; `None` keeps the row's.
    pub priority: Option<i64>,
    /// The verdict; an `invalid` key is not handed out.
    pub status: String,
    /// Which generation of a rotation it is.
    pub generation: Option<i64>,
    /// How many writes the row has seen; `None` when there is no row.
    pub seq: Option<i64>,
}

/// What a person would see of a preflight.
#[cfg(test)]
fn shown(remarks: &[Remark]) -> String {
    remarks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
