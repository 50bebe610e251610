//! `/api/v1/sessions`: one's own, and everybody's for an admin.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::api::Api;
use super::auth::Caller;
use super::login::no_store;
use super::problem::Problem;
use super::routes::{Allow, Routes};
use crate::domain::role::Permission;
use crate::engine::commands::{SessionView, Way, end_session, session_views};

pub(super) fn routes() -> Routes {
    let own = Allow::May(Permission::Own);
    Routes::default()
        .at(Method::GET, "/api/v1/sessions", own, list)
        .says("One's own sessions; everybody's for an admin")
        .answers::<ListedSessions>(200)
        .at(Method::DELETE, "/api/v1/sessions/{id}", own, end)
        .says("End a session")
        .answers_nothing()
}

#[derive(Serialize, JsonSchema)]
struct ListedSessions {
    sessions: Vec<SessionView>,
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let current = match &caller.identity.way {
        Way::Session(id) => Some(id.as_str()),
        Way::Token(_) => None,
    };
    let sessions = session_views(&api.engine(), caller.whose(), current).await?;
    Ok(([no_store()], Json(ListedSessions { sessions })).into_response())
}

async fn end(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    end_session(&api.engine_for(&caller), &id, caller.whose()).await?;
    Ok(StatusCode::NO_CONTENT)
}
