//! `tokens list | create | revoke`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::listing::Page;

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

/// A page of the people who may log in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserListView {
    /// The rows.
    pub users: Vec<UserView>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Rows of the whole list, narrowed by the filters.
    pub total: usize,
}

impl From<Page<UserView>> for UserListView {
    fn from(page: Page<UserView>) -> Self {
        Self { users: page.items, next_cursor: page.next_cursor, total: page.total }
    }
}

/// A page of the tokens.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenListView {
    /// The rows.
    pub tokens: Vec<TokenView>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Rows of the whole list, narrowed by the filters.
    pub total: usize,
}

impl From<Page<TokenView>> for TokenListView {
    fn from(page: Page<TokenView>) -> Self {
        Self { tokens: page.items, next_cursor: page.next_cursor, total: page.total }
    }
}

/// A page of the sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionListView {
    /// The rows.
    pub sessions: Vec<SessionView>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Rows of the whole list, narrowed by the filters.
    pub total: usize,
}

impl From<Page<SessionView>> for SessionListView {
    fn from(page: Page<SessionView>) -> Self {
        Self { sessions: page.items, next_cursor: page.next_cursor, total: page.total }
    }
}
