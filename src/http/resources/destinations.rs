//! Destinations: what they hold, and what is asked of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;

use super::PATIENCE;
use crate::domain::listing::Page;
use crate::domain::role::Permission::{Look, Operate};
use crate::engine::commands::{self, CheckedView, DESTINATIONS, DestinationView, PublishedView};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let operates = Allow::May(Operate);
    Routes::default()
        .list::<DestinationView, _, _>("/api/v1/destinations", Allow::May(Look), &DESTINATIONS, list)
        .says("The destinations, and what each of them holds")
        .at(Method::POST, "/api/v1/destinations/{name}/check", operates, check)
        .says("Ask a destination what it shows and what our credentials may do there; changes nothing")
        .answers::<CheckedView>(200)
        .at(Method::POST, "/api/v1/destinations/{name}/publish", operates, publish)
        .says("Write the current key once more, whatever is there, and look whether it arrived")
        .answers::<PublishedView>(200)
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<DestinationView>>, Problem> {
    Ok(Json(commands::destination_page(&api.engine(), &wanted).await?))
}

async fn check(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<CheckedView>, Problem> {
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::check_destination(&engine, &name).await }).await.map(Json)
}

async fn publish(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<PublishedView>, Problem> {
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::publish_now(&engine, &name, PATIENCE).await }).await.map(Json)
}
