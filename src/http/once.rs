//! `Idempotency-Key`: a request that is repeated, since its answer was lost, is done once.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::admission::BODY_LIMIT_BYTES;
use super::api::Api;
use super::auth::Caller;
use super::problem::Problem;
use crate::engine::commands::repeats;
use crate::engine::{Engine, EngineError};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// A longer one is refused.
const LONGEST: usize = 128;

/// Answers as the first time, or does it. Once begun it is done whole, and its answer kept, whether the connection lives
/// or not.
pub(super) async fn once<H, T>(api: Api, request: Request, handler: H) -> Response
where
    H: Handler<T, Api>,
    T: 'static,
{
    if !request.headers().contains_key(HEADER) {
        return handler.call(request, api).await;
    }
    let doing = api.clone();
    let done = api.detached(async move { done_once(doing, request, handler).await }).await;
    done.and_then(std::convert::identity).unwrap_or_else(IntoResponse::into_response)
}

async fn done_once<H, T>(api: Api, request: Request, handler: H) -> Result<Response, Problem>
where
    H: Handler<T, Api>,
    T: 'static,
{
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))?;
    let engine = api.engine_for(&caller);
    let key = key(&request)?;
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|_| Problem::from(StatusCode::BAD_REQUEST))?;
    let whole = format!("{} {}\n{}", head.method, head.uri, String::from_utf8_lossy(&body));
    let asked = repeats::repeatable(&engine, caller.id(), &key, &whole);
    match repeats::begin(&engine, &asked).await {
        Ok(None) => {}
        Ok(Some((status, body))) => return answer(status, body),
        Err(EngineError::Usage { text, .. }) => return Err(Problem::malformed(&text)),
        Err(error) => return Err(error.into()),
    }
    let response = handler.call(Request::from_parts(head, Body::from(body)), api).await;
    keep(&engine, &asked, response).await
}

async fn keep(
    engine: &Engine,
    asked: &crate::store::Repeatable,
    response: Response,
) -> Result<Response, Problem> {
    if !response.status().is_success() {
        repeats::end(engine, asked, None).await?;
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body =
        to_bytes(body, usize::MAX).await.map_err(|_| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))?;
    repeats::end(engine, asked, Some((head.status.as_u16(), &String::from_utf8_lossy(&body)))).await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

fn key(request: &Request) -> Result<String, Problem> {
    let mut given = request.headers().get_all(HEADER).iter();
    let one = given.next().and_then(|value| value.to_str().ok()).filter(|_| given.next().is_none());
    let one = one.filter(|key| (1..=LONGEST).contains(&key.len()));
    let wrong = || Problem::bad_parameter("Idempotency-Key: 1 to 128 characters of ASCII, once");
    one.map(str::to_owned).ok_or_else(wrong)
}

fn answer(status: i64, body: String) -> Result<Response, Problem> {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
}
