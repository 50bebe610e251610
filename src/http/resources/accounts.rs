//! Accounts at providers, and their keys there, live.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::PATIENCE;
use crate::domain::key::MicroUsd;
use crate::domain::listing::{self, Page};
use crate::domain::role::Permission::{Accounts, Look};
use crate::engine::commands::{
    self, ACCOUNT_KEYS, ACCOUNTS, HandledKeyView, Handling, IssuedKeyView, ListedAccountView, RemoteKeyView,
    ThawedView,
};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let changes = Allow::May(Accounts);
    Routes::default()
        .list::<ListedAccountView, _, _>("/api/v1/accounts", Allow::May(Look), &ACCOUNTS, list)
        .says("The accounts of the configuration")
        .at(Method::POST, "/api/v1/accounts/{name}/thaw", changes, thaw)
        .says("End a freeze, after the other copy of the database is stopped for good")
        .answers::<ThawedView>(200)
        .list::<RemoteKeyView, _, _>("/api/v1/accounts/{name}/keys", Allow::May(Look), &ACCOUNT_KEYS, keys)
        .says("The keys of an account, live: usage, limits, last use; amounts in USD")
        .once("/api/v1/accounts/{name}/keys", changes, create)
        .says("Issue a key that belongs to no rotation, and store it")
        .takes::<NewAccountKey>()
        .answers::<IssuedKeyView>(201)
        .at(Method::PATCH, "/api/v1/accounts/{name}/keys/{hash}", changes, change)
        .says("Disable, enable or limit a key that rekeyd created; never the last one")
        .takes::<AccountKeyChange>()
        .answers::<HandledKeyView>(200)
        .at(Method::DELETE, "/api/v1/accounts/{name}/keys/{hash}", changes, delete)
        .says("Delete a key that rekeyd created; never the last one")
        .answers::<HandledKeyView>(200)
}

/// A key to issue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewAccountKey {
    /// Spending limit in USD.
    limit: Option<f64>,
}

/// One change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountKeyChange {
    /// Honoured no more, or again.
    disabled: Option<bool>,
    /// Spending limit in USD; 0 for none.
    limit: Option<f64>,
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<ListedAccountView>>, Problem> {
    Ok(Json(commands::account_page(&api.engine(), &wanted).await?))
}

async fn thaw(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<ThawedView>, Problem> {
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::thaw_account(&engine, &name, PATIENCE).await }).await.map(Json)
}

async fn keys(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Asked(wanted): Asked,
) -> Result<Json<Page<RemoteKeyView>>, Problem> {
    let engine = api.engine_for(&caller);
    let keys = api.whole(async move { commands::keys_at(&engine, &name, PATIENCE).await }).await?;
    Ok(Json(listing::page(keys, "hash", &wanted)))
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(new): Body<NewAccountKey>,
) -> Result<(StatusCode, Json<IssuedKeyView>), Problem> {
    let limit = new.limit.map(amount).transpose()?;
    let engine = api.engine_for(&caller);
    let issued = api.whole(async move { commands::create_at(&engine, &name, limit, PATIENCE).await });
    Ok((StatusCode::CREATED, Json(issued.await?)))
}

async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path((name, hash)): Path<(String, String)>,
    Body(change): Body<AccountKeyChange>,
) -> Result<Json<HandledKeyView>, Problem> {
    let handling = match (change.disabled, change.limit) {
        (Some(true), None) => Handling::Disable,
        (Some(false), None) => Handling::Enable,
        (None, Some(0.0)) => Handling::Limit(None),
        (None, Some(limit)) => Handling::Limit(Some(amount(limit)?)),
        _ => return Err(Problem::malformed("one change at a time: disabled or limit")),
    };
    handle(&api, &caller, name, hash, handling).await
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((name, hash)): Path<(String, String)>,
) -> Result<Json<HandledKeyView>, Problem> {
    handle(&api, &caller, name, hash, Handling::Delete).await
}

async fn handle(
    api: &Api,
    caller: &Caller,
    name: String,
    hash: String,
    handling: Handling,
) -> Result<Json<HandledKeyView>, Problem> {
    let engine = api.engine_for(caller);
    let handled =
        api.whole(async move { commands::handle_at(&engine, &name, &hash, handling, PATIENCE).await });
    handled.await.map(Json)
}

fn amount(usd: f64) -> Result<MicroUsd, Problem> {
    if usd.is_finite() && usd > 0.0 {
        return Ok(MicroUsd::from_usd(usd));
    }
    Err(Problem::malformed("limit: an amount of USD above 0"))
}
