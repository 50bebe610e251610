//! Runs: how they stand, and what is asked of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::listing::Page;
use crate::domain::role::Permission::{Look, Operate};
use crate::domain::rotation::facts::Request;
use crate::engine::commands::{self, ListedRunView, RUNS, RunView};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let operates = Allow::May(Operate);
    Routes::default()
        .list::<ListedRunView, _, _>("/api/v1/runs", Allow::May(Look), &RUNS, list)
        .says("Runs of all rotations, the newest first")
        .at(Method::GET, "/api/v1/runs/{id}", Allow::May(Look), show)
        .says("One run with its journal")
        .answers::<RunView>(200)
        .at(Method::POST, "/api/v1/runs/{id}/resume", operates, resume)
        .says("Go on with a parked run; try failed destinations again now")
        .answers::<RunView>(202)
        .at(Method::POST, "/api/v1/runs/{id}/abort", operates, abort)
        .says("Stop a run while no destination may hold the new key")
        .answers::<RunView>(202)
        .at(Method::POST, "/api/v1/runs/{id}/release", operates, release)
        .says("Say that a destination no longer counts for this run: an optional one, or one that left the configuration")
        .takes::<Release>()
        .answers::<RunView>(202)
}

/// Which destination.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Release {
    /// Its name, now or when it was written, or its address.
    destination: String,
}

type Asking = Result<(StatusCode, Json<RunView>), Problem>;

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<ListedRunView>>, Problem> {
    Ok(Json(commands::run_page(&api.engine(), &wanted).await?))
}

async fn show(State(api): State<Api>, _: Caller, Path(id): Path<String>) -> Result<Json<RunView>, Problem> {
    Ok(Json(commands::run_view(&api.engine(), &id).await?))
}

async fn resume(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Asking {
    ask(&api, &caller, id, Request::Resume).await
}

async fn abort(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Asking {
    ask(&api, &caller, id, Request::Abort).await
}

async fn release(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(release): Body<Release>,
) -> Asking {
    ask(&api, &caller, id, Request::Release { destination: release.destination }).await
}

/// The daemon works the run, and refuses what cannot be; who asked hears of it if that is soon.
async fn ask(api: &Api, caller: &Caller, id: String, request: Request) -> Asking {
    let engine = api.engine_for(caller);
    let run = api.whole(async move {
        let ticket = commands::ask_of(&engine, &id, &request).await?;
        commands::answered_soon(&engine, &id, &ticket).await
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}
