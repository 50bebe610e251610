//! The script of mishaps: which request is hit, before or after its effect, and by what.
//!
//! ```text
//! request ─► rules that match, in the order they were written
//!              Before: delay, hold … or an end (status, reset, …): the effect never takes place
//!            effect, and the vendor's own answer
//!              After:  delay, hold … or an end: the effect stands, its answer is lost or replaced
//!            answer
//! ```
//!
//! A rule counts the requests it matches and strikes from the n-th on, for so many times. [`Delay`](Act::Delay)
//! and holds let the request go on afterwards; every other act ends it, and later rules keep their strikes for
//! the next one: two `once` on one label hit two requests, one after the other.
//! Several simulators may share one script (`start_with`): their requests are then numbered in one row.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::hold::{Gate, Held};
use super::wire::Call;

/// On which side of the effect a mishap strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The request has been read; nothing has changed.
    Before,
    /// The effect has taken place; nothing has been answered.
    After,
}

/// A mishap.
#[derive(Debug, Clone)]
pub enum Act {
    /// The server dawdles, then goes on, even if the client has given up waiting.
    Delay(Duration),
    /// This status, in the vendor's error shape unless a body is given.
    Status {
        /// HTTP status, also an unregistered one such as 529.
        code: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// A body instead of the vendor's error object.
        body: Option<Value>,
    },
    /// The connection is reset (RST) without an answer.
    Reset,
    /// All headers and the full `content-length`, but only so many bytes of the body, then the end.
    Truncate(usize),
    /// Never an answer; ends when the client hangs up.
    Hang,
    /// This status with a page of HTML, as a proxy in between would answer.
    Html(u16),
    /// 400 `{"success":false,"error":{"name":"ZodError",…}}`.
    ZodError,
    /// 200 whose body is an error object.
    Ok200WithErrorObject,
    /// This status, and an error text that repeats the credential of the request.
    EchoKey(u16),
    /// 200 with so many bytes of JSON, for body caps.
    Flood(usize),
    /// Stopped until the test lets it go; made by [`Script::hold`].
    Hold(Gatekeeper),
}

/// The server's end of a [`Held`] request.
#[derive(Clone)]
pub struct Gatekeeper(pub(crate) Arc<Gate>);

impl fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gatekeeper")
    }
}

impl Act {
    /// A status in the vendor's own error shape.
    pub fn status(code: u16) -> Self {
        Self::Status { code, headers: Vec::new(), body: None }
    }

    /// A status with this body.
    pub fn body(code: u16, body: Value) -> Self {
        Self::Status { code, headers: Vec::new(), body: Some(body) }
    }

    /// 429 with the usual `X-RateLimit-*` headers, with or without `Retry-After` (seconds).
    pub fn rate_limited(retry_after_seconds: Option<u64>) -> Self {
        let mut headers = vec![
            ("x-ratelimit-limit".to_owned(), "10".to_owned()),
            ("x-ratelimit-remaining".to_owned(), "0".to_owned()),
        ];
        headers.extend(retry_after_seconds.map(|seconds| ("retry-after".to_owned(), seconds.to_string())));
        Self::Status { code: 429, headers, body: None }
    }

    /// The same with one more header; only a [`Status`](Self::Status) has any.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Whether the request goes on afterwards.
    fn passes(&self) -> bool {
        matches!(self, Self::Delay(_) | Self::Hold(_))
    }
}

/// Which requests a mishap strikes. Every match, unless narrowed.
#[derive(Debug, Clone)]
pub struct Rule {
    label: String,
    method: Option<String>,
    path: Option<String>,
    number: Option<u64>,
    first: u64,
    times: Option<u64>,
    seen: u64,
    struck: u64,
    when: When,
    act: Act,
}

impl Rule {
    /// Strikes every request with this label; `*` is any.
    pub fn new(label: &str, when: When, act: Act) -> Self {
        Self {
            label: label.to_owned(),
            method: None,
            path: None,
            number: None,
            first: 1,
            times: None,
            seen: 0,
            struck: 0,
            when,
            act,
        }
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path and query, as sent, contain this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only from the n-th match on, counted from now, the first being 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.first = n;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, number: u64, label: &str, call: &Call) -> bool {
        (self.label == "*" || self.label == label)
            && self.method.as_ref().is_none_or(|method| call.method.as_str() == method)
            && self.path.as_ref().is_none_or(|part| call.target.contains(part.as_str()))
            && self.number.is_none_or(|wanted| wanted == number)
    }

    /// Whether a matching request, already counted, is struck.
    fn strikes(&mut self) -> bool {
        let ripe = self.seen >= self.first && self.times.is_none_or(|times| self.struck < times);
        self.struck += u64::from(ripe);
        ripe
    }
}

/// What lies in wait for one request.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) before: Vec<Act>,
    pub(crate) after: Vec<Act>,
}

/// The rules of a simulator, and the count of its requests. Clones are the same script.
#[derive(Debug, Clone, Default)]
pub struct Script {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    count: u64,
}

impl Script {
    /// Adds a rule; rules are asked in the order they were added.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Strikes the next request with this label.
    pub fn once(&self, label: &str, when: When, act: Act) {
        self.add(Rule::new(label, when, act).times(1));
    }

    /// Strikes the next `times` requests with this label.
    pub fn times(&self, label: &str, times: u64, when: When, act: Act) {
        self.add(Rule::new(label, when, act).times(times));
    }

    /// Strikes the n-th request with this label, counted from now, the first being 1.
    pub fn nth(&self, label: &str, n: u64, when: When, act: Act) {
        self.add(Rule::new(label, when, act).nth(n).times(1));
    }

    /// Strikes every request with this label, until [`clear`](Self::clear).
    pub fn always(&self, label: &str, when: When, act: Act) {
        self.add(Rule::new(label, when, act));
    }

    /// Stops the next request with this label.
    #[must_use]
    pub fn hold(&self, label: &str, when: When) -> Held {
        self.hold_rule(when, |rule| Rule { label: label.to_owned(), ..rule }.times(1))
    }

    /// Stops request number `n` of any kind, counted like [`count`](Self::count), the first of all being 1.
    #[must_use]
    pub fn hold_nth(&self, n: u64, when: When) -> Held {
        self.hold_rule(when, |rule| Rule { number: Some(n), ..rule })
    }

    /// Stops the n-th request with this label, counted from now, the first being 1.
    #[must_use]
    pub fn hold_nth_of(&self, label: &str, n: u64, when: When) -> Held {
        self.hold_rule(when, |rule| Rule { label: label.to_owned(), ..rule }.nth(n).times(1))
    }

    /// Forgets all rules. Requests that are already held stay held.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How many requests of any kind have come in so far.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    fn hold_rule(&self, when: When, narrowed: impl FnOnce(Rule) -> Rule) -> Held {
        let (held, gate) = Held::pair();
        self.add(narrowed(Rule::new("*", when, Act::Hold(Gatekeeper(gate)))));
        held
    }

    /// Numbers a request and says what lies in wait for it.
    pub(crate) fn meet(&self, label: &str, call: &Call) -> (u64, Plan) {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        let mut plan = Plan::default();
        for rule in state.rules.iter_mut().filter(|rule| rule.matches(number, label, call)) {
            rule.seen += 1;
        }
        for side in [When::Before, When::After] {
            let acts = if side == When::Before { &mut plan.before } else { &mut plan.after };
            for rule in state.rules.iter_mut().filter(|rule| rule.when == side) {
                if !rule.matches(number, label, call) || !rule.strikes() {
                    continue;
                }
                acts.push(rule.act.clone());
                if !rule.act.passes() {
                    return (number, plan);
                }
            }
        }
        (number, plan)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
