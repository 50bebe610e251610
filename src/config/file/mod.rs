//! The mirror: one struct a table of the configuration file, one field a field, with every default.
//!
//! It says what a file may look like, not what makes sense: texts stay texts here, and
//! [`super::settings`] reads them. The schema that `rekeyd config schema` prints, the field names that
//! `shape` checks and the effective configuration that `rekeyd config show` prints all come from here, so
//! the comments of the fields are written for the people who write the file.
//!
//! serde itself ignores unknown fields: `shape` finds all of them, with their lines and the nearest name,
//! where serde would stop at the first.

mod account;
mod destination;
mod notify;
mod rotation;
mod service;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{Account, DEFAULT_BASE_URL, DEFAULT_PROVIDER, Inherited, Leaks};
pub use destination::{
    Command, Destination, File, FileFormat, Github, GithubApp, GithubStore, Holds, Kind, Postgres, Vercel,
    VercelTarget, Visibility,
};
pub use notify::{Email, Heartbeat, Route, Severity, SmtpTls, Webhook};
pub use rotation::{Day, KeyPolicy, LimitReset, OnInvalid, Probe, Rotation, Window};
pub use service::{
    Auth, Database, Encryption, Engine, Log, LogFormat, Metrics, Network, Preference, Retention, Server,
    Tests,
};
pub use text::{CronText, DatabaseText, DurationText, NameText, ReferenceText};

/// The configuration of rekeyd.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the daemon listens.
    pub server: Server,
    /// Logins.
    pub auth: Auth,
    /// Who may read `/metrics`; without this table everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The store.
    pub database: Database,
    /// Encryption of the store.
    pub encryption: Encryption,
    /// Leases and deadlines.
    pub engine: Engine,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Periodic key tests.
    pub tests: Tests,
    /// E-mail alerts; without this table there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// A second channel for alerts: one JSON object an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Called while passes really run, for an outside monitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
    /// Provider accounts for which rekeyd holds a provisioning key.
    pub accounts: Vec<Account>,
    /// Policies: one logical credential each.
    pub rotations: Vec<Rotation>,
    /// Places that consumers read a key from.
    pub destinations: Vec<Destination>,
    /// GitHub secret scanning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks: Option<Leaks>,
    /// Orders of providers for hand-outs.
    pub preferences: Vec<Preference>,
    /// Outgoing connections.
    pub network: Network,
    /// Logging.
    pub log: Log,
}

impl ConfigFile {
    /// Fills in the defaults that depend on other fields, so that what is shown is what is in effect.
    pub(super) fn complete(&mut self) {
        if let Some(email) = &mut self.email {
            email.complete();
        }
        self.accounts.iter_mut().for_each(Account::complete);
        self.rotations.iter_mut().for_each(Rotation::complete);
        self.destinations.iter_mut().for_each(Destination::complete);
    }
}

/// `true`, for fields that are on unless switched off.
const fn yes() -> bool {
    true
}
