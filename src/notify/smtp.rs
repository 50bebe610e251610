//! The mail server, by lettre.
//!
//! Map: this file says what a mail is on the wire and what an answer means; `connection` gets as far as the login;
//! `starttls` protects a connection that began in the clear.
//!
//! lettre's own timeout bounds the connect only, so every send has a deadline around it. Opportunistic TLS,
//! which falls back to plain text in silence, is not offered here at all.

mod connection;
mod starttls;

use std::error::Error as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::Message;
use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::response::Response;

use self::connection::{Trouble, Way};
use super::{Mail, Mailer, Obstacle, Undelivered};
use crate::domain::secret::Secret;
use crate::net::{Deadline, sentence};

/// Who has the mail is not waited for any longer.
const FAREWELL: Duration = Duration::from_millis(500);

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS is asked for before anything else is said; a server that has none gets nothing.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None; refused for hosts that are not loopback.
    Plain,
}

/// What the transport is made from.
#[derive(Debug, Clone)]
pub struct SmtpSpec {
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub protection: Protection,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// A mailbox, `Name <user@host>` or `user@host`.
    pub from: String,
    /// PEM file with certificate authorities to trust besides the platform's.
    pub ca_file: Option<PathBuf>,
    /// The name that we greet the server with; without one, the sender's domain.
    pub hello: Option<String>,
}

/// Why there can be no transport.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// Plain text over a network.
    #[error("mail to {0} would travel unencrypted: tls = \"none\" is for loopback hosts only")]
    Unprotected(String),
    /// The sender is no mailbox.
    #[error("{0:?} is not a mail address")]
    From(String),
    /// The extra authorities cannot be read.
    #[error("cannot read the certificate authorities in {path}: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The TLS library refuses, for one when the file holds no certificate.
    #[error("cannot set up TLS for mail: {0}")]
    Tls(String),
}

impl SmtpError {
    fn tls(error: impl std::fmt::Display) -> Self {
        Self::Tls(error.to_string())
    }
}

/// A mail server.
pub struct Smtp {
    way: Way,
    server: String,
    from: Mailbox,
    password: Option<Secret>,
}

impl Smtp {
    /// Connects to nothing yet.
    pub fn new(spec: &SmtpSpec) -> Result<Self, SmtpError> {
        let from = mailbox(&spec.from).ok_or_else(|| SmtpError::From(spec.from.clone()))?;
        let hello = spec.hello.clone().unwrap_or_else(|| from.email.domain().to_owned());
        let way = Way::new(spec, hello)?;
        let password = spec.login.as_ref().map(|(_, password)| password.clone());
        let server = format!("{}:{}", spec.host, spec.port);
        Ok(Self { way, server, from, password })
    }

    /// A connection for each mail: there are few, and a new one cannot have gone stale.
    async fn deliver(&self, message: &Message) -> Result<Response, Trouble> {
        let mut connection = self.way.connect().await?;
        let answer =
            connection.send(message.envelope(), &message.formatted()).await.map_err(Trouble::Smtp)?;
        // The mail is taken; a farewell that fails, or never comes, changes nothing.
        tokio::time::timeout(FAREWELL, connection.quit()).await.ok();
        Ok(answer)
    }

    fn silence(&self) -> Undelivered {
        Undelivered {
            obstacle: Obstacle::Away,
            reason: format!("{}: no answer before the deadline{}", self.server, self.way.silence()),
        }
    }

    fn refusal(&self, trouble: &Trouble) -> Undelivered {
        let known: Vec<&Secret> = self.password.iter().collect();
        let mut text = trouble.to_string();
        let mut source = trouble.source();
        while let Some(error) = source {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = error.source();
        }
        let reason = sentence(&format!("{}: {text}", self.server), &known);
        Undelivered { obstacle: obstacle(trouble), reason }
    }
}

/// A refused login is no refusal of the mail: a person mends the password, and the mail goes out.
fn obstacle(trouble: &Trouble) -> Obstacle {
    let error = match trouble {
        Trouble::Smtp(error) => error,
        // Not let in, whoever the mail is for.
        Trouble::Entry(error) if error.is_transient() => return Obstacle::NotNow,
        _ => return Obstacle::Away,
    };
    match error.status().map(u16::from) {
        // What this server cannot take at all: an address beyond ASCII without SMTPUTF8.
        None if error.is_client() => Obstacle::Refused,
        // 421: the service is not available and closes the channel, whoever the mail is for.
        Some(421 | 530 | 534 | 535 | 538) | None => Obstacle::Away,
        Some(500..) => Obstacle::Refused,
        Some(_) => Obstacle::NotNow,
    }
}

/// Plain text goes to this machine only.
fn stays_here(host: &str) -> Result<(), SmtpError> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = name.parse::<std::net::IpAddr>();
    let loopback = name == "localhost" || name.ends_with(".localhost");
    let here = loopback || address.is_ok_and(|ip| ip.to_canonical().is_loopback());
    if here { Ok(()) } else { Err(SmtpError::Unprotected(host.to_owned())) }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(
        &self,
        mail: &Mail,
        recipients: &[String],
        deadline: Deadline,
    ) -> Result<String, Undelivered> {
        let message = compose(&self.from, mail, recipients)
            .map_err(|reason| Undelivered { obstacle: Obstacle::Refused, reason })?;
        match deadline.bound(self.deliver(&message)).await {
            Some(Ok(response)) => {
                let said: Vec<&str> = response.message().collect();
                let code = response.code();
                let known: Vec<&Secret> = self.password.iter().collect();
                Ok(sentence(&format!("{}: {code} {}", self.server, said.join(" ")), &known))
            }
            Some(Err(trouble)) => Err(self.refusal(&trouble)),
            None => Err(self.silence()),
        }
    }

    async fn greet(&self, deadline: Deadline) -> Result<String, Undelivered> {
        let greeting = async {
            let mut connection = self.way.connect().await?;
            tokio::time::timeout(FAREWELL, connection.quit()).await.ok();
            Ok(())
        };
        match deadline.bound(greeting).await {
            Some(Ok(())) => Ok(format!("{} lets rekeyd in", self.server)),
            Some(Err(trouble)) => Err(self.refusal(&trouble)),
            None => Err(self.silence()),
        }
    }

    fn domain(&self) -> &str {
        self.from.email.domain()
    }
}

/// The mail as it goes over the wire.
fn compose(from: &Mailbox, mail: &Mail, recipients: &[String]) -> Result<Message, String> {
    let bad = |what: &str| format!("{what:?} is not a mail address");
    let envelope: Result<Vec<Address>, String> =
        recipients.iter().map(|text| mailbox(text).map(|m| m.email).ok_or_else(|| bad(text))).collect();
    let envelope = Envelope::new(Some(from.email.clone()), envelope?).map_err(|error| error.to_string())?;
    let millis = u64::try_from(mail.at.0).unwrap_or(0);
    let mut message = Message::builder()
        .from(from.clone())
        .subject(&mail.letter.subject)
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
        .message_id(Some(bracketed(&mail.message_id)))
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .envelope(envelope);
    for text in &mail.to {
        let to = mailbox(text).ok_or_else(|| bad(text))?;
        // An address that some servers cannot take stands only in the mail that goes to it.
        if to.email.user().is_ascii() || recipients.contains(text) {
            message = message.to(to);
        }
    }
    if let Some(first) = &mail.in_reply_to {
        message = message.in_reply_to(bracketed(first));
    }
    if !mail.references.is_empty() {
        let all: Vec<String> = mail.references.iter().map(|id| bracketed(id)).collect();
        message = message.references(all.join(" "));
    }
    let parts = MultiPart::alternative_plain_html(mail.letter.text.clone(), mail.letter.html.clone());
    message.multipart(parts).map_err(|error| error.to_string())
}

/// A mailbox whose domain every server can take: in its ASCII form (RFC 5891).
fn mailbox(text: &str) -> Option<Mailbox> {
    let Mailbox { name, email } = text.parse().ok()?;
    match url::Host::parse(email.domain()) {
        Ok(url::Host::Domain(domain)) if !email.domain().is_ascii() => {
            Some(Mailbox::new(name, Address::new(email.user(), domain).ok()?))
        }
        _ => Some(Mailbox::new(name, email)),
    }
}

fn bracketed(id: &str) -> String {
    format!("<{id}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host: &str, protection: Protection) -> SmtpSpec {
        SmtpSpec {
            host: host.to_owned(),
            port: 25,
            protection,
            login: None,
            from: "rekeyd <rekeyd@example.com>".to_owned(),
            ca_file: None,
            hello: None,
        }
    }

    #[test]
    fn fuzz_names_in_mails() {
        let seeds: [&[u8]; 4] = [
            b"rekeyd <rekeyd@example.com>",
            "Zo\u{eb} \u{202e} <z@example.com>".as_bytes(),
            b"=?utf-8?Q?a?= <a@b>",
            b"[rekeyd] CRITICAL x\r\nBcc: eve@example.com",
        ];
        let from: Mailbox = "rekeyd@example.com".parse().unwrap();
        crate::net::testing::fuzz(&seeds, |text| {
            let text = String::from_utf8_lossy(text).into_owned();
            let letter = crate::notify::message::Letter {
                subject: text.clone(),
                text: text.clone(),
                html: text.clone(),
            };
            let mail = Mail {
                message_id: "a@example.com".to_owned(),
                in_reply_to: None,
                references: Vec::new(),
                to: vec!["ops@example.com".to_owned()],
                at: crate::domain::time::Timestamp(0),
                letter,
            };
            if let Ok(message) = compose(&from, &mail, &["ops@example.com".to_owned()]) {
                let raw = String::from_utf8_lossy(&message.formatted()).into_owned();
                let head = raw.split("\r\n\r\n").next().unwrap().to_owned();
                assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
            }
            drop(mailbox(&text));
        });
    }

    #[test]
    fn domains_go_out_in_ascii() {
        let domain = |text: &str| mailbox(text).unwrap().to_string();
        assert_eq!(domain("admin@ex\u{e4}mple.com"), "admin@xn--exmple-cua.com");
        assert!(domain("Zo\u{eb} <z@b\u{fc}cher.example>").ends_with("<z@xn--bcher-kva.example>"));
        assert_eq!(domain("ops@Example.com"), "ops@Example.com");
    }

    #[tokio::test]
    async fn plain_text_stays_on_this_machine() {
        for host in ["127.0.0.1", "::1", "localhost", "mail.localhost"] {
            assert!(Smtp::new(&spec(host, Protection::Plain)).is_ok(), "{host}");
        }
        for host in ["mail.example.com", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com"] {
            let made = Smtp::new(&spec(host, Protection::Plain));
            assert!(matches!(made, Err(SmtpError::Unprotected(_))), "{host}");
        }
    }
}
