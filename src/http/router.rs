//! All resources, and what holds for every request: a deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::health::{self, Readiness};

/// A request that takes longer is answered with 503.
const DEADLINE: Duration = Duration::from_secs(30);

/// Everything that is served.
pub fn router(readiness: Arc<dyn Readiness>) -> Router {
    Router::new()
        .route("/", get(health::front))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(readiness)
        .layer(from_fn(limited))
}

/// Ends what takes too long.
async fn limited(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
