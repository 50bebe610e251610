//! All SQL of our own store and nothing else. It sees sealed secrets only.
//!
//! Reading order: [`pool`] (which database it is), [`leases`] (who may write), [`change`] (every write of the
//! engine is a list of changes, committed in one transaction under a fence), then one file a table; what happens to a
//! key's row is in [`key_writes`].

mod accounts;
mod address;
mod alerts;
mod audit;
pub mod change;
mod daemons;
mod damaged;
mod effects;
mod epochs;
mod feed;
mod gauges;
mod gone;
mod hand_outs;
mod holdings;
mod key_edits;
mod key_list;
mod key_writes;
mod keys;
mod known;
mod leases;
mod limits;
mod listing;
mod looks;
mod memory;
mod meta;
mod observations;
mod outbox;
mod pastes;
mod pool;
mod providers;
mod repeats;
mod retention;
mod rotations;
mod runs;
mod sealed;
mod sessions;
mod taken_over;
mod tallies;
mod tokens;
mod users;

use std::path::PathBuf;

pub use accounts::AccountRow;
pub use address::trusting;
pub use alerts::AlertRow;
pub use audit::{AuditEntry, AuditFilter, AuditRow, Outcome};
pub use change::{Change, Guarded, KillRows};
pub use daemons::Daemon;
pub use damaged::{Damaged, PageOfKeys};
pub use effects::{EffectKind, EffectRow, EffectStatus, NewEffect};
pub use epochs::Begun;
pub use feed::Happened;
pub use gauges::Gauges;
pub use hand_outs::Wanted;
pub use holdings::{HoldingRow, copy_of, mirror_of, provisioning_key};
pub use key_edits::{KeyEdit, NewSecret};
pub use key_list::{KeyFilter, KeySort};
pub use keys::{About, AdoptedKey, KeyRow, NewKey, NewProvider, Origin, PLACEHOLDER, ProviderRow, Role};
pub use known::{Created, KnownSpec};
pub use leases::Lease;
pub use looks::{Claimed, Counting, Known, Lane, Waiting};
pub use memory::{HEALING, LAST_BACKUP};
pub use meta::SchemaStatus;
pub use observations::ObservationRow;
pub use outbox::{Backlog, Channel, Due, NewMessage, OutboxRow};
pub use pool::Kind;
pub use providers::{Answering, KeyCount};
pub use repeats::{Before, Repeatable};
pub use rotations::{Pause, RotationRow};
pub use runs::{NewRun, RunRow};
pub use sealed::{Resealed, Retired, SealedText, Sealer};
pub use sessions::{NewSession, SessionRow};
pub use tokens::TokenRow;
pub use users::{NewUser, UserChange, UserRow};

use crate::domain::time::{Span, Timestamp};
use crate::meter;

/// How long a write waits for its turn.
const PATIENCE: Span = Span::seconds(10);

/// Why the store could not do it. Nothing is half done: every write is one transaction.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address in the configuration is not one of a database.
    #[error("[database] url: {0}")]
    Address(String),
    /// The SQLite file cannot be opened.
    #[error("the database file {path} cannot be opened: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A unique index refused: somebody else was first. Holds the index's name.
    #[error("the database refused a duplicate ({0})")]
    Conflict(String),
    /// The lease is lost: another process works on this account (I6).
    #[error("another process took over this account")]
    FenceLost,
    /// Nobody would be left who may everything.
    #[error("this is the last admin")]
    LastAdmin,
    /// The encryption key that sealed this is not in force any more (R24).
    #[error("another encryption key seals now")]
    EpochOver,
    /// Locked for too long.
    #[error("the database is locked by another process")]
    Busy,
    /// No space left.
    #[error("the database is full: no space left on its disk")]
    Full,
    /// It cannot be written.
    #[error("the database is read-only")]
    ReadOnly,
    /// It cannot be reached.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// The database was migrated by a newer rekeyd.
    #[error("the database has a newer schema than this rekeyd knows: upgrade this process")]
    NewerSchema,
    /// A migration failed.
    #[error("the database cannot be migrated: {0}")]
    Migrate(String),
    /// A row does not hold what this program writes.
    #[error("the database holds an unreadable value in {0}")]
    Corrupt(&'static str),
    /// Any other answer of the database.
    #[error("the database answered with an error: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        pool::classify(error)
    }
}

impl StoreError {
    /// Another process took over: counted, since it is rare and tells of stalls.
    fn fence_lost() -> Self {
        meter::count(&meter::FENCE_REJECTIONS, &[]);
        Self::FenceLost
    }

    /// True when this index refused.
    pub fn is_conflict(&self, index: &str) -> bool {
        matches!(self, Self::Conflict(name) if name == index)
    }
}

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    pools: pool::Pools,
}

impl Store {
    /// Connects; runs no migration. `url` as in interface.md, `[database]`.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        Self::open_with_patience(url, max_connections, PATIENCE).await
    }

    /// The same, waiting for somebody else's lock for `patience` instead of 10 s before it is
    /// [`StoreError::Busy`].
    pub async fn open_with_patience(
        url: &str,
        max_connections: u32,
        patience: Span,
    ) -> Result<Self, StoreError> {
        Ok(Self { pools: pool::Pools::open(url, max_connections, patience).await? })
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        self.pools.kind
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.pools.now().await
    }

    /// Closes all connections; committed work is safe.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

/// JSON in a TEXT column.
fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data serialises")
}

/// JSON out of a TEXT column.
fn from_json<T: serde::de::DeserializeOwned>(text: &str, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt(column))
}

/// A fresh id: unique, and in the order of time.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
