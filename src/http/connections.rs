//! Accepts connections and answers requests on each, with deadlines for what a client may take its time with.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONNECTION, COOKIE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::crowd::{Crowd, Guest};

/// The head of a request comes within this, from the moment the connection waits for one.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Its body comes whole within this.
const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// Larger bodies are answered with 413.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// More of a head is answered with 431.
const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// Requests on their way get this long once the daemon stops.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// After the system could not accept: no descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Door {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    async fn next(&mut self) -> std::io::Result<Self::Stream>;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> std::io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&mut self) -> std::io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Answers until told to stop; requests on their way are answered still.
pub(super) async fn answer<L>(mut door: L, router: Router, crowd: Arc<Crowd>, stop: &CancellationToken)
where
    L: Door,
{
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = door.next() => accepted,
        };
        match accepted {
            Ok(stream) => {
                // Whoever finds no seat is not answered: an answer would need what is missing.
                let Some(guest) = crowd.enter() else { continue };
                tokio::spawn(converse(stream, guest, router.clone(), graceful.watcher()));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
        tracing::debug!("some connections were cut");
    }
}

/// One connection, until it ends or has to make room for another.
async fn converse<S>(stream: S, guest: Guest, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sent_away = guest.sent_away();
    let guest = Arc::new(guest);
    let service = service_fn(move |request| {
        let (router, guest) = (router.clone(), Arc::clone(&guest));
        async move { Ok::<_, std::convert::Infallible>(serve(request, router, &guest).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(HEAD_LIMIT_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
        }
        () = sent_away => {}
    }
}

/// One request. It is read whole before anybody works for it.
async fn serve(request: Request<Incoming>, router: Router, guest: &Guest) -> Response {
    let (head, body) = request.into_parts();
    let shows_credential = shows_credential(&head.headers);
    let body = match tokio::time::timeout(BODY_DEADLINE, whole(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return refused(status),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT),
    };
    if !guest.begin(shows_credential) {
        return refused(StatusCode::SERVICE_UNAVAILABLE);
    }
    let answered = router.oneshot(Request::from_parts(head, Body::from(body))).await;
    let answer = answered.unwrap_or_else(|never| match never {});
    guest.rest(shows_credential && answer.status() != StatusCode::UNAUTHORIZED);
    answer
}

async fn whole(body: Incoming) -> Result<Bytes, StatusCode> {
    match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Whether it is good shows when the request is served; until then it is only not one of the many without.
fn shows_credential(headers: &HeaderMap) -> bool {
    let session = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|cookies| cookies.contains("session_token="))
    };
    headers.contains_key(AUTHORIZATION) || headers.get_all(COOKIE).iter().any(session)
}

/// Not worked for. The rest of what it may still send is not read.
fn refused(status: StatusCode) -> Response {
    let again = (status == StatusCode::SERVICE_UNAVAILABLE).then_some([(RETRY_AFTER, "1")]);
    (status, [(CONNECTION, "close")], again, status.canonical_reason().unwrap_or_default()).into_response()
}

#[cfg(test)]
mod tests;
