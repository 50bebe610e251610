//! One connection with one transaction, and the deadline on both sides: we stop waiting then, and the server ends
//! the transaction then, also when we are no longer there to say so.
//!
//! Everything is inside a transaction, settings included, so that poolers in transaction mode (Supabase's port
//! 6543) may stand between.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Executor, Postgres};

use super::refusal::{self, Phase};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::postgres_url::{NotPostgres, PostgresUrl};
use crate::domain::secret::Secret;
use crate::net::Deadline;

/// A statement with its values.
pub(super) type Statement<'q> = Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// Where the database is and how it is reached.
pub(super) struct Server {
    options: PgConnectOptions,
    address: String,
    role: String,
}

impl Server {
    /// Reads the URL. A host that is not loopback must prove itself with a certificate; the driver's own default
    /// is silently plaintext.
    pub(super) fn new(url: &Secret, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |text: &str, hint: &str| Failure::new(FailureKind::NotSent, text).hint(hint);
        let parsed = PostgresUrl::parse(url.expose())
            .map_err(|error| wrong(&format!("`url`: {error}"), error.hint()))?;
        // An error of the driver's may repeat a part of the URL, which holds a password.
        let Ok(mut options) = PgConnectOptions::from_url(parsed.url()) else {
            return Err(wrong(
                "`url`: an option of this PostgreSQL URL has a value that the driver does not know",
                NotPostgres::Form.hint(),
            ));
        };
        if !is_local(&options) {
            options = match options.get_ssl_mode() {
                PgSslMode::Disable | PgSslMode::Allow => {
                    return Err(wrong(
                        "`url` says sslmode=disable, and the host is not loopback: keys would travel in clear",
                        "leave sslmode out of the URL; a server without TLS can only be on this machine",
                    ));
                }
                PgSslMode::VerifyCa => options,
                _ => options.ssl_mode(PgSslMode::VerifyFull),
            };
        }
        let roots = authorities(parsed.url(), ca_file)?;
        if !roots.is_empty() {
            options = options.ssl_root_cert_from_pem(roots);
        }
        let address = address(&options);
        let role = options.get_username().split('.').next().unwrap_or_default().to_owned();
        let options =
            options.application_name("rekeyd").statement_cache_capacity(0).disable_statement_logging();
        Ok(Self { options, address, role })
    }

    /// Host and database, without user and password.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The role that we log in as.
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// How the connection is protected, for people.
    pub(super) fn protection(&self) -> &'static str {
        match self.options.get_ssl_mode() {
            PgSslMode::VerifyFull | PgSslMode::VerifyCa => "with TLS, certificate checked",
            _ => "on this machine",
        }
    }

    /// Connects and begins a transaction.
    pub(super) async fn open(&self, deadline: Deadline) -> Result<Link, Failure> {
        let connected = deadline.bound(PgConnection::connect_with(&self.options)).await;
        let connection = connected
            .unwrap_or_else(|| Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| refusal::connecting(&error, self.address(), self.role()))?;
        let mut link = Link { connection, deadline, sent: None };
        link.bound(Phase::Before, async |connection| connection.execute("BEGIN").await).await?;
        link.limit().await?;
        Ok(link)
    }
}

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Link {
    connection: PgConnection,
    deadline: Deadline,
    /// The key that a statement brought: what runs at the commit may repeat it too.
    sent: Option<Secret>,
}

impl Link {
    /// The server gives up when we do. `off` and `local` would let it forget what it has confirmed.
    async fn limit(&mut self) -> Result<(), Failure> {
        let left = self.deadline.left().as_millis().max(1);
        let lock = (left * 4 / 5).max(1);
        let set = sqlx::query(
            "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
               set_config('idle_in_transaction_session_timeout', $1, true),
               set_config('client_min_messages', 'warning', true),
               set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                 WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' ELSE current_setting('synchronous_commit') END, true)",
        );
        self.rows(set.bind(left.to_string()).bind(lock.to_string()), None).await.map(drop)
    }

    /// The rows of a statement. `secret` is what its error might repeat.
    pub(super) async fn rows(
        &mut self,
        statement: Statement<'_>,
        secret: Option<&Secret>,
    ) -> Result<Vec<PgRow>, Failure> {
        self.sent = secret.cloned().or(self.sent.take());
        let statement = statement.persistent(false);
        let done = self.bound_raw(async |connection| statement.fetch_all(connection).await).await;
        done.map_err(|error| refusal::answered(&error, Phase::Before, secret))
    }

    /// Its only row, or none.
    pub(super) async fn row(
        &mut self,
        statement: Statement<'_>,
        secret: Option<&Secret>,
    ) -> Result<Option<PgRow>, Failure> {
        Ok(self.rows(statement, secret).await?.into_iter().next())
    }

    /// Several statements without values.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), Failure> {
        let run = async |connection: &mut PgConnection| connection.execute(sqlx::raw_sql(text)).await;
        self.bound(Phase::Before, run).await.map(drop)
    }

    /// Makes it so. Without an answer it is unclear whether it is.
    pub(super) async fn commit(mut self) -> Result<(), Failure> {
        self.bound(Phase::Commit, async |connection| connection.execute("COMMIT").await).await?;
        self.close().await;
        Ok(())
    }

    /// Says goodbye, as far as there is time.
    pub(super) async fn close(self) {
        self.deadline.bound(self.connection.close()).await;
    }

    async fn bound<T>(
        &mut self,
        phase: Phase,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Failure> {
        self.bound_raw(call).await.map_err(|error| refusal::answered(&error, phase, self.sent.as_ref()))
    }

    async fn bound_raw<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let done = self.deadline.bound(call(&mut self.connection)).await;
        done.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    options.get_socket().is_some()
        || host == "localhost"
        || host.starts_with('/')
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// R14: the same row by another password or role is the same place. Supabase's poolers serve many projects at one
/// host and tell them apart by what follows the dot in the role.
fn address(options: &PgConnectOptions) -> String {
    let role = options.get_username();
    let tenant = role.split_once('.').map(|(_, tenant)| format!("{tenant}@")).unwrap_or_default();
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host().to_ascii_lowercase(), options.get_port()),
    };
    format!("postgres://{tenant}{place}/{}", options.get_database().unwrap_or(role))
}

/// Authorities to trust besides the driver's own list: of `[network] ca_file`, `SSL_CERT_FILE` and the URL.
fn authorities(url: &url::Url, ca_file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let named = |key: &str| matches!(key, "sslrootcert" | "ssl-root-cert" | "ssl-ca");
    let of_url = url.query_pairs().find(|(key, _)| named(key)).map(|(_, path)| path.into_owned().into());
    let of_system = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(Into::into);
    let files = [ca_file.map(Path::to_owned), of_url, of_system];
    let mut all = Vec::new();
    for file in files.into_iter().flatten() {
        let file: std::path::PathBuf = file;
        let content = std::fs::read(&file).map_err(|error| {
            let text = format!("the certificate authorities in {} cannot be read: {error}", file.display());
            Failure::new(FailureKind::NotSent, text)
        })?;
        all.extend(content);
        all.push(b'\n');
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server::new(&Secret::new(url), None).unwrap_or_else(|failure| panic!("{url}: {failure}"))
    }

    #[test]
    fn far_hosts_must_prove_themselves_whatever_the_url_says() {
        let mode = |url: &str| format!("{:?}", server(url).options.get_ssl_mode());
        assert_eq!(mode("postgres://u:p@db.example.com/x"), "VerifyFull");
        assert_eq!(mode("postgres://u:p@db.example.com/x?sslmode=require"), "VerifyFull");
        assert_eq!(mode("postgres://u:p@db.example.com/x?sslmode=prefer"), "VerifyFull");
        assert_eq!(mode("postgres://u:p@10.0.0.7/x"), "VerifyFull");
        assert_eq!(mode("postgres://u:p@127.0.0.1/x?host=10.0.0.7"), "VerifyFull");
        assert_eq!(mode("postgres://u:p@db.example.com/x?sslmode=verify-ca"), "VerifyCa");
        assert_eq!(mode("postgres://u:p@127.0.0.1/x"), "Prefer");
        assert_eq!(mode("postgres://u:p@[::1]/x"), "Prefer");
        assert_eq!(mode("postgres://u:p@%2Frun%2Fpostgresql/x"), "Prefer");
        assert_eq!(mode("postgres://u:p@localhost/x?sslmode=verify-full"), "VerifyFull");
    }

    #[test]
    fn addresses_that_cannot_be_are_refused_without_their_password() {
        for url in [
            "postgres://u:hunter2@db.example.com/x?sslmode=disable",
            "postgres://u:hunter2@db.example.com/x?sslmode=hunter2",
            "postgres://u:hunter2@db.example.com/x?sslrootcert=/nonexistent/ca.pem",
            "mysql://u:hunter2@db.example.com/x",
            "postgres://u:/hunter2@db.example.com/x",
            "hunter2",
        ] {
            let failure = Server::new(&Secret::new(url), None).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }

    #[test]
    fn an_address_is_one_place() {
        let address = |url: &str| server(url).address().to_owned();
        assert_eq!(address("postgres://a:p@DB.example.com/x"), "postgres://db.example.com:5432/x");
        assert_eq!(address("postgres://b:q@db.example.com:5432/x"), "postgres://db.example.com:5432/x");
        let tenant = "postgres://abc@pooler.example.com:6543/postgres";
        assert_eq!(address("postgres://postgres.abc:p@pooler.example.com:6543/postgres"), tenant);
    }
}
