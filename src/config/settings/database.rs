//! `[database]`

use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, DatabaseAddress};
use crate::config::file;
use crate::crypto::{ReferenceError, SecretRef};
use crate::domain::secret::Secret;

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Which database.
    pub url: DatabaseUrl,
    /// Size of the connection pool, at least 1.
    pub max_connections: u32,
    /// Whether the server of a PostgreSQL URL need not prove itself when the URL says so.
    pub insecure_tls: bool,
}

/// Which database, perhaps still behind a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// Known from the configuration.
    Plain(DatabaseAddress),
    /// The URL is a secret.
    Reference(SecretRef),
}

impl Database {
    pub(super) fn read(file: &file::Database, at: &At<'_>) -> Read<Self> {
        let field = at.field("url");
        let insecure_tls = file.insecure_tls;
        let url = field.value(DatabaseUrl::parse(&file.url.0, insecure_tls))?;
        if let DatabaseUrl::Reference(reference) = &url {
            field.keep_reference(reference, Purpose::DatabaseUrl { insecure_tls });
        }
        Ok(Self { url, max_connections: file.max_connections, insecure_tls })
    }
}

impl DatabaseUrl {
    fn parse(text: &str, insecure_tls: bool) -> Result<Self, BadValue> {
        if let Ok(reference) = SecretRef::parse(text) {
            return Ok(Self::Reference(reference));
        }
        DatabaseAddress::parse(&Secret::new(text))?.must_be_proved(insecure_tls).map(Self::Plain)
    }

    /// Which database it is in the end. Its server must prove itself unless the configuration says that it need not.
    pub fn resolve(&self, insecure_tls: bool) -> Result<DatabaseAddress, DatabaseUrlError> {
        match self {
            Self::Plain(address) => Ok(address.clone()),
            Self::Reference(reference) => {
                let secret = reference.resolve().map_err(DatabaseUrlError::Reference)?;
                DatabaseAddress::parse(&secret)
                    .and_then(|address| address.must_be_proved(insecure_tls))
                    .map_err(|source| DatabaseUrlError::Value { reference: reference.clone(), source })
            }
        }
    }
}

/// Why a reference gives no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// It does not resolve.
    #[error(transparent)]
    Reference(ReferenceError),
    /// What it names is no database URL.
    #[error("{reference} does not name a database that can be used: {source}")]
    Value {
        /// The reference.
        reference: SecretRef,
        /// Why not; repeats nothing of it.
        source: BadValue,
    },
}

impl DatabaseUrlError {
    /// The next move, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(error) => error.hint(),
            Self::Value { source, .. } => source.hint.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::testing::{assert_table, settings};

    #[test]
    fn is_a_sqlite_file_by_default() {
        let database = settings("").database;
        let sqlite = DatabaseAddress::Sqlite(PathBuf::from("/var/lib/rekeyd/rekeyd.db"));
        assert_eq!((database.url, database.max_connections), (DatabaseUrl::Plain(sqlite), 8));
    }

    #[test]
    fn reads_where_the_database_is() {
        let read = |url: &str| settings(&format!("[database]\nurl = {url:?}")).database.url;
        let sqlite = |path: &str| DatabaseUrl::Plain(DatabaseAddress::Sqlite(PathBuf::from(path)));
        assert_eq!(read("sqlite:/a/b.db"), sqlite("/a/b.db"));
        assert_eq!(read("sqlite:///a/b.db"), sqlite("/a/b.db"));
        assert_eq!(read("sqlite:b.db"), sqlite("b.db"));
        assert_eq!(read("sqlite:/a%20b/%C3%A4.db"), sqlite("/a b/\u{e4}.db"));
        let postgres = "postgres://rekeyd:not-a-password@db/rekeyd";
        assert_eq!(read(postgres), DatabaseUrl::Plain(DatabaseAddress::Postgres(Secret::new(postgres))));
        assert_eq!(read("env:DB"), DatabaseUrl::Reference(SecretRef::Env("DB".to_owned())));
    }

    #[test]
    fn a_far_server_proves_itself_unless_the_configuration_says_otherwise() {
        let far = "url = \"postgres://u:p@db/app?sslmode=require\"";
        assert!(settings(&format!("[database]\n{far}\ninsecure_tls = true")).database.insecure_tls);
        assert!(crate::config::testing::problems(&format!("[database]\n{far}")).contains("sslmode"));
        let near = "url = \"postgres://u:p@127.0.0.1/app?sslmode=disable\"";
        assert!(!settings(&format!("[database]\n{near}")).database.insecure_tls);
    }

    #[test]
    fn a_reference_must_name_a_database() {
        let resolve = |name: &str| DatabaseUrl::Reference(SecretRef::Env(name.to_owned())).resolve(false);
        let error = resolve("PATH").unwrap_err();
        assert_eq!(
            error.to_string(),
            "env:PATH does not name a database that can be used: neither a database URL nor a secret reference"
        );
        assert!(matches!(resolve("REKEYD_TEST_ABSENT"), Err(DatabaseUrlError::Reference(_))));
    }

    #[test]
    fn refuses_what_is_no_database() {
        assert_table!(&[
            "[database]\nurl = \"/var/lib/rekeyd.db\"",
            "[database]\nurl = \"mysql://a/b\"",
            "[database]\nurl = \"sqlite::memory:\"",
            "[database]\nurl = \"sqlite:\"",
            "[database]\nurl = \"sqlite:/a.db?mode=rwc\"",
            "[database]\nurl = \"postgres://a b/c\"",
            "[database]\nurl = \"postgres://user:/hunter2@db/app\"",
            "[database]\nurl = \"postgres://user:hunter2@db/app?sslmode=require\"",
        ]);
    }
}
