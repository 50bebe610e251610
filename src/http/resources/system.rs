//! What the program says of itself.

use axum::Json;
use axum::extract::State;
use axum::http::Method;

use crate::domain::role::Permission::System;
use crate::engine::commands::{self, SystemView};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/api/v1/system", Allow::May(System), show)
        .says("Version, database, schema, replicas and outbox")
        .answers::<SystemView>(200)
}

async fn show(State(api): State<Api>, _: Caller) -> Result<Json<SystemView>, Problem> {
    Ok(Json(commands::system_view(&api.engine()).await?))
}
