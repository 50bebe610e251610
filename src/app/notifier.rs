//! How people are told: `[email]` and `[webhook]` become adapters.

use std::sync::Arc;

use super::{Misconfigured, resolve};
use crate::config::Settings;
use crate::config::settings::values::parse_secret_url;
use crate::config::settings::{CronExpr, Email, RouteScope, SmtpTls};
use crate::domain::time::Timestamp;
use crate::engine::{MailConfig, NoticeScope, Notifier, Route};
use crate::net::Http;
use crate::notify::Webhook;
use crate::notify::smtp::{Protection, Smtp, SmtpSpec};
use crate::notify::webhook::HttpWebhook;

/// Both channels, as far as they are configured.
pub(super) fn notifier(settings: &Settings, http: &Http) -> anyhow::Result<Notifier> {
    let mail = settings.email.as_ref().map(|email| mail_config(settings, email)).transpose()?;
    let webhook = settings.webhook.as_ref().map(|webhook| {
        let url = resolve(&webhook.url, "[webhook] url")?;
        let url = parse_secret_url(&url).map_err(|error| Misconfigured {
            text: format!("[webhook] url: {}", error.message),
            hint: error.hint.clone(),
        })?;
        Ok::<Arc<dyn Webhook>, Misconfigured>(Arc::new(HttpWebhook::new(http.clone(), url)))
    });
    let public_url = settings.server.public_url.to_string();
    Ok(Notifier { mail, webhook: webhook.transpose()?, public_url })
}

fn mail_config(settings: &Settings, email: &Email) -> anyhow::Result<MailConfig> {
    let password =
        email.password.as_ref().map(|password| resolve(password, "[email] password")).transpose()?;
    let spec = SmtpSpec {
        host: email.smtp.host.clone(),
        port: email.smtp.port,
        protection: match email.smtp.tls {
            SmtpTls::Starttls => Protection::Starttls,
            SmtpTls::Implicit => Protection::Implicit,
            SmtpTls::None => Protection::Plain,
        },
        login: email.smtp.user.clone().zip(password),
        from: email.from.clone(),
        ca_file: settings.network.ca_file.clone(),
        hello: hostname(),
    };
    let mailer =
        Smtp::new(&spec).map_err(|error| Misconfigured { text: format!("[email] {error}"), hint: None })?;
    Ok(MailConfig {
        mailer: Arc::new(mailer),
        to: email.to.clone(),
        routes: email.routes.iter().map(route).collect(),
        group_within: email.group_within,
        remind_every: email.remind_every,
        digest: email.digest.clone().map(|cron| Arc::new(move |after| next(&cron, after)) as _),
    })
}

fn route(route: &crate::config::settings::Route) -> Route {
    let scope = match &route.scope {
        RouteScope::Everything => NoticeScope::Everything,
        RouteScope::Rotation(name) => NoticeScope::Rotation(name.to_string()),
        RouteScope::Account(name) => NoticeScope::Account(name.to_string()),
    };
    Route { severity: route.severity, scope, to: route.to.clone() }
}

/// The first moment of the schedule after this one, in UTC.
pub(super) fn next(cron: &CronExpr, after: Timestamp) -> Option<Timestamp> {
    let after = chrono::DateTime::from_timestamp_millis(after.0)?;
    let next = cron.cron().find_next_occurrence(&after, false).ok()?;
    Some(Timestamp(next.timestamp_millis()))
}

/// The name that mail servers are greeted with: this machine's, when it is a full one.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (name.contains('.') && name.chars().all(plain)).then(|| name.to_owned())
}
