//! One's own: password and sessions.

use askama::Template;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::Permission::Own;
use crate::engine::commands::{self, SessionView, Way};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let own = Allow::May(Own);
    Routes::default()
        .at(Method::GET, "/me", own, show)
        .at(Method::POST, "/me/password", own, set_password)
        .at(Method::POST, "/me/sessions/end", own, end)
}

#[derive(Template)]
#[template(path = "own.html")]
struct OwnPage {
    frame: Frame,
    sessions: Vec<SessionView>,
}

/// Whose page it is: a person's, never a program's.
fn user(visit: &Visit) -> Result<String, Problem> {
    let user = visit.caller().identity.user.clone();
    user.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "a program has no sessions and no password")
    })
}

async fn show(visit: Visit) -> Result<Response, Problem> {
    let current = match &visit.caller().identity.way {
        Way::Session(id) => Some(id.as_str()),
        Way::Token(_) => None,
    };
    let sessions = commands::session_views(visit.engine(), Some(&user(&visit)?), current).await?;
    page(&OwnPage { frame: visit.frame("Me"), sessions })
}

/// Whoever changes it is logged out everywhere, here too.
async fn set_password(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let (id, current, new) = (user(&visit)?, fields.secret("current"), fields.secret("password"));
    let changed = visit
        .whole(move |engine| async move { commands::change_own_password(&engine, &id, current, new).await });
    changed.await?;
    Ok(visit.done("/login", "changed"))
}

async fn end(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let (user, id) = (user(&visit)?, fields.text("id").to_owned());
    visit.whole(move |engine| async move { commands::end_session(&engine, &id, Some(&user)).await }).await?;
    Ok(visit.done("/me", "changed"))
}
