//! A simulator of `OpenRouter`: accounts, their provisioning keys, regular keys, credits, one chat call.
//!
//! Calls under `/api/v1`, with or without a trailing slash, and their stable labels:
//!
//! | label | call | needs |
//! |---|---|---|
//! | `list_keys` | `GET /keys?offset=&include_disabled=&include_expired=&workspace_id=` | provisioning |
//! | `create_key` | `POST /keys` | provisioning |
//! | `read_key` | `GET /keys/{hash}` | provisioning |
//! | `patch_key` | `PATCH /keys/{hash}` | provisioning |
//! | `delete_key` | `DELETE /keys/{hash}` | provisioning |
//! | `whoami` | `GET /key` | any key |
//! | `credits` | `GET /credits` | any key |
//! | `chat` | `POST /chat/completions` | regular |
//! | `list_assignments` | `GET /guardrails/assignments/keys?offset=&limit=` | provisioning |
//! | `assign_keys` | `POST /guardrails/{id}/assignments/keys` | provisioning |
//! | `list_byok` | `GET /byok?offset=&limit=&workspace_id=` | provisioning |
//! | `patch_byok` | `PATCH /byok/{id}` | provisioning |
//! | `models` | `GET /models` | nothing |
//! | `unknown` | anything else | |
//!
//! Where to read: `row` is a key as the world has it, `shape` is what the API shows of it, `form` refuses bad
//! bodies, `books` holds the world, `management`, `rolls` (what names keys by their hash) and `agent` are the calls on it, `desk`
//! routes them, `settings` has the questions that only a real account can settle. This file is the test's and the demo's
//! hand on it: what people and agents do.

mod agent;
mod books;
mod desk;
mod form;
mod management;
mod rolls;
mod row;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::row::{CreatedBy, KeyRow};
pub use self::settings::{LimitRefusal, ListingShift, Settings};

use self::desk::Desk;
use super::clock::Clock;
use super::fault::Script;
use super::world::{RequestLog, Server};

/// The account that [`OpenRouter::new_provisioning_key`] and its like act on.
pub const MAIN_ACCOUNT: &str = "main";

/// A running simulator of `OpenRouter`. Clones are the same one.
#[derive(Debug, Clone)]
pub struct OpenRouter {
    desk: Arc<Desk>,
    server: Arc<Server>,
}

impl OpenRouter {
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

    /// `http://127.0.0.1:PORT/api/v1`
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.server.address())
    }

    /// Stops serving; the world stays inspectable.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// A new provisioning key of the main account.
    pub fn new_provisioning_key(&self) -> String {
        self.new_provisioning_key_of(MAIN_ACCOUNT)
    }

    /// A new provisioning key of this account, which is made when it is new. An id that begins with `org` is
    /// an organisation.
    pub fn new_provisioning_key_of(&self, account_id: &str) -> String {
        self.desk.lock().new_provisioning_key(account_id)
    }

    /// A person revokes a provisioning key; false when there is no such key.
    pub fn revoke_provisioning(&self, secret: &str) -> bool {
        self.desk.lock().revoke_provisioning(secret)
    }

    /// A person makes a regular key in the main account's default workspace.
    pub fn new_regular_key(&self, name: &str) -> String {
        self.new_regular_key_of(MAIN_ACCOUNT, name)
    }

    /// A person makes a regular key in this account's default workspace.
    pub fn new_regular_key_of(&self, account_id: &str, name: &str) -> String {
        self.desk.add_by_hand(account_id, name, None)
    }

    /// A person makes a regular key in one of the main account's workspaces.
    pub fn new_regular_key_in(&self, workspace_id: &str, name: &str) -> String {
        self.desk.add_by_hand(MAIN_ACCOUNT, name, Some(workspace_id))
    }

    /// Adds a workspace to the main account; its id.
    pub fn new_workspace(&self) -> String {
        self.desk.lock().account(MAIN_ACCOUNT).add_workspace()
    }

    /// The main account's default workspace.
    pub fn default_workspace(&self) -> String {
        self.desk.lock().account(MAIN_ACCOUNT).default_workspace().to_owned()
    }

    /// Every regular key there ever was, oldest first; deleted ones stay as tombstones.
    pub fn keys(&self) -> Vec<KeyRow> {
        self.desk.lock().rows()
    }

    /// One key, or its tombstone.
    pub fn key_by_hash(&self, hash: &str) -> Option<KeyRow> {
        self.keys().into_iter().find(|row| row.hash == hash)
    }

    /// The newest key of this name, or its tombstone.
    pub fn key_by_name(&self, name: &str) -> Option<KeyRow> {
        self.keys().into_iter().rev().find(|row| row.name == name)
    }

    /// A person changes a key: disables, enables, deletes it, or its figures move; false when there is none.
    pub fn edit_key(&self, hash: &str, change: impl FnOnce(&mut KeyRow)) -> bool {
        self.desk.edit_by_hand(hash, change)
    }

    /// An agent makes a call that costs this much. When the key is live, its usage and `last_used_at` move
    /// and the answer is true; a refused call moves nothing.
    pub fn use_key(&self, secret: &str, usd: f64) -> bool {
        self.desk.use_key(secret, usd)
    }

    /// Every secret this simulator ever made, of both kinds: none of them may be found anywhere in clear.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.desk.lock().issued_secrets()
    }

    /// The main account's purse, in US dollars.
    pub fn set_credits(&self, total: f64, used: f64) {
        self.desk.lock().account(MAIN_ACCOUNT).set_credits(total, used);
    }

    /// Puts the simulator's clock, its `Date` header and its timestamps this far ahead of real time.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.server.set_clock_offset(seconds);
    }

    /// A person makes a guardrail of the main account; its id.
    pub fn new_guardrail(&self) -> String {
        self.desk.lock().rolls.new_guardrail(MAIN_ACCOUNT)
    }

    /// A person assigns a key to a guardrail, and takes it away from any other; `None`: from all.
    pub fn assign_by_hand(&self, hash: &str, guardrail: Option<&str>) {
        self.desk.lock().rolls.assign(hash, guardrail);
    }

    /// The guardrail that a key is assigned to.
    pub fn guardrail_of(&self, hash: &str) -> Option<String> {
        self.desk.lock().rolls.guardrail_of(hash)
    }

    /// A person stores a credential of his own in the main account's default workspace, for these keys or for all; its
    /// id.
    pub fn new_byok(&self, keys: Option<&[String]>) -> String {
        self.desk.lock().new_byok(MAIN_ACCOUNT, keys)
    }

    /// The keys that may use a credential; `None` for all of them, or when it is gone.
    pub fn byok_keys(&self, id: &str) -> Option<Vec<String>> {
        self.desk.lock().rolls.byok_keys(id)
    }

    /// A person changes who may use a credential.
    pub fn edit_byok(&self, id: &str, change: impl FnOnce(&mut Option<Vec<String>>)) {
        self.desk.lock().rolls.edit_byok(id, change);
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
