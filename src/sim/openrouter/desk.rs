//! The desk where calls are answered: one lock, one visit to the books a call.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::super::clock::Clock;
use super::super::wire::{Answer, Call};
use super::super::world::Vendor;
use super::agent;
use super::books::Books;
use super::row::KeyRow;
use super::shape;

/// The simulated vendor.
pub(super) struct Desk {
    clock: Arc<Clock>,
    books: Mutex<Books>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, books: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_by_hand(&self, account_id: &str, name: &str, workspace: Option<&str>) -> String {
        self.lock().add_by_hand(account_id, name, workspace, self.clock.now())
    }

    pub(super) fn edit_by_hand(&self, hash: &str, change: impl FnOnce(&mut KeyRow)) -> bool {
        let mut books = self.lock();
        let key = books.keys.iter_mut().find(|key| key.row.hash == hash);
        key.map(|key| key.change(self.clock.now(), change)).is_some()
    }

    pub(super) fn use_key(&self, secret: &str, usd: f64) -> bool {
        let (mut books, now) = (self.lock(), self.clock.now());
        books.admit(Some(secret), now).map(|index| books.spend(index, usd, now)).is_ok()
    }
}

impl Vendor for Desk {
    fn label(&self, call: &Call) -> &'static str {
        match (call.method.as_str(), route(call).as_slice()) {
            ("GET", ["keys"]) => "list_keys",
            ("POST", ["keys"]) => "create_key",
            ("GET", ["keys", _]) => "read_key",
            ("PATCH", ["keys", _]) => "patch_key",
            ("DELETE", ["keys", _]) => "delete_key",
            ("GET", ["key"]) => "whoami",
            ("GET", ["guardrails", "assignments", "keys"]) => "list_assignments",
            ("POST", ["guardrails", _, "assignments", "keys"]) => "assign_keys",
            ("GET", ["byok"]) => "list_byok",
            ("PATCH", ["byok", _]) => "patch_byok",
            ("GET", ["credits"]) => "credits",
            ("POST", ["chat", "completions"]) => "chat",
            ("GET", ["models"]) => "models",
            _ => "unknown",
        }
    }

    fn answer(&self, call: &Call) -> Answer {
        let (mut books, now) = (self.lock(), self.clock.now());
        let hash = route(call).get(1).copied().unwrap_or_default();
        let answer = match self.label(call) {
            "list_keys" => books.list_keys(call, now),
            "create_key" => books.create_key(call, now),
            "read_key" => books.read_key(call, hash, now),
            "patch_key" => books.patch_key(call, hash, now),
            "delete_key" => books.delete_key(call, hash, now),
            "whoami" => books.whoami(call, now),
            "list_assignments" => books.list_assignments(call, now),
            "assign_keys" => books.assign_keys(call, hash, now),
            "list_byok" => books.list_byok(call, now),
            "patch_byok" => books.patch_byok(call, hash, now),
            "credits" => books.credits(call, now),
            "chat" => books.chat(call, now),
            "models" => Ok(agent::models()),
            _ => Err(shape::error(404, "Not Found")),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn error_body(&self, status: u16) -> Value {
        shape::passing_error(status)
    }
}

/// The path below `/api/v1`; empty for any other.
fn route(call: &Call) -> Vec<&str> {
    let path = call.path();
    path.strip_prefix(&["api", "v1"]).map(<[_]>::to_vec).unwrap_or_default()
}
