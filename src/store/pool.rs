//! The only file that knows which database it is.
//!
//! Both databases run through sqlx's `Any` driver: the SQL is one text (`$1` markers, TEXT and BIGINT only),
//! so a two-variant enum or a macro would only repeat every query. What differs is here: how a write
//! transaction begins (SQLite: `BEGIN IMMEDIATE` on a pool of one, because a plain `BEGIN` loses races), the
//! durability settings (R2), the clock, and what an error code means.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::{Any, AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, ConnectOptions, Executor, Row, Transaction};

use super::StoreError;
use crate::domain::postgres_url::{NotPostgres, PostgresUrl};
use crate::domain::time::{Span, Timestamp};
use crate::net::is_distrust;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bundled; one file.
    Sqlite,
    /// For several replicas.
    Postgres,
}

impl Kind {
    /// The name for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// One text of SQL for this database: SQLite has one writer, and locks no rows.
    pub(super) fn dialect(self, sql: &str) -> String {
        match self {
            Self::Sqlite => sql.replace(" FOR UPDATE SKIP LOCKED", ""),
            Self::Postgres => sql.to_owned(),
        }
    }

    fn clock_sql(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now",
            Self::Postgres => "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now",
        }
    }

    /// What every connection is told first. `patience` is how long a statement waits for somebody's lock.
    fn settings_sql(self, patience: Span) -> String {
        let patience = patience.0;
        match self {
            Self::Sqlite => format!(
                "PRAGMA busy_timeout = {patience}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;"
            ),
            Self::Postgres => format!(
                "SET synchronous_commit = on; SET lock_timeout = {patience}; SET statement_timeout = '30s'; \
                 SET idle_in_transaction_session_timeout = '30s';"
            ),
        }
    }
}

/// Connections: one for writing and several for reading on SQLite, one pool for both on PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) kind: Kind,
    writer: AnyPool,
    reader: AnyPool,
}

/// A write transaction.
pub(super) struct Tx {
    pub(super) inner: Transaction<'static, Any>,
    /// The database's clock when the transaction began.
    pub(super) now: Timestamp,
}

impl Pools {
    /// Opens the database behind `url` (`sqlite:PATH` or `postgres://…`). Creates a missing SQLite file, readable
    /// by its owner only. Connects once, so that a wrong address fails here.
    pub(super) async fn open(url: &str, max_connections: u32, patience: Span) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (kind, url) = normalise(url)?;
        // The driver's own words may repeat a part of the URL.
        let options: Result<AnyConnectOptions, _> = url.parse();
        let options = options.map_err(|_| {
            StoreError::Address("an option of the URL has a value that the driver does not know".to_owned())
        })?;
        let options = options.disable_statement_logging();
        let pool = |connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Span(patience.0 / 2 * 3).to_std())
                .after_connect(move |connection, _| {
                    let settings = sqlx::AssertSqlSafe(kind.settings_sql(patience));
                    Box::pin(async move { connection.execute(settings).await.map(|_| ()) })
                })
        };
        let reader = pool(max_connections.max(2));
        match kind {
            Kind::Sqlite => {
                let writer = pool(1).connect_with(options.clone()).await?;
                let reader = reader.connect_with(options).await?;
                Ok(Self { kind, writer, reader })
            }
            Kind::Postgres => {
                let both = reader.connect_with(options).await?;
                Ok(Self { kind, writer: both.clone(), reader: both })
            }
        }
    }

    /// For reading outside a transaction.
    pub(super) fn reader(&self) -> &AnyPool {
        &self.reader
    }

    /// For migrations.
    pub(super) fn writer(&self) -> &AnyPool {
        &self.writer
    }

    /// Begins a write transaction that cannot lose a race it has already read for.
    pub(super) async fn begin(&self) -> Result<Tx, StoreError> {
        let mut inner = match self.kind {
            // The one writer waits for another process, and whoever waits for the writer waits for the same.
            Kind::Sqlite => match self.writer.begin_with("BEGIN IMMEDIATE").await {
                Err(sqlx::Error::PoolTimedOut) => return Err(StoreError::Busy),
                begun => begun?,
            },
            Kind::Postgres => self.writer.begin().await?,
        };
        let now = clock(&mut inner, self.kind).await?;
        Ok(Tx { inner, now })
    }

    /// The database's clock.
    pub(super) async fn now(&self) -> Result<Timestamp, StoreError> {
        let row = sqlx::query(self.kind.clock_sql()).fetch_one(&self.reader).await?;
        Ok(Timestamp(row.try_get("now")?))
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

async fn clock(tx: &mut Transaction<'static, Any>, kind: Kind) -> Result<Timestamp, StoreError> {
    let row = sqlx::query(kind.clock_sql()).fetch_one(&mut **tx).await?;
    Ok(Timestamp(row.try_get("now")?))
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await.map_err(StoreError::from)
    }
}

/// What a path must not have literally in a URL.
const SIGNS: &AsciiSet = &CONTROLS.add(b'%').add(b'#').add(b'?').add(b' ');

/// The driver's form of the address: a SQLite file is created when missing, and a PostgreSQL host that is not
/// loopback gets a certificate check unless the address says otherwise (sqlx's default is silently plaintext).
fn normalise(url: &str) -> Result<(Kind, String), StoreError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let file = path.split('?').next().unwrap_or_default();
        if file.is_empty() || file.contains(":memory:") {
            return Err(StoreError::Address(
                "a SQLite address needs a file: sqlite:/var/lib/rekeyd/rekeyd.db".to_owned(),
            ));
        }
        create_private(std::path::Path::new(file))?;
        // The driver takes a URL: what is a sign of URLs is written as its number.
        let file = utf8_percent_encode(file, SIGNS);
        return Ok((Kind::Sqlite, format!("sqlite://{file}")));
    }
    let parsed = PostgresUrl::parse(url).map_err(|error| match error {
        NotPostgres::Form => StoreError::Address("expected sqlite:PATH or postgres://…".to_owned()),
        NotPostgres::Misplaced => StoreError::Address(error.to_string()),
    })?;
    let ask = !parsed.is_local() && parsed.ssl_mode().is_none();
    let mut parsed = parsed.url().clone();
    if ask {
        parsed.query_pairs_mut().append_pair("sslmode", "verify-full");
    }
    Ok((Kind::Postgres, parsed.into()))
}

/// Makes the file with mode 0600 before SQLite would make it with the umask's.
fn create_private(path: &std::path::Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let opened = match made {
        Ok(file) => give_to_owner_of_folder(path, &file),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::OpenOptions::new().write(true).open(path).map(|_| ())
        }
        Err(error) => Err(error),
    };
    opened.map_err(|error| StoreError::File { path: path.to_owned(), error })
}

/// A command that root runs before the service ever started must not leave a file that the service cannot open.
/// SQLite itself gives the files beside it to the same owner.
fn give_to_owner_of_folder(path: &std::path::Path, file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let owner = std::fs::metadata(folder.unwrap_or(std::path::Path::new(".")))?;
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// What a driver's error means for the caller.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            let text = database.message().to_owned();
            if database.is_unique_violation() || text.contains("UNIQUE constraint failed") {
                return StoreError::Conflict(constraint_of(database.constraint(), &text));
            }
            match code.as_str() {
                // SQLite: busy, locked, and their kinds. PostgreSQL: lock and statement timeouts, deadlocks.
                "5" | "6" | "261" | "262" | "517" | "773" | "55P03" | "57014" | "40001" | "40P01" => {
                    StoreError::Busy
                }
                "13" | "53100" => StoreError::Full,
                "8" | "264" | "520" | "776" | "1032" | "1288" | "1544" | "25006" => StoreError::ReadOnly,
                // Dropped; left idle in a transaction for too long; too many connections.
                "3D000" | "25P03" | "53300" => StoreError::Away(text),
                code if code.starts_with("08") || code.starts_with("57P") => StoreError::Away(text),
                _ => StoreError::Database(error),
            }
        }
        _ if matches!(error, sqlx::Error::Tls(_)) || is_distrust(&error) => StoreError::Away(format!(
            "it did not prove itself: {error} (the server must offer TLS, its certificate must name the host of the URL, \
             and its authority be known: `[network] ca_file`)"
        )),
        // A server that hangs up in the middle of a word is a protocol error to the driver.
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_) => StoreError::Away(error.to_string()),
        _ => StoreError::Database(error),
    }
}

/// PostgreSQL names the index; SQLite names its columns.
fn constraint_of(name: Option<&str>, text: &str) -> String {
    if let Some(name) = name {
        return name.to_owned();
    }
    let columns = text.rsplit(": ").next().unwrap_or_default();
    let known = [
        ("runs.rotation, runs.due_at", "runs_due"),
        ("runs.rotation", "runs_one_open"),
        ("effects.target", "effects_one_create"),
        ("effects.account", "effects_one_kill"),
        ("keys.account, keys.hash", "keys_hash"),
        ("keys.rotation, keys.generation", "keys_generation"),
        ("keys.provider, keys.number", "keys_number"),
        ("keys.rotation", "keys_one_current"),
        ("holdings.address, holdings.seq", "holdings_seq"),
        ("alerts.kind, alerts.subject", "alerts_one_open"),
        ("users.email", "users_email"),
        ("tokens.name", "tokens_name"),
    ];
    known
        .iter()
        .find(|(of, _)| *of == columns)
        .map_or_else(|| columns.to_owned(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_postgres_hosts_get_a_certificate_check() {
        let url = |text: &str| normalise(text).map(|(_, url)| url).unwrap();
        assert!(url("postgres://u@db.example.com/x").ends_with("sslmode=verify-full"));
        assert!(!url("postgres://u@127.0.0.1:5433/x").contains("sslmode"));
        assert!(!url("postgres://u@[::1]/x").contains("sslmode"));
        assert!(url("postgres://u@127.0.0.1/x?host=10.0.0.7").ends_with("sslmode=verify-full"));
        assert!(url("postgres://u@db.example.com/x?sslmode=require").ends_with("sslmode=require"));
    }

    #[test]
    fn a_path_is_opened_as_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("100% a#b.db");
        let (_, url) = normalise(&format!("sqlite:{}", path.display())).unwrap();
        assert!(path.exists() && url.ends_with("/100%25%20a%23b.db"), "{url}");
    }

    #[tokio::test]
    async fn every_sqlite_connection_is_durable_and_strict() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("rekeyd.db").display());
        let pools = Pools::open(&url, 2, Span::seconds(7)).await.unwrap();
        for pool in [&pools.writer, &pools.reader] {
            for (pragma, expected) in [
                ("PRAGMA synchronous", 2),
                ("PRAGMA foreign_keys", 1),
                ("PRAGMA secure_delete", 1),
                ("PRAGMA busy_timeout", 7000),
            ] {
                let row = sqlx::query(pragma).fetch_one(pool).await.unwrap();
                assert_eq!(row.try_get::<i64, _>(0).unwrap(), expected, "{pragma}");
            }
            let row = sqlx::query("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            assert_eq!(row.try_get::<String, _>(0).unwrap(), "wal");
        }
    }

    /// An answer of a database that nobody can provoke here.
    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Answer {
        code: &'static str,
        text: &'static str,
    }

    impl sqlx::error::DatabaseError for Answer {
        fn message(&self) -> &str {
            self.text
        }
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.code.into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    #[test]
    fn codes_are_told_apart() {
        let meaning = |code, text| classify(sqlx::Error::Database(Box::new(Answer { code, text })));
        for code in ["13", "53100"] {
            assert!(matches!(meaning(code, "no space left"), StoreError::Full), "{code}");
        }
        for code in ["5", "6", "517", "55P03", "40001", "40P01", "57014"] {
            assert!(matches!(meaning(code, "locked"), StoreError::Busy), "{code}");
        }
        for code in ["8", "1544", "25006"] {
            assert!(matches!(meaning(code, "readonly"), StoreError::ReadOnly), "{code}");
        }
        for code in ["08006", "57P01", "57P03", "53300", "3D000", "25P03"] {
            assert!(matches!(meaning(code, "gone"), StoreError::Away(_)), "{code}");
        }
        assert!(matches!(meaning("1", "no such table"), StoreError::Database(_)));
        assert!(meaning("2067", "UNIQUE constraint failed: runs.rotation").is_conflict("runs_one_open"));
    }

    #[test]
    fn other_addresses_are_refused() {
        assert!(matches!(normalise("mysql://x/y"), Err(StoreError::Address(_))));
        assert!(matches!(normalise("sqlite::memory:"), Err(StoreError::Address(_))));
    }
}
