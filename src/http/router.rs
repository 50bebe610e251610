//! All resources, and what holds for every request.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;

use super::admission::admitted;
use super::api::Api;
use super::health::{self, Readiness};
use super::metrics::metrics;
use super::request_id::identified;
use super::resources;
use super::routes::Routes;
use super::{login, sessions, tokens, users};

/// Everything that is served.
pub fn router(readiness: Arc<dyn Readiness>, api: Api) -> Router {
    let open = Router::new()
        .route("/", get(health::front))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(readiness);
    let open = open.merge(Router::new().route("/metrics", get(metrics)).with_state(api.clone()));
    let resources = routes().into_router().with_state(api.clone());
    open.merge(resources).layer(from_fn(admitted)).layer(from_fn_with_state(api, identified))
}

/// Every resource of the API, with who may ask for it.
pub fn routes() -> Routes {
    let all = [resources::routes(), login::routes(), users::routes(), sessions::routes(), tokens::routes()];
    all.into_iter().fold(Routes::default(), Routes::and)
}
