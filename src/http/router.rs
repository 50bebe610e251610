//! All resources, and what holds for every request.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower::ServiceExt;

use super::admission::{Doorkeeper, admitted};
use super::api::Api;
use super::health::{self, Readiness};
use super::metrics::metrics;
use super::request_id::identified;
use super::resources;
use super::routes::Routes;
use super::{login, sessions, tokens, users};

/// Everything that is served: as it is, and below the path of the public URL, whether a proxy takes that path away or not.
pub fn router(readiness: Arc<dyn Readiness>, api: Api) -> Router {
    let all = resources_of(readiness, api.clone());
    Router::new().fallback(move |request: Request| {
        let request = above(api.engine().access().base_path(), request);
        all.clone().oneshot(request)
    })
}

/// The request without this path before it.
fn above(base: &str, mut request: Request) -> Request {
    let rest =
        request.uri().path().strip_prefix(base).filter(|rest| !base.is_empty() && rest.starts_with('/'));
    let Some(rest) = rest else { return request };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{rest}{query}").parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn resources_of(readiness: Arc<dyn Readiness>, api: Api) -> Router {
    let open = Router::new()
        .route("/", get(health::front))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(readiness);
    let open = open.merge(Router::new().route("/metrics", get(metrics)).with_state(api.clone()));
    let resources = routes().into_router().with_state(api.clone());
    let admitted = from_fn_with_state(Arc::new(api.clone()) as Arc<dyn Doorkeeper>, admitted);
    open.merge(resources).layer(admitted).layer(from_fn_with_state(api, identified))
}

/// Every resource of the API, with who may ask for it.
pub fn routes() -> Routes {
    let all = [resources::routes(), login::routes(), users::routes(), sessions::routes(), tokens::routes()];
    all.into_iter().fold(Routes::default(), Routes::and)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_path_of_the_public_url_is_taken_away_and_no_other() {
        let seen = |base: &str, uri: &str| {
            above(base, Request::builder().uri(uri).body(Body::empty()).unwrap()).uri().to_string()
        };
        assert_eq!(seen("/rekeyd", "/rekeyd/api/v1/runs?limit=1"), "/api/v1/runs?limit=1");
        assert_eq!(seen("/rekeyd", "/api/v1/runs"), "/api/v1/runs", "a proxy took it away");
        assert_eq!(seen("/rekeyd", "/rekeyder/x"), "/rekeyder/x");
        assert_eq!(seen("", "//x"), "//x");
    }
}
