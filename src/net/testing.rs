//! A server of hand-made bytes on loopback, for tests of what vendors' servers do to their clients.

mod fuzz;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{Deadline, Http, HttpOptions};

pub(crate) use fuzz::{answer, fuzz};

/// What one connection gets, after its request was read.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// These bytes, then an orderly end.
    Say(Vec<u8>),
    /// These bytes, then a TCP reset.
    Reset(Vec<u8>),
    /// These bytes, then silence.
    Hang(Vec<u8>),
    /// These bytes, one every few milliseconds.
    Drip(Vec<u8>),
}

/// A running server. Connection `n` plays act `n`; the last act is played for ever.
pub(crate) struct Wire {
    /// `http://127.0.0.1:port/`.
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    /// Starts to play.
    pub(crate) async fn play(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let act = acts[turn.min(acts.len() - 1)].clone();
                turn += 1;
                tokio::spawn(serve(stream, act, log.clone()));
            }
        });
        Self { url, seen }
    }

    /// One JSON answer, for ever.
    pub(crate) async fn json(status: u16, body: &str) -> Self {
        Self::play(vec![Act::Say(http(status, "content-type: application/json\r\n", body))]).await
    }

    /// The requests so far, as they came over the wire.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// An HTTP/1.1 answer with a length, a `Date`, and further header lines (each with its line end).
pub(crate) fn http(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: {}\r\nconnection: \
         close\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The client under test.
pub(crate) fn client() -> Http {
    Http::new(&HttpOptions::default()).unwrap()
}

/// Long enough for loopback on however busy a machine.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_mins(1))
}

/// For what never answers: it is waited out, and long enough for the request to be written before.
pub(crate) fn brief() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

async fn serve(mut stream: TcpStream, act: Act, log: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    log.lock().unwrap().push(request);
    match act {
        Act::Say(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
        }
        Act::Reset(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.set_zero_linger().ok();
        }
        Act::Hang(bytes) => {
            stream.write_all(&bytes).await.ok();
            std::future::pending::<()>().await;
        }
        Act::Drip(bytes) => {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            for byte in bytes {
                pause.tick().await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads head and body of one request, by its content length.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end].lines().find_map(|line| line.strip_prefix("content-length: "));
            let wanted = length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= end + 4 + wanted {
                break;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
