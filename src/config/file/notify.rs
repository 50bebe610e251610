//! `[email]`, `[webhook]`, `[heartbeat]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{CronText, DurationText, NameText, ReferenceText};

/// E-mail alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Email {
    /// `smtp://user@host:port`, or smtps:// for implicit TLS.
    pub smtp: String,
    /// "starttls" for smtp://, "implicit" for smtps://, unless said otherwise; "none" for loopback hosts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SmtpTls>,
    /// The password of the user in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<ReferenceText>,
    /// The sender: "Name <user@host>" or "user@host".
    pub from: String,
    /// Who gets every alert that no route takes.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// Alerts that open within this long travel together.
    #[serde(default = "group_within")]
    pub group_within: DurationText,
    /// Open alerts are repeated this often.
    #[serde(default = "remind_every")]
    pub remind_every: DurationText,
    /// When a digest goes out, in UTC; "" turns it off.
    #[serde(default = "digest")]
    pub digest: CronText,
    /// Who gets what; without one, `to` gets everything.
    #[serde(default)]
    pub routes: Vec<Route>,
}

impl Email {
    pub(super) fn complete(&mut self) {
        let implicit = self.smtp.starts_with("smtps:");
        self.tls.get_or_insert(if implicit { SmtpTls::Implicit } else { SmtpTls::Starttls });
    }
}

fn group_within() -> DurationText {
    "30s".into()
}

fn remind_every() -> DurationText {
    "24h".into()
}

fn digest() -> CronText {
    "0 0 8 * * Mon".into()
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Upgraded before anything is said; refused when the server cannot.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// Not at all.
    None,
}

/// One route of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// Alerts of at least this severity.
    #[serde(default = "every_severity")]
    pub severity: Severity,
    /// Only alerts about this rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<NameText>,
    /// Only alerts about this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<NameText>,
    /// Who gets them.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
}

const fn every_severity() -> Severity {
    Severity::Info
}

/// How bad an alert is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it within days.
    Warning,
    /// Somebody must look at it now.
    Critical,
}

/// A second channel for alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Webhook {
    /// Where events are posted to.
    pub url: ReferenceText,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Heartbeat {
    /// What is called.
    pub url: ReferenceText,
    /// How often.
    #[serde(default = "heartbeat_every")]
    pub every: DurationText,
}

fn heartbeat_every() -> DurationText {
    "5m".into()
}
