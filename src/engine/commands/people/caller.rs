//! Who shows this token, whose session this is. Whatever is unknown, over, revoked or disabled is nobody.

use super::seals;
use crate::crypto::bearer::TOKEN_PREFIX;
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError};
use crate::store::{SessionRow, TokenRow, UserRow};

/// A token's last use is written so seldom: a write for each request would be the slowest part of it.
const USE_NOTED: Span = Span::minutes(10);
/// The same of a session, whose idle time counts from there.
const SEEN_NOTED: Span = Span::minutes(1);

/// By what somebody proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A token of a program, by id.
    Token(String),
    /// The session of a person, by id.
    Session(String),
}

/// Somebody who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For the audit trail: an e-mail address, or `token NAME`.
    pub name: String,
    /// Id of the person; a token that belongs to nobody has none.
    pub user: Option<String>,
    /// What they may.
    pub role: Role,
    /// The providers whose credentials they may fetch; `None` for all.
    pub providers: Option<Vec<String>>,
    /// By what they proved it.
    pub way: Way,
}

/// Whose token this is; `None` for nobody's.
pub async fn by_token(engine: &Engine, token: &Secret) -> Result<Option<Identity>, EngineError> {
    if !token.expose().starts_with(TOKEN_PREFIX) {
        return Ok(None);
    }
    let found = engine.store().token_of(&token.sha256_hex()).await?;
    let Some(row) = found.and_then(|row| seals::genuine_token(engine, row)) else { return Ok(None) };
    let now = engine.clock().now();
    if row.expires_at.is_some_and(|end| end <= now) || !owner_covers(engine, &row).await? {
        return Ok(None);
    }
    if row.used_at.is_none_or(|used| now.since(used).0 >= USE_NOTED.0) {
        noted(engine.store().use_token(&row.id).await);
    }
    Ok(Some(of_token(row)))
}

/// A token may never more than the person whose it is: nothing, once they are disabled or may less.
async fn owner_covers(engine: &Engine, token: &TokenRow) -> Result<bool, EngineError> {
    let Some(owner) = &token.owner else { return Ok(true) };
    let owner = engine.store().user(owner).await?.and_then(|owner| seals::genuine_user(engine, owner));
    Ok(owner.is_some_and(|owner| owner.disabled_at.is_none() && owner.role.covers(token.role)))
}

fn of_token(row: TokenRow) -> Identity {
    Identity {
        name: format!("token {}", row.name),
        user: row.owner,
        role: row.role,
        providers: row.providers,
        way: Way::Token(row.id),
    }
}

/// Whose session this is; `None` when it is nobody's or over.
pub async fn by_session(engine: &Engine, cookie: &Secret) -> Result<Option<Identity>, EngineError> {
    let found = engine.store().session_of(&cookie.sha256_hex()).await?;
    let found = found.filter(|(session, _)| seals::is_genuine_session(engine, session));
    let Some((session, user)) = found else { return Ok(None) };
    let Some(user) = seals::genuine_user(engine, user) else { return Ok(None) };
    let now = engine.clock().now();
    if user.disabled_at.is_some() || !engine.access().is_alive(session.created_at, session.seen_at, now) {
        return Ok(None);
    }
    if now.since(session.seen_at).0 >= SEEN_NOTED.0 {
        noted(engine.store().see_session(&session.id).await);
    }
    Ok(Some(of_session(session, user)))
}

fn of_session(session: SessionRow, user: UserRow) -> Identity {
    Identity {
        name: user.email,
        user: Some(user.id),
        role: user.role,
        providers: None,
        way: Way::Session(session.id),
    }
}

/// That somebody was here is not worth refusing them for.
fn noted<E: std::fmt::Display>(done: Result<(), E>) {
    if let Err(error) = done {
        tracing::debug!(%error, "a use was not noted");
    }
}
