//! `/api/v1/users`: an admin's, but for one's own password.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::Api;
use super::asked::Asked;
use super::auth::Caller;
use super::body::{Body, Hidden};
use super::login::no_store;
use super::problem::Problem;
use super::routes::{Allow, Routes};
use crate::domain::role::{Permission, Role};
use crate::engine::commands::{
    ChangeUser, USERS, UserListView, UserView, Way, add_user, change_own_password, change_user, user_page,
};

const PATH: &str = "/api/v1/users";

pub(super) fn routes() -> Routes {
    Routes::default()
        .list::<UserView, _, _>(PATH, Allow::May(Permission::People), &USERS, list)
        .says("Who may log in")
        .answers::<UserListView>(200)
        .at(Method::POST, PATH, Allow::May(Permission::People), add)
        .says("Let somebody log in")
        .takes::<NewUser>()
        .answers::<UserView>(201)
        .at(Method::PATCH, "/api/v1/users/{id}", Allow::May(Permission::Own), change)
        .says("Change a role or a password, or disable somebody; one's own password with the present one")
        .takes::<UserChange>()
        .answers::<UserView>(200)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    role: String,
    #[serde(default)]
    password: Option<Hidden>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
    #[serde(default)]
    password: Option<Hidden>,
    #[serde(default)]
    current_password: Option<Hidden>,
}

async fn list(State(api): State<Api>, Asked(wanted): Asked) -> Result<Response, Problem> {
    let page = user_page(&api.engine(), &wanted).await?;
    Ok(([no_store()], Json(UserListView::from(page))).into_response())
}

async fn add(State(api): State<Api>, caller: Caller, Body(add): Body<NewUser>) -> Result<Response, Problem> {
    let role = role(&add.role)?;
    let password = add.password.map(|password| password.0);
    let user = add_user(&api.engine_for(&caller), &add.email, role, password).await?;
    Ok((StatusCode::CREATED, [no_store()], Json(user)).into_response())
}

/// Whoever is logged in changes their own password by showing the present one, admins too: who finds an open browser shall
/// not keep it. All else is an admin's.
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(change): Body<UserChange>,
) -> Result<Response, Problem> {
    let engine = api.engine_for(&caller);
    let of_oneself = caller.identity.user.as_deref() == Some(id.as_str());
    if change.role.is_none() && change.disabled.is_none() && change.password.is_none() {
        return Err(bad("nothing is to change: say role, disabled or password"));
    }
    let in_person = matches!(caller.identity.way, Way::Session(_));
    let user = match (change.password, change.current_password) {
        (Some(new), current) if of_oneself && in_person => {
            if change.role.is_some() || change.disabled.is_some() {
                return Err(bad("change one's own password by itself"));
            }
            let current = current.ok_or_else(|| bad("current_password is missing"))?;
            change_own_password(&engine, &id, current.0, new.0).await?
        }
        (password, _) => {
            caller.may(Permission::People)?;
            let role = change.role.as_deref().map(role).transpose()?;
            let password = password.map(|password| password.0);
            change_user(&engine, &id, ChangeUser { role, password, disabled: change.disabled }).await?
        }
    };
    Ok(([no_store()], Json(user)).into_response())
}

/// A role by its word.
pub(super) fn role(word: &str) -> Result<Role, Problem> {
    Role::parse(word).ok_or_else(|| bad("role is admin, operator, viewer or consumer"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}
