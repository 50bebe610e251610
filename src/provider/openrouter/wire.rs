//! OpenRouter's bodies, and how they become our values.
//!
//! Fields that decide whether a key may be killed (`disabled`, the limits, the usage figures, `last_used_at`,
//! `expires_at`) must be *there*, if only as null: an answer without them is unreadable. A field that was
//! renamed must stop a rotation, not look like a key that nobody uses.

use serde::de::{DeserializeOwned, Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::domain::key::{CurrentKey, Figures, KeyKind, MicroUsd, RemoteKey, Usage};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::provider::Credits;

/// What every key begins with.
const PREFIX: &str = "sk-or-v1-";

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Creation {
    key: String,
    data: Key,
    error: Option<IgnoredAny>,
}

/// A row of `GET /keys`, and what is said of one key elsewhere.
#[derive(Deserialize)]
pub(super) struct Key {
    #[serde(deserialize_with = "hash")]
    pub(super) hash: String,
    name: String,
    label: String,
    disabled: bool,
    #[serde(deserialize_with = "money_or_null")]
    limit: Option<MicroUsd>,
    #[serde(deserialize_with = "money_or_null")]
    limit_remaining: Option<MicroUsd>,
    limit_reset: Option<String>,
    #[serde(default)]
    include_byok_in_limit: bool,
    #[serde(deserialize_with = "money")]
    usage: MicroUsd,
    #[serde(deserialize_with = "money")]
    byok_usage: MicroUsd,
    #[serde(deserialize_with = "time_or_null")]
    last_used_at: Option<Timestamp>,
    #[serde(deserialize_with = "time_or_null")]
    expires_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "time_or_null")]
    created_at: Option<Timestamp>,
    workspace_id: Option<String>,
}

impl Key {
    pub(super) fn into_remote(self) -> RemoteKey {
        RemoteKey {
            hash: self.hash,
            name: self.name,
            label: self.label,
            disabled: self.disabled,
            limit: self.limit,
            limit_remaining: self.limit_remaining,
            limit_reset: self.limit_reset,
            include_byok_in_limit: self.include_byok_in_limit,
            usage: Usage::Figures(Figures {
                usage: self.usage,
                byok_usage: self.byok_usage,
                last_used_at: self.last_used_at,
            }),
            expires_at: self.expires_at,
            created_at: self.created_at,
            workspace_id: self.workspace_id,
        }
    }
}

/// `GET /key`.
#[derive(Deserialize)]
pub(super) struct Current {
    is_management_key: Option<bool>,
    is_provisioning_key: Option<bool>,
    label: String,
    #[serde(deserialize_with = "money_or_null")]
    limit: Option<MicroUsd>,
    #[serde(deserialize_with = "money_or_null")]
    limit_remaining: Option<MicroUsd>,
    limit_reset: Option<String>,
    #[serde(default)]
    include_byok_in_limit: Option<bool>,
    #[serde(default, deserialize_with = "time_or_null")]
    expires_at: Option<Timestamp>,
    creator_user_id: Option<String>,
    organization_id: Option<String>,
    workspace_id: Option<String>,
}

impl Current {
    /// `None` when neither field tells the kind: it is never guessed.
    pub(super) fn into_current(self) -> Option<CurrentKey> {
        let kind = match (self.is_management_key, self.is_provisioning_key) {
            (None, None) => return None,
            (Some(true), _) | (_, Some(true)) => KeyKind::Provisioning,
            _ => KeyKind::Regular,
        };
        Some(CurrentKey {
            kind,
            label: self.label,
            limit: self.limit,
            limit_remaining: self.limit_remaining,
            limit_reset: self.limit_reset,
            include_byok_in_limit: self.include_byok_in_limit.unwrap_or(false),
            expires_at: self.expires_at,
            creator_user_id: self.creator_user_id,
            organization_id: self.organization_id,
            workspace_id: self.workspace_id,
        })
    }
}

/// `GET /credits`.
#[derive(Deserialize)]
pub(super) struct Purse {
    #[serde(deserialize_with = "money")]
    total_credits: MicroUsd,
    #[serde(deserialize_with = "money")]
    total_usage: MicroUsd,
}

impl Purse {
    pub(super) fn into_credits(self) -> Credits {
        Credits { total: self.total_credits, used: self.total_usage }
    }
}

/// A row of `GET /guardrails/assignments/keys`.
#[derive(Deserialize)]
pub(super) struct Assigned {
    #[serde(deserialize_with = "hash")]
    pub(super) key_hash: String,
    pub(super) guardrail_id: String,
}

/// A row of `GET /byok`. The list must be there, if only as null: one that was renamed must not look like no restriction.
#[derive(Deserialize)]
pub(super) struct Byok {
    pub(super) id: String,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) allowed_api_key_hashes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Counted<T> {
    data: Vec<T>,
    total_count: usize,
    error: Option<IgnoredAny>,
}

/// Reads `{data: [T], total_count}`.
pub(super) fn counted<T: DeserializeOwned>(body: &[u8]) -> Option<(Vec<T>, usize)> {
    let page: Counted<T> = serde_json::from_slice(body).ok()?;
    page.error.is_none().then_some((page.data, page.total_count))
}

/// `{"assigned_count": 1}`
pub(super) fn says_assigned(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Assigning {
        #[serde(rename = "assigned_count")]
        _count: u64,
        error: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Assigning>(body).is_ok_and(|answer| answer.error.is_none())
}

/// Reads `{data: T}`; `None` when it is anything else, or holds an error besides.
pub(super) fn data<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let envelope: Envelope<T> = serde_json::from_slice(body).ok()?;
    envelope.error.is_none().then_some(envelope.data)
}

/// Reads `{data: Key, key: "…"}`: the secret is beside the data, this once.
pub(super) fn created(body: &[u8]) -> Option<(Secret, Key)> {
    let creation: Creation = serde_json::from_slice(body).ok()?;
    let secret = Secret::new(creation.key);
    creation.error.is_none().then_some((secret, creation.data))
}

/// `{"deleted": true}`
pub(super) fn says_deleted(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Deletion {
        deleted: bool,
        error: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Deletion>(body).is_ok_and(|answer| answer.deleted && answer.error.is_none())
}

/// A completion with at least one choice, and no error in its place.
pub(super) fn is_completion(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Completion {
        choices: Vec<Choice>,
        error: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Choice {
        error: Option<IgnoredAny>,
    }
    let Ok(completion) = serde_json::from_slice::<Completion>(body) else { return false };
    let answered = completion.choices.first().is_some_and(|choice| choice.error.is_none());
    answered && completion.error.is_none()
}

/// 64 lowercase hexadecimal digits.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `sk-or-v1-` and 64 hexadecimal digits.
pub(super) fn is_key(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn hash<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_hash(&text) { Ok(text) } else { Err(D::Error::custom("not a hash")) }
}

fn money<'de, D: Deserializer<'de>>(from: D) -> Result<MicroUsd, D::Error> {
    f64::deserialize(from).map(MicroUsd::from_usd)
}

fn money_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MicroUsd>, D::Error> {
    Option::<f64>::deserialize(from).map(|usd| usd.map(MicroUsd::from_usd))
}

/// `…Z`, or with an offset and microseconds: both come.
fn time_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    Timestamp::parse_rfc3339(&text).map(Some).ok_or_else(|| D::Error::custom("not a time"))
}
