//! `[email]`, `[webhook]`, `[heartbeat]`.

use super::values::CronExpr;
use crate::crypto::SecretRef;
use crate::domain::name::Name;
use crate::domain::time::Span;

pub use crate::config::file::{Severity, SmtpTls};

/// `[email]`
#[derive(Debug, Clone, PartialEq)]
pub struct Email {
    /// The mail server.
    pub smtp: Smtp,
    /// The password of `smtp.user`; there is one exactly when there is a user.
    pub password: Option<SecretRef>,
    /// A mailbox, `Name <user@host>` or `user@host`.
    pub from: String,
    /// Mailboxes; at least one.
    pub to: Vec<String>,
    /// Alerts that open within this long travel together.
    pub group_within: Span,
    /// Open alerts are repeated this often.
    pub remind_every: Span,
    /// When the digest goes out, in UTC; `None` for never.
    pub digest: Option<CronExpr>,
    /// `[[email.routes]]`; without one, `to` gets everything.
    pub routes: Vec<Route>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// 587 for `smtp://`, 465 for implicit TLS, where the URL names none.
    pub port: u16,
    /// Whom to log in as.
    pub user: Option<String>,
    /// How the connection is protected; `None` only for loopback hosts.
    pub tls: SmtpTls,
}

/// `[[email.routes]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Alerts of at least this severity.
    pub severity: Severity,
    /// Alerts about what.
    pub scope: RouteScope,
    /// Mailboxes; at least one.
    pub to: Vec<String>,
}

/// What the alerts of a route are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteScope {
    /// Anything.
    Everything,
    /// One rotation.
    Rotation(Name),
    /// One account.
    Account(Name),
}

/// `[webhook]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where alert events are posted to.
    pub url: SecretRef,
}

/// `[heartbeat]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// What is called.
    pub url: SecretRef,
    /// How often, while passes really run.
    pub every: Span,
}
