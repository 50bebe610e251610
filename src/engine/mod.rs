//! The only place where flows exist: it looks, asks the pure core, acts, and commits.
//!
//! ```text
//! session   the right to work on one account: identity (R8), lease (R4), settled toggles
//! survey    list the account: strays, unknown keys (R9)
//! step      load → facts → next → perform → commit, one directive at a time
//! perform   each directive: one look or one call · issue   the plan, the create and its outcome · verify   a test
//! deliver   publish and prove at destinations · drift   what somebody else changed there
//! kill      the only caller of the provider's disable and delete, through the guard
//! outcome   what an event changes besides the run: roles, alerts, answers
//! start     new runs: manual, scheduled, emergency
//! due       which rotation is due, and when it is due next
//! outlook   what the daemon says of itself: what runs, what comes next, can it write
//! check     one pass over stored keys: probe, fold, commit · record, tell   the one place that records a test
//! watch     provisioning keys, credits, duplicates · scripts   the provisioning key for scripts
//! heal      a dead current key starts an emergency
//! mirror    tables of applications follow the store
//! leaks     what secret scanning found: an emergency, an alert, or nothing of ours
//! notices   what happened, told to people
//! adopt · thaw · manual · places · plan · view     what persons ask for, and what they see
//! ```
//!
//! The daemon, a replica and the command line all use this; nothing here knows which of them it is.

mod adopt;
mod check;
mod deliver;
mod drift;
mod due;
mod error;
mod given;
mod heal;
mod incident;
mod issue;
mod kill;
mod leaks;
mod manual;
mod mirror;
mod notices;
mod outcome;
mod outlook;
mod perform;
mod places;
mod plan;
mod probing;
mod record;
mod scripts;
mod session;
mod start;
mod step;
mod survey;
mod tell;
mod thaw;
mod verify;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::clock::Clock;
use crate::crypto::{Fingerprinter, Ring, Sealed};
use crate::destination::Destination;
use crate::domain::key::MicroUsd;
use crate::domain::rotation::{Policy, Target};
use crate::domain::schedule::Schedule;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::provider::{Issuer, Tester};
use crate::store::{Entry, KeyRow, Store};

pub use adopt::Adoption;
pub use check::{CheckReport, KeyReport, Scope, Which, Why};
pub use error::EngineError;
pub use given::{AddKey, Added};
pub use leaks::LeakWatch;
pub use notices::{MailRoom, NoticeReport, Post, Reach, Route, Trial};
pub use outlook::Outlook;
pub use places::Checked;
pub use session::{Opened, Session};
pub use start::Start;
pub use step::{Progress, Report};
pub use view::{PlanView, RotationView, RunView, WhyView};

/// An account of the configuration with its provisioning key at work.
pub struct Account {
    /// Name of the entry.
    pub name: String,
    /// Provider that its keys belong to in the store.
    pub provider: String,
    /// The provider's key management.
    pub issuer: Arc<dyn Issuer>,
    /// Workspace of the entry, part of the identity.
    pub workspace: Option<String>,
    /// R12.
    pub max_deletes_per_hour: u32,
    /// Where its API is; its keys are tested there.
    pub base_url: Url,
    /// The provisioning key: tested, and published to `provisioning_places` only. Never stored.
    pub provisioning_key: Secret,
    /// Where scripts read the provisioning key from: GitHub only.
    pub provisioning_places: Vec<Place>,
    /// Alert when less credit than this is left.
    pub credits_alert_below: Option<MicroUsd>,
}

/// A rotation of the configuration.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Its name.
    pub name: String,
    /// Name of its account entry.
    pub account: String,
    /// The policy that a run takes a snapshot of.
    pub policy: Policy,
    /// When runs are due.
    pub schedule: Schedule,
    /// Replace a dead current key without a person.
    pub heal: bool,
    /// Least time between two healing runs.
    pub heal_cooldown: Span,
}

/// A destination of the configuration.
#[derive(Clone)]
pub struct Place {
    /// What a run knows of it.
    pub target: Target,
    /// `github`, `file`, …
    pub kind: &'static str,
    /// The adapter.
    pub adapter: Arc<dyn Destination>,
}

/// How stored keys are tested, `[tests]`.
#[derive(Debug, Clone, Copy)]
pub struct TestPolicy {
    /// Time between two scheduled passes.
    pub interval: Span,
    /// Tests at one time.
    pub concurrency: usize,
    /// Tests at one time and provider.
    pub per_provider_concurrency: usize,
    /// Least time between the starts of two tests at one host.
    pub host_spacing: Span,
    /// Deadline of one test.
    pub timeout: Span,
    /// How long the history is kept.
    pub history: Span,
}

/// What an engine is made from.
pub struct Parts {
    /// The store, migrated.
    pub store: Store,
    /// The encryption keys, proved against the store.
    pub ring: Ring,
    /// The keyed hash of this database.
    pub fingerprints: Fingerprinter,
    /// This database's name at the provider (R6).
    pub instance: String,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Who acts, for the audit trail: `daemon`, `cli:USER`.
    pub actor: String,
    /// Unique name of this process, for leases.
    pub owner: String,
    /// R4.
    pub lease: Span,
    /// Deadline of one call.
    pub call_timeout: Span,
    /// R5-like second looks: `[tests] confirm_after`.
    pub confirm_after: Span,
    /// Tests keys of every provider.
    pub tester: Arc<dyn Tester>,
    /// `[tests]`.
    pub tests: TestPolicy,
    /// By name.
    pub accounts: BTreeMap<String, Account>,
    /// By name.
    pub rotations: BTreeMap<String, Rotation>,
    /// By name.
    pub places: BTreeMap<String, Place>,
    /// How people are told.
    pub post: Post,
    /// `[leaks]`.
    pub leaks: Option<LeakWatch>,
}

/// The engine: everything that a flow needs.
pub struct Engine {
    pub(crate) parts: Parts,
}

impl Engine {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.parts.clock.as_ref()
    }

    /// The accounts of the configuration.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.parts.accounts.values()
    }

    /// The rotations of the configuration.
    pub fn rotations(&self) -> impl Iterator<Item = &Rotation> {
        self.parts.rotations.values()
    }

    /// The destinations of the configuration.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.parts.places.values()
    }

    /// One rotation, or an error that names the nearest.
    pub fn rotation(&self, name: &str) -> Result<&Rotation, EngineError> {
        self.parts
            .rotations
            .get(name)
            .ok_or_else(|| EngineError::unknown("rotation", name, self.parts.rotations.keys()))
    }

    /// One account, or an error that names the nearest.
    pub fn account(&self, name: &str) -> Result<&Account, EngineError> {
        self.parts
            .accounts
            .get(name)
            .ok_or_else(|| EngineError::unknown("account", name, self.parts.accounts.keys()))
    }

    /// One destination, or an error that names the nearest.
    pub fn place(&self, name: &str) -> Result<&Place, EngineError> {
        self.parts
            .places
            .get(name)
            .ok_or_else(|| EngineError::unknown("destination", name, self.parts.places.keys()))
    }

    /// The key material of a row, read back from the store; `None` when the store holds none.
    pub(crate) fn open(&self, row: &KeyRow) -> Result<Option<Secret>, EngineError> {
        let Some(token) = &row.secret else { return Ok(None) };
        let sealed = Sealed::from_stored(token.clone());
        self.parts.ring.open(&sealed).map(Some).map_err(EngineError::Crypto)
    }

    /// An audit row of this process.
    pub(crate) fn entry(
        &self,
        action: impl Into<String>,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Entry {
        Entry {
            actor: self.parts.actor.clone(),
            action: action.into(),
            subject: subject.into(),
            detail: detail.into(),
        }
    }

    /// Full-jitter exponential backoff from 5 s to 15 min (rotation.md, Retry).
    pub(crate) fn backoff(&self, attempts: u32) -> Span {
        let ceiling = 5_000_i64.saturating_mul(1 << attempts.min(10)).min(Span::minutes(15).0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "at most 900,000 ms"
        )]
        let jittered = (ceiling as f64 * self.parts.clock.fraction()) as i64;
        Span(jittered.max(500))
    }
}
