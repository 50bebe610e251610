//! What holds for every request before anybody works for it: it has come whole, and in time, and it found a seat.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::api::Api;
use super::auth;
use super::crowd::Guest;
use super::dashboard;
use super::problem::Problem;
use crate::domain::role::{Permission, Role};

/// A body comes whole within this.
const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// Larger bodies are answered with 413.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// So large a body is read of who may store keys, on the paths that take many of them.
const LARGE_BODY_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// Paths that take many keys.
const LARGE: &[&str] = &["/api/v1/llm/providers/keys/import", dashboard::PASTE];
/// PostgreSQL has no text with one in it.
const NUL: &str = "%00";
/// So long somebody is looked for before they get one of the last seats.
const LOOK: Duration = Duration::from_secs(5);
/// A request that takes longer is answered with 503.
const DEADLINE: Duration = Duration::from_mins(1);

/// Who knows whose a session or token is.
#[async_trait]
pub(super) trait Doorkeeper: Send + Sync {
    /// The role of who shows one that is in force.
    async fn role(&self, headers: &HeaderMap) -> Option<Role>;
}

#[async_trait]
impl Doorkeeper for Api {
    async fn role(&self, headers: &HeaderMap) -> Option<Role> {
        auth::identity(self, headers).await.ok().flatten().map(|found| found.role)
    }
}

/// Reads a request whole, waits for its answer, and no longer than that.
pub(super) async fn admitted(
    State(doorkeeper): State<Arc<dyn Doorkeeper>>,
    request: Request,
    next: Next,
) -> Response {
    let guest = request.extensions().get::<Arc<Guest>>().cloned();
    let (head, body) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|asked| asked.as_str().contains(NUL)) {
        return refused(Problem::bad_parameter("a NUL character, which no name has"));
    }
    let path = head.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let is_large = path.is_some_and(|path| LARGE.contains(&path));
    let may_be_large = is_large && is_known(&*doorkeeper, &head.headers, Some(Permission::Keys)).await;
    let most = if may_be_large { LARGE_BODY_LIMIT_BYTES } else { BODY_LIMIT_BYTES };
    let body = match tokio::time::timeout(BODY_DEADLINE, whole(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return refused(Problem::from(status)),
        Err(_) => return refused(Problem::from(StatusCode::REQUEST_TIMEOUT)),
    };
    if let Some(guest) = &guest
        && !(guest.begin(false) || is_known(&*doorkeeper, &head.headers, None).await && guest.begin(true))
    {
        return refused(Problem::unavailable("busy", "too many requests are being answered: try again", 1));
    }
    let request = Request::from_parts(head, Body::from(body));
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).await;
    if let Some(guest) = guest {
        guest.rest();
    }
    answer.unwrap_or_else(|_| Problem::unavailable("slow", "this took too long", 5).into_response())
}

async fn whole(body: Body, most: usize) -> Result<Bytes, StatusCode> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Whether a session or token that is in force came with a request, of somebody who may this. Asked only where it matters
/// before the request is served: for whom the last seats are, and whose large bodies are read.
async fn is_known(doorkeeper: &dyn Doorkeeper, headers: &HeaderMap, permission: Option<Permission>) -> bool {
    let role = tokio::time::timeout(LOOK, doorkeeper.role(headers)).await.ok().flatten();
    role.is_some_and(|role| permission.is_none_or(|permission| role.may(permission)))
}

/// Not worked for. What it may still send is not read.
fn refused(problem: Problem) -> Response {
    problem.with(CONNECTION, HeaderValue::from_static("close")).into_response()
}
