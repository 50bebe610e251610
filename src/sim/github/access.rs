//! Tokens: what they may do, what they see, how often they may ask.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::wire::Answer;
use super::shape;

/// How much of one permission a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// None at all.
    #[default]
    None,
    /// To look.
    Read,
    /// To change.
    Write,
}

/// The permissions of a fine-grained token or an App, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Repository Actions secrets.
    pub secrets: Level,
    /// Environments, their secrets included.
    pub environments: Level,
    /// Repository Dependabot secrets.
    pub dependabot_secrets: Level,
    /// Repository Codespaces secrets.
    pub codespaces_secrets: Level,
    /// Organisation Actions secrets.
    pub organization_secrets: Level,
    /// Organisation Dependabot secrets.
    pub organization_dependabot_secrets: Level,
    /// Organisation Codespaces secrets.
    pub organization_codespaces_secrets: Level,
    /// Contents; dispatches need to write.
    pub contents: Level,
    /// Secret-scanning alerts.
    pub secret_scanning_alerts: Level,
}

impl Permissions {
    /// Sees repositories, and may do nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads everything.
    pub fn read_only() -> Self {
        Self {
            contents: Level::Read,
            secret_scanning_alerts: Level::Read,
            ..Self::none().all_secrets(Level::Read)
        }
    }

    /// Writes secrets of every kind, and nothing else.
    pub fn secrets_write() -> Self {
        Self::none().all_secrets(Level::Write)
    }

    /// Everything.
    pub fn everything() -> Self {
        Self {
            contents: Level::Write,
            secret_scanning_alerts: Level::Write,
            ..Self::none().all_secrets(Level::Write)
        }
    }

    fn all_secrets(self, level: Level) -> Self {
        Self {
            secrets: level,
            environments: level,
            dependabot_secrets: level,
            codespaces_secrets: level,
            organization_secrets: level,
            organization_dependabot_secrets: level,
            organization_codespaces_secrets: level,
            ..self
        }
    }

    /// As an installation's token lists them.
    pub(super) fn shown(&self) -> Value {
        let word = |level| match level {
            Level::None => None,
            Level::Read => Some("read"),
            Level::Write => Some("write"),
        };
        json!({
            "metadata": "read",
            "secrets": word(self.secrets),
            "environments": word(self.environments),
            "contents": word(self.contents),
            "organization_secrets": word(self.organization_secrets),
            "secret_scanning_alerts": word(self.secret_scanning_alerts),
        })
    }
}

/// One token. No `Debug`: it holds itself.
pub(super) struct Token {
    text: String,
    pub(super) permissions: Permissions,
    /// Repositories and owners, lower-case; everything when `None`.
    sees: Option<Vec<String>>,
    revoked: bool,
    /// Only an installation's token expires.
    expires_at: Option<DateTime<Utc>>,
    used: u64,
    window_ends: Option<DateTime<Utc>>,
}

/// What is left of a token's hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) reset: DateTime<Utc>,
}

impl Token {
    /// Whether it belongs to an App's installation.
    pub(super) fn is_installation(&self) -> bool {
        self.expires_at.is_some()
    }

    /// Whether it sees this owner, or this repository.
    pub(super) fn sees(&self, name: &str) -> bool {
        self.sees.as_ref().is_none_or(|seen| seen.iter().any(|one| one == name))
    }

    /// Refuses unless it has the permission.
    pub(super) fn demand(&self, has: Level, needs: Level) -> Result<(), Answer> {
        let who = if self.is_installation() { "integration" } else { "personal access token" };
        if has >= needs {
            Ok(())
        } else {
            Err(shape::error(403, &format!("Resource not accessible by {who}")))
        }
    }
}

/// All tokens there ever were.
#[derive(Default)]
pub(super) struct Tokens {
    all: Vec<Token>,
}

impl Tokens {
    pub(super) fn issue(&mut self, permissions: Permissions, sees: Option<Vec<String>>) -> String {
        self.add("github_pat_simulated_", permissions, sees, None)
    }

    pub(super) fn issue_installation(&mut self, permissions: Permissions, expires: DateTime<Utc>) -> String {
        self.add("ghs_simulated_", permissions, None, Some(expires))
    }

    fn add(
        &mut self,
        prefix: &str,
        permissions: Permissions,
        sees: Option<Vec<String>>,
        expires_at: Option<DateTime<Utc>>,
    ) -> String {
        let text = format!("{prefix}{}", hex::encode(rand::random::<[u8; 16]>()));
        let (revoked, used, window_ends) = (false, 0, None);
        let token = Token { text: text.clone(), permissions, sees, revoked, expires_at, used, window_ends };
        self.all.push(token);
        text
    }

    pub(super) fn issued(&self) -> Vec<String> {
        self.all.iter().map(|token| token.text.clone()).collect()
    }

    pub(super) fn set_permissions(&mut self, text: &str, permissions: Permissions) -> bool {
        self.change(text, |token| token.permissions = permissions)
    }

    pub(super) fn revoke(&mut self, text: &str) -> bool {
        self.change(text, |token| token.revoked = true)
    }

    pub(super) fn expire_installation_tokens(&mut self) {
        for token in self.all.iter_mut().filter(|token| token.is_installation()) {
            token.revoked = true;
        }
    }

    fn change(&mut self, text: &str, change: impl FnOnce(&mut Token)) -> bool {
        self.all.iter_mut().find(|token| token.text == text).map(change).is_some()
    }

    /// The token that is presented, if it still is one.
    pub(super) fn find(&self, text: &str, now: DateTime<Utc>) -> Option<&Token> {
        let live = |token: &&Token| !token.revoked && token.expires_at.is_none_or(|end| now < end);
        self.all.iter().filter(live).find(|token| token.text == text)
    }

    /// Counts a request of this token against its hour.
    pub(super) fn charge(&mut self, text: &str, limit: u64, now: DateTime<Utc>) -> Option<Allowance> {
        let token = self.all.iter_mut().find(|token| token.text == text)?;
        if token.window_ends.is_none_or(|end| end <= now) {
            (token.used, token.window_ends) = (0, Some(now + TimeDelta::hours(1)));
        }
        token.used += 1;
        let reset = token.window_ends.expect("set just above");
        Some(Allowance { limit, used: token.used, reset })
    }
}
