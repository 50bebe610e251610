//! All resources, and what holds for every request.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower::ServiceExt;

use super::admission::{Doorkeeper, admitted};
use super::api::Api;
use super::dashboard;
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
        let request = below_public_url(&api, request);
        all.clone().oneshot(request)
    })
}

/// The public URL may have a path: what is asked for below it is served as if it had none.
fn below_public_url(api: &Api, mut request: Request) -> Request {
    let asked = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    if let Some(rest) = below(api.engine().access().base_path(), asked)
        && let Ok(uri) = rest.parse()
    {
        *request.uri_mut() = uri;
    }
    request
}

/// What is left of an address below this path; nothing when it is not below it.
fn below(base: &str, asked: &str) -> Option<String> {
    let rest = asked.strip_prefix(base).filter(|_| !base.is_empty())?;
    match rest.chars().next() {
        None => Some("/".to_owned()),
        Some('?') => Some(format!("/{rest}")),
        Some('/') => Some(rest.to_owned()),
        Some(_) => None,
    }
}

fn resources_of(readiness: Arc<dyn Readiness>, api: Api) -> Router {
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(readiness);
    let open = open.merge(Router::new().route("/metrics", get(metrics)).with_state(api.clone()));
    let resources = routes().and(pages()).into_router().with_state(api.clone());
    let admitted = from_fn_with_state(Arc::new(api.clone()) as Arc<dyn Doorkeeper>, admitted);
    open.merge(resources)
        .layer(from_fn_with_state(api.clone(), dashboard::dressed))
        .layer(admitted)
        .layer(from_fn_with_state(api, identified))
}

/// Every resource of the API, with who may ask for it.
pub fn routes() -> Routes {
    let all = [resources::routes(), login::routes(), users::routes(), sessions::routes(), tokens::routes()];
    all.into_iter().fold(Routes::default(), Routes::and)
}

/// Every page of the dashboard, with who may ask for it.
pub fn pages() -> Routes {
    dashboard::routes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_below_the_public_url_is_served() {
        for (base, asked, served) in [
            ("/ops/rekeyd", "/ops/rekeyd", Some("/")),
            ("/ops/rekeyd", "/ops/rekeyd/", Some("/")),
            ("/ops/rekeyd", "/ops/rekeyd?done=asked", Some("/?done=asked")),
            ("/ops/rekeyd", "/ops/rekeyd/alerts?q=a", Some("/alerts?q=a")),
            ("/ops/rekeyd", "/ops/rekeyd-else", None),
            ("/ops/rekeyd", "/alerts", None),
            ("", "/alerts", None),
        ] {
            assert_eq!(below(base, asked).as_deref(), served, "{asked}");
        }
    }
}
