//! `[server]`, `[encryption]`, `[engine]`, `[retention]`, `[tests]`, `[network]`, `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use chrono_tz::Tz;
use croner::Direction;
use ipnet::IpNet;
use url::Url;

use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, BaseUrl, CronExpr, span_text};
use crate::config::file;
use crate::crypto::SecretRef;
use crate::domain::name::Name;
use crate::domain::time::Span;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where the daemon listens.
    pub listen: Listen,
    /// Where people reach the daemon: base of the links in e-mails, and the only place whose pages may change something.
    pub public_url: BaseUrl,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[auth]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// A session that nobody uses for so long is over.
    pub session_idle: Span,
    /// A session is over so long after the login.
    pub session_max: Span,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// What `/metrics` wants to be shown.
    pub token: SecretRef,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `address:port`; port 0 picks a free one.
    Tcp(SocketAddr),
    /// `unix:/path`
    Unix(PathBuf),
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

/// `[retention]`: how long what is over is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Runs that ended, and keys that the provider no longer has.
    pub runs: Span,
    /// The audit trail, and to whom keys were given.
    pub audit: Span,
    /// Alerts that are over.
    pub alerts: Span,
    /// Messages that were sent.
    pub messages: Span,
}

/// `[tests]`: the periodic key tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Tests {
    /// Its times begin the periods, in each of which a key is tested once.
    pub schedule: CronExpr,
    /// The zone of `schedule`.
    pub timezone: Tz,
    /// A longer period has its tests within so much of its beginning.
    pub spread: Span,
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
    /// Whether endpoints that persons name may be private, loopback or link-local.
    pub allow_private_endpoints: bool,
}

/// `[[preferences]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// Its name, unique among preferences.
    pub name: Name,
    /// Providers, the first choice first; they may be in the store only.
    pub order: Vec<Name>,
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

impl Server {
    pub(super) fn read(file: &file::Server, at: &At<'_>) -> Read<Self> {
        let listen = at.field("listen").value(Listen::parse(&file.listen));
        let public_url = at.field("public_url").value(BaseUrl::parse(&file.public_url));
        let trusted_proxies =
            at.field("trusted_proxies").each(&file.trusted_proxies, |text, at| network(text, at));
        Ok(Self { listen: listen?, public_url: public_url?, trusted_proxies: trusted_proxies? })
    }
}

/// A proxy's address, or the block of several. A block of everybody would let everybody say who they are.
fn network(text: &str, at: &At<'_>) -> Read<IpNet> {
    const HINT: &str = "write the proxy's address, or a block of addresses such as \"10.0.0.0/8\"";
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = text.parse::<IpNet>().or_else(|_| single()) else {
        return Err(at.problem("not an address and not a block of addresses", HINT));
    };
    if network.prefix_len() == 0 {
        return Err(at.problem("this trusts everybody, so that anybody could claim any address", HINT));
    }
    Ok(network.trunc())
}

impl Metrics {
    pub(super) fn read(file: &file::Metrics, at: &At<'_>) -> Read<Self> {
        Ok(Self { token: at.field("token").reference(&file.token, Purpose::Token)? })
    }
}

impl Auth {
    pub(super) fn read(file: &file::Auth, at: &At<'_>) -> Read<Self> {
        let idle = at.field("session_idle").positive_span(&file.session_idle);
        let max = at.field("session_max").positive_span(&file.session_max);
        let auth = Self { session_idle: idle?, session_max: max? };
        if auth.session_idle > auth.session_max {
            let (idle, max) = (file.session_idle.as_str(), file.session_max.as_str());
            return Err(at.given("session_idle", "session_max").problem(
                format!("a session that is over after {max} cannot be idle for {idle}"),
                "make session_idle the shorter of the two",
            ));
        }
        Ok(auth)
    }
}

impl Listen {
    /// Reads `address:port`, `localhost:port` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, BadValue> {
        const HINT: &str = "write \"127.0.0.1:8084\", \"[::1]:8084\" or \"unix:/run/rekeyd/rekeyd.sock\"";
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(BadValue::new(format!("{path:?} is not an absolute path"), HINT));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        local
            .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .or_else(|| text.parse().ok())
            .map(Self::Tcp)
            .ok_or_else(|| BadValue::new(format!("{text:?} is not an address and a port"), HINT))
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Encryption {
    pub(super) fn read(file: &file::Encryption, at: &At<'_>) -> Read<Self> {
        Ok(Self { keys: at.field("keys").reference(&file.keys, Purpose::EncryptionKeys)? })
    }
}

/// A call starts only while the lease lasts for it and this much longer (R4).
pub const LEASE_MARGIN: Span = Span::seconds(2);

impl Engine {
    pub(super) fn read(file: &file::Engine, at: &At<'_>) -> Read<Self> {
        let lease = at.field("lease").positive_span(&file.lease);
        let call_timeout = at.field("call_timeout").positive_span(&file.call_timeout);
        let engine = Self { lease: lease?, call_timeout: call_timeout? };
        let shortest = Span(engine.call_timeout.0 + LEASE_MARGIN.0);
        if engine.lease <= shortest {
            let (lease, call) = (file.lease.as_str(), file.call_timeout.as_str());
            return Err(at.given("lease", "call_timeout").problem(
                format!("a lease of {lease} is too short for a call of {call}"),
                format!(
                    "make lease longer than call_timeout and a margin of 2s: more than {}",
                    span_text(shortest)
                ),
            ));
        }
        Ok(engine)
    }
}

impl Retention {
    pub(super) fn read(file: &file::Retention, at: &At<'_>) -> Read<Self> {
        let runs = at.field("runs").positive_span(&file.runs);
        let audit = at.field("audit").positive_span(&file.audit);
        let alerts = at.field("alerts").positive_span(&file.alerts);
        let messages = at.field("messages").positive_span(&file.messages);
        Ok(Self { runs: runs?, audit: audit?, alerts: alerts?, messages: messages? })
    }
}

impl Tests {
    /// The shortest of the next periods of the schedule.
    pub fn interval(&self) -> Span {
        let start = chrono::DateTime::UNIX_EPOCH.with_timezone(&self.timezone);
        let ticks: Vec<_> = self.schedule.cron().iter_from(start, Direction::Forward).take(4).collect();
        let gaps = ticks.windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds());
        gaps.min().map_or(Span::minutes(15), |shortest| Span(shortest.max(1000)))
    }

    pub(super) fn read(file: &file::Tests, at: &At<'_>) -> Read<Self> {
        let schedule = at.field("schedule").cron(&file.schedule);
        let timezone = at.field("timezone").zone(&file.timezone);
        let spread = at.field("spread").positive_span(&file.spread);
        let host_spacing = at.field("host_spacing").span(&file.host_spacing);
        let timeout = at.field("timeout").positive_span(&file.timeout);
        let confirm_after = at.field("confirm_after").span(&file.confirm_after);
        let history = at.field("history").positive_span(&file.history);
        Ok(Self {
            schedule: schedule?,
            timezone: timezone?,
            spread: spread?,
            concurrency: file.concurrency as usize,
            per_provider_concurrency: file.per_provider_concurrency as usize,
            host_spacing: host_spacing?,
            timeout: timeout?,
            confirm_after: confirm_after?,
            history: history?,
            allow_private_endpoints: file.allow_private_endpoints,
        })
    }
}

impl Preference {
    pub(super) fn read(file: &file::Preference, at: &At<'_>) -> Read<Self> {
        let name = at.field("name").name(&file.name);
        let order = at.field("order").each(&file.order, |name, at| at.name(name));
        Ok(Self { name: name?, order: order? })
    }
}

impl Network {
    pub(super) fn read(file: &file::Network, at: &At<'_>) -> Read<Self> {
        let ca_file = read_ca_file(&file.ca_file, &at.field("ca_file"));
        let proxy = read_proxy(&file.proxy, &at.field("proxy"));
        Ok(Self { ca_file: ca_file?, proxy: proxy? })
    }
}

fn read_ca_file(text: &str, at: &At<'_>) -> Read<Option<PathBuf>> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('/') {
        let hint = "write where the file of certificates lies";
        return Err(at.problem(format!("{text:?} is not an absolute path"), hint));
    }
    at.keep_ca_file(PathBuf::from(text));
    Ok(Some(PathBuf::from(text)))
}

/// Nothing of it is repeated: it may hold a password.
fn read_proxy(text: &str, at: &At<'_>) -> Read<Option<Url>> {
    if text.is_empty() {
        return Ok(None);
    }
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err(at.problem(
            "a user or password does not belong in this file",
            "leave it empty, and set HTTPS_PROXY in the environment of rekeyd",
        )),
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url)),
        _ => Err(at.problem("not the URL of a proxy", "write it like \"http://proxy.example.com:3128\"")),
    }
}

impl Log {
    pub(super) fn read(file: &file::Log, at: &At<'_>) -> Read<Self> {
        if tracing_subscriber::EnvFilter::try_new(&file.filter).is_err() {
            let hint = "write a level, or levels by module, such as \"info\" or \"rekeyd=debug,warn\"";
            return Err(at.field("filter").problem(format!("{:?} is not a filter", file.filter), hint));
        }
        Ok(Self { format: file.format, filter: file.filter.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{assert_table, settings};

    #[test]
    fn an_empty_file_has_every_default() {
        let settings = settings("");
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8084");
        assert_eq!(settings.server.public_url.as_str(), "http://127.0.0.1:8084");
        assert_eq!(settings.server.trusted_proxies, []);
        let auth = Auth { session_idle: Span::hours(12), session_max: Span::hours(30 * 24) };
        assert_eq!(settings.auth, auth);
        assert_eq!(settings.encryption.keys.to_string(), "env:BYOK_ENCRYPTION_KEY");
        assert_eq!(settings.engine, Engine { lease: Span::seconds(30), call_timeout: Span::seconds(10) });
        let years = |years: i64| Span::hours(years * 365 * 24);
        let (runs, alerts, messages) = (years(2), years(1), Span::hours(90 * 24));
        assert_eq!(settings.retention, Retention { runs, audit: runs, alerts, messages });
        let tests = &settings.tests;
        assert_eq!((tests.schedule.as_str(), tests.timezone), ("0 */15 * * * *", Tz::UTC));
        assert_eq!((tests.concurrency, tests.per_provider_concurrency), (32, 8));
        assert_eq!((tests.host_spacing, tests.timeout), (Span(250), Span::seconds(10)));
        assert_eq!((tests.confirm_after, tests.history), (Span::seconds(20), Span::hours(90 * 24)));
        assert_eq!(settings.network, Network::default());
        assert_eq!(settings.log, Log { format: LogFormat::Auto, filter: "info".to_owned() });
        assert!(settings.email.is_none() && settings.leaks.is_none() && settings.accounts.is_empty());
    }

    #[test]
    fn reads_where_to_listen() {
        for (text, listen) in [
            ("127.0.0.1:8084", "127.0.0.1:8084"),
            ("[::]:0", "[::]:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("unix:/run/rekeyd/rekeyd.sock", "unix:/run/rekeyd/rekeyd.sock"),
        ] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), listen);
        }
    }

    #[test]
    fn refuses_bad_addresses() {
        assert_table!(&[
            "[server]\nlisten = \"8084\"",
            "[server]\nlisten = \":8084\"",
            "[server]\nlisten = \"example.com:8084\"",
            "[server]\nlisten = \"unix:rekeyd.sock\"",
            "[server]\npublic_url = \"rekeyd.example.com\"",
            "[server]\npublic_url = \"ftp://rekeyd.example.com\"",
            "[server]\npublic_url = \"https://user:hunter2@rekeyd.example.com\"",
            "[server]\npublic_url = \"https://rekeyd.example.com/?a=b\"",
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy.example.com\"]",
            "[server]\ntrusted_proxies = [\"::/0\"]",
            "[auth]\nsession_idle = \"31d\"",
            "[auth]\nsession_max = \"0s\"",
            "[encryption]\nkeys = \"bm90LWEta2V5\"",
            "[encryption]\nkeys = \"file:keys\"",
            "[network]\nca_file = \"ca.pem\"\nproxy = \"proxy:3128\"",
            "[network]\nproxy = \"http://user:hunter2@proxy.example.com:3128\"",
        ]);
    }

    #[test]
    fn a_preference_is_an_order_of_names() {
        let fast =
            settings("[[preferences]]\nname = \"fast\"\norder = [\"groq\", \"vision-nova\"]").preferences;
        assert_eq!((fast[0].name.as_str(), fast[0].order[1].as_str()), ("fast", "vision-nova"));
        assert_table!(&[
            "[[preferences]]\nname = \"fast\"\norder = []",
            "[[preferences]]\nname = \"Fast\"\norder = [\"Open AI\"]",
            "[[preferences]]\nname = \"fast\"\norder = [\"groq\"]\n[[preferences]]\nname = \"fast\"\norder = [\"groq\"]",
        ]);
    }

    #[test]
    fn refuses_bad_times_schedules_zones_and_filters() {
        assert_table!(&[
            "[engine]\nlease = \"10s\"\ncall_timeout = \"10s\"",
            "[engine]\nlease = \"12s\"",
            "[engine]\ncall_timeout = \"28s\"",
            "[engine]\nlease = \"30\"\ncall_timeout = \"0s\"",
            "[tests]\ntimeout = \"1 s\"\nhistory = \"90 days\"\nconfirm_after = \"1h30m\"\nhost_spacing = \"-1s\"",
            "[tests]\ntimeout = \"1.5s\"\nhistory = \"99999999999d\"\nconfirm_after = \"\"\nhost_spacing = \"s\"",
            "[tests]\nschedule = \"*/15 * * * *\"",
            "[tests]\nschedule = \"@hourly\"",
            "[tests]\nschedule = \"0 0 0 1 1 * 2030\"",
            "[tests]\nschedule = \"0 99 * * * *\"",
            "[tests]\nschedule = \"0 0 0 31 2 *\"",
            "[tests]\nschedule = \"\"",
            "[tests]\ntimezone = \"Europe/Berln\"",
            "[tests]\ntimezone = \"\"",
            "[log]\nfilter = \"rekeyd=loud\"",
        ]);
        settings("[engine]\nlease = \"12001ms\"");
        settings("[tests]\nschedule = \"0 0 0 29 2 *\"\ntimezone = \"Europe/Berlin\"");
    }
}
