//! A database of its own for each test.

use sqlx::{Connection, Executor};

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Db {
    Sqlite,
    Postgres,
}

/// A fresh, empty database.
#[derive(Debug)]
pub struct Database {
    /// As in `[database] url`.
    pub url: String,
}

impl Database {
    /// Makes one. PostgreSQL's server is the one that `tests/run.sh` started, named by
    /// `REKEYD_TEST_POSTGRES` (`postgres://user@host:port`); without it the test fails, it never skips.
    pub async fn new(db: Db, folder: &std::path::Path) -> Self {
        match db {
            Db::Sqlite => Self { url: format!("sqlite:{}", folder.join("rekeyd.db").display()) },
            Db::Postgres => {
                let server = std::env::var("REKEYD_TEST_POSTGRES")
                    .expect("REKEYD_TEST_POSTGRES is not set: run the tests with tests/run.sh");
                let name = format!("rekeyd_{}", uuid::Uuid::new_v4().simple());
                let mut admin = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
                let create = format!("CREATE DATABASE {name}");
                admin.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
                admin.close().await.unwrap();
                Self { url: format!("{server}/{name}") }
            }
        }
    }
}
