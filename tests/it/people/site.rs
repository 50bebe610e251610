//! A running daemon, and who asks it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::World;
use crate::support::wait::until;

/// A daemon that runs until it is dropped.
pub struct Site {
    client: Client,
    base: String,
    _daemon: Child,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    headers: Vec<(String, String)>,
}

/// By what somebody shows who they are.
#[derive(Debug, Default, Clone)]
pub struct Login {
    pub cookie: String,
    pub set_cookie: String,
    pub body: Value,
    token: Option<String>,
    hides_csrf: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Login {
    pub fn nobody() -> Self {
        Self::default()
    }

    pub fn token(token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::default() }
    }

    pub fn without_csrf(&self) -> Self {
        Self { hides_csrf: true, ..self.clone() }
    }

    pub fn csrf(&self) -> &str {
        self.body["csrf_token"].as_str().unwrap_or("no csrf token")
    }

    fn shown(&self, request: RequestBuilder) -> RequestBuilder {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        if self.cookie.is_empty() {
            return request;
        }
        let request = request.header("cookie", format!("session_token={}", self.cookie));
        if self.hides_csrf { request } else { request.header("x-csrf-token", self.csrf()) }
    }
}

impl Site {
    /// Starts a daemon of this world; what it logs goes to `serve.log`.
    pub async fn start(world: &World) -> Self {
        let listening = || {
            let log = std::fs::read_to_string(world.path("serve.log")).unwrap_or_default();
            let lines = log.lines().filter(|line| line.contains("listening")).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        let before = listening().len();
        let daemon = world.serve();
        until("the daemon listens", async || listening().len() > before).await;
        let line = listening().pop().unwrap();
        let address = line.rsplit("http://").next().unwrap();
        let address = address.split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).next().unwrap();
        let client = Client::builder().timeout(Duration::from_mins(2)).build().unwrap();
        Self { client, base: format!("http://{address}"), _daemon: daemon }
    }

    pub async fn get(&self, path: &str, login: &Login) -> Answer {
        self.ask(Method::GET, path, login, Value::Null).await
    }

    pub async fn ask(&self, method: Method, path: &str, login: &Login, body: Value) -> Answer {
        let request = login.shown(self.client.request(method, format!("{}{path}", self.base)));
        let request = if body.is_null() { request } else { request.json(&body) };
        answer(request).await
    }

    /// A page of another site posts with this person's cookie.
    pub async fn forge(&self, path: &str, login: &Login, origin: &str) -> Answer {
        let request = login.without_csrf().shown(self.client.post(format!("{}{path}", self.base)));
        answer(request.header("origin", origin).header("sec-fetch-site", "cross-site")).await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Result<Login, Answer> {
        self.log_in_with(email, password, None).await
    }

    /// The same as a proxy on this machine passes it on.
    pub async fn log_in_from(&self, email: &str, password: &str, address: &str) -> Result<Login, Answer> {
        self.log_in_with(email, password, Some(address)).await
    }

    async fn log_in_with(&self, email: &str, password: &str, from: Option<&str>) -> Result<Login, Answer> {
        let request = self.client.post(format!("{}/api/v1/auth/login", self.base));
        let request = request.json(&json!({"email": email, "password": password}));
        let request = match from {
            Some(address) => request.header("x-forwarded-for", address),
            None => request,
        };
        let answer = answer(request).await;
        if answer.status != 200 {
            return Err(answer);
        }
        let set_cookie = answer.header("set-cookie").to_owned();
        let value = set_cookie.strip_prefix("session_token=").unwrap().split(';').next().unwrap();
        Ok(Login { cookie: value.to_owned(), body: answer.body, set_cookie, ..Login::default() })
    }
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
}
