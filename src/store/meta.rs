//! Facts about this database, and its schema.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor, Row};

use super::pool::{Kind, Tx};
use super::{Store, StoreError, epochs};
use crate::crypto::Sealed;

/// One text for both databases. The text of one that was applied is never changed, comments included: its checksum is
/// in every database.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/store");

const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) AS version FROM _sqlx_migrations";

/// Where the schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The newest migration that the database has; 0 for none.
    pub applied: i64,
    /// The newest migration that this program knows.
    pub known: i64,
}

impl Store {
    /// Brings the schema up to date; idempotent. A database of a newer rekeyd is refused and left alone.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self.kind() {
            // The migrator locks nothing here: processes that start together would all make the tables.
            Kind::Sqlite => {
                let mut tx = self.pools.begin().await?;
                MIGRATIONS.run(&mut *tx.inner).await.map_err(migration_error)?;
                tx.commit().await?;
            }
            Kind::Postgres => {
                // An index over years of history takes longer than any statement of the daemon may.
                let mut connection = self.pools.writer().acquire().await?;
                connection.execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
                let done = MIGRATIONS.run(&mut *connection).await.map_err(migration_error);
                connection.close().await?;
                done?;
            }
        }
        self.take_over_mirrors().await
    }

    /// Where the schema stands.
    pub async fn schema(&self) -> Result<SchemaStatus, StoreError> {
        let known = Self::known();
        let found = sqlx::query(NEWEST).fetch_one(self.pools.reader()).await;
        let applied = match found {
            Ok(row) => row.try_get("version")?,
            Err(sqlx::Error::Database(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(SchemaStatus { applied, known })
    }

    /// Refuses to work on a database that a newer rekeyd has migrated meanwhile.
    pub(super) async fn still_known(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let row = sqlx::query(NEWEST).fetch_one(&mut *tx.inner).await?;
        if row.try_get::<i64, _>("version")? > Self::known() { Err(StoreError::NewerSchema) } else { Ok(()) }
    }

    fn known() -> i64 {
        MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
    }

    /// A fact about this database.
    pub async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pools.reader())
            .await?;
        Ok(row.map(|row| row.try_get("value")).transpose()?)
    }

    /// Writes a fact once: the first writer wins, and everybody gets its value.
    pub async fn fact_once(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut *tx.inner)
            .await?;
        let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(row.try_get("value")?)
    }

    /// Writes a sealed value and reads it back, so that a database that cannot be written is found before a key
    /// is issued (rotation.md, "planned": the canary).
    pub async fn canary(&self, name: &str, sealed: &Sealed) -> Result<String, StoreError> {
        let mut tx = self.pools.begin().await?;
        epochs::in_force(&mut tx, &sealed.by).await?;
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(&sealed.token)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(self.fact(name).await?.unwrap_or_default())
    }

    /// Writes a consistent copy of a SQLite database to `path`, which must not exist; only its owner may read it.
    pub async fn backup(&self, path: &std::path::Path) -> Result<(), StoreError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.map_err(|error| StoreError::File { path: path.to_owned(), error })?;
        sqlx::query("VACUUM INTO $1")
            .bind(path.to_string_lossy().into_owned())
            .execute(self.pools.writer())
            .await?;
        Ok(())
    }
}

fn migration_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => StoreError::NewerSchema,
        MigrateError::Execute(error) => StoreError::from(error),
        MigrateError::ExecuteMigration(error, version) => match StoreError::from(error) {
            StoreError::Database(error) => StoreError::Migrate(format!("migration {version}: {error}")),
            known => known,
        },
        other => StoreError::Migrate(other.to_string()),
    }
}
