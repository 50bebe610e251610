//! A client of the API, as plain as it can be.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::World;
use super::wait::log;

/// Speaks to one daemon with one token.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    headers: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    /// Of the newest daemon of a world; without a token nobody.
    pub fn of_newest(world: &World, token: &str) -> Self {
        let log = log(world);
        let address =
            log.rsplit("http://").next().unwrap().split(['"', ' ', '\n']).next().unwrap().to_owned();
        let client = Self { address, headers: String::new() };
        if token.is_empty() { client } else { client.with("Authorization", &format!("Bearer {token}")) }
    }

    /// The same with another header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self { headers: format!("{}{name}: {value}\r\n", self.headers), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    /// Asks so many times at once, and does not wait for any answer.
    pub async fn send_and_leave(&self, method: &str, path: &str, times: usize) {
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n{}\r\n", self.address, self.headers);
        for _ in 0..times {
            let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
        }
    }

    /// HTTP 1.0, so that an answer is never in pieces.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let body = body.map(|body| (body.to_string(), "Content-Type: application/json\r\n"));
        let (body, media) = body.unwrap_or_default();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{media}{length}{}\r\n{body}",
            self.address, self.headers
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless it is 200.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}
