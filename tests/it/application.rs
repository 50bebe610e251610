//! The application's PostgreSQL database, on a real server that looks like Supabase's.
//!
//! - `mirrored`: a row of a mirrored table is an address that may hold a key
//! - `page`: the statements of `docs/postgres.md`
//! - `readers`: who can read the keys, by SQL as each role; tables that were there before
//! - `writers`: publish, read-back, concurrency, fences
//! - `refusals`: each missing right, each way for a server to be away
//! - `tls`: a real server with a certificate of a test authority, for the application's database and our own store
//! - `whole`: the real binary: a rotation, a rollback, mirrored keys

mod mirrored;
mod page;
mod readers;
mod refusals;
mod tls;
mod whole;
mod writers;

use std::time::Duration;

use rekeyd::destination::postgres::{Postgres, PostgresSpec};
use rekeyd::destination::{Delivery, Destination, Ledger};
use rekeyd::domain::outcome::Failure;
use rekeyd::domain::secret::Secret;
use rekeyd::net::Deadline;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::support::{Database, Db};

/// Roles are the server's, not the database's: many tests want them at once. One text is one transaction, and the
/// lock is held to its end: the next one finds them.
const ROLES: &str = "
    SELECT pg_advisory_xact_lock(77001);
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN CREATE ROLE anon NOLOGIN; END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
            CREATE ROLE authenticated NOLOGIN; END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
            CREATE ROLE service_role NOLOGIN BYPASSRLS; END IF;
    END $$;";

/// What Supabase does to every new object of `public`.
const SUPABASE: &str = "
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;";

/// An application's database.
pub struct App {
    pub url: String,
    _folder: tempfile::TempDir,
}

impl App {
    /// An empty one.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Database::new(Db::Postgres, folder.path()).await.url;
        let server = std::env::var("REKEYD_TEST_POSTGRES").unwrap();
        // Advisory locks belong to one database.
        let mut shared = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        shared.execute(ROLES).await.unwrap();
        let app = Self { url, _folder: folder };
        app.sql(SUPABASE).await;
        app
    }

    /// One with our tables.
    pub async fn migrated() -> Self {
        let app = Self::new().await;
        app.destination().migrate(soon()).await.unwrap();
        app
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Runs statements as the owner.
    pub async fn sql(&self, text: &str) {
        let done = self.connect().await.execute(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await;
        done.unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// One value as a role sees it; the error code when it may not.
    pub async fn asked_as(&self, role: &str, query: &str) -> Result<Option<String>, String> {
        let mut connection = self.connect().await;
        connection.execute(AssertSqlSafe(format!("SET ROLE {role}"))).await.unwrap();
        let answer = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_optional(&mut connection).await;
        match answer {
            Ok(row) => Ok(row.and_then(|row| row.get(0))),
            Err(sqlx::Error::Database(error)) => Err(error.code().unwrap().into_owned()),
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The same as the owner.
    pub async fn ask(&self, query: &str) -> Option<String> {
        self.asked_as("postgres", query).await.unwrap()
    }

    /// The whole table, for "nothing was changed".
    pub async fn everything(&self) -> Option<String> {
        self.ask("SELECT string_agg(k::text, E'\\n' ORDER BY k.id) FROM public.provider_api_keys k").await
    }

    pub fn destination(&self) -> Postgres {
        destination(&self.url)
    }

    /// A role that can log in, and the URL to do so.
    pub async fn login(&self, grants: &str) -> (String, String) {
        let role = format!("app_{}", uuid::Uuid::new_v4().simple());
        self.sql(&format!("CREATE ROLE {role} LOGIN; {}", grants.replace("ROLE", &role))).await;
        (role.clone(), self.url.replace("postgres@", &format!("{role}@")))
    }
}

pub fn destination(url: &str) -> Postgres {
    Postgres::new(PostgresSpec {
        name: "app-database".to_owned(),
        url: Secret::new(url),
        provider_name: "openrouter".to_owned(),
        key_number: 1,
        mirror: false,
        ca_file: None,
    })
    .unwrap()
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_mins(1))
}

/// A false key.
pub fn key(name: &str) -> String {
    format!("not-a-key-{name}-{}", uuid::Uuid::new_v4().simple())
}

pub fn delivery(secret: &str, generation: i64) -> Delivery {
    Delivery {
        secret: Secret::new(secret),
        rotation: "production".to_owned(),
        generation,
        destination: "app-database".to_owned(),
    }
}

/// A failure in full, checked to hold no secret.
pub fn told(failure: &Failure, secret: &str) -> String {
    let text = format!("{failure:?}");
    assert!(!text.contains(secret), "{text}");
    text
}

/// A publish that must work.
pub async fn publish(app: &App, secret: &str, generation: i64) -> serde_json::Value {
    app.destination().publish(&delivery(secret, generation), soon()).await.unwrap()
}
