//! The bodies of `POST /keys` and `PATCH /keys/{hash}`, refused as the vendor's schema validator does.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value, json};

use super::super::wire::{Answer, Call};
use super::shape;

/// A key to be made.
pub(super) struct NewKey {
    pub(super) name: String,
    pub(super) limit: Option<f64>,
    pub(super) limit_reset: Option<String>,
    pub(super) include_byok_in_limit: bool,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) workspace_id: Option<String>,
}

/// A change to a key; what is not given is left alone.
pub(super) struct Change {
    pub(super) name: Option<String>,
    pub(super) disabled: Option<bool>,
    pub(super) limit: Given<f64>,
    pub(super) limit_reset: Given<String>,
    pub(super) include_byok_in_limit: Option<bool>,
}

/// What a body says of a field that may be null.
pub(super) enum Given<T> {
    /// Nothing, or something that was refused.
    Nothing,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// The field after the change.
    pub(super) fn or(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => old,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl NewKey {
    pub(super) fn read(call: &Call) -> Result<Self, Answer> {
        let mut form = Form::open(call)?;
        let name = form.name();
        if !form.fields.contains_key("name") {
            form.wrong_type("name", "string", "undefined");
        }
        let new = Self {
            name: name.unwrap_or_default(),
            limit: form.limit().or(None),
            limit_reset: form.limit_reset().or(None),
            include_byok_in_limit: form.boolean("include_byok_in_limit").unwrap_or(false),
            expires_at: form.expires_at(),
            workspace_id: form.text("workspace_id").or(None),
        };
        form.close().map(|()| new)
    }
}

impl Change {
    pub(super) fn read(call: &Call) -> Result<Self, Answer> {
        let mut form = Form::open(call)?;
        let change = Self {
            name: form.name(),
            disabled: form.boolean("disabled"),
            limit: form.limit(),
            limit_reset: form.limit_reset(),
            include_byok_in_limit: form.boolean("include_byok_in_limit"),
        };
        form.close().map(|()| change)
    }
}

/// The keys of `POST /guardrails/{id}/assignments/keys`.
pub(super) fn key_hashes(call: &Call) -> Result<Vec<String>, Answer> {
    let mut form = Form::open(call)?;
    let given = form.hashes("key_hashes");
    if !form.fields.contains_key("key_hashes") {
        form.wrong_type("key_hashes", "array", "undefined");
    }
    form.close().map(|()| given.or(None).unwrap_or_default())
}

/// What `PATCH /byok/{id}` says of the allow-list.
pub(super) fn allowed_keys(call: &Call) -> Result<Given<Vec<String>>, Answer> {
    let mut form = Form::open(call)?;
    let given = form.hashes("allowed_api_key_hashes");
    form.close().map(|()| given)
}

/// A body being read field by field; what is wrong is collected, what nobody asked for is refused.
struct Form {
    fields: Map<String, Value>,
    known: Vec<&'static str>,
    issues: Vec<Value>,
}

impl Form {
    fn open(call: &Call) -> Result<Self, Answer> {
        match call.json() {
            Some(Value::Object(fields)) => Ok(Self { fields, known: Vec::new(), issues: Vec::new() }),
            Some(_) => Err(zod(&[json!({"code": "invalid_type", "expected": "object", "path": [],
                "message": "Expected object"})])),
            None => Err(shape::error(400, "Invalid JSON in request body")),
        }
    }

    fn close(mut self) -> Result<(), Answer> {
        let strange: Vec<&String> =
            self.fields.keys().filter(|key| !self.known.contains(&key.as_str())).collect();
        if !strange.is_empty() {
            let message = format!("Unrecognized key(s) in object: {strange:?}").replace('"', "'");
            let issue = json!({"code": "unrecognized_keys", "keys": strange, "path": [], "message": message});
            self.issues.push(issue);
        }
        if self.issues.is_empty() { Ok(()) } else { Err(zod(&self.issues)) }
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.fields.get(field).cloned()
    }

    fn complain(&mut self, field: &str, code: &str, message: &str) {
        self.issues.push(json!({"code": code, "path": [field], "message": message}));
    }

    fn wrong_type(&mut self, field: &str, expected: &str, received: &str) {
        let message = format!("Expected {expected}, received {received}");
        let issue = json!({"code": "invalid_type", "expected": expected, "received": received,
            "path": [field], "message": message});
        self.issues.push(issue);
    }

    fn name(&mut self) -> Option<String> {
        match self.take("name")? {
            Value::String(name) if name.is_empty() => {
                self.complain("name", "too_small", "String must contain at least 1 character(s)");
                None
            }
            Value::String(name) => Some(name),
            other => {
                self.wrong_type("name", "string", type_name(&other));
                None
            }
        }
    }

    fn boolean(&mut self, field: &'static str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(value) => Some(value),
            other => {
                self.wrong_type(field, "boolean", type_name(&other));
                None
            }
        }
    }

    fn text(&mut self, field: &'static str) -> Given<String> {
        match self.take(field) {
            None => Given::Nothing,
            Some(Value::Null) => Given::Null,
            Some(Value::String(text)) => Given::Value(text),
            Some(other) => {
                self.wrong_type(field, "string", type_name(&other));
                Given::Nothing
            }
        }
    }

    /// 1 to 100 hashes, or null.
    fn hashes(&mut self, field: &'static str) -> Given<Vec<String>> {
        let items = match self.take(field) {
            None => return Given::Nothing,
            Some(Value::Null) => return Given::Null,
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong_type(field, "array", type_name(&other));
                return Given::Nothing;
            }
        };
        match items.len() {
            0 => self.complain(field, "too_small", "Array must contain at least 1 element(s)"),
            101.. => self.complain(field, "too_big", "Array must contain at most 100 element(s)"),
            _ => {}
        }
        let is_hash = |text: &str| {
            text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let hashes: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if hashes.len() != items.len() || !hashes.iter().all(|hash| is_hash(hash)) {
            self.complain(field, "invalid_string", "Invalid");
        }
        Given::Value(hashes)
    }

    fn limit(&mut self) -> Given<f64> {
        match self.take("limit") {
            None => Given::Nothing,
            Some(Value::Null) => Given::Null,
            Some(Value::Number(number)) => {
                let value = number.as_f64().unwrap_or_default();
                if value < 0.0 {
                    self.complain("limit", "too_small", "Number must be greater than or equal to 0");
                }
                Given::Value(value)
            }
            Some(other) => {
                self.wrong_type("limit", "number", type_name(&other));
                Given::Nothing
            }
        }
    }

    fn limit_reset(&mut self) -> Given<String> {
        let given = self.text("limit_reset");
        if let Given::Value(text) = &given
            && !matches!(text.as_str(), "daily" | "weekly" | "monthly")
        {
            let message = "Invalid enum value. Expected 'daily' | 'weekly' | 'monthly'";
            self.complain("limit_reset", "invalid_enum_value", message);
        }
        given
    }

    /// UTC, with seconds, and `Z`.
    fn expires_at(&mut self) -> Option<DateTime<Utc>> {
        let text = self.text("expires_at").or(None)?;
        let bare = text.strip_suffix('Z').filter(|bare| bare.len() >= "2026-11-21T03:06:00".len());
        let time = bare.and_then(|bare| NaiveDateTime::parse_from_str(bare, "%Y-%m-%dT%H:%M:%S%.f").ok());
        if time.is_none() {
            self.complain("expires_at", "invalid_string", "Invalid datetime");
        }
        time.map(|time| time.and_utc())
    }
}

/// 400 as the schema validator of some routes answers it.
fn zod(issues: &[Value]) -> Answer {
    let issues = serde_json::to_string_pretty(issues).expect("values of JSON are JSON");
    Answer::json(400, &json!({"success": false, "error": {"name": "ZodError", "message": issues}}))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
