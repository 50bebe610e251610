//! What an answer that is no success proves.
//!
//! | in OpenRouter's own error form | proves |
//! |---|---|
//! | 401 | `Unauthorized`; `Forbidden` when it says that a regular key was used to manage keys |
//! | 403 | `Forbidden`; `Refused` when a model call met the key's limit |
//! | 404 | `NotFound` |
//! | 400, 402, 422 | `Refused` |
//! | 429 | `RateLimited` |
//!
//! Everything else, and every status in any other form, is `Unclear`. Two forms are OpenRouter's own:
//! `{"error":{"code":<status>,"message":"…"},"user_id":"…"?}` and, for some 400s,
//! `{"success":false,"error":{"name":"ZodError","message":"[…]"}}`.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::net::{Answer, sentence};

/// What was asked, for the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A key about itself.
    Itself,
    /// The account, with the provisioning key.
    Manage,
    /// A model.
    Model,
}

/// An error in OpenRouter's own form.
struct Words {
    message: String,
    /// The code within agrees with the status: OpenRouter itself speaks of this request.
    own: bool,
}

#[derive(Deserialize)]
struct Body {
    error: ErrorObject,
    success: Option<bool>,
    user_id: Option<String>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: Option<Value>,
    name: Option<String>,
    message: String,
}

/// Reads an answer that is no success. The message is redacted; `user_id` never appears in it.
pub(super) fn refusal(answer: &Answer, asked: Asked, secrets: &[&Secret]) -> Failure {
    let Some(words) = words(answer) else { return answer.unclear() };
    let text = sentence(&format!("OpenRouter answered {}: {}", answer.status, words.message), secrets);
    let kind = if words.own { proved(answer.status, &words.message) } else { FailureKind::Unclear };
    let failure = answer.failure(kind, text);
    match hint(kind, asked, &words.message) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn proved(status: u16, message: &str) -> FailureKind {
    match status {
        401 | 403 if is_wrong_kind(message) => FailureKind::Forbidden,
        403 if message.starts_with("Key limit exceeded") => FailureKind::Refused,
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        400 | 402 | 422 => FailureKind::Refused,
        429 => FailureKind::RateLimited,
        _ => FailureKind::Unclear,
    }
}

/// The two texts with which a regular key is told that it may not manage keys.
fn is_wrong_kind(message: &str) -> bool {
    message.contains("Invalid management key") || message.contains("Only management keys can")
}

fn hint(kind: FailureKind, asked: Asked, message: &str) -> Option<&'static str> {
    match (kind, asked) {
        (FailureKind::Forbidden, Asked::Manage) if is_wrong_kind(message) => {
            Some("this is a regular key; a provisioning key (OpenRouter: management key) is needed")
        }
        (FailureKind::Unauthorized, Asked::Manage) => {
            Some("OpenRouter does not know the provisioning key: it was revoked or mistyped")
        }
        (FailureKind::Unauthorized, Asked::Model) => {
            Some("the key was deleted or disabled, or it is a provisioning key, which cannot call a model")
        }
        (FailureKind::Refused, Asked::Model) if message.starts_with("Key limit exceeded") => {
            Some("the key is alive and its spending limit is used up")
        }
        _ => None,
    }
}

fn words(answer: &Answer) -> Option<Words> {
    let body: Body = serde_json::from_slice(&answer.body).ok()?;
    let is_zod = body.error.name.as_deref() == Some("ZodError") && body.success == Some(false);
    let is_own = body.error.code.as_ref().and_then(Value::as_u64) == Some(u64::from(answer.status));
    let mut message = body.error.message;
    if is_zod {
        message = complaints(&message).unwrap_or(message);
    }
    if let Some(user) = body.user_id.filter(|user| !user.is_empty()) {
        message = message.replace(&user, "[user]");
    }
    let own = is_own || (is_zod && matches!(answer.status, 400 | 422));
    Some(Words { message, own })
}

/// The schema validator's complaints as one line: `limit: Expected number; name: Required`.
fn complaints(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issue {
        #[serde(default)]
        path: Vec<Value>,
        message: String,
    }
    let issues: Vec<Issue> = serde_json::from_str(text).ok()?;
    let line = |issue: &Issue| {
        let path: Vec<String> = issue.path.iter().map(|part| part.to_string().replace('"', "")).collect();
        if path.is_empty() { issue.message.clone() } else { format!("{}: {}", path.join("."), issue.message) }
    };
    Some(issues.iter().map(line).collect::<Vec<_>>().join("; "))
}
