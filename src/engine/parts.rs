//! What an engine is made from: accounts, rotations, destinations, and how keys are tested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use crate::clock::Clock;
use crate::crypto::{Fingerprinter, KeyNames, Ring};
use crate::destination::{Destination, LeakSource};
use crate::domain::access::Access;
use crate::domain::inherit::Inherit;
use crate::domain::key::MicroUsd;
use crate::domain::rotation::{Policy, Target};
use crate::domain::schedule::{Rhythm, Schedule};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::engine::Notifier;
use crate::provider::{Issuer, Tester};
use crate::store::Store;

/// `[leaks]`: where leaked keys are reported, and how often that is looked at.
#[derive(Clone)]
pub struct LeakWatch {
    /// The scanners.
    pub sources: Vec<Arc<dyn LeakSource>>,
    /// The first moment of the schedule after this one.
    pub next: Arc<dyn Fn(Timestamp) -> Option<Timestamp> + Send + Sync>,
}

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
    /// R23.
    pub inherit: Inherit,
    /// Where its API is; its keys are tested there.
    pub base_url: Url,
    /// The provisioning key: tested, and published to `provisioning_destinations` only. Never stored.
    pub provisioning_key: Secret,
    /// Where scripts read the provisioning key from: GitHub only.
    pub provisioning_destinations: Vec<ConfiguredDestination>,
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
pub struct ConfiguredDestination {
    /// What a run knows of it.
    pub target: Target,
    /// `github`, `file`, …
    pub kind: &'static str,
    /// The adapter.
    pub adapter: Arc<dyn Destination>,
}

/// How stored keys are tested, `[tests]`.
#[derive(Debug, Clone)]
pub struct TestPolicy {
    /// When each key is looked at.
    pub rhythm: Rhythm,
    /// The shortest period of the schedule.
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

/// `[retention]`: how long what is over is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Runs that ended, and keys that died.
    pub runs: Span,
    /// The audit trail, and to whom keys were given.
    pub audit: Span,
    /// Alerts that are over.
    pub alerts: Span,
    /// Messages that were sent.
    pub messages: Span,
}

/// What an engine is made from.
pub struct Parts {
    /// The store, migrated.
    pub store: Store,
    /// The encryption keys, proved against the store.
    pub ring: Ring,
    /// The keyed hash of this database.
    pub fingerprints: Fingerprinter,
    /// What keys of this database are called at the provider (R6).
    pub names: KeyNames,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// When the configuration was loaded, on the database's clock (R14).
    pub loaded_at: Timestamp,
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
    /// `[retention]`.
    pub retention: Retention,
    /// By name.
    pub accounts: BTreeMap<String, Account>,
    /// By name.
    pub rotations: BTreeMap<String, Rotation>,
    /// By name.
    pub destinations: BTreeMap<String, ConfiguredDestination>,
    /// How people are told.
    pub notifier: Notifier,
    /// `[server]` and `[auth]`: who calls, and for how long they are known.
    pub access: Access,
    /// `[leaks]`.
    pub leaks: Option<LeakWatch>,
    /// `[[preferences]]`: orders of providers for hand-outs, by name.
    pub preferences: BTreeMap<String, Vec<String>>,
}

/// What one configuration knows of open runs (R14): those that it has not looked at yet, and those that it has left to
/// a process with a newer one. Lost with the process without harm: the next configuration looks again.
#[derive(Debug, Default)]
pub(crate) struct OpenRuns(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    /// `None` before the first look at what is open.
    unseen: Option<BTreeSet<String>>,
    /// And when, on the monotonic clock.
    left: BTreeMap<String, Span>,
}

impl OpenRuns {
    fn with<R>(&self, change: impl FnOnce(&mut Runs) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs that were open at the first look and that nobody has looked at since; `None` before it.
    pub(crate) fn unseen(&self) -> Option<Vec<String>> {
        self.with(|runs| runs.unseen.as_ref().map(|unseen| unseen.iter().cloned().collect()))
    }

    /// The first look.
    pub(crate) fn are(&self, open: impl Iterator<Item = String>) {
        self.with(|runs| runs.unseen = Some(open.collect()));
    }

    /// It was looked at.
    pub(crate) fn saw(&self, run: &str) {
        self.with(|runs| runs.unseen.as_mut().is_some_and(|unseen| unseen.remove(run)));
    }

    /// From now on the passes pass it by for a while. False when it was left before.
    pub(crate) fn leave(&self, run: &str, now: Span) -> bool {
        self.with(|runs| runs.left.insert(run.to_owned(), now).is_none())
    }

    /// Whether it was left within this time.
    pub(crate) fn has_left(&self, run: &str, now: Span, within: Span) -> bool {
        self.with(|runs| runs.left.get(run).is_some_and(|at| now.0 - at.0 < within.0))
    }
}
