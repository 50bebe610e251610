//! Rotations: how they stand, and what is asked of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::PATIENCE;
use crate::domain::listing::Page;
use crate::domain::role::Permission::{Accounts, Look, Operate};
use crate::engine::commands::{
    self, AdoptedView, Adoption, Leaked, Pause, PausedView, PlanView, ROTATIONS, RotationView, RunView,
    WhyView,
};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::body::{Body, Hidden};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let looks = Allow::May(Look);
    let operates = Allow::May(Operate);
    Routes::default()
        .list::<RotationView, _, _>("/api/v1/rotations", looks, &ROTATIONS, list)
        .says("The rotations, and how they stand")
        .at(Method::GET, "/api/v1/rotations/{name}", looks, show)
        .says("One rotation: current and previous key, destinations, last run")
        .answers::<RotationView>(200)
        .at(Method::GET, "/api/v1/rotations/{name}/why", looks, why)
        .says("What is proved, and what still blocks the old key")
        .answers::<WhyView>(200)
        .at(Method::GET, "/api/v1/rotations/{name}/plan", operates, plan)
        .says("Every call that a rotation would make, without making one that changes anything")
        .answers::<PlanView>(200)
        .once("/api/v1/rotations/{name}/runs", operates, run)
        .says("Rotate now; the daemon works the run")
        .takes::<NewRun>()
        .answers::<RunView>(202)
        .once("/api/v1/rotations/{name}/rollback", operates, rollback)
        .says("Bring the previous key back")
        .answers::<RunView>(202)
        .at(Method::POST, "/api/v1/rotations/{name}/pause", operates, pause)
        .says("Hold new runs and kill steps")
        .takes::<Hold>()
        .answers::<PausedView>(200)
        .at(Method::POST, "/api/v1/rotations/{name}/resume", operates, resume)
        .says("End a pause")
        .answers::<PausedView>(200)
        .at(Method::POST, "/api/v1/rotations/{name}/adopt", Allow::May(Accounts), adopt)
        .says("Take the key that production uses into the rotation, without rotating it")
        .takes::<Adopt>()
        .answers::<AdoptedView>(200)
}

/// What kind of run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRun {
    /// The key is known to strangers: replace it at once, then disable and delete it.
    #[serde(default)]
    leaked: bool,
    /// Which generation is leaked; else the current one.
    generation: Option<i64>,
}

/// What is held.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hold {
    /// Healing too: a dead key is told, and not replaced.
    #[serde(default)]
    healing: bool,
}

/// Which key production uses; without either the one that a destination shows or that is stored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Adopt {
    /// A key whose secret nobody has: it can be retired, not republished.
    hash: Option<String>,
    /// The key itself.
    api_key: Option<Hidden>,
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<RotationView>>, Problem> {
    Ok(Json(commands::rotation_page(&api.engine(), &wanted).await?))
}

async fn show(
    State(api): State<Api>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<RotationView>, Problem> {
    Ok(Json(commands::rotation_view(&api.engine(), &name).await?))
}

async fn why(State(api): State<Api>, _: Caller, Path(name): Path<String>) -> Result<Json<WhyView>, Problem> {
    Ok(Json(commands::why(&api.engine(), &name).await?))
}

async fn plan(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<PlanView>, Problem> {
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::plan_of(&engine, &name, PATIENCE).await }).await.map(Json)
}

async fn run(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(new): Body<NewRun>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    if new.generation.is_some() && !new.leaked {
        return Err(Problem::malformed("a generation is said only of what is leaked"));
    }
    let leaked = new.leaked.then_some(Leaked { generation: new.generation });
    let engine = api.engine_for(&caller);
    let run = api.whole(async move {
        let id = commands::rotate(&engine, &name, leaked, PATIENCE).await?;
        commands::run_view(&engine, &id).await
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

async fn rollback(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let engine = api.engine_for(&caller);
    let run = api.whole(async move {
        let (id, ticket) = commands::roll_back(&engine, &name).await?;
        commands::answered_soon(&engine, &id, &ticket).await
    });
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

async fn pause(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(hold): Body<Hold>,
) -> Result<Json<PausedView>, Problem> {
    set_pause(&api, &caller, name, if hold.healing { Pause::AndHealing } else { Pause::Runs }).await
}

async fn resume(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<PausedView>, Problem> {
    set_pause(&api, &caller, name, Pause::Over).await
}

async fn set_pause(
    api: &Api,
    caller: &Caller,
    name: String,
    pause: Pause,
) -> Result<Json<PausedView>, Problem> {
    let engine = api.engine_for(caller);
    api.whole(async move { commands::pause(&engine, &name, pause).await }).await.map(Json)
}

async fn adopt(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(adopt): Body<Adopt>,
) -> Result<Json<AdoptedView>, Problem> {
    let adoption = match (adopt.hash, adopt.api_key) {
        (Some(_), Some(_)) => return Err(Problem::malformed("either a hash or the key itself")),
        (Some(hash), None) => Adoption::Hash(hash),
        (None, Some(key)) => Adoption::Secret(key.key()?),
        (None, None) => Adoption::Known,
    };
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::adopt_into(&engine, &name, adoption, PATIENCE).await }).await.map(Json)
}
