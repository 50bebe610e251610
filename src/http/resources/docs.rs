//! The API described by itself: as `OpenAPI`, and as a page to read.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::api::Api;
use crate::http::doc::openapi;
use crate::http::page;
use crate::http::router::routes as all_routes;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/api/v1/openapi.json", Allow::Known, document)
        .says("This description of the API")
        .answers::<Value>(200)
        .at(Method::GET, "/api/docs", Allow::Known, read)
        .says("The same as a page to read")
        .answers_text("text/html")
}

async fn document(State(_): State<Api>) -> Json<Value> {
    Json(openapi(all_routes().declared()))
}

/// Nothing is loaded from anywhere, and no script runs.
async fn read(State(_): State<Api>) -> Response {
    let style = STANDARD.encode(Sha256::digest(page::STYLE));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'");
    let policy = HeaderValue::from_str(&policy).expect("a policy is plain text");
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let text = page::of(&openapi(all_routes().declared()));
    ([(CONTENT_TYPE, html), (CONTENT_SECURITY_POLICY, policy)], text).into_response()
}
