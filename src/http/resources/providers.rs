//! Providers: the catalog, names of one's own, and the end of one with all its keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::role::Permission::Keys;
use crate::engine::commands::{self, AddProvider, DeletedProviderView, ProviderView, ProvidersView};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .at(Method::GET, "/api/v1/llm/providers/info", admin, info)
        .says("Every provider: what its keys look like and are good for, and how ours are")
        .answers::<ProvidersView>(200)
        .at(Method::POST, "/api/v1/llm/providers/{name}", admin, add)
        .says("Add a provider under a name of its own")
        .takes::<NewProvider>()
        .answers::<ProviderView>(201)
        .at(Method::DELETE, "/api/v1/llm/providers/{name}", admin, delete)
        .says("Remove a provider and all its keys from the store; the vendor still honours them")
        .answers::<DeletedProviderView>(200)
}

/// A provider under a name of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProvider {
    /// Its row of the catalog, whose tests it has; `custom` when nobody says.
    kind: Option<String>,
    /// Where its API is; where the catalog says when nobody does.
    base_url: Option<String>,
    /// Its name for people.
    title: Option<String>,
}

async fn info(State(api): State<Api>, _: Caller) -> Result<Json<ProvidersView>, Problem> {
    let providers = commands::provider_views(&api.engine()).await?;
    Ok(Json(ProvidersView { providers }))
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(new): Body<NewProvider>,
) -> Result<(StatusCode, Json<ProviderView>), Problem> {
    let engine = api.engine_for(&caller);
    let add = AddProvider { name, kind: new.kind, base_url: new.base_url, title: new.title };
    let added = api.whole(async move {
        let row = commands::add_provider(&engine, add).await?;
        commands::provider_view(&engine, &row.name).await
    });
    Ok((StatusCode::CREATED, Json(added.await?)))
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<DeletedProviderView>, Problem> {
    let engine = api.engine_for(&caller);
    let deleted = api.whole(async move {
        let keys = commands::delete_provider(&engine, &name).await?;
        Ok(commands::deleted_provider_view(&name, &keys))
    });
    deleted.await.map(Json)
}
