//! Conditions that admins are told about. Kinds and severities: interface.md §5.
//!
//! ```text
//! kind      what can be wrong, and what people should know of it
//! subject   what it is about
//! ```
//!
//! The life of an alert, one row a cause: opened ─► (acknowledged) ─► resolved. While it is open it may get
//! worse, and it is repeated until somebody acknowledges it. People hear of it by a [`Notice`] for each [`Event`].
//!
//! Info alerts report what happened, not what is wrong: they are told once, never repeated and never resolved
//! by mail.

mod kind;
mod subject;

use super::time::Timestamp;

pub use kind::{Advice, Kind};
pub use subject::Subject;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the record.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Production is at risk.
    Critical,
}

impl Severity {
    /// The word in the database and in JSON; upper-cased in e-mail subjects.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical].into_iter().find(|severity| severity.word() == word)
    }
}

/// An alert to open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewAlert {
    /// What is wrong.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// The account's name, for routes.
    pub account: Option<String>,
    /// The rotation's name, for routes.
    pub rotation: Option<String>,
    /// In whole sentences: what happened, what still works, what the reader must do.
    pub detail: String,
    /// An open one that is critical keeps its text: it says more, what is done about it.
    pub yields: bool,
}

impl NewAlert {
    /// An alert of the kind's own severity.
    pub fn new(kind: Kind, subject: Subject, detail: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            subject,
            account: None,
            rotation: None,
            detail: detail.into(),
            yields: false,
        }
    }

    /// The same about a rotation.
    #[must_use]
    pub fn rotation(mut self, rotation: impl Into<String>) -> Self {
        self.rotation = Some(rotation.into());
        self
    }
}

/// What became of an alert, as far as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It began.
    Opened,
    /// It got worse while it was open.
    Escalated,
    /// It is still open, and nobody has acknowledged it.
    Reminded,
    /// It is over.
    Resolved,
}

impl Event {
    const ALL: [Self; 4] = [Self::Opened, Self::Escalated, Self::Reminded, Self::Resolved];

    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Reminded => "reminded",
            Self::Resolved => "resolved",
        }
    }

    /// The event of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.word() == word)
    }
}

/// One event of an alert, as it was when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Unique, sorts by time.
    pub id: String,
    /// Id of the alert.
    pub alert: String,
    /// What became of it.
    pub event: Event,
    /// What is wrong.
    pub kind: Kind,
    /// How bad it was by then.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// The account's name, for routes.
    pub account: Option<String>,
    /// The rotation's name, for routes.
    pub rotation: Option<String>,
    /// In whole sentences.
    pub detail: String,
    /// When the alert opened.
    pub opened_at: Timestamp,
    /// When the event happened.
    pub at: Timestamp,
}
