//! `[email]`, `[webhook]`, `[heartbeat]`.

use url::{Host, Url};

use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, CronExpr, is_loopback};
use super::whole::Known;
use crate::config::file;
use crate::crypto::SecretRef;
use crate::domain::name::Name;
use crate::domain::time::Span;

pub use crate::config::file::SmtpTls;
pub use crate::domain::alert::Severity;

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
    /// Host name or address; an IPv6 address without brackets.
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

impl Email {
    pub(super) fn read(file: &file::Email, known: &Known<'_>, at: &At<'_>) -> Read<Self> {
        let smtp = Smtp::read(file, at);
        let password = read_password(file, smtp.as_ref().ok(), &at.field("password"));
        let from = at.field("from").mailbox(&file.from);
        let to = at.field("to").mailboxes(&file.to);
        let group_within = at.field("group_within").span(&file.group_within);
        let remind_every = at.field("remind_every").positive_span(&file.remind_every);
        let digest = match file.digest.as_str().trim() {
            "" => Ok(None),
            _ => at.field("digest").cron(&file.digest).map(Some),
        };
        let routes = at.field("routes").each(&file.routes, |route, at| Route::read(route, known, at));
        Ok(Self {
            smtp: smtp?,
            password: password?,
            from: from?,
            to: to?,
            group_within: group_within?,
            remind_every: remind_every?,
            digest: digest?,
            routes: routes?,
        })
    }
}

/// A user and a password belong together.
fn read_password(file: &file::Email, smtp: Option<&Smtp>, at: &At<'_>) -> Read<Option<SecretRef>> {
    let password = at.optional_reference(file.password.as_ref(), Purpose::Token)?;
    match (smtp.map(|smtp| smtp.user.is_some()), &password) {
        (Some(true), None) => Err(at.problem(
            "the URL names a user, but there is no password",
            "write password = \"credential:smtp-password\", or take the user out of the URL",
        )),
        (Some(false), Some(_)) => Err(at.problem(
            "there is a password, but the URL names no user",
            "write the user into the URL: smtp://user@host:587",
        )),
        _ => Ok(password),
    }
}

impl Smtp {
    fn read(file: &file::Email, at: &At<'_>) -> Read<Self> {
        let (scheme, host, port, user) = at.field("smtp").value(smtp_url(&file.smtp))?;
        let tls = file.tls.expect("complete() fills it in");
        if scheme == "smtps" && tls != SmtpTls::Implicit {
            return Err(at.field("tls").problem(
                "smtps:// is implicit TLS and contradicts another tls",
                "leave tls out, or write smtp:// for tls = \"starttls\"",
            ));
        }
        let here = Host::parse(&host).is_ok_and(|host| is_loopback(&borrowed(&host)));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if tls == SmtpTls::None && !here {
            return Err(at.field("tls").problem(
                format!("mail to {host} would travel unencrypted, and the password with it"),
                "write tls = \"starttls\" or \"implicit\"; \"none\" is for loopback hosts only",
            ));
        }
        let port = port.unwrap_or(if tls == SmtpTls::Implicit { 465 } else { 587 });
        Ok(Self { host, port, user, tls })
    }
}

fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

/// Scheme, host, port and user. Repeats nothing of it: it may hold a password.
fn smtp_url(text: &str) -> Result<(String, String, Option<u16>, Option<String>), BadValue> {
    const HINT: &str =
        "write it like \"smtp://user@mail.example.com:587\" or \"smtps://user@mail.example.com\"";
    let bad = |message: &str| BadValue::new(message, HINT);
    let url = Url::parse(text).map_err(|_| bad("not the URL of a mail server"))?;
    if !matches!(url.scheme(), "smtp" | "smtps") {
        return Err(bad("not an smtp:// or smtps:// URL"));
    }
    if url.password().is_some() {
        return Err(bad("a password does not belong in this URL: the field password refers to it"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("the URL names no host"))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("nothing may follow the host and port"));
    }
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(percent_decoded);
    Ok((url.scheme().to_owned(), host.to_owned(), url.port(), user))
}

/// A user may be a mail address, whose `@` the URL carries as `%40`.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        bytes.extend(escaped.unwrap_or_else(|| vec![*first]));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Route {
    fn read(file: &file::Route, known: &Known<'_>, at: &At<'_>) -> Read<Self> {
        let to = at.field("to").mailboxes(&file.to);
        let scope = RouteScope::read(file, known, at);
        Ok(Self { severity: severity(file.severity), scope: scope?, to: to? })
    }
}

const fn severity(severity: file::Severity) -> Severity {
    match severity {
        file::Severity::Info => Severity::Info,
        file::Severity::Warning => Severity::Warning,
        file::Severity::Critical => Severity::Critical,
    }
}

impl RouteScope {
    fn read(file: &file::Route, known: &Known<'_>, at: &At<'_>) -> Read<Self> {
        match (&file.rotation, &file.account) {
            (Some(_), Some(_)) => Err(at
                .field("account")
                .problem("a route is about a rotation or an account, not both", "write two routes")),
            (Some(name), None) => {
                at.field("rotation").known(name, "rotation", &known.rotations).map(Self::Rotation)
            }
            (None, Some(name)) => {
                at.field("account").known(name, "account", &known.accounts).map(Self::Account)
            }
            (None, None) => Ok(Self::Everything),
        }
    }
}

impl Webhook {
    pub(super) fn read(file: &file::Webhook, at: &At<'_>) -> Read<Self> {
        Ok(Self { url: at.field("url").reference(&file.url, Purpose::WebUrl)? })
    }
}

impl Heartbeat {
    pub(super) fn read(file: &file::Heartbeat, at: &At<'_>) -> Read<Self> {
        let url = at.field("url").reference(&file.url, Purpose::WebUrl);
        let every = at.field("every").positive_span(&file.every);
        Ok(Self { url: url?, every: every? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{ACCOUNT, assert_table, settings};

    /// An `[email]` table with these lines before the rest.
    fn email(lines: &str) -> String {
        format!("[email]\n{lines}\nfrom = \"rekeyd@example.com\"\nto = [\"ops@example.com\"]\n")
    }

    fn read(lines: &str) -> Email {
        settings(&email(lines)).email.unwrap()
    }

    #[test]
    fn has_the_defaults_of_the_interface() {
        let email = read("smtp = \"smtp://mail.example.com\"");
        let smtp =
            Smtp { host: "mail.example.com".to_owned(), port: 587, user: None, tls: SmtpTls::Starttls };
        assert_eq!((email.smtp, email.password), (smtp, None));
        assert_eq!((email.group_within, email.remind_every), (Span::seconds(30), Span::hours(24)));
        assert_eq!(email.digest.unwrap().as_str(), "0 0 8 * * Mon");
        assert!(email.routes.is_empty());
        let heartbeat = settings("[heartbeat]\nurl = \"env:U\"").heartbeat.unwrap();
        assert_eq!(heartbeat.every, Span::minutes(5));
    }

    #[test]
    fn reads_mail_servers() {
        for (lines, host, port, user, tls) in [
            ("smtp = \"smtps://mail.example.com\"", "mail.example.com", 465, None, SmtpTls::Implicit),
            (
                "smtp = \"smtps://mail.example.com:25\"\ntls = \"implicit\"",
                "mail.example.com",
                25,
                None,
                SmtpTls::Implicit,
            ),
            (
                "smtp = \"smtp://mail.example.com:465\"\ntls = \"implicit\"",
                "mail.example.com",
                465,
                None,
                SmtpTls::Implicit,
            ),
            ("smtp = \"smtp://127.0.0.1:1025\"\ntls = \"none\"", "127.0.0.1", 1025, None, SmtpTls::None),
            ("smtp = \"smtp://[::1]:1025\"\ntls = \"none\"", "::1", 1025, None, SmtpTls::None),
            ("smtp = \"smtp://localhost\"\ntls = \"none\"", "localhost", 587, None, SmtpTls::None),
            (
                "smtp = \"smtp://a+b%40c.example@mail.example.com\"\npassword = \"env:P\"",
                "mail.example.com",
                587,
                Some("a+b@c.example"),
                SmtpTls::Starttls,
            ),
            (
                "smtp = \"smtp://a@c.example@mail.example.com\"\npassword = \"env:P\"",
                "mail.example.com",
                587,
                Some("a@c.example"),
                SmtpTls::Starttls,
            ),
        ] {
            let smtp = Smtp { host: host.to_owned(), port, user: user.map(ToOwned::to_owned), tls };
            assert_eq!(read(lines).smtp, smtp, "{lines}");
        }
    }

    #[test]
    fn an_empty_digest_turns_it_off() {
        assert_eq!(read("smtp = \"smtp://localhost\"\ndigest = \"\"").digest, None);
    }

    #[test]
    fn reads_routes() {
        let routes = "[[email.routes]]\nto = [\"a@example.com\"]\n\
                      [[email.routes]]\nseverity = \"critical\"\naccount = \"main\"\nto = [\"Ops <b@example.com>\"]\n";
        let email =
            settings(&format!("{}{routes}{ACCOUNT}", email("smtp = \"smtp://localhost\""))).email.unwrap();
        let scope = RouteScope::Account(Name::parse("main").unwrap());
        assert_eq!(
            email.routes,
            [
                Route {
                    severity: Severity::Info,
                    scope: RouteScope::Everything,
                    to: vec!["a@example.com".to_owned()]
                },
                Route { severity: Severity::Critical, scope, to: vec!["Ops <b@example.com>".to_owned()] },
            ]
        );
    }

    #[test]
    fn refuses_bad_mail_servers_and_addresses() {
        let files = [
            email("smtp = \"mail.example.com\""),
            email("smtp = \"http://mail.example.com\""),
            email("smtp = \"smtp://\""),
            email("smtp = \"smtp://mail.example.com/x\""),
            email("smtp = \"smtp://user:hunter2@mail.example.com\""),
            email("smtp = \"smtp://user@mail.example.com\""),
            email("smtp = \"smtp://mail.example.com\"\npassword = \"env:P\""),
            email("smtp = \"smtp://user@mail.example.com\"\npassword = \"hunter2\""),
            email("smtp = \"smtps://mail.example.com\"\n\ntls = \"starttls\""),
            email("smtp = \"smtps://localhost\"\ntls = \"none\""),
            email("smtp = \"smtp://mail.example.com\"\ntls = \"none\""),
            email("smtp = \"smtp://127.0.0.1.example.com\"\ntls = \"none\""),
            email(
                "smtp = \"smtp://localhost\"\nremind_every = \"0s\"\ngroup_within = \"1\"\ndigest = \"0 8 * * Mon\"",
            ),
            "[email]\nsmtp = \"smtp://localhost\"\nfrom = \"rekeyd\"\nto = [\"a@example.com\", \"b@\"]"
                .to_owned(),
            "[email]\nsmtp = \"smtp://localhost\"\nfrom = \"a@example.com\"\nto = []".to_owned(),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_routes_webhooks_and_heartbeats() {
        let route = |lines: &str| {
            let email = email("smtp = \"smtp://localhost\"");
            format!("{email}{ACCOUNT}[[email.routes]]\nto = [\"a@example.com\"]\n{lines}")
        };
        let files = [
            route("account = \"mian\""),
            route("rotation = \"production\""),
            route("account = \"main\"\nrotation = \"production\""),
            route("severity = \"fatal\""),
            "[webhook]\nurl = \"https://hunter2.example\"".to_owned(),
            "[heartbeat]\nurl = \"env:URL\"\nevery = \"0m\"".to_owned(),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }
}
