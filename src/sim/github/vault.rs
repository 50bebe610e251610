//! One store of secrets: its key pair, and what is in it after the boxes were opened.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use crypto_box::SecretKey;
use serde_json::{Value, json};

use super::shape;

/// A secret, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Upper-case.
    pub name: String,
    /// What was in the box.
    pub value: String,
    /// Whole seconds.
    pub created_at: DateTime<Utc>,
    /// Whole seconds.
    pub updated_at: DateTime<Utc>,
    /// Of an organisation's secret: `all`, `private` or `selected`.
    pub visibility: Option<String>,
    /// The repositories that read an organisation's *selected* secret.
    pub selected_repository_ids: Vec<u64>,
}

impl std::fmt::Debug for SecretRow {
    /// All but the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let times = (self.created_at, self.updated_at);
        f.debug_struct("SecretRow").field("name", &self.name).field("times", &times).finish_non_exhaustive()
    }
}

impl SecretRow {
    /// As the API shows it: never the value.
    pub(super) fn shown(&self) -> Value {
        let mut shown = json!({
            "name": self.name,
            "created_at": shape::time(self.created_at),
            "updated_at": shape::time(self.updated_at),
        });
        if let Some(visibility) = &self.visibility {
            shown["visibility"] = json!(visibility);
        }
        shown
    }
}

/// The secrets of one scope.
pub(super) struct Vault {
    key_id: String,
    key: SecretKey,
    secrets: BTreeMap<String, SecretRow>,
}

impl Vault {
    pub(super) fn new() -> Self {
        let (key_id, key) = new_key();
        Self { key_id, key, secrets: BTreeMap::new() }
    }

    pub(super) fn rotate(&mut self) {
        (self.key_id, self.key) = new_key();
    }

    /// `{key_id, key}`.
    pub(super) fn public_key(&self) -> Value {
        json!({"key_id": self.key_id, "key": STANDARD.encode(self.key.public_key().as_bytes())})
    }

    /// The plaintext of a box that was sealed for the present key; the error is what is wrong with which field.
    pub(super) fn open(&self, key_id: &str, sealed: &str) -> Result<String, (&'static str, &'static str)> {
        if key_id != self.key_id {
            return Err(("key_id", "key_id does not match the current public key"));
        }
        let bytes = STANDARD.decode(sealed).map_err(|_| ("encrypted_value", "is not valid Base64"))?;
        let opened = self.key.unseal(&bytes);
        let plain = opened.map_err(|_| ("encrypted_value", "Improperly encrypted secret"))?;
        if plain.len() > 48 * 1024 {
            return Err(("encrypted_value", "Secret value is larger than 48 KB"));
        }
        Ok(String::from_utf8_lossy(&plain).into_owned())
    }

    pub(super) fn get(&self, name: &str) -> Option<SecretRow> {
        self.secrets.get(&name.to_uppercase()).cloned()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut SecretRow> {
        self.secrets.get_mut(&name.to_uppercase())
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.secrets.remove(&name.to_uppercase()).is_some()
    }

    /// In the order of names.
    pub(super) fn rows(&self) -> impl Iterator<Item = &SecretRow> {
        self.secrets.values()
    }

    /// Sets a value, and says whether the secret is new.
    pub(super) fn put(&mut self, name: &str, value: String, now: DateTime<Utc>) -> (&mut SecretRow, bool) {
        let (name, now) = (name.to_uppercase(), now.trunc_subsecs(0));
        let is_new = !self.secrets.contains_key(&name);
        let row = self.secrets.entry(name.clone()).or_insert_with(|| SecretRow {
            name,
            value: String::new(),
            created_at: now,
            updated_at: now,
            visibility: None,
            selected_repository_ids: Vec::new(),
        });
        (row.value, row.updated_at) = (value, now);
        (row, is_new)
    }

    /// A person's change: seen in `updated_at` even when it falls into the second of the last one.
    pub(super) fn put_by_hand(&mut self, name: &str, value: &str, is_org: bool, now: DateTime<Utc>) {
        let before = self.get(name).map(|row| row.updated_at);
        let (row, _) = self.put(name, value.to_owned(), now);
        if let Some(before) = before {
            row.updated_at = row.updated_at.max(before + TimeDelta::seconds(1));
        }
        if is_org {
            row.visibility.get_or_insert_with(|| "all".to_owned());
        }
    }
}

fn new_key() -> (String, SecretKey) {
    let digits = rand::random::<u64>() % 1_000_000_000_000_000_000;
    (format!("{digits:018}"), SecretKey::from_bytes(rand::random()))
}
