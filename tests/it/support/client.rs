//! A client of the API, as plain as it can be.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

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
    /// 0 when none came.
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

    /// The same of the first daemon of the world.
    pub fn of_first(&self, world: &World) -> Self {
        let log = log(world);
        let address = log.split("http://").nth(1).unwrap().split(['"', ' ', '\n']).next().unwrap().to_owned();
        Self { address, ..self.clone() }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Posts text, as `curl --data-binary` does.
    pub async fn send_text(&self, path: &str, text: &str) -> Answer {
        let media = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.exchange("POST", path, media, text).await
    }

    /// Listens to server-sent events.
    pub async fn listen(&self, path: &str) -> Events {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{}\r\n", self.address, self.headers);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut head = String::new();
        while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
            head = head + &line + "\r\n";
        }
        assert!(head.contains(" 200 "), "{head}");
        Events { head, lines }
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
            let mut stream = TcpStream::connect(&self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
        }
    }

    /// HTTP 1.0, so that an answer is never in pieces.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(|body| (body.to_string(), "Content-Type: application/json\r\n"));
        let (body, media) = body.unwrap_or_default();
        self.exchange(method, path, media, &body).await
    }

    async fn exchange(&self, method: &str, path: &str, media: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{media}{length}{}\r\n{body}",
            self.address, self.headers
        );
        // Who is refused before it has sent all may not be able to send the rest.
        stream.write_all(request.as_bytes()).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// Server-sent events as they come.
pub struct Events {
    head: String,
    lines: Lines<BufReader<TcpStream>>,
}

impl Events {
    /// Kind and data of the next one; none when the stream is over.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let (mut kind, mut data) = (String::new(), None);
        loop {
            let line = self.lines.next_line().await.unwrap()?;
            match line.split_once(": ") {
                Some(("event", word)) => word.clone_into(&mut kind),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                None if line.is_empty() => {
                    if let Some(data) = data.take() {
                        return Some((kind, data));
                    }
                }
                _ => {}
            }
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
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
        header(&self.head, name)
    }
}
