//! Accepts connections and answers requests on each, with deadlines for what a client may take its time with.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
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
use super::peer::Peer;

/// The head of a request comes within this, from the moment the connection waits for one.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
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
    async fn next(&mut self) -> std::io::Result<(Self::Stream, Peer)>;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> std::io::Result<(TcpStream, Peer)> {
        let (stream, from) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Tcp(from)))
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&mut self) -> std::io::Result<(UnixStream, Peer)> {
        Ok((self.accept().await?.0, Peer::Unix))
    }
}

/// Answers until told to stop; requests on their way are answered still.
#[expect(clippy::disallowed_methods, reason = "the system is given real time to get descriptors back")]
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
async fn converse<S>((stream, peer): (S, Peer), guest: Guest, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sent_away = guest.sent_away();
    let guest = Arc::new(guest);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request: Request<Body> = Request::map(request, Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&guest));
        router.clone().oneshot(request)
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

#[cfg(test)]
mod tests;
