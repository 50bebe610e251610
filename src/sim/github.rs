//! A simulator of GitHub: secrets of every kind, dispatches, leak alerts, tokens with permissions, Apps.
//!
//! Mounted at the root, and for GitHub Enterprise Server also under `/api/v3`. In this order a call is asked
//! for a `User-Agent`, a known `X-GitHub-Api-Version`, a `Bearer` token, the token's rate limit, whether the
//! token sees the repository or organisation (404), and whether it has the permission (403).
//!
//! | label | call | permission |
//! |---|---|---|
//! | `read_public_key` | `GET …/secrets/public-key` | the store's, read |
//! | `list_secrets` | `GET …/secrets` | the store's, read |
//! | `read_secret` | `GET …/secrets/{name}` | the store's, read |
//! | `put_secret` | `PUT …/secrets/{name}` | the store's, write |
//! | `delete_secret` | `DELETE …/secrets/{name}` | the store's, write |
//! | `list_secret_repositories` | `GET /orgs/…/secrets/{name}/repositories` | the store's, read |
//! | `set_secret_repositories` | `PUT /orgs/…/secrets/{name}/repositories` | the store's, write |
//! | `change_secret_repository` | `PUT`, `DELETE /orgs/…/secrets/{name}/repositories/{id}` | the store's, write |
//! | `dispatch` | `POST /repos/{o}/{r}/dispatches` | contents, write |
//! | `list_alerts` | `GET /repos/{o}/{r}/secret-scanning/alerts`, also of `/orgs/{o}` | alerts, read |
//! | `read_alert` | `GET /repos/{o}/{r}/secret-scanning/alerts/{n}` | alerts, read |
//! | `patch_alert` | `PATCH /repos/{o}/{r}/secret-scanning/alerts/{n}` | alerts, write |
//! | `access_token` | `POST /app/installations/{id}/access_tokens` | an App's JWT |
//! | `read_repo`, `read_org`, `list_environments` | `GET /repos/{o}/{r}`, `/orgs/{o}`, `/repos/{o}/{r}/environments` | none |
//! | `read_user`, `rate_limit` | `GET /user`, `GET /rate_limit` | none |
//! | `unknown` | anything else | |
//!
//! `…` is `/repos/{o}/{r}/actions`, `/repos/{o}/{r}/environments/{env}`, `/orgs/{o}/actions`, and the first and
//! last of these with `dependabot` or `codespaces` for `actions`.
//!
//! Where to read: `scope` names a store, `access` is tokens and permissions, `vault` a store with its key pair,
//! `forge` the whole world; `secrets`, `selection`, `alerts`, `app` are calls; `route` and `desk` lead to them.

mod access;
mod alerts;
mod app;
mod desk;
mod forge;
mod page;
mod route;
mod scope;
mod secrets;
mod selection;
mod shape;
#[cfg(test)]
mod tests;
mod vault;

use std::sync::Arc;

use serde_json::{Value, json};

pub use self::access::{Level, Permissions};
pub use self::alerts::AlertRow;
pub use self::app::App;
pub use self::forge::{Dispatch, Settings};
pub use self::scope::{Scope, Store};
pub use self::vault::SecretRow;

use self::desk::Desk;
use super::clock::Clock;
use super::fault::{Act, Script};
use super::world::{RequestLog, Server};

/// A running simulator of GitHub. Clones are the same one.
#[derive(Debug, Clone)]
pub struct GitHub {
    desk: Arc<Desk>,
    server: Arc<Server>,
}

/// The secondary rate limit, 403, with or without `Retry-After` (seconds).
pub fn secondary_rate_limit(retry_after_seconds: Option<u64>) -> Act {
    let text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let act = Act::body(403, json!({"message": text, "status": "403"}));
    match retry_after_seconds {
        Some(seconds) => act.with_header("retry-after", &seconds.to_string()),
        None => act,
    }
}

impl GitHub {
    /// Starts one with a script of its own.
    pub async fn start() -> Self {
        Self::start_with(Script::default()).await
    }

    /// Starts one that shares `script`, and the numbering of requests, with other simulators.
    pub async fn start_with(script: Script) -> Self {
        let clock = Arc::new(Clock::default());
        let desk = Arc::new(Desk::new(Arc::clone(&clock)));
        let server = Server::start(Arc::<Desk>::clone(&desk), clock, script).await;
        Self { desk, server: Arc::new(server) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn api_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// `http://127.0.0.1:PORT/api/v3`, as on GitHub Enterprise Server.
    pub fn enterprise_api_url(&self) -> String {
        format!("{}/api/v3", self.api_url())
    }

    /// Stops serving; the world stays inspectable.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Adds a repository, `owner/name`; its id.
    pub fn add_repo(&self, full_name: &str) -> u64 {
        self.desk.lock().add_repo(full_name)
    }

    /// Adds an environment to a repository.
    pub fn add_environment(&self, repo: &str, environment: &str) {
        self.desk.lock().add_environment(repo, environment);
    }

    /// Adds an organisation; repositories with its name for an owner are its own.
    pub fn add_org(&self, name: &str) {
        self.desk.lock().add_org(name);
    }

    /// A new token with these permissions that sees everything.
    pub fn new_token(&self, permissions: Permissions) -> String {
        self.desk.lock().tokens.issue(permissions, None)
    }

    /// A new token that sees only these repositories and organisations.
    pub fn new_token_for(&self, permissions: Permissions, sees: &[&str]) -> String {
        let sees = sees.iter().map(|name| name.to_lowercase()).collect();
        self.desk.lock().tokens.issue(permissions, Some(sees))
    }

    /// A person takes permissions from a token, or gives them.
    pub fn set_permissions(&self, token: &str, permissions: Permissions) -> bool {
        self.desk.lock().tokens.set_permissions(token, permissions)
    }

    /// A person revokes a token.
    pub fn revoke_token(&self, token: &str) -> bool {
        self.desk.lock().tokens.revoke(token)
    }

    /// Registers an App with one installation that has these permissions and sees everything.
    pub fn add_app(&self, permissions: Permissions) -> App {
        self.desk.lock().add_app(permissions)
    }

    /// All installation tokens expire now.
    pub fn expire_installation_tokens(&self) {
        self.desk.lock().tokens.expire_installation_tokens();
    }

    /// Every token this simulator ever made.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.desk.lock().tokens.issued()
    }

    /// The plaintext of a secret, after its box was opened.
    pub fn secret_value(&self, scope: &Scope, name: &str) -> Option<String> {
        self.secret(scope, name).map(|row| row.value)
    }

    /// All there is about a secret.
    pub fn secret(&self, scope: &Scope, name: &str) -> Option<SecretRow> {
        self.desk.lock().vault(scope).get(name)
    }

    /// What a workflow of this repository would read: its own Actions secret, else the organisation's, if that
    /// is open to it.
    pub fn workflow_sees(&self, repo: &str, name: &str) -> Option<String> {
        self.desk.lock().workflow_sees(repo, name)
    }

    /// A person sets or makes a secret in the web interface; an organisation's is open to all repositories.
    pub fn set_secret_by_hand(&self, scope: &Scope, name: &str, value: &str) {
        self.desk.edit_by_hand(scope, name, value);
    }

    /// A person changes a secret: it is worthless now, and `updated_at` has moved by at least a second.
    pub fn edit_secret_by_hand(&self, scope: &Scope, name: &str) {
        self.set_secret_by_hand(scope, name, "edited by hand");
    }

    /// A person deletes a secret.
    pub fn delete_secret_by_hand(&self, scope: &Scope, name: &str) -> bool {
        self.desk.lock().vault(scope).remove(name)
    }

    /// GitHub rotates a store's key pair: boxes sealed for the old one are refused from now on.
    pub fn rotate_public_key(&self, scope: &Scope) {
        self.desk.lock().vault(scope).rotate();
    }

    /// The repository dispatches that were accepted, in order.
    pub fn dispatches(&self) -> Vec<Dispatch> {
        self.desk.lock().dispatches.clone()
    }

    /// GitHub finds a secret in a repository; the alert's number.
    pub fn add_alert(&self, repo: &str, secret_type: &str, secret: &str) -> u64 {
        self.desk.add_alert(repo, secret_type, secret)
    }

    /// The leak alerts of a repository, oldest first.
    pub fn alerts(&self, repo: &str) -> Vec<AlertRow> {
        self.desk.lock().alerts_of(repo)
    }

    /// Puts the simulator's clock, its `Date` header and its timestamps this far ahead of real time.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.server.set_clock_offset(seconds);
    }

    /// Changes the settings.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.desk.lock().settings);
    }

    /// Everything that was asked so far, in order of arrival.
    pub fn requests(&self) -> Vec<RequestLog> {
        self.server.requests()
    }

    /// Waits until `enough` holds of everything that was asked.
    pub async fn wait_until(&self, enough: impl FnMut(&[RequestLog]) -> bool) {
        self.server.wait_until(enough).await;
    }

    /// The script of mishaps.
    pub fn faults(&self) -> &Script {
        self.server.faults()
    }
}

/// The body's field as text.
fn text<'a>(body: &'a Value, field: &str) -> Option<&'a str> {
    body.get(field).and_then(Value::as_str)
}
