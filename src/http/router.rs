//! All resources, and what holds for every request: a deadline, a limit of the body.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::Api;
use super::health::{self, Readiness};
use super::request_id::identified;
use super::routes::Routes;
use super::{login, sessions, tokens, users};

/// Larger bodies are answered with 413.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// A request that takes longer is answered with 503.
const DEADLINE: Duration = Duration::from_secs(30);

/// Everything that is served.
pub fn router(readiness: Arc<dyn Readiness>, api: Api) -> Router {
    let open = Router::new()
        .route("/", get(health::front))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(readiness);
    let resources = routes().into_router().with_state(api.clone());
    open.merge(resources)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(from_fn(limited))
        .layer(from_fn_with_state(api, identified))
}

/// Every resource of the API, with who may ask for it.
pub fn routes() -> Routes {
    let all = [login::routes(), users::routes(), sessions::routes(), tokens::routes()];
    all.into_iter().fold(Routes::default(), Routes::and)
}

/// Refuses what says that it is too large before reading it, and ends what takes too long.
async fn limited(request: Request, next: Next) -> Response {
    let length = request.headers().get(axum::http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_LIMIT_BYTES) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
