//! What is shown instead of a page, and the headers that every page has.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::fields::with_token;
use super::frame::Frame;
use super::visit::{base, page, see_other};
use crate::http::api::Api;
use crate::http::problem::Problem;
use crate::http::request_id::RequestId;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What holds for every page: nothing from elsewhere is loaded, no other site frames it, nobody keeps a copy.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CACHE_CONTROL, "no-store"),
];

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    frame: Frame,
    status: u16,
    text: String,
    /// It is not the reader's doing: what still works is said.
    is_ours: bool,
    /// The log names the request by it.
    request_id: String,
}

/// The layer round everything that a browser shows: reads the hidden token of forms, and answers with pages where the
/// API would answer with problems.
pub(in crate::http) async fn dressed(State(api): State<Api>, request: Request, next: Next) -> Response {
    if is_for_programs(request.uri().path()) {
        return next.run(request).await;
    }
    let wants_page = wants_page(request.headers());
    let (method, asked) = (request.method().clone(), request.uri().clone());
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let response = with_token(request, next).await;
    let asked = asked.path_and_query().map_or("/", |asked| asked.as_str());
    let mut response = if wants_page { shown(&api, &method, asked, &request_id, response) } else { response };
    if is_html(&response) {
        // The page has said it, in its own words.
        response.extensions_mut().remove::<Problem>();
    }
    if response.status() == StatusCode::SEE_OTHER || is_html(&response) {
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

fn is_for_programs(path: &str) -> bool {
    path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html")
}

fn is_html(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/html"))
}

/// What happened, in a few words.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "You may not",
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::CONFLICT => "It cannot be",
        StatusCode::TOO_MANY_REQUESTS => "Too often",
        StatusCode::BAD_GATEWAY => "Somebody outside did not do it",
        StatusCode::SERVICE_UNAVAILABLE => "Not now",
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "This was not understood",
        other => other.canonical_reason().unwrap_or("It failed"),
    }
}

/// Nobody known is sent to the login, and back where they wanted to go.
fn shown(api: &Api, method: &Method, asked: &str, request_id: &str, response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_html(&response) {
        return response;
    }
    let engine = api.engine();
    if status == StatusCode::UNAUTHORIZED {
        let next = if *method == Method::GET { asked } else { "/" };
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        return see_other(&format!("{}/login?next={next}", base(&engine)));
    }
    let problem = response.extensions().get::<Problem>().cloned().unwrap_or_else(|| Problem::from(status));
    let frame = Frame::unknown(base(&engine), String::new(), engine.clock().now());
    let failure = FailurePage {
        frame: frame.titled(title(status)),
        status: status.as_u16(),
        text: problem.detail().to_owned(),
        is_ours: status.is_server_error(),
        request_id: request_id.to_owned(),
    };
    let mut rendered = match page(&failure) {
        Ok(rendered) => rendered,
        Err(problem) => return problem.into_response(),
    };
    *rendered.status_mut() = status;
    // When to ask again, among others.
    let said = problem.into_response();
    for (name, value) in response.headers().iter().chain(said.headers()) {
        let is_of_body = name == CONTENT_TYPE || name == axum::http::header::CONTENT_LENGTH;
        if !is_of_body && !rendered.headers().contains_key(name) {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}
