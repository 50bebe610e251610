//! In and out.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};

use super::fields::Fields;
use super::frame::Frame;
use super::visit::{Visit, base, page, see_other};
use crate::domain::actor::{Actor, Via};
use crate::engine::Engine;
use crate::engine::commands::{Way, end_session, has_users, log_in};
use crate::http::api::Api;
use crate::http::auth::{Origin, cleared, set};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/login", Allow::Anyone, show)
        .at(Method::POST, "/login", Allow::Anyone, enter)
        .at(Method::POST, "/logout", Allow::Known, leave)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    email: String,
    failed: Option<String>,
    /// Nobody can log in yet.
    is_empty: bool,
}

impl LoginPage {
    async fn of(engine: &Engine, next: String) -> Result<Self, Problem> {
        let frame = Frame::unknown(base(engine), "/login".to_owned(), engine.clock().now()).titled("Log in");
        let is_empty = !has_users(engine).await?;
        Ok(Self { frame, next, email: String::new(), failed: None, is_empty })
    }
}

async fn show(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let asked = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query);
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let mut login = LoginPage::of(&api.engine(), below(&asked("next").unwrap_or_default())).await?;
    login.frame = login.frame.having_done(asked("done").as_deref());
    page(&login)
}

async fn enter(State(api): State<Api>, origin: Origin, fields: Fields) -> Result<Response, Problem> {
    let engine = api.engine().acting_as(Actor { via: Via::Dashboard, ..origin.actor() });
    let (email, next) = (fields.text("email").to_owned(), below(fields.text("next")));
    match log_in(&engine, &email, fields.secret("password"), origin.address.as_deref()).await {
        Ok(entered) => {
            let mut response = see_other(&format!("{}{next}", base(&engine)));
            response.headers_mut().insert(SET_COOKIE, set(engine.access(), &entered.cookie));
            Ok(response)
        }
        Err(error) => {
            let problem = Problem::from(error);
            if problem.status().is_server_error() {
                return Err(problem);
            }
            let failed = Some(problem.detail().to_owned());
            let mut response = page(&LoginPage { email, failed, ..LoginPage::of(&engine, next).await? })?;
            *response.status_mut() = problem.status();
            Ok(response)
        }
    }
}

async fn leave(visit: Visit) -> Result<Response, Problem> {
    if let Way::Session(id) = &visit.caller().identity.way {
        end_session(visit.engine(), id, None).await?;
    }
    let gone = [(SET_COOKIE, cleared(visit.engine().access()))];
    Ok((gone, visit.done("/login", "logged-out")).into_response())
}

/// Where one returns to after the login: only a path of ours, whoever wrote the link.
fn below(next: &str) -> String {
    let second = next.chars().nth(1);
    let is_ours = next.starts_with('/')
        && !matches!(second, Some('/' | '\\'))
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_ours && !next.starts_with("/login") { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_returns_to_a_path_of_ours_only() {
        for ours in ["/", "/alerts", "/alerts/1?x=%2F%2F", "/rotations/production"] {
            assert_eq!(below(ours), ours);
        }
        for other in [
            "",
            "alerts",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nSet-Cookie: x",
            "/a b",
            "/\tevil",
            "javascript:1",
            "/login?next=/",
        ] {
            assert_eq!(below(other), "/", "{other:?}");
        }
    }
}
