//! Every request has an id: its answer, its problem, its log line and its audit rows repeat it.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::api::Api;
use super::problem;
use crate::meter;
use crate::store::new_id;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one is not taken over.
const LONGEST: usize = 64;

/// The id of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    /// The caller's own when it is well-formed, else a new one.
    fn of(request: &Request) -> Self {
        let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
        Self(given.filter(|id| is_well_formed(id)).map_or_else(new_id, str::to_owned))
    }
}

fn is_well_formed(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST).contains(&id.len()) && id.chars().all(plain)
}

/// The outermost layer: gives the request its id, and finishes its answer.
#[expect(clippy::disallowed_methods, reason = "how long an answer took is measured, and decides nothing")]
pub(super) async fn identified(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    request.extensions_mut().insert(id.clone());
    let began = std::time::Instant::now();
    let response = next.run(request).await;
    let base = api.engine().access().public_url.to_string();
    let mut response = problem::finish(response, &id.0, base.trim_end_matches('/'));
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(HEADER, value);
    }
    let (status, route) = (response.status().as_u16(), route.as_deref());
    meter::count(&meter::HTTP_REQUESTS, &[route.unwrap_or("none"), &status.to_string()]);
    meter::time(&meter::HTTP_SECONDS, began.elapsed().as_secs_f64());
    tracing::debug!(request_id = id.0, %method, route, status, "answered");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_is_taken_over_and_no_other() {
        let of = |id: &str| RequestId::of(&Request::builder().header(HEADER, id).body("".into()).unwrap()).0;
        assert_eq!(of("a-B_9.z"), "a-B_9.z");
        for bad in ["", "a b", "a\"b", "a\u{e9}", &"x".repeat(LONGEST + 1)] {
            assert_ne!(of(bad), bad);
        }
    }
}
