//! How people are told: who gets what, how often, and by which adapters.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::alert::{Notice, Severity};
use crate::domain::time::{Span, Timestamp};
use crate::notify::{LetterContext, Mailer, Webhook};
use crate::store::Channel;

/// Everything that leaves the house for people. The default tells nobody.
#[derive(Clone, Default)]
pub struct Notifier {
    /// E-mail, when it is configured.
    pub mail: Option<MailConfig>,
    /// The webhook, when it is configured.
    pub webhook: Option<Arc<dyn Webhook>>,
    /// `[server] public_url`
    pub public_url: String,
}

/// E-mail.
#[derive(Clone)]
pub struct MailConfig {
    /// The mail server.
    pub mailer: Arc<dyn Mailer>,
    /// Mailboxes that get every alert that no route takes.
    pub to: Vec<String>,
    /// Who gets what.
    pub routes: Vec<Route>,
    /// Alerts that open within this long travel together.
    pub group_within: Span,
    /// Open alerts that nobody acknowledged are repeated this often.
    pub remind_every: Span,
    /// The moment of the first digest after a moment; without one there is none.
    pub digest: Option<Arc<dyn Fn(Timestamp) -> Option<Timestamp> + Send + Sync>>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// At least this bad.
    pub severity: Severity,
    /// About what.
    pub scope: NoticeScope,
    /// Mailboxes.
    pub to: Vec<String>,
}

/// What the alerts of a route are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeScope {
    /// Anything.
    Everything,
    /// One rotation.
    Rotation(String),
    /// One account, its rotations included.
    Account(String),
}

impl Notifier {
    /// True when messages of this channel can be sent.
    pub(crate) fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Mail => self.mail.is_some(),
            Channel::Webhook => self.webhook.is_some(),
        }
    }

    /// What a letter must know besides its notices.
    pub(crate) fn voice(&self) -> LetterContext {
        LetterContext { public_url: self.public_url.clone() }
    }
}

impl MailConfig {
    /// Who is told of this notice: the recipients of every route that takes it, else everybody in `to`.
    /// Sorted, each once. `account` is the account of the notice's rotation.
    pub(crate) fn recipients(&self, notice: &Notice, account: Option<&str>) -> Vec<String> {
        let account = notice.account.as_deref().or(account);
        let takes = |route: &&Route| {
            let about = match &route.scope {
                NoticeScope::Everything => true,
                NoticeScope::Rotation(name) => notice.rotation.as_ref() == Some(name),
                NoticeScope::Account(name) => account == Some(name.as_str()),
            };
            about && notice.severity >= route.severity
        };
        let routed: BTreeSet<&String> =
            self.routes.iter().filter(takes).flat_map(|route| &route.to).collect();
        let to = if routed.is_empty() { self.to.iter().collect() } else { routed };
        to.into_iter().cloned().collect()
    }

    /// Everybody who may get a mail.
    pub(crate) fn everybody(&self) -> Vec<String> {
        let all: BTreeSet<&String> =
            self.to.iter().chain(self.routes.iter().flat_map(|route| &route.to)).collect();
        all.into_iter().cloned().collect()
    }
}
