//! Who is logged in, and the end of that.

use crate::engine::commands::view::SessionView;
use crate::engine::{Engine, EngineError};

/// Sessions that are not over, newest first: of one person by id, or of everybody. `current` is marked.
pub async fn session_views(
    engine: &Engine,
    user: Option<&str>,
    current: Option<&str>,
) -> Result<Vec<SessionView>, EngineError> {
    let (rows, users) = (engine.store().sessions(user).await?, engine.store().users().await?);
    let now = engine.clock().now();
    let alive = rows.into_iter().filter(|row| engine.access().is_alive(row.created_at, row.seen_at, now));
    Ok(alive
        .map(|row| SessionView {
            user: users.iter().find(|user| user.id == row.user).map(|user| user.email.clone()),
            is_current: current == Some(row.id.as_str()),
            id: row.id,
            address: row.address,
            created_at: row.created_at.rfc3339(),
            seen_at: row.seen_at.rfc3339(),
        })
        .collect())
}

/// Ends a session by id, at once and everywhere: anybody's, or only one of this person.
pub async fn end_session(engine: &Engine, id: &str, user: Option<&str>) -> Result<(), EngineError> {
    let entry = engine.entry("session.ended", format!("session {id}"), "");
    if engine.store().end_session(id, user, &entry).await? {
        return Ok(());
    }
    Err(EngineError::Absent { text: format!("there is no session {id:?}"), hint: None })
}
