//! Notices become messages, and messages leave the house.
//!
//! ```text
//! message   notices → one letter: subject, text, HTML
//! smtp      the mail server
//! webhook   one JSON object an event
//! ```
//!
//! The engine sees this file: two traits, the plain data that they take, and how to write letters.

mod message;
pub mod smtp;
pub mod webhook;

use async_trait::async_trait;

use crate::domain::alert::Notice;
use crate::domain::time::Timestamp;
use crate::net::Deadline;

pub use message::{Letter, LetterContext, Open, digest, letter, trial};

/// A mail as it goes out. The same at every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// `Message-ID`, without angle brackets.
    pub message_id: String,
    /// `Message-ID` of the mail that this one answers.
    pub in_reply_to: Option<String>,
    /// `Message-ID`s of the mails that it belongs to.
    pub references: Vec<String>,
    /// Mailboxes of the `To` header: everybody who gets it, now or in another attempt.
    pub to: Vec<String>,
    /// `Date`.
    pub at: Timestamp,
    /// What it says.
    pub letter: Letter,
}

/// Why a message did not arrive, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The server said no for good: to this message or to one of its recipients (SMTP 5xx, HTTP 4xx).
    Refused,
    /// The server said: not now (SMTP 4xx, HTTP 5xx and 429).
    NotNow,
    /// There was no whole answer: the server is away or silent, or does not let us in. It may have the message.
    Away,
}

/// A message that did not arrive, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undelivered {
    /// What this means for the next attempt.
    pub obstacle: Obstacle,
    /// For people: no password, no header.
    pub reason: String,
}

/// A way to send mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail for these of its recipients to the server, in one envelope; answers what the server said.
    async fn send(
        &self,
        mail: &Mail,
        recipients: &[String],
        deadline: Deadline,
    ) -> Result<String, Undelivered>;

    /// Connects and logs in, and sends nothing; answers which server let us in.
    async fn greet(&self, deadline: Deadline) -> Result<String, Undelivered>;

    /// The part of our `Message-ID`s behind the `@`.
    fn domain(&self) -> &str;
}

/// A program that wants every event of an alert.
#[async_trait]
pub trait Webhook: Send + Sync {
    /// What is posted of one event. The outbox keeps it, so that every attempt says the same.
    fn body(&self, notice: &Notice, voice: &LetterContext) -> String;

    /// Posts what [`Self::body`] made. `id` is the same at every attempt.
    async fn post(&self, id: &str, body: &str, deadline: Deadline) -> Result<String, Undelivered>;
}

/// Whether mail could go there: `ada@example.com`.
pub fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}
