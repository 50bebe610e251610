//! `db migrate | status | backup`, and `encryption reencrypt`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

/// `db migrate`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaView {
    /// The newest migration that the database has; 0 for none.
    pub applied: i64,
    /// The newest migration that this program knows.
    pub known: i64,
}

/// `db status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DatabaseView {
    /// The newest migration that the database has; 0 for none.
    pub applied: i64,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// The newest migration that this program knows.
    pub known: i64,
}

/// `db backup`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BackupView {
    /// Where the copy is.
    pub file: PathBuf,
}

/// `encryption reencrypt`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReencryptedView {
    /// Secrets that the first key did not seal before.
    pub resealed: u64,
    /// Encryption keys that are not needed any more.
    pub retired: u64,
}
