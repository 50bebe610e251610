//! `[server]`, `[database]`, `[encryption]`, `[engine]`, `[retention]`, `[tests]`, `[network]`, `[log]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{CronText, DatabaseText, DurationText, NameText, ReferenceText};

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// `address:port`, or `unix:/path`; port 0 picks a free one and logs it.
    pub listen: String,
    /// Base of the links in e-mails.
    pub public_url: String,
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or blocks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8084".to_owned(),
            public_url: "http://127.0.0.1:8084".to_owned(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// Logins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    /// A session that nobody uses for so long is over.
    pub session_idle: DurationText,
    /// A session is over so long after the login, however much it is used.
    pub session_max: DurationText,
}

impl Default for Auth {
    fn default() -> Self {
        Self { session_idle: DurationText("12h".to_owned()), session_max: DurationText("30d".to_owned()) }
    }
}

/// What Prometheus shows to read `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Metrics {
    /// `/metrics` wants it as `Authorization: Bearer`.
    pub token: ReferenceText,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Database {
    /// `sqlite:/path`, `postgres://…`, or a secret reference to such a URL.
    pub url: DatabaseText,
    /// Size of the connection pool.
    #[schemars(range(min = 1, max = 1000))]
    pub max_connections: u32,
    /// Allow an `sslmode` below `verify-full` for a host that is not loopback.
    pub insecure_tls: bool,
}

impl Default for Database {
    fn default() -> Self {
        let url = DatabaseText("sqlite:/var/lib/rekeyd/rekeyd.db".to_owned());
        Self { url, max_connections: 8, insecure_tls: false }
    }
}

/// Encryption of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Encryption {
    /// One or more Fernet keys, comma separated; the first encrypts, all decrypt.
    pub keys: ReferenceText,
}

impl Default for Encryption {
    fn default() -> Self {
        Self { keys: "env:BYOK_ENCRYPTION_KEY".into() }
    }
}

/// Leases and deadlines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Engine {
    /// How long one process has an account for itself; renewed while it works.
    pub lease: DurationText,
    /// Deadline of one call to the outside.
    pub call_timeout: DurationText,
}

impl Default for Engine {
    fn default() -> Self {
        Self { lease: "30s".into(), call_timeout: "10s".into() }
    }
}

/// How long what is over is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Retention {
    /// Runs that ended, and keys that the provider no longer has.
    pub runs: DurationText,
    /// The audit trail, and to whom keys were given.
    pub audit: DurationText,
    /// Alerts that are over.
    pub alerts: DurationText,
    /// Mails and webhook calls that were sent.
    pub messages: DurationText,
}

impl Default for Retention {
    fn default() -> Self {
        Self { runs: "2y".into(), audit: "2y".into(), alerts: "1y".into(), messages: "90d".into() }
    }
}

/// Periodic key tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Tests {
    /// Its times begin the periods; each stored key is tested once in each, at a moment of its own.
    pub schedule: CronText,
    /// Zone of the schedule, an IANA name.
    pub timezone: String,
    /// A period longer than this has its tests within so much of its beginning.
    pub spread: DurationText,
    /// Tests at one time.
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// Tests at one time at one provider.
    #[schemars(range(min = 1, max = 1024))]
    pub per_provider_concurrency: u32,
    /// Least time between two tests at one provider's host.
    pub host_spacing: DurationText,
    /// Deadline of one test.
    pub timeout: DurationText,
    /// An invalid verdict is looked at again after this long before anybody is told.
    pub confirm_after: DurationText,
    /// How long observations are kept.
    pub history: DurationText,
    /// Let endpoints that persons name (`providers add NAME --base-url URL`) be private, loopback or link-local.
    pub allow_private_endpoints: bool,
}

impl Default for Tests {
    fn default() -> Self {
        Self {
            schedule: "0 */15 * * * *".into(),
            timezone: "UTC".to_owned(),
            spread: "15m".into(),
            concurrency: 32,
            per_provider_concurrency: 8,
            host_spacing: "250ms".into(),
            timeout: "10s".into(),
            confirm_after: "20s".into(),
            history: "90d".into(),
            allow_private_endpoints: false,
        }
    }
}

/// Outgoing connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Network {
    /// Extra certificate authorities (PEM) for every outgoing TLS connection, mail included.
    pub ca_file: String,
    /// The proxy; where it is empty, `HTTPS_PROXY` and `NO_PROXY` say.
    pub proxy: String,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: "info", "rekeyd=debug,warn".
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal's own fields when systemd runs it, else text.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// An order of providers for hand-outs, under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Preference {
    /// What `keys get PROVIDER --preference NAME` calls it.
    pub name: NameText,
    /// Where a key is looked for, in this order.
    #[schemars(length(min = 1))]
    pub order: Vec<NameText>,
}
