use std::net::SocketAddr;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::domain::role::Role;
use crate::http::admission::{BODY_LIMIT_BYTES, Doorkeeper, admitted};
use crate::http::problem::finish;

const SEATS: usize = 64;

/// Knows Ada by her token and her session.
struct Ada;

#[async_trait]
impl Doorkeeper for Ada {
    async fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let shows = |name: HeaderName, what: &str| headers.get(name).is_some_and(|value| value == what);
        let is_ada = shows(AUTHORIZATION, "Bearer rk_ada") || shows(COOKIE, "session_token=ada");
        is_ada.then_some(Role::Viewer)
    }
}

/// A listener with few seats, whose `/slow` answers when it is let go.
struct House {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    slow: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
}

async fn house(seats: usize) -> House {
    let (slow, at_work) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (held, arrived) = (Arc::clone(&slow), Arc::clone(&at_work));
    let wait = move || {
        let (held, arrived) = (Arc::clone(&held), Arc::clone(&arrived));
        async move {
            arrived.add_permits(1);
            held.acquire().await.unwrap().forget();
            "slow"
        }
    };
    let router = Router::new()
        .route("/", get(async || "at once"))
        .route("/slow", get(wait))
        .route("/body", post(async |body: Bytes| body.len().to_string()))
        .layer(from_fn_with_state(Arc::new(Ada) as Arc<dyn Doorkeeper>, admitted))
        .layer(from_fn(async |request: Request, next: Next| {
            finish(next.run(request).await, "r-1", "http://x")
        }));
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let stop = CancellationToken::new();
    let told = stop.clone();
    let serving = tokio::spawn(async move { answer(door, router, Crowd::with_seats(seats), &told).await });
    House { address, stop, serving, slow, at_work }
}

impl House {
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Sends a request whose answer is read to its end.
    async fn ask(&self, path: &str, more: &str) -> String {
        let stream = self.send(&request(path, more)).await;
        read(stream).await
    }

    /// Waits until so many requests are being served.
    async fn serves(&self, requests: u32) {
        self.at_work.acquire_many(requests).await.unwrap().forget();
    }
}

fn request(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{more}\r\n")
}

async fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    // Whoever had to make room sees a reset or an end: both are no answer.
    stream.read_to_string(&mut answer).await.ok();
    answer
}

/// Tests of others run in the same process.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[tokio::test]
async fn half_open_requests_keep_nobody_out() {
    raise_descriptors();
    let house = house(512).await;
    let mut half_open = Vec::new();
    for n in 0..1100 {
        half_open.push(house.send(if n % 2 == 0 { "GET / HTTP/1.1\r\nHost: he" } else { "" }).await);
    }
    assert!(house.ask("/", "").await.ends_with("at once"));
    let body = "POST /body HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nhal";
    for _ in 0..1100 {
        half_open.push(house.send(body).await);
    }
    assert!(house.ask("/", "").await.ends_with("at once"), "bodies that never come whole");
    let open = half_open.iter().filter(|stream| {
        let seen = stream.try_read(&mut [0; 1]);
        matches!(seen, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert!(open.count() <= 512, "all others had to go");
    house.stop.cancel();
    house.serving.await.unwrap();
}

#[tokio::test]
async fn the_last_seats_are_for_requests_with_a_credential_in_force() {
    let house = house(SEATS).await;
    let strangers = SEATS - SEATS / 8;
    let mut waiting = Vec::new();
    for _ in 0..strangers {
        waiting.push(house.send(&request("/slow", "")).await);
    }
    house.serves(u32::try_from(strangers).unwrap()).await;
    let refused = house.ask("/", "").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after"), "{refused}");
    for more in ["Authorization: Bearer rk_ada\r\n", "Cookie: session_token=ada\r\n"] {
        assert!(house.ask("/", more).await.ends_with("at once"));
    }
    for more in ["Authorization: Bearer rk_x\r\n", "Authorization: x\r\n", "Cookie: session_token=x\r\n"] {
        assert!(house.ask("/", more).await.starts_with("HTTP/1.1 503"), "whatever it shows: {more}");
    }
    house.slow.add_permits(strangers);
    for stream in waiting {
        assert!(read(stream).await.ends_with("slow"));
    }
    assert!(house.ask("/", "").await.ends_with("at once"));
}

#[tokio::test]
async fn what_is_on_its_way_at_the_stop_is_answered() {
    let house = house(SEATS).await;
    let slow = house.send(&request("/slow", "")).await;
    let idle = house.send("").await;
    house.serves(1).await;
    house.stop.cancel();
    assert_eq!(read(idle).await, "", "who waits is sent away");
    house.slow.add_permits(1);
    assert!(read(slow).await.ends_with("slow"));
    house.serving.await.unwrap();
    assert!(TcpStream::connect(house.address).await.is_err());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let house = house(SEATS).await;
    let send = async |length: usize| {
        let head = format!(
            "POST /body HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = house.send(&head).await;
        // The answer may come before all of it was sent.
        stream.write_all(&vec![b'x'; length]).await.ok();
        read(stream).await
    };
    assert!(send(BODY_LIMIT_BYTES).await.ends_with("65536"));
    let refused = send(BODY_LIMIT_BYTES + 1).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 413"), "{refused}");
}
