//! The only place where flows exist: it looks, asks the pure core, acts, and commits. A staircase: each step calls
//! only those above it, and a test holds them to that.
//!
//! ```text
//! error · parts · recipients   what can go wrong, what an engine is made from, how people are told
//! lease      holding a queue while working
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

pub mod commands;
mod error;
mod lease;
mod parts;
pub mod passes;
mod publish;
mod recipients;
mod retire;
mod run;
mod session;
mod testing;
mod worker;

use std::sync::Arc;

use crate::clock::Clock;
use crate::crypto::Sealed;
use crate::domain::secret::Secret;
use crate::domain::time::{Span, backoff};
use crate::net::Deadline;
use crate::store::{AuditEntry, KeyRow, Store};

pub use error::EngineError;
pub use parts::{Account, ConfiguredDestination, LeakWatch, Parts, Rotation, TestPolicy};
pub use recipients::{MailConfig, NoticeScope, Notifier, Route};
pub use run::start::{Start, start_emergency, start_run};
pub use run::step::{Progress, Report, step};
pub use session::{Opened, Session, open_session, wait_for_session, wait_for_session_or_stop};

/// The engine: everything that a flow needs.
pub struct Engine {
    pub(crate) parts: Parts,
    /// Who of this process works on an account, and who wants to.
    pub(crate) workers: worker::Workers,
    /// What this configuration knows of open runs.
    pub(crate) open_runs: parts::OpenRuns,
}

impl Engine {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let workers = worker::Workers::new(Arc::clone(&parts.clock));
        Self { parts, workers, open_runs: parts::OpenRuns::default() }
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

    /// The key material of a row, read back from the store; `None` when the store holds none.
    pub(crate) fn open(&self, row: &KeyRow) -> Result<Option<Secret>, EngineError> {
        let Some(token) = &row.secret else { return Ok(None) };
        let sealed = Sealed::from_stored(token.clone());
        self.parts.ring.open(&sealed).map(Some).map_err(EngineError::Crypto)
    }

    /// The same for work on many keys: one that cannot be opened is passed by, and `passes::unreadable` tells of it.
    pub(crate) fn open_or_pass_by(&self, row: &KeyRow) -> Option<Secret> {
        self.open(row).unwrap_or_else(|error| {
            tracing::debug!(key = %row.id, %error, "a key cannot be opened");
            None
        })
    }

    /// An audit row of this process.
    pub(crate) fn entry(
        &self,
        action: impl Into<String>,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry {
            actor: self.parts.actor.clone(),
            action: action.into(),
            subject: subject.into(),
            detail: detail.into(),
        }
    }

    /// Full-jitter exponential backoff from 5 s to 15 min (rotation.md, Retry).
    pub(crate) fn backoff(&self, attempts: u32) -> Span {
        let ceiling = backoff(Span::seconds(5), Span::minutes(15), attempts);
        ceiling.portion(self.parts.clock.fraction()).max(Span(500))
    }

    /// The deadline of a call that needs no lease.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.parts.call_timeout.to_std())
    }
}
