//! What the program says of itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::DatabaseView;
use crate::domain::time::Timestamp;
use crate::engine::commands::database_view;
use crate::engine::{Engine, EngineError};
use crate::store::Daemon;

/// The program as it runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SystemView {
    /// Of this process.
    pub version: &'static str,
    /// Which one, and where its schema stands.
    pub database: DatabaseView,
    /// Processes that work on this database, as they were last heard of.
    pub replicas: Vec<ReplicaView>,
    /// What people are still to be told.
    pub outbox: OutboxStateView,
}

/// One process that works on the database.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct ReplicaView {
    pub name: String,
    pub seen_at: String,
}

/// What waits to be told.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct OutboxStateView {
    pub pending: i64,
    pub oldest: Option<String>,
}

/// The program as it runs.
pub async fn system_view(engine: &Engine) -> Result<SystemView, EngineError> {
    let replicas = engine.store().daemons(Daemon::SILENT).await?.into_iter();
    let backlog = engine.store().backlog().await?;
    Ok(SystemView {
        version: env!("CARGO_PKG_VERSION"),
        database: database_view(engine.store()).await?,
        replicas: replicas.map(|it| ReplicaView { name: it.owner, seen_at: it.seen_at.rfc3339() }).collect(),
        outbox: OutboxStateView { pending: backlog.pending, oldest: backlog.oldest.map(Timestamp::rfc3339) },
    })
}
