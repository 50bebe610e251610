//! The database by hand. These need no engine: what keys are sealed with need not be known.

use std::path::PathBuf;

use serde_json::json;

use super::view::{BackupView, DatabaseView, SchemaView};
use crate::engine::EngineError;
use crate::store::{Kind, LAST_BACKUP, Store};

/// Brings the schema up to date.
pub async fn migrate(store: &Store) -> Result<SchemaView, EngineError> {
    store.migrate().await?;
    let status = store.schema().await?;
    Ok(SchemaView { applied: status.applied, known: status.known })
}

/// Which database, and where its schema stands.
pub async fn database_view(store: &Store) -> Result<DatabaseView, EngineError> {
    let status = store.schema().await?;
    Ok(DatabaseView { applied: status.applied, database: store.kind().word(), known: status.known })
}

/// Refuses where [`backup`] is another program's work.
pub fn can_back_up(store: &Store) -> Result<(), EngineError> {
    if store.kind() == Kind::Postgres {
        return Err(EngineError::usage("rekeyd backs up SQLite only", "use pg_dump for PostgreSQL"));
    }
    Ok(())
}

/// Writes a consistent copy of a `SQLite` database to a new file.
pub async fn backup(store: &Store, file: PathBuf) -> Result<BackupView, EngineError> {
    can_back_up(store)?;
    store.backup(&file).await?;
    // The copy is there; that nobody knows when it was made only brings a warning too much.
    if let Err(error) = store.note(LAST_BACKUP, &json!(store.now().await?)).await {
        tracing::warn!(%error, "the moment of the backup is not noted");
    }
    Ok(BackupView { file })
}
