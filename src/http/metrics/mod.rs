//! `/metrics`: no secret, no mask, nothing that a stranger may choose.

mod process;
mod text;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::api::Api;
use super::auth::bearer;
use super::problem::Problem;
use crate::engine::commands;
use crate::meter;
use text::Format;

/// What the store, this process and the system say now.
pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    may_read(&api, &headers)?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::of(accept);
    let mut samples = commands::gauges(&api.engine()).await?;
    samples.extend(meter::counted());
    samples.extend(process::samples());
    samples.extend(api.passes());
    let media = HeaderValue::from_static(format.content_type());
    Ok(([(CONTENT_TYPE, media)], text::text(&samples, format)).into_response())
}

/// 401 without the token of the configuration, where there is one.
fn may_read(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    let engine = api.engine();
    let Some(token) = &engine.access().metrics_token else { return Ok(()) };
    if bearer(headers).is_some_and(|shown| shown == *token) {
        return Ok(());
    }
    Err(Problem::unauthenticated("send the token of [metrics] as Authorization: Bearer"))
}
