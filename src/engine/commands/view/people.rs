//! `tokens list | create | revoke`.

use schemars::JsonSchema;
use serde::Serialize;

/// A token of a program: a row of `tokens list`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may: `admin`, `operator`, `viewer`, `consumer`.
    pub role: &'static str,
    /// The providers whose credentials it may fetch; null for all.
    pub providers: Option<Vec<String>>,
    /// E-mail address of the person whose it is.
    pub owner: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When, RFC 3339 UTC.
    pub created_at: String,
    /// When it ends; null for never.
    pub expires_at: Option<String>,
    /// When it was used last, to ten minutes.
    pub last_used_at: Option<String>,
}

/// A token that was made just now: `tokens create`.
#[derive(Serialize, JsonSchema)]
pub struct CreatedTokenView {
    /// The token itself, for the only time.
    pub token: String,
    /// Its row.
    #[serde(flatten)]
    pub view: TokenView,
}

impl std::fmt::Debug for CreatedTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedTokenView").field("view", &self.view).finish_non_exhaustive()
    }
}

/// A person: a row of `users list`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UserView {
    /// Its id.
    pub id: String,
    /// Lower case.
    pub email: String,
    /// What they may: `admin`, `operator`, `viewer`, `consumer`.
    pub role: &'static str,
    /// Whether they can log in with a password.
    pub has_password: bool,
    /// Since when they may do nothing.
    pub disabled_at: Option<String>,
    /// Since when they are known, RFC 3339 UTC.
    pub created_at: String,
    /// When they were changed last.
    pub updated_at: String,
}

/// A login that is not over.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// E-mail address of the person.
    pub user: Option<String>,
    /// From where they logged in.
    pub address: Option<String>,
    /// When, RFC 3339 UTC.
    pub created_at: String,
    /// When they were seen last, to the minute.
    pub seen_at: String,
    /// True for the session that asks.
    pub is_current: bool,
}
