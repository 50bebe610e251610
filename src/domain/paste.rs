//! Keys as people have them: one a line, `provider key` pairs, `.env` files, JSON, CSV, all of it mixed. One parser for
//! all of them: what is offered, and of each line that offers nothing, why.
//!
//! ```text
//! text ─► begins with { or [  → json      an object by provider, a list of keys, a list of rows
//!         has a head of CSV   → csv       columns by their names
//!         else                → lines     each line for itself
//! each ─► whose: said beside it, by the name of the variable, by the form of the key where one provider has it
//! ```
//!
//! Whether a key is known, a placeholder or accepted is not asked here.

mod csv_rows;
mod json;
mod lines;
mod whose;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use whose::Vocabulary;

use super::secret::{Secret, looks_like_key, mask};
use super::time::Timestamp;

/// One line, row or entry of what was pasted.
#[derive(Debug, Clone)]
pub struct Pasted {
    /// Number of its line; of its entry, counted from one, where there are no lines.
    pub line: usize,
    /// The key in it, or why there is none.
    pub key: Result<Offered, Refused>,
}

/// A key that is offered.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Name of its provider, in lower case; it may be one that nobody knows.
    pub provider: String,
    /// The key.
    pub secret: Secret,
    /// A second secret.
    pub api_secret: Option<Secret>,
    /// Name for people.
    pub name: Option<String>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: Option<i64>,
    /// Tested and handed out.
    pub is_active: bool,
    /// Free JSON.
    pub settings: Value,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it is for.
    pub note: Option<String>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
}

/// What a person says of all that they paste; what a line says of itself goes before it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Name for people.
    pub name: Option<String>,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: Option<i64>,
    /// Free JSON.
    pub settings: Option<Value>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it is for.
    pub note: Option<String>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
}

impl Offered {
    /// With what was said of all, where this one says nothing.
    #[must_use]
    pub fn or(self, said: &Said) -> Self {
        let says_nothing = self.settings.as_object().is_some_and(Map::is_empty);
        let settings = said.settings.clone().filter(|_| says_nothing).unwrap_or(self.settings);
        Self {
            name: self.name.or_else(|| said.name.clone()),
            priority: self.priority.or(said.priority),
            owner: self.owner.or_else(|| said.owner.clone()),
            note: self.note.or_else(|| said.note.clone()),
            expires_at: self.expires_at.or(said.expires_at),
            settings,
            ..self
        }
    }
}

/// Why a line offers no key, and what may be shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its beginning, masked where it looks like a key.
    pub shown: String,
    /// Why.
    pub why: String,
}

impl Refused {
    fn new(text: &str, why: impl Into<String>) -> Self {
        Self { shown: shown(text), why: why.into() }
    }
}

/// What may be shown of a word that is perhaps a key.
fn shown(text: &str) -> String {
    let word = text.trim();
    let is_plain = word.len() < 24 && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || c == ' ');
    if is_plain && !looks_like_key(word) { word.to_owned() } else { mask(word) }
}

/// Reads all of it. `of`: the provider of every key, when the person said so.
pub fn parse(text: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Vec<Pasted> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().chars().next() {
        Some('{' | '[') => json::parse(text, of, vocabulary),
        Some(_) if csv_rows::has_head(text) => csv_rows::parse(text, of, vocabulary),
        _ => lines::parse(text, of, vocabulary),
    }
}

/// The fields of a row that has names for them: of JSON, of CSV.
#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

/// What fields are called, ours first.
const PROVIDER: &[&str] = &["provider_type", "provider", "provider_name", "service", "vendor"];
const KEY: &[&str] = &["api_key", "key", "secret", "token", "apikey", "value"];
const API_SECRET: &[&str] = &["api_secret", "second_secret"];
const NAME: &[&str] = &["name", "label", "title"];
const SETTINGS: &[&str] = &["config", "settings"];
const EXPIRES: &[&str] = &["expires_at", "expires", "expiry"];
const NOTE: &[&str] = &["note", "notes", "description"];
const ACTIVE: &[&str] = &["is_active", "active", "enabled"];

impl Fields {
    /// The first of these fields that says something.
    fn text(&self, names: &[&str]) -> Option<String> {
        let said = names.iter().filter_map(|name| self.0.get(*name));
        let text = said.map(|value| match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Null => String::new(),
            other => other.to_string(),
        });
        text.into_iter().find(|text| !text.is_empty())
    }

    /// The key that the row offers.
    fn offered(&self, of: Option<&str>, vocabulary: &Vocabulary) -> Result<Offered, Refused> {
        let Some(key) = self.text(KEY) else {
            return Err(Refused::new("", format!("no column with a key: {}", KEY.join(", "))));
        };
        let refused = |why: String| Refused { shown: mask(&key), why };
        let said = of.map(str::to_owned).or_else(|| self.text(PROVIDER));
        let provider = match said {
            Some(name) => vocabulary.provider_called(&name).map_err(&refused)?,
            None => vocabulary.by_form(&key).map_err(&refused)?,
        };
        let priority = self.text(&["priority"]).map(|text| text.parse::<i64>()).transpose();
        let expires =
            self.text(EXPIRES).map(|text| Timestamp::parse_day_or_time(&text).ok_or(text)).transpose();
        Ok(Offered {
            provider,
            secret: Secret::new(key.clone()),
            api_secret: self.text(API_SECRET).map(Secret::new),
            name: self.text(NAME),
            priority: priority.map_err(|_| refused("its priority is no number".to_owned()))?,
            is_active: self.is_active().map_err(&refused)?,
            settings: self.settings().map_err(&refused)?,
            owner: self.text(&["owner"]),
            note: self.text(NOTE),
            expires_at: expires.map_err(|text| refused(format!("{} is no date", shown(&text))))?,
        })
    }

    /// Active, unless a word says that it is not: as CSV files of spreadsheets, programs and databases have it.
    fn is_active(&self) -> Result<bool, String> {
        let Some(text) = self.text(ACTIVE) else { return Ok(true) };
        match text.trim().to_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" | "active" | "" => Ok(true),
            "false" | "f" | "0" | "no" | "n" | "off" | "inactive" => Ok(false),
            _ => Err(format!("whether it is active is neither yes nor no: {}", shown(&text))),
        }
    }

    fn settings(&self) -> Result<Value, String> {
        let Some(text) = self.text(SETTINGS) else { return Ok(Value::Object(Map::new())) };
        match serde_json::from_str::<Value>(&text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => Err("its settings are no JSON object".to_owned()),
        }
    }
}

/// A key with nothing said of it but whose it is.
fn bare(provider: String, key: &str, name: Option<String>) -> Offered {
    Offered {
        provider,
        secret: Secret::new(key),
        api_secret: None,
        name,
        priority: None,
        is_active: true,
        settings: Value::Object(Map::new()),
        owner: None,
        note: None,
        expires_at: None,
    }
}

#[cfg(test)]
mod tests;
