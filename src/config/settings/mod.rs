//! Validated settings: typed values, nothing left to check but what only the outside knows.
//!
//! One file a group of tables: the types, and how they are read from the mirror. `at` carries the place of
//! every field along and collects the problems; `whole` holds what can only be said of all tables together.

mod account;
mod at;
mod database;
mod destination;
mod github;
mod notify;
mod origin;
mod rotation;
mod service;
pub mod values;
mod whole;

pub use account::{Account, Leaks};
pub use database::{Database, DatabaseUrl, DatabaseUrlError};
pub use destination::{
    Command, Destination, DestinationKind, File, FileFormat, Postgres, Vercel, VercelTarget,
};
pub use github::{Github, GithubApp, GithubAuth, GithubScope, GithubStore, Visibility};
pub use notify::{Email, Heartbeat, Route, RouteScope, Severity, Smtp, SmtpTls, Webhook};
pub use origin::Origins;
pub use rotation::{KeyPolicy, LimitReset, OnInvalid, Probe, Rotation, Schedule, Window};
pub use service::{
    Auth, Encryption, Engine, LEASE_MARGIN, Listen, Log, LogFormat, Metrics, Network, Preference, Retention,
    Server, Tests,
};
pub use values::{BadValue, BaseUrl, CronExpr, DatabaseAddress};

use super::problem::Problem;

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[metrics]`, when there is one.
    pub metrics: Option<Metrics>,
    /// `[database]`
    pub database: Database,
    /// `[encryption]`
    pub encryption: Encryption,
    /// `[engine]`
    pub engine: Engine,
    /// `[tests]`
    pub tests: Tests,
    /// How long what is over is kept.
    pub retention: Retention,
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
    /// `[[preferences]]`; names are unique.
    pub preferences: Vec<Preference>,
    /// `[network]`
    pub network: Network,
    /// `[log]`
    pub log: Log,
    /// Where all of this came from.
    origins: Origins,
}

impl Settings {
    /// Resolves every secret reference and reads the file of certificate authorities: what does not resolve
    /// or cannot serve its purpose, with its file and line. Empty when all is well.
    pub fn check_references(&self) -> Vec<Problem> {
        self.origins.check_references()
    }

    /// Whether any secret is a credential, which systemd hands over at start.
    pub fn has_credentials(&self) -> bool {
        self.origins.has_credentials()
    }

    /// The accounts whose provider is not among `known`.
    pub fn check_providers(&self, known: &[&str]) -> Vec<Problem> {
        self.origins.check_providers(known)
    }

    /// The account of that name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == *name)
    }

    /// The rotation of that name.
    pub fn rotation(&self, name: &str) -> Option<&Rotation> {
        self.rotations.iter().find(|rotation| rotation.name == *name)
    }

    /// The destination of that name.
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.name == *name)
    }
}
