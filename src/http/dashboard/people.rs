//! People and the tokens of programs: who may log in, and what each may.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::{Permission, Role};
use crate::domain::time::Span;
use crate::engine::commands::{
    self, ChangeUser, CreatedTokenView, MakeToken, SessionView, TokenView, UserView,
};
use crate::engine::{Engine, EngineError};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let manages = Allow::May(Permission::People);
    Routes::default()
        .at(Method::GET, "/people", manages, list)
        .at(Method::POST, "/people", manages, add)
        .at(Method::POST, "/people/{id}/role", manages, set_role)
        .at(Method::POST, "/people/{id}/password", manages, set_password)
        .at(Method::POST, "/people/{id}/disable", manages, disable)
        .at(Method::POST, "/people/{id}/enable", manages, enable)
        .at(Method::POST, "/people/{id}/log-out", manages, log_out)
        .at(Method::POST, "/people/tokens", manages, create_token)
        .at(Method::POST, "/people/tokens/revoke", manages, revoke_token)
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    users: Vec<UserView>,
    sessions: Vec<SessionView>,
    tokens: Vec<TokenView>,
    roles: [&'static str; 4],
}

impl PeoplePage {
    /// Sessions of one person that are not over.
    fn sessions_of(&self, user: &UserView) -> usize {
        self.sessions.iter().filter(|session| session.user.as_ref() == Some(&user.email)).count()
    }
}

#[derive(Template)]
#[template(path = "token.html")]
struct TokenPage {
    frame: Frame,
    created: CreatedTokenView,
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let engine = visit.engine();
    page(&PeoplePage {
        frame: visit.frame("People"),
        users: commands::user_views(engine).await?,
        sessions: commands::session_views(engine, None, None).await?,
        tokens: commands::token_views(engine, None).await?,
        roles: Role::ALL.map(Role::word),
    })
}

async fn add(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let (email, role, password) =
        (fields.text("email").to_owned(), role(&fields)?, fields.secret("password"));
    let added = visit
        .whole(move |engine| async move { commands::add_user(&engine, &email, role, Some(password)).await });
    added.await?;
    Ok(visit.done("/people", "changed"))
}

async fn set_role(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    change(&visit, id, ChangeUser { role: Some(role(&fields)?), ..ChangeUser::default() }).await
}

/// Of somebody else. Who finds an open browser shall not keep it: one's own is changed by showing the present one.
async fn set_password(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    if visit.caller().identity.user.as_deref() == Some(id.as_str()) {
        return Err(Problem::malformed("one's own password is changed on the page Me, with the present one"));
    }
    change(&visit, id, ChangeUser { password: Some(fields.secret("password")), ..ChangeUser::default() })
        .await
}

async fn disable(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    change(&visit, id, ChangeUser { disabled: Some(true), ..ChangeUser::default() }).await
}

async fn enable(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    change(&visit, id, ChangeUser { disabled: Some(false), ..ChangeUser::default() }).await
}

async fn change(visit: &Visit, id: String, change: ChangeUser) -> Result<Response, Problem> {
    visit.whole(move |engine| async move { commands::change_user(&engine, &id, change).await }).await?;
    Ok(visit.done("/people", "changed"))
}

async fn log_out(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    visit.whole(move |engine| async move { end_all(&engine, &id).await }).await?;
    Ok(visit.done("/people", "changed"))
}

async fn end_all(engine: &Engine, user: &str) -> Result<(), EngineError> {
    for session in commands::session_views(engine, Some(user), None).await? {
        match commands::end_session(engine, &session.id, Some(user)).await {
            Ok(()) | Err(EngineError::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The answer is the only page that ever shows the token, so it is no address that one could go back to.
async fn create_token(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let days = fields.text("days").parse().ok().filter(|days: &i64| (1..=3650).contains(days));
    let days = days.ok_or_else(|| Problem::malformed("how many days it lasts: 1 to 3650"))?;
    let make = MakeToken {
        name: fields.text("name").to_owned(),
        role: role(&fields)?,
        expires: Some(Span::hours(24 * days)),
        providers: None,
        owner: None,
    };
    let created =
        visit.whole(move |engine| async move { commands::create_token(&engine, make).await }).await?;
    page(&TokenPage { frame: visit.frame("A new token"), created })
}

async fn revoke_token(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let id = fields.text("id").to_owned();
    visit.whole(move |engine| async move { commands::revoke_token(&engine, &id, None).await }).await?;
    Ok(visit.done("/people", "changed"))
}

fn role(fields: &Fields) -> Result<Role, Problem> {
    let role = Role::parse(fields.text("role"));
    role.ok_or_else(|| Problem::malformed("role is admin, operator, viewer or consumer"))
}
