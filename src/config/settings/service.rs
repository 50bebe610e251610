//! `[server]`, `[database]`, `[encryption]`, `[engine]`, `[tests]`, `[network]`, `[log]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono_tz::Tz;
use url::Url;

use super::values::{BaseUrl, Cidr, CronExpr};
use crate::crypto::SecretRef;
use crate::domain::secret::Secret;
use crate::domain::time::Span;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where the daemon listens.
    pub listen: Listen,
    /// Base of the links in e-mails in its path; `https` makes cookies `Secure`.
    pub public_url: BaseUrl,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `address:port`; port 0 picks a free one.
    Tcp(SocketAddr),
    /// `unix:/path`
    Unix(PathBuf),
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Which database.
    pub url: DatabaseUrl,
    /// Size of the connection pool, at least 1.
    pub max_connections: u32,
}

/// Which database, perhaps still behind a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// Known from the configuration.
    Plain(DatabaseAddress),
    /// The URL is a secret.
    Reference(SecretRef),
}

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL; it may carry a password.
    Postgres(Secret),
}

/// `[encryption]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// One or more Fernet keys, comma separated: [`crate::crypto::Ring::parse`].
    pub keys: SecretRef,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// How long a lease lasts; longer than `call_timeout` and a margin of 2 s.
    pub lease: Span,
    /// Deadline of one call to the outside.
    pub call_timeout: Span,
}

/// `[tests]`: the periodic key tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Tests {
    /// When a pass starts.
    pub schedule: CronExpr,
    /// The zone of `schedule`.
    pub timezone: Tz,
    /// Tests at one time, at least 1.
    pub concurrency: usize,
    /// Tests at one time at one provider, at least 1.
    pub per_provider_concurrency: usize,
    /// Least time between two tests at one provider's host.
    pub host_spacing: Span,
    /// Deadline of one test.
    pub timeout: Span,
    /// An invalid verdict is looked at again after this long before anybody is told.
    pub confirm_after: Span,
    /// How long observations are kept.
    pub history: Span,
    /// Whether custom endpoints given through the API may be private, loopback or link-local.
    pub allow_private_endpoints: bool,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Extra certificate authorities (PEM) for every outgoing TLS connection.
    pub ca_file: Option<PathBuf>,
    /// The proxy for outgoing HTTP; else `HTTPS_PROXY` and `NO_PROXY` say.
    pub proxy: Option<Url>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// A filter in the language of `tracing` (`info`, `rekeyd=debug,warn`).
    pub filter: String,
}

pub use crate::config::file::LogFormat;
