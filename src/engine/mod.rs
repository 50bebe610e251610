//! The only place where flows exist: it looks, asks the pure core, acts, and commits. A staircase: each step calls
//! only those above it, and a test holds them to that.
//!
//! ```text
//! error · parts · recipients   what can go wrong, what an engine is made from, how people are told
//! budget/    how often it calls the outside while nothing comes of it (R16)
//! lease      holding a queue while working
//! sealing    what is stored, sealed and opened for one purpose (R24)
//! worker     who of this process works on an account, and who wants to (R22)
//! testing/   what a test of a key changes, and says
//! session/   the right to work on one account (R4, R8); an event, committed with all that follows from it
//! publish/   one key to one address, and proving it
//! retire/    disable and delete, through the guard: the only caller of the provider's disable and delete
//! run/       a run: start it, then load → facts → next → perform → commit, one directive at a time
//! passes/    what the daemon does by itself: one file a row of `daemon::PASSES`
//! commands/  what a person asks for, and what is shown: the command line calls nothing else
//! ```
//!
//! Inherent methods stand in the file of their type; everything else is a free function that takes `&Engine` or
//! `&mut Session`, so that the imports of a file show what it calls. The daemon, a replica and the command line all
//! use this; nothing here knows which of them it is.

mod budget;
pub mod commands;
mod error;
mod lease;
mod parts;
pub mod passes;
mod publish;
mod recipients;
mod retire;
mod run;
mod sealing;
mod session;
mod testing;
mod worker;

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::access::Access;
use crate::domain::actor::Actor;
use crate::domain::secret::Secret;
use crate::domain::time::{Span, backoff};
use crate::net::Deadline;
use crate::store::{AuditEntry, Store};

pub use error::EngineError;
pub use parts::{Account, ConfiguredDestination, LeakWatch, Parts, Retention, Rotation, TestPolicy};
pub use recipients::{MailConfig, NoticeScope, Notifier, Route};
pub use run::start::{Start, start_emergency, start_run};
pub use run::step::{Progress, Report, step};
pub use sealing::RingSealer;
pub use session::{Opened, Session, open_session, wait_for_session, wait_for_session_or_stop};

/// The engine: everything that a flow needs. A clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) parts: Arc<Parts>,
    /// Who acts, for the audit trail.
    pub(crate) actor: Actor,
    /// Who of this process works on an account, and who wants to.
    pub(crate) workers: Arc<worker::Workers>,
    /// What this configuration knows of open runs.
    pub(crate) open_runs: Arc<parts::OpenRuns>,
    /// How often it calls the outside.
    pub(crate) budgets: Arc<budget::Budgets>,
}

impl Engine {
    /// Puts the parts together.
    pub fn new(mut parts: Parts, actor: Actor) -> Self {
        let budgets = Arc::new(budget::Budgets::over(&mut parts));
        let workers = Arc::new(worker::Workers::new(Arc::clone(&parts.clock)));
        Self { parts: Arc::new(parts), actor, workers, open_runs: Arc::default(), budgets }
    }

    /// The same engine at work for somebody else: what is audited says who.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.parts.clock.as_ref()
    }

    /// What the configuration says of those who call.
    pub fn access(&self) -> &Access {
        &self.parts.access
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
    pub fn destinations(&self) -> impl Iterator<Item = &ConfiguredDestination> {
        self.parts.destinations.values()
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
    pub fn destination(&self, name: &str) -> Result<&ConfiguredDestination, EngineError> {
        self.parts
            .destinations
            .get(name)
            .ok_or_else(|| EngineError::unknown("destination", name, self.parts.destinations.keys()))
    }

    /// What accounts of this kind of provider call a key; where none is configured, the hash that the only issuer of this
    /// version goes by.
    pub(crate) fn identity_at(&self, kind: &str, key: &Secret) -> Option<String> {
        let mut issuers = self.accounts().filter(|account| account.provider == kind).peekable();
        match issuers.peek() {
            Some(_) => issuers.find_map(|account| account.issuer.identity_of(key)),
            None => Some(key.sha256_hex()),
        }
    }

    /// An audit row of who acts.
    pub(crate) fn entry(
        &self,
        action: impl Into<String>,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry::new(self.actor.clone(), action, subject, detail)
    }

    /// Full-jitter exponential backoff from 5 s to 15 min (rotation.md, Retry).
    pub(crate) fn backoff(&self, attempts: u32) -> Span {
        let ceiling = backoff(Span::seconds(5), Span::minutes(15), attempts);
        ceiling.portion(self.parts.clock.fraction()).max(Span(500))
    }

    /// How long after its intent a write to this place may still land (R19): the lease that it was begun under ends, and
    /// then the call.
    pub(crate) fn may_land(&self, place: &ConfiguredDestination) -> Span {
        let call = place.adapter.patience().unwrap_or(Span::ZERO).max(self.parts.call_timeout);
        Span(self.parts.lease.0.saturating_add(call.0))
    }

    /// The deadline of a call that needs no lease.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.parts.call_timeout.to_std())
    }
}
