//! OpenRouter as an issuer of keys (wire-facts.md, "OpenRouter").
//!
//! Map: this file makes the calls, one a method; `wire` is what bodies look like and how they become our
//! values; `refusal` decides what an answer that is no success proves; `listing` reads one page of the keys; `rolls` is
//! about guardrails and allow-lists, which name keys by their hash.
//!
//! The rule of the room: an answer counts as a success, or as proof that nothing was done, only when it is in
//! OpenRouter's own form. A proxy's page, a half-written body, a 200 that holds an error: `Unclear`.

mod listing;
mod refusal;
mod rolls;
mod wire;

use async_trait::async_trait;
use http::Method;
use http::header::AUTHORIZATION;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use self::refusal::{Asked, refusal};
use super::{CHAT_TOKENS, Credits, Cursor, IssuedKey, Issuer, Page, RollKeeper};
use crate::domain::key::{CurrentKey, KeySpec, MicroUsd, RemoteKey};
use crate::domain::outcome::{Called, Failure, FailureKind, Reply};
use crate::domain::secret::Secret;
use crate::net::{Answer, Deadline, Http, secret_header};

/// An OpenRouter account, by its provisioning key.
#[derive(Debug, Clone)]
pub struct OpenRouter {
    http: Http,
    base_url: Url,
    workspace: Option<String>,
    provisioning_key: Secret,
}

impl OpenRouter {
    /// `base_url` is `https://openrouter.ai/api/v1` or its like; `workspace` narrows listings and is where
    /// keys are made, the account's default one otherwise.
    pub fn new(http: Http, base_url: Url, workspace: Option<String>, provisioning_key: Secret) -> Self {
        Self { http, base_url, workspace, provisioning_key }
    }

    /// One call with the provisioning key.
    async fn manage(&self, request: Request<'_>, deadline: Deadline) -> Result<Answer, Failure> {
        self.call(request, &self.provisioning_key, deadline).await
    }

    async fn call(&self, request: Request<'_>, key: &Secret, deadline: Deadline) -> Result<Answer, Failure> {
        let url = self.url(request.path, request.query)?;
        let bearer = secret_header("Bearer ", key)?;
        let mut call = self.http.request(request.method, url).header(AUTHORIZATION, bearer);
        if let Some(body) = request.body {
            call = call.json(&body);
        }
        self.http.send(call, deadline).await
    }

    /// The base with further path segments and a query, each percent-encoded.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.base_url.clone();
        let not_a_base = |()| Failure::new(FailureKind::NotSent, "the account's base URL has no path");
        url.path_segments_mut().map_err(not_a_base)?.pop_if_empty().extend(path);
        url.set_query(None);
        // A password in the URL would travel as a second `Authorization`.
        url.set_username("").and_then(|()| url.set_password(None)).map_err(not_a_base)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// What an answer that is no success proves, with every secret involved redacted.
    fn refused(&self, answer: &Answer, asked: Asked, key: Option<&Secret>) -> Failure {
        let secrets: Vec<&Secret> = std::iter::once(&self.provisioning_key).chain(key).collect();
        refusal(answer, asked, &secrets)
    }

    /// Reads a 200 as `{data: T}`; anything else is a refusal.
    fn data<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        asked: Asked,
        key: Option<&Secret>,
    ) -> Result<T, Failure> {
        let read = (answer.status == 200).then(|| wire::data(&answer.body)).flatten();
        read.ok_or_else(|| self.refused(answer, asked, key))
    }

    /// Reads the answer to a call about one key; `None` for a 404 in OpenRouter's own form.
    fn one_key(&self, answer: &Answer, hash: &str) -> Called<Option<RemoteKey>> {
        let date = answer.date;
        match self.data::<wire::Key>(answer, Asked::Manage, None) {
            Ok(key) if key.hash == hash => Ok(Reply { value: Some(key.into_remote()), date }),
            Ok(_) => Err(answer.failure(FailureKind::Unclear, "OpenRouter answered about another key")),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Reply { value: None, date }),
            Err(failure) => Err(failure),
        }
    }

    async fn patch(&self, hash: &str, change: Value, deadline: Deadline) -> Called<Option<RemoteKey>> {
        let path = ["keys", checked(hash)?];
        let answer = self.manage(Request::new(Method::PATCH, &path).body(change), deadline).await?;
        self.one_key(&answer, hash)
    }

    fn issued(&self, answer: &Answer, name: &str) -> Called<IssuedKey> {
        let created = matches!(answer.status, 200 | 201).then(|| wire::created(&answer.body)).flatten();
        let Some((secret, key)) = created else {
            return Err(self.refused(answer, Asked::Manage, None));
        };
        if !wire::is_key(secret.expose()) || secret.sha256_hex() != key.hash {
            let text = "OpenRouter made a key and answered with a secret that is not that key's";
            return Err(answer.failure(FailureKind::Unclear, text));
        }
        let remote = key.into_remote();
        if remote.name != name {
            // By its name alone a key is found again (R3): one of another name is nobody's.
            let text = "OpenRouter made a key of another name than was asked for";
            return Err(answer.failure(FailureKind::Unclear, text));
        }
        Ok(Reply { value: IssuedKey { secret, remote }, date: answer.date })
    }
}

/// One call: what is asked of which path.
struct Request<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Value>,
}

impl<'a> Request<'a> {
    fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: &[], body: None }
    }

    fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// A hash goes into a URL only when it is one: a stray `..` or `/` there would address something else.
fn checked(hash: &str) -> Result<&str, Failure> {
    if wire::is_hash(hash) {
        return Ok(hash);
    }
    Err(Failure::new(FailureKind::NotSent, "a key's hash is 64 lowercase hexadecimal digits"))
}

fn creation(name: &str, spec: &KeySpec, workspace: Option<&str>) -> Value {
    let mut body = json!({"name": name, "include_byok_in_limit": spec.include_byok_in_limit});
    if let Some(limit) = spec.limit {
        body["limit"] = json!(limit.usd());
    }
    if let Some(reset) = &spec.limit_reset {
        body["limit_reset"] = json!(reset);
    }
    if let Some(workspace) = spec.workspace.as_deref().or(workspace) {
        body["workspace_id"] = json!(workspace);
    }
    body
}

#[async_trait]
impl Issuer for OpenRouter {
    async fn whoami(&self, key: &Secret, deadline: Deadline) -> Called<CurrentKey> {
        let answer = self.call(Request::get(&["key"]), key, deadline).await?;
        let current: wire::Current = self.data(&answer, Asked::Itself, Some(key))?;
        let value = current.into_current().ok_or_else(|| {
            let text = "OpenRouter does not say whether this is a provisioning key";
            answer.failure(FailureKind::Unclear, text)
        })?;
        Ok(Reply { value, date: answer.date })
    }

    async fn whoami_provisioning(&self, deadline: Deadline) -> Called<CurrentKey> {
        self.whoami(&self.provisioning_key, deadline).await
    }

    fn identity_of(&self, key: &Secret) -> Option<String> {
        Some(key.sha256_hex())
    }

    fn provisioning_hash(&self) -> String {
        self.provisioning_key.sha256_hex()
    }

    fn can_disable(&self) -> bool {
        true
    }

    async fn list(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Page> {
        self.page(at, deadline).await
    }

    async fn read(&self, hash: &str, deadline: Deadline) -> Called<Option<RemoteKey>> {
        let answer = self.manage(Request::get(&["keys", checked(hash)?]), deadline).await?;
        self.one_key(&answer, hash)
    }

    async fn create(&self, name: &str, spec: &KeySpec, deadline: Deadline) -> Called<IssuedKey> {
        let body = creation(name, spec, self.workspace.as_deref());
        let answer = self.manage(Request::new(Method::POST, &["keys"]).body(body), deadline).await?;
        self.issued(&answer, name)
    }

    async fn set_disabled(
        &self,
        hash: &str,
        disabled: bool,
        deadline: Deadline,
    ) -> Called<Option<RemoteKey>> {
        self.patch(hash, json!({"disabled": disabled}), deadline).await
    }

    async fn set_limit(
        &self,
        hash: &str,
        limit: Option<MicroUsd>,
        deadline: Deadline,
    ) -> Called<Option<RemoteKey>> {
        self.patch(hash, json!({"limit": limit.map(MicroUsd::usd)}), deadline).await
    }

    async fn delete(&self, hash: &str, deadline: Deadline) -> Called<bool> {
        let path = ["keys", checked(hash)?];
        let answer = self.manage(Request::new(Method::DELETE, &path), deadline).await?;
        if answer.status == 200 && wire::says_deleted(&answer.body) {
            return Ok(Reply { value: true, date: answer.date });
        }
        match self.refused(&answer, Asked::Manage, None) {
            failure if failure.kind == FailureKind::NotFound => Ok(Reply { value: false, date: answer.date }),
            failure => Err(failure),
        }
    }

    fn rolls(&self) -> Option<&dyn RollKeeper> {
        Some(self)
    }

    async fn credits(&self, deadline: Deadline) -> Called<Credits> {
        let answer = self.manage(Request::get(&["credits"]), deadline).await?;
        let credits: wire::Purse = self.data(&answer, Asked::Manage, None)?;
        Ok(Reply { value: credits.into_credits(), date: answer.date })
    }

    async fn chat(&self, key: &Secret, model: &str, deadline: Deadline) -> Called<()> {
        let messages = json!([{"role": "user", "content": "Say ok."}]);
        let body = json!({"model": model, "max_tokens": CHAT_TOKENS, "messages": messages});
        let request = Request::new(Method::POST, &["chat", "completions"]).body(body);
        let answer = self.call(request, key, deadline).await?;
        if answer.status == 200 && wire::is_completion(&answer.body) {
            return Ok(Reply { value: (), date: answer.date });
        }
        Err(self.refused(&answer, Asked::Model, Some(key)))
    }
}

#[cfg(test)]
mod tests;
