//! Validated settings: typed values, nothing left to check but what only the outside knows.

mod account;
mod destination;
mod notify;
mod rotation;
mod service;
pub mod values;

pub use account::{Account, Leaks};
pub use destination::{
    Destination, DestinationKind, FileFormat, GithubApp, GithubAuth, GithubScope, GithubStore, OnDrift,
    VercelTarget, Visibility,
};
pub use notify::{Email, Heartbeat, Route, RouteScope, Severity, Smtp, SmtpTls, Webhook};
pub use rotation::{KeyPolicy, LimitReset, OnInvalid, Probe, Rotation, Schedule, Window};
pub use service::{
    Database, DatabaseAddress, DatabaseUrl, Encryption, Engine, Listen, Log, LogFormat, Network, Server,
    Tests,
};
pub use values::{BaseUrl, Cidr, CronExpr};

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[database]`
    pub database: Database,
    /// `[encryption]`
    pub encryption: Encryption,
    /// `[engine]`
    pub engine: Engine,
    /// `[tests]`
    pub tests: Tests,
    /// `[email]`, when there is one.
    pub email: Option<Email>,
    /// `[webhook]`, when there is one.
    pub webhook: Option<Webhook>,
    /// `[heartbeat]`, when there is one.
    pub heartbeat: Option<Heartbeat>,
    /// `[[accounts]]`, in the order of the files; names are unique.
    pub accounts: Vec<Account>,
    /// `[[rotations]]`; names are unique, accounts and destinations exist.
    pub rotations: Vec<Rotation>,
    /// `[[destinations]]`; names and addresses are unique.
    pub destinations: Vec<Destination>,
    /// `[leaks]`, when there is one.
    pub leaks: Option<Leaks>,
    /// `[network]`
    pub network: Network,
    /// `[log]`
    pub log: Log,
}
