//! `/api/v1/sessions`: one's own, and everybody's for an admin.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::api::Api;
use super::asked::Asked;
use super::auth::Caller;
use super::login::no_store;
use super::problem::Problem;
use super::routes::{Allow, Routes};
use crate::domain::role::Permission;
use crate::engine::commands::{SESSIONS, SessionListView, SessionView, Way, end_session, session_page};

pub(super) fn routes() -> Routes {
    let own = Allow::May(Permission::Own);
    Routes::default()
        .list::<SessionView, _, _>("/api/v1/sessions", own, &SESSIONS, list)
        .says("One's own sessions; everybody's for an admin")
        .answers::<SessionListView>(200)
        .at(Method::DELETE, "/api/v1/sessions/{id}", own, end)
        .says("End a session")
        .answers_nothing()
}

async fn list(State(api): State<Api>, caller: Caller, Asked(wanted): Asked) -> Result<Response, Problem> {
    let current = match &caller.identity.way {
        Way::Session(id) => Some(id.as_str()),
        Way::Token(_) => None,
    };
    let page = session_page(&api.engine(), caller.whose(), current, &wanted).await?;
    Ok(([no_store()], Json(SessionListView::from(page))).into_response())
}

async fn end(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    end_session(&api.engine_for(&caller), &id, caller.whose()).await?;
    Ok(StatusCode::NO_CONTENT)
}
