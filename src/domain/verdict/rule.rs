//! Rules: how a provider's answer is read. Data, so that the catalog is a table.
//!
//! The one thing that must never happen is a healthy key called dead. So `invalid` has no public
//! constructor: it comes out of a [`Rule`] that matched, and such a rule can only be written for the four
//! statuses of [`Denying`]. A 429, 408, 3xx, 5xx or a broken connection has no way to get there.

use serde_json::Value;

use super::{Outcome, Reason};

/// What an answer says: an outcome and, for three of them, why. `Invalid` only comes from [`Rule::judge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Judgement {
    outcome: Outcome,
    reason: Option<Reason>,
}

impl Judgement {
    /// Authenticated, proved by the body.
    pub const VALID: Self = Self::plain(Outcome::Valid);
    /// Too many requests.
    pub const RATE_LIMITED: Self = Self::plain(Outcome::RateLimited);
    /// Nobody answered, or only a failing server did.
    pub const UNREACHABLE: Self = Self::plain(Outcome::Unreachable);
    /// No rule names it.
    pub const UNEXPECTED: Self = Self::plain(Outcome::Unexpected);
    /// The endpoint does not check the key.
    pub const UNVERIFIED: Self = Self::plain(Outcome::Unverified);

    const fn plain(outcome: Outcome) -> Self {
        Self { outcome, reason: None }
    }

    /// What was seen.
    pub const fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Why, for restricted, exhausted and invalid keys.
    pub const fn reason(self) -> Option<Reason> {
        self.reason
    }
}

/// The only statuses that can deny a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denying {
    /// 200 with a body that says so (Cohere, xAI).
    Ok,
    /// 400 with a code or text that names the key (Google, xAI).
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403 with a text that says so (Google: leaked).
    Forbidden,
}

impl Denying {
    const fn status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
        }
    }
}

/// Why a live key is restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same names, with their meaning, in Reason")]
pub enum Restriction {
    Scope,
    Ip,
    Region,
    Organisation,
    ServiceDisabled,
    WrongKind,
}

/// What a live key has run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same names, with their meaning, in Reason")]
pub enum Shortage {
    Credits,
    SpendLimit,
    Plan,
}

/// Why a key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same names, with their meaning, in Reason")]
pub enum Rejection {
    Rejected,
    Expired,
    Disabled,
    Leaked,
}

/// What in a JSON body a rule looks for, besides the status.
#[derive(Debug, Clone, Copy)]
pub enum Sign {
    /// Anything at all, JSON or not.
    Anything,
    /// A body that is no JSON and holds all of these texts, in lower case: a page that is the provider's own.
    Page(&'static [&'static str]),
    /// Any JSON body.
    Json,
    /// One of these codes, wherever the provider puts its codes (see [`Seen`]).
    Code(&'static [&'static str]),
    /// A code that begins and ends like this.
    CodeForm(&'static str, &'static str),
    /// One of these texts, in lower case, anywhere in the body's strings.
    Says(&'static [&'static str]),
    /// The value at this JSON pointer is this truth value.
    Is(&'static str, bool),
    /// The value at this JSON pointer is this text.
    Text(&'static str, &'static str),
    /// The number at this JSON pointer is this whole number.
    Int(&'static str, i64),
    /// Nothing, or null, is at this JSON pointer.
    Absent(&'static str),
    /// The number at this JSON pointer is zero or less.
    NotPositive(&'static str),
    /// There is a number at this JSON pointer.
    Number(&'static str),
    /// There is an array at this JSON pointer; `""` is the whole body.
    Array(&'static str),
    /// There is an object at this JSON pointer; `""` is the whole body.
    Object(&'static str),
    /// There is a text at this JSON pointer.
    AnyText(&'static str),
    /// All of them.
    All(&'static [Sign]),
    /// At least one of them.
    Either(&'static [Sign]),
}

impl Sign {
    /// True when the body shows it. A body that is not JSON shows nothing but [`Sign::Anything`] and
    /// [`Sign::Page`].
    pub fn shows(&self, seen: &Seen) -> bool {
        match (self, &seen.body) {
            (Self::Anything, _) => true,
            (Self::Page(texts), None) => texts.iter().all(|text| seen.text.contains(text)),
            (Self::All(signs), _) => signs.iter().all(|sign| sign.shows(seen)),
            (Self::Either(signs), _) => signs.iter().any(|sign| sign.shows(seen)),
            (_, None) => false,
            (_, Some(body)) => self.shows_in(body, seen),
        }
    }

    fn shows_in(&self, body: &Value, seen: &Seen) -> bool {
        let at = |pointer: &str| body.pointer(pointer);
        match *self {
            Self::Json => true,
            Self::Code(codes) => seen.codes.iter().any(|code| codes.contains(&code.as_str())),
            Self::CodeForm(head, tail) => {
                seen.codes.iter().any(|code| code.starts_with(head) && code.ends_with(tail))
            }
            Self::Says(texts) => texts.iter().any(|text| seen.text.contains(text)),
            Self::Is(pointer, wanted) => at(pointer).and_then(Value::as_bool) == Some(wanted),
            Self::Text(pointer, wanted) => at(pointer).and_then(Value::as_str) == Some(wanted),
            Self::NotPositive(pointer) => at(pointer).and_then(Value::as_f64).is_some_and(|n| n <= 0.0),
            Self::Number(pointer) => at(pointer).is_some_and(Value::is_number),
            Self::Array(pointer) => at(pointer).is_some_and(Value::is_array),
            Self::Object(pointer) => at(pointer).is_some_and(Value::is_object),
            Self::AnyText(pointer) => at(pointer).is_some_and(Value::is_string),
            Self::Int(pointer, wanted) => at(pointer).and_then(Value::as_i64) == Some(wanted),
            Self::Absent(pointer) => at(pointer).is_none_or(Value::is_null),
            Self::Anything | Self::Page(_) | Self::All(_) | Self::Either(_) => false,
        }
    }
}

/// So many bytes of a body that is not JSON are looked at.
const PAGE: usize = 4096;

/// One answer, read for judging.
#[derive(Debug, Clone)]
pub struct Seen {
    /// HTTP status.
    pub status: u16,
    /// The body, when it is JSON.
    pub body: Option<Value>,
    /// Every text under a key that providers use for codes: `code`, `type`, `status`, `reason`,
    /// `limit_source`, and `error` when it is itself a text.
    pub codes: Vec<String>,
    /// Every text in a JSON body, or the beginning of another one, in lower case.
    text: String,
}

impl Seen {
    /// Reads status and body.
    pub fn read(status: u16, raw: &[u8]) -> Self {
        let body: Option<Value> = serde_json::from_slice(raw).ok();
        let mut seen = Self { status, body: None, codes: Vec::new(), text: String::new() };
        match &body {
            Some(value) => seen.collect("", value),
            None => seen.text = String::from_utf8_lossy(&raw[..raw.len().min(PAGE)]).to_lowercase(),
        }
        Self { body, ..seen }
    }

    fn collect(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => {
                if matches!(name, "code" | "type" | "status" | "reason" | "limit_source" | "error") {
                    self.codes.push(text.clone());
                }
                self.text.push_str(&text.to_lowercase());
                self.text.push('\n');
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(name, item)),
            Value::Object(fields) => fields.iter().for_each(|(name, item)| self.collect(name, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// One line of a provider's table: a status, a sign in the body, and what both together say.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    status: u16,
    sign: Sign,
    then: Judgement,
}

impl Rule {
    /// The key is not accepted.
    pub const fn invalid(status: Denying, sign: Sign, why: Rejection) -> Self {
        let reason = match why {
            Rejection::Rejected => Reason::Rejected,
            Rejection::Expired => Reason::Expired,
            Rejection::Disabled => Reason::Disabled,
            Rejection::Leaked => Reason::Leaked,
        };
        Self::new(status.status(), sign, Outcome::Invalid, Some(reason))
    }

    /// The key lives and may not do this.
    pub const fn restricted(status: u16, sign: Sign, why: Restriction) -> Self {
        let reason = match why {
            Restriction::Scope => Reason::Scope,
            Restriction::Ip => Reason::Ip,
            Restriction::Region => Reason::Region,
            Restriction::Organisation => Reason::Organisation,
            Restriction::ServiceDisabled => Reason::ServiceDisabled,
            Restriction::WrongKind => Reason::WrongKind,
        };
        Self::new(status, sign, Outcome::Restricted, Some(reason))
    }

    /// The key lives and has nothing left to spend.
    pub const fn exhausted(status: u16, sign: Sign, what: Shortage) -> Self {
        let reason = match what {
            Shortage::Credits => Reason::Credits,
            Shortage::SpendLimit => Reason::SpendLimit,
            Shortage::Plan => Reason::Plan,
        };
        Self::new(status, sign, Outcome::QuotaExhausted, Some(reason))
    }

    /// Too many requests, in a status other than 429.
    pub const fn rate_limited(status: u16, sign: Sign) -> Self {
        Self::new(status, sign, Outcome::RateLimited, None)
    }

    /// Nothing can be concluded, although a later rule would.
    pub const fn unexpected(status: u16, sign: Sign) -> Self {
        Self::new(status, sign, Outcome::Unexpected, None)
    }

    /// The endpoint cannot check the key.
    pub const fn unverified(status: u16, sign: Sign) -> Self {
        Self::new(status, sign, Outcome::Unverified, None)
    }

    const fn new(status: u16, sign: Sign, outcome: Outcome, reason: Option<Reason>) -> Self {
        Self { status, sign, then: Judgement { outcome, reason } }
    }

    /// What this rule says of an answer; `None` when it does not match.
    pub fn judge(&self, seen: &Seen) -> Option<Judgement> {
        (self.status == seen.status && self.sign.shows(seen)).then_some(self.then)
    }
}

/// Reads an answer by a provider's table: its rules top to bottom, then the proof of a 200, then what holds
/// for every provider: 429 is a rate limit; 408 and 5xx are a provider that cannot be reached.
pub fn judge(rules: &[Rule], proof: &Sign, seen: &Seen) -> Judgement {
    if let Some(judgement) = rules.iter().find_map(|rule| rule.judge(seen)) {
        return judgement;
    }
    match seen.status {
        200 if proof.shows(seen) => Judgement::VALID,
        429 => Judgement::RATE_LIMITED,
        408 | 500..=599 => Judgement::UNREACHABLE,
        _ => Judgement::UNEXPECTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_needs_its_status_and_a_json_body() {
        const RULE: Rule = Rule::invalid(Denying::Unauthorized, Sign::Json, Rejection::Rejected);
        let outcome = |status, body: &str| {
            judge(&[RULE], &Sign::Array("/data"), &Seen::read(status, body.as_bytes())).outcome()
        };
        assert_eq!(outcome(401, r#"{"error":"no"}"#), Outcome::Invalid);
        assert_eq!(outcome(401, "<html>no</html>"), Outcome::Unexpected);
        assert_eq!(outcome(401, ""), Outcome::Unexpected);
        assert_eq!(outcome(403, "{}"), Outcome::Unexpected);
        assert_eq!(outcome(200, r#"{"data":[]}"#), Outcome::Valid);
        assert_eq!(outcome(200, r#"{"data":{}}"#), Outcome::Unexpected);
        assert_eq!(outcome(429, "no json"), Outcome::RateLimited);
        assert_eq!(outcome(408, ""), Outcome::Unreachable);
        assert_eq!(outcome(529, "{}"), Outcome::Unreachable);
        assert_eq!(outcome(302, "{}"), Outcome::Unexpected);
    }

    #[test]
    fn codes_are_found_where_providers_put_them() {
        let body =
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let seen = Seen::read(400, body.as_bytes());
        assert_eq!(seen.codes, ["API_KEY_INVALID", "INVALID_ARGUMENT"]);
        assert!(
            Sign::CodeForm("API_KEY_", "_INVALID")
                .shows(&Seen::read(400, br#"{"error":"API_KEY_X_INVALID"}"#))
        );
    }
}
