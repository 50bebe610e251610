//! A row that says what somebody may is believed only with its seal: a keyed hash that nobody makes without the encryption
//! key. Whoever writes the database could otherwise make himself an admin, and have every secret handed out (R24). What
//! such a person still can is to put an older row back.

use serde_json::{Value, json};

use crate::domain::secret::Secret;
use crate::engine::Engine;
use crate::store::{SessionRow, TokenRow, UserRow};

fn seal(engine: &Engine, what: &Value) -> String {
    engine.parts.fingerprints.of(&Secret::new(format!("rekeyd row {what}")))
}

/// Of a person: who, by which password, what they may.
pub(super) fn of_user(engine: &Engine, user: &UserRow) -> String {
    let password = user.password.as_ref().map(Secret::expose);
    let disabled = user.disabled_at.is_some();
    seal(engine, &json!(["user", user.id, user.email, user.role.word(), password, disabled]))
}

/// Of a session: which cookie is whose.
pub(super) fn of_session(engine: &Engine, id: &str, hash: &str, user: &str) -> String {
    seal(engine, &json!(["session", id, hash, user]))
}

/// Of a token: what may it, for whom, until when.
pub(super) fn of_token(engine: &Engine, token: &TokenRow) -> String {
    let (providers, end) = (&token.providers, token.expires_at.map(|at| at.0));
    seal(
        engine,
        &json!(["token", token.id, token.name, token.hash, token.role.word(), providers, token.owner, end]),
    )
}

/// The person, if rekeyd wrote what the row says of them.
pub(super) fn genuine_user(engine: &Engine, user: UserRow) -> Option<UserRow> {
    let is_ours = user.seal == of_user(engine, &user);
    ours("user", &user.id, is_ours).then_some(user)
}

/// The same of a token.
pub(super) fn genuine_token(engine: &Engine, token: TokenRow) -> Option<TokenRow> {
    let is_ours = token.seal == of_token(engine, &token);
    ours("token", &token.id, is_ours).then_some(token)
}

/// The same of a session.
pub(super) fn is_genuine_session(engine: &Engine, session: &SessionRow) -> bool {
    let is_ours = session.seal == of_session(engine, &session.id, &session.hash, &session.user);
    ours("session", &session.id, is_ours)
}

fn ours(what: &str, id: &str, is_ours: bool) -> bool {
    if !is_ours {
        tracing::error!(what, id, "somebody else wrote this row of the database: it is not believed");
    }
    is_ours
}
