//! HTTP/1.1 on a bare socket: read a call, write an answer, cut it short, reset it.
//!
//! Written by hand because the faults live below HTTP: a server library will not send a reset on request,
//! nor promise a length and stop half-way. It understands what HTTP clients send (lengths, chunks,
//! keep-alive) and nothing else.

use std::fmt::Write as _;
use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// No request line, header block or body of a test comes near these.
const HEAD_LIMIT: usize = 64 * 1024;
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// One request, read whole. No `Debug`: it carries the credential.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query as they came.
    pub(crate) target: String,
    /// The path cut at `/`, each piece percent-decoded; empty pieces (a trailing slash) are left out.
    pub(crate) segments: Vec<String>,
    /// The decoded query, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the client wants to go on using the connection.
    pub(crate) keep_alive: bool,
}

impl Call {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The credential of `Authorization: Bearer …`, when there is one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, credential) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim()).filter(|text| !text.is_empty())
    }

    /// The first value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The path, for matching against a slice pattern.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// One answer, before it is written.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A JSON body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json; charset=utf-8", body.to_string())
    }

    /// A body of any type.
    pub(crate) fn of(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }

    /// A status with no body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The same answer with one more header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The socket of one client.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next call; `None` when the client has closed the connection between two of them.
    pub(crate) async fn read_call(&mut self) -> io::Result<Option<Call>> {
        let Some(first) = self.read_line().await? else { return Ok(None) };
        let mut parts = first.split(' ');
        let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed("the request line"));
        };
        let method = method.parse().map_err(|_| malformed("the method"))?;
        let headers = self.read_headers().await?;
        let body = self.read_body(&headers).await?;
        let asks = |token| has_token(&headers, "connection", token);
        let keep_alive = if version == "HTTP/1.1" { !asks("close") } else { asks("keep-alive") };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Call {
            method,
            target: target.to_owned(),
            segments: path.split('/').filter(|piece| !piece.is_empty()).map(percent_decoded).collect(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers,
            body,
            keep_alive,
        }))
    }

    /// Writes `answer`; with `cut`, promises the whole length but sends only that many bytes of the body.
    pub(crate) async fn write(&mut self, answer: &Answer, date: &str, cut: Option<usize>) -> io::Result<()> {
        let reason = http::StatusCode::from_u16(answer.status).ok().and_then(|code| code.canonical_reason());
        let mut head =
            format!("HTTP/1.1 {} {}\r\ndate: {date}\r\n", answer.status, reason.unwrap_or("Unknown"));
        for (name, value) in &answer.headers {
            write!(head, "{name}: {value}\r\n").expect("text takes text");
        }
        if !matches!(answer.status, 204 | 304) {
            write!(head, "content-length: {}\r\n", answer.body.len()).expect("text takes text");
        }
        head.push_str("\r\n");
        let sent = cut.unwrap_or(answer.body.len()).min(answer.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&answer.body[..sent]);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        if cut.is_some() { self.stream.shutdown().await } else { Ok(()) }
    }

    /// Drops the connection so that the client sees a reset, not an orderly end.
    pub(crate) fn reset(self) {
        // A zero linger turns the close that follows into a RST. Failing means it is already gone.
        let _ = self.stream.get_ref().set_zero_linger();
    }

    /// Waits until the client has hung up.
    pub(crate) async fn gone(&mut self) {
        match self.stream.fill_buf().await {
            Ok([]) | Err(_) => {}
            // Bytes of a next request: it is alive and, being no pipelining client, will not be heard again.
            Ok(_) => std::future::pending().await,
        }
    }

    /// A line without its end; `None` at the end of the stream.
    async fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let limit = u64::try_from(HEAD_LIMIT).expect("fits");
        (&mut self.stream).take(limit).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(Some(String::from_utf8_lossy(text).into_owned())),
            None if line.is_empty() => Ok(None),
            None => Err(malformed("a line")),
        }
    }

    async fn read_headers(&mut self) -> io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        loop {
            let line = self.read_line().await?.ok_or_else(|| malformed("the headers"))?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header"))?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("a header name"))?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| malformed("a header value"))?;
            headers.append(name, value);
        }
    }

    async fn read_body(&mut self, headers: &HeaderMap) -> io::Result<Vec<u8>> {
        if has_token(headers, "expect", "100-continue") {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if has_token(headers, "transfer-encoding", "chunked") {
            return self.read_chunks().await;
        }
        let length = headers.get("content-length").and_then(|value| value.to_str().ok());
        let mut body = Vec::new();
        if let Some(length) = length.map(str::parse).transpose().map_err(|_| malformed("the length"))? {
            self.read_piece(length, &mut body).await?;
        }
        Ok(body)
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?.ok_or_else(|| malformed("a chunk"))?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("a chunk's size"))?;
            if size == 0 {
                self.read_headers().await?;
                return Ok(body);
            }
            self.read_piece(size, &mut body).await?;
            self.read_line().await?;
        }
    }

    async fn read_piece(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        if body.len() + length > BODY_LIMIT {
            return Err(malformed("the size of the body"));
        }
        let start = body.len();
        body.resize(start + length, 0);
        self.stream.read_exact(&mut body[start..]).await.map(|_| ())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {what}"))
}

fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|piece| piece.trim().eq_ignore_ascii_case(token))
}

/// One piece of a path, `%2F` and all.
fn percent_decoded(piece: &str) -> String {
    let bytes = piece.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = piece.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn heard(bytes: &'static [u8]) -> Vec<io::Result<Option<Call>>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut out = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut client = Client::new(listener.accept().await.unwrap().0);
        out.write_all(bytes).await.unwrap();
        drop(out);
        let mut calls = Vec::new();
        loop {
            let call = client.read_call().await;
            let last = !matches!(call, Ok(Some(_)));
            calls.push(call);
            if last {
                return calls;
            }
        }
    }

    #[tokio::test]
    async fn two_calls_on_one_connection() {
        let calls = heard(
            b"POST /a%2Fb/c/?x=1&y=a+b HTTP/1.1\r\nAuthorization: bearer  t \r\nContent-Length: 2\r\n\r\n{}\
              GET / HTTP/1.1\r\nConnection: Close\r\n\r\n",
        )
        .await;
        let first = calls[0].as_ref().unwrap().as_ref().unwrap();
        assert_eq!(first.path(), ["a/b", "c"]);
        assert_eq!((first.param("y"), first.bearer(), first.keep_alive), (Some("a b"), Some("t"), true));
        assert_eq!(first.json(), Some(serde_json::json!({})));
        assert!(!calls[1].as_ref().unwrap().as_ref().unwrap().keep_alive);
        assert!(matches!(calls[2], Ok(None)));
    }

    #[tokio::test]
    async fn chunked_bodies_are_joined() {
        let calls = heard(
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        )
        .await;
        assert_eq!(calls[0].as_ref().unwrap().as_ref().unwrap().body, b"abcde");
    }

    #[tokio::test]
    async fn half_a_request_is_an_error_not_a_call() {
        let calls = heard(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf").await;
        assert!(calls[0].is_err());
    }
}
