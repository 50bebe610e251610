//! What holds for every request before anybody works for it: it has come whole, and in time, and it found a seat.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONNECTION, COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::crowd::Guest;
use super::dashboard;
use super::problem::Problem;

/// A body comes whole within this.
const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// Larger bodies are answered with 413.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// A paste of many keys may be so long (interface.md §3).
const PASTE_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// A request that takes longer is answered with 503.
const DEADLINE: Duration = Duration::from_mins(1);

/// Reads a request whole, waits for its answer, and no longer than that.
pub(super) async fn admitted(request: Request, next: Next) -> Response {
    let guest = request.extensions().get::<Arc<Guest>>().cloned();
    let shows_credential = shows_credential(request.headers());
    let (head, body) = request.into_parts();
    let longest = longest(&head.uri);
    let body = match tokio::time::timeout(BODY_DEADLINE, whole(body, longest)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return refused(Problem::from(status)),
        Err(_) => return refused(Problem::from(StatusCode::REQUEST_TIMEOUT)),
    };
    if guest.as_ref().is_some_and(|guest| !guest.begin(shows_credential)) {
        return refused(Problem::unavailable("busy", "too many requests are being answered: try again", 1));
    }
    let request = Request::from_parts(head, Body::from(body));
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).await;
    if let Some(guest) = guest {
        guest.rest();
    }
    answer.unwrap_or_else(|_| Problem::unavailable("slow", "this took too long", 5).into_response())
}

/// What somebody pastes may be longer.
fn longest(uri: &Uri) -> usize {
    if uri.path().ends_with(dashboard::PASTE) { PASTE_LIMIT_BYTES } else { BODY_LIMIT_BYTES }
}

async fn whole(body: Body, longest: usize) -> Result<Bytes, StatusCode> {
    match Limited::new(body, longest).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Whether it is in force shows when the request is served; until then it is only not one of the many without.
fn shows_credential(headers: &HeaderMap) -> bool {
    let session =
        |value: &HeaderValue| value.to_str().is_ok_and(|cookies| cookies.contains("session_token="));
    headers.contains_key(AUTHORIZATION) || headers.get_all(COOKIE).iter().any(session)
}

/// Not worked for. What it may still send is not read.
fn refused(problem: Problem) -> Response {
    problem.with(CONNECTION, HeaderValue::from_static("close")).into_response()
}
