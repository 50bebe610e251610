//! `/api/v1/auth`: in, out, and who one is.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::auth::{Caller, Origin, cleared, csrf_token, session_cookie, set};
use super::body::{Body, Hidden};
use super::problem::{Problem, rate_limit};
use super::routes::{Allow, Routes};
use crate::engine::commands::{Way, end_session, has_users, log_in};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::POST, "/api/v1/auth/login", Allow::Anyone, enter)
        .says("Log in with e-mail and password; the answer sets the cookie")
        .takes::<Login>()
        .answers::<Entered>(200)
        .at(Method::POST, "/api/v1/auth/logout", Allow::Known, leave)
        .says("End one's own session")
        .answers_nothing()
        .at(Method::GET, "/api/v1/auth/me", Allow::Known, me)
        .says("Who asks")
        .answers::<Me>(200)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    email: String,
    password: Hidden,
}

/// Who logged in just now.
#[derive(Serialize, JsonSchema)]
struct Entered {
    email: String,
    role: &'static str,
    csrf_token: String,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
struct Me {
    name: String,
    email: Option<String>,
    role: &'static str,
    providers: Option<Vec<String>>,
    csrf_token: Option<String>,
}

async fn enter(
    State(api): State<Api>,
    origin: Origin,
    Body(login): Body<Login>,
) -> Result<Response, Problem> {
    let engine = api.engine().acting_as(origin.actor());
    if !has_users(&engine).await? {
        let how = "nobody can log in yet: on the server, `rekeyd users add EMAIL --role admin` makes the first user";
        return Err(Problem::unauthenticated(how));
    }
    let entered = log_in(&engine, &login.email, login.password.0, origin.address.as_deref()).await?;
    let body = Entered {
        email: entered.email,
        role: entered.role.word(),
        csrf_token: csrf_token(&entered.cookie).expose().to_owned(),
    };
    let headers = [(SET_COOKIE, set(engine.access(), &entered.cookie)), no_store()];
    Ok((headers, rate_limit(&entered.allowance), Json(body)).into_response())
}

/// A program's token is not a session: it has an end of its own, and nothing ends here.
async fn leave(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let engine = api.engine_for(&caller);
    if let Way::Session(id) = &caller.identity.way {
        end_session(&engine, id, None).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cleared(engine.access()))]).into_response())
}

async fn me(caller: Caller, headers: HeaderMap) -> Response {
    let session = match caller.identity.way {
        Way::Session(_) => session_cookie(&headers),
        Way::Token(_) => None,
    };
    let body = Me {
        role: caller.role().word(),
        email: session.is_some().then(|| caller.identity.name.clone()),
        name: caller.identity.name,
        providers: caller.identity.providers,
        csrf_token: session.map(|cookie| csrf_token(&cookie).expose().to_owned()),
    };
    ([no_store()], Json(body)).into_response()
}

/// For what passes secrets or names people.
pub(super) fn no_store() -> (http::HeaderName, http::HeaderValue) {
    (CACHE_CONTROL, http::HeaderValue::from_static("no-store"))
}
