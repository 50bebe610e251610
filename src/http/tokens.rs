//! `/api/v1/tokens`: one's own, and everybody's for an admin. Nobody makes one that may more than they.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::Api;
use super::asked::Asked;
use super::auth::Caller;
use super::body::Body;
use super::login::no_store;
use super::problem::Problem;
use super::routes::{Allow, Routes};
use super::users::role;
use crate::config::settings::values::parse_span;
use crate::domain::role::Permission;
use crate::engine::commands::{
    CreatedTokenView, MakeToken, TOKENS, TokenListView, TokenView, create_token, revoke_token, token_page,
};

const PATH: &str = "/api/v1/tokens";

pub(super) fn routes() -> Routes {
    Routes::default()
        .list::<TokenView, _, _>(PATH, Allow::May(Permission::Own), &TOKENS, list)
        .says("One's own tokens; everybody's for an admin")
        .answers::<TokenListView>(200)
        .at(Method::POST, PATH, Allow::May(Permission::Own), create)
        .says("Make a token, which is shown this once")
        .takes::<NewToken>()
        .answers::<CreatedTokenView>(201)
        .at(Method::DELETE, "/api/v1/tokens/{id}", Allow::May(Permission::Own), revoke)
        .says("Take a token back")
        .answers_nothing()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    role: String,
    /// How long it lasts, like `90d`.
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    providers: Option<Vec<String>>,
}

async fn list(State(api): State<Api>, caller: Caller, Asked(wanted): Asked) -> Result<Response, Problem> {
    let page = token_page(&api.engine(), caller.whose(), &wanted).await?;
    Ok(([no_store()], Json(TokenListView::from(page))).into_response())
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(asked): Body<NewToken>,
) -> Result<Response, Problem> {
    let role = role(&asked.role)?;
    if !caller.role().covers(role) {
        let (own, other) = (caller.role().word(), role.word());
        return Err(Problem::forbidden(format!("the role {own} may not make a token of role {other}")));
    }
    let expires = asked.expires.as_deref().map(parse_span).transpose().map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("expires: {}", error.message))
    })?;
    // An admin's too: it is nothing once they are disabled.
    let owner = caller.identity.user.clone();
    let make = MakeToken { name: asked.name, role, expires, providers: asked.providers, owner };
    let created = create_token(&api.engine_for(&caller), make).await?;
    Ok((StatusCode::CREATED, [no_store()], Json(created)).into_response())
}

async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    revoke_token(&api.engine_for(&caller), &id, caller.whose()).await?;
    Ok(StatusCode::NO_CONTENT)
}
