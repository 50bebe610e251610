//! Alerts: what needs a person, and who has seen it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;

use crate::domain::listing::Page;
use crate::domain::role::Permission::{Look, Operate};
use crate::engine::commands::{self, ALERTS, AlertView};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .list::<AlertView, _, _>("/api/v1/alerts", Allow::May(Look), &ALERTS, list)
        .says("Alerts, the newest first, those that are over too")
        .at(Method::POST, "/api/v1/alerts/{id}/ack", Allow::May(Operate), acknowledge)
        .says("Say that a person has seen it: no more reminders")
        .answers::<AlertView>(200)
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(wanted): Asked,
) -> Result<Json<Page<AlertView>>, Problem> {
    Ok(Json(commands::alert_page(&api.engine(), &wanted).await?))
}

async fn acknowledge(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<AlertView>, Problem> {
    let engine = api.engine_for(&caller);
    api.whole(async move { commands::acknowledge(&engine, &id).await }).await.map(Json)
}
