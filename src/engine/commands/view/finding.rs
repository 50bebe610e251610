//! What was found of one part that rekeyd depends on.

use serde::Serialize;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It works.
    Ok,
    /// It works, and something about it is unwise or will not last.
    Warning,
    /// It does not work.
    Broken,
}

impl Health {
    /// As it is shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// What was found of one part.
#[derive(Debug, Clone, Serialize)]
pub struct FindingView {
    /// `database`, `account main`, `destination github-production`, …
    pub part: String,
    /// How it stands.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// The next move, where one is needed.
    pub remedy: Option<String>,
}

impl FindingView {
    /// It works.
    pub fn ok(part: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { part: part.into(), health: Health::Ok, seen: seen.into(), remedy: None }
    }

    /// It works, and a person should do this about it.
    pub fn warning(part: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { health: Health::Warning, remedy: Some(remedy.into()), ..Self::ok(part, seen) }
    }

    /// It does not work.
    pub fn broken(part: impl Into<String>, seen: impl Into<String>, remedy: Option<String>) -> Self {
        Self { health: Health::Broken, remedy, ..Self::ok(part, seen) }
    }
}
