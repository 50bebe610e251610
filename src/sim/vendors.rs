//! A simulator of the other vendors: of each the one request by which its keys are tested for nothing.
//!
//! All are one server, each below a path of its own that goes on as the vendor's does: `/groq/openai/v1/models`. A request
//! that the vendor would not understand (another method, a missing header of version, the key in another place) is
//! answered as the vendor does, so that a tester which asks wrongly sees no key work. The label of a request is the name of
//! its vendor, `unknown` where there is none. What a vendor answers is taken from its API description (providers.md).
//!
//! Where to read: `table` has a vendor's request and the form of its keys, `answers` what it says to a key in each state.

mod answers;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Value, json};

use self::table::{KeyPlace, VENDORS};
use super::clock::Clock;
use super::fault::Script;
use super::wire::{Answer, Call};
use super::world::{RequestLog, Server, Vendor};

/// How a key is at its vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works.
    Living,
    /// The vendor does not know it any more.
    Revoked,
    /// It works and may not do this.
    Restricted,
    /// It works and has no money left.
    Empty,
    /// It has asked too often.
    Limited,
}

/// A running simulator of all vendors but `OpenRouter`, which has its own. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Vendors {
    desk: Arc<Desk>,
    server: Arc<Server>,
}

impl Vendors {
    /// The vendors' names, as in `provider_type`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        VENDORS.iter().map(|vendor| vendor.name)
    }

    /// Starts one with a script of its own.
    pub async fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let server =
            Server::start(Arc::<Desk>::clone(&desk), Arc::new(Clock::default()), Script::default()).await;
        Self { desk, server: Arc::new(server) }
    }

    /// Where the API of a vendor begins, as in `base_url`.
    pub fn base_url(&self, vendor: &str) -> String {
        let path = table::find(vendor).map_or("", |vendor| vendor.base);
        format!("http://{}/{vendor}{path}", self.server.address())
    }

    /// A new key of a vendor, in the form of its keys. Worthless anywhere else.
    pub fn new_key(&self, vendor: &str) -> String {
        let vendor = table::find(vendor).expect("a vendor of the table");
        let rest = Alphanumeric.sample_string(&mut rand::rng(), vendor.form.length);
        // Digits are hexadecimal, too.
        let rest: String = rest.chars().map(|c| if vendor.form.hex { digit(c) } else { c }).collect();
        let key = format!("{}{rest}", vendor.form.prefix);
        self.desk.lock().insert((vendor.name, key.clone()), State::Living);
        key
    }

    /// What becomes of a key; false when there is no such key.
    pub fn set(&self, key: &str, state: State) -> bool {
        let mut keys = self.desk.lock();
        let all = keys.iter_mut().filter(|((_, name), _)| name == key);
        all.map(|(_, kept)| *kept = state).count() > 0
    }

    /// Every key this simulator ever made.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.desk.lock().keys().map(|(_, key)| key.clone()).collect()
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

    /// Stops serving.
    pub fn stop(&self) {
        self.server.stop();
    }
}

fn digit(c: char) -> char {
    char::from(b'0' + (c as u8) % 10)
}

/// The vendors' keys and how each is.
#[derive(Debug, Default)]
struct Desk {
    keys: Mutex<HashMap<(&'static str, String), State>>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), State>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a presented key is; one that was never issued is as good as revoked.
    fn state(&self, vendor: &'static str, key: &str) -> State {
        self.lock().get(&(vendor, key.to_owned())).copied().unwrap_or(State::Revoked)
    }
}

impl Vendor for Desk {
    fn label(&self, call: &Call) -> &'static str {
        let first = call.segments.first().map(String::as_str).unwrap_or_default();
        table::find(first).map_or("unknown", |vendor| vendor.name)
    }

    fn answer(&self, call: &Call) -> Answer {
        let first = call.segments.first().map(String::as_str).unwrap_or_default();
        let Some(vendor) = table::find(first) else { return Answer::json(404, &self.error_body(404)) };
        if !vendor.is_asked_by(call) {
            return Answer::json(404, &json!({"error": {"message": "Not Found", "code": 404}}));
        }
        if let Some((name, value)) = vendor.version
            && call.header(name) != Some(value)
        {
            return Answer::json(400, &json!({"error": format!("{name}: header is required")}));
        }
        let key = match vendor.place {
            KeyPlace::Bearer => call.bearer(),
            KeyPlace::Header(name) => call.header(name),
        };
        match self.state(vendor.name, key.unwrap_or_default()) {
            State::Living => Answer::json(200, &answers::living(vendor.name)),
            State::Revoked => answers::revoked(vendor.name),
            State::Restricted => answers::restricted(vendor.name),
            State::Empty => answers::empty(vendor.name),
            State::Limited => {
                let text = json!({"error": {"message": "Too many requests", "type": "rate_limit_error"}});
                Answer::json(429, &text).header("retry-after", "7")
            }
        }
    }

    fn error_body(&self, status: u16) -> Value {
        json!({"error": {"message": "the vendor has trouble", "code": status}})
    }
}
