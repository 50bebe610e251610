//! What the API shows: key objects, the current key, errors, and times in both of their forms.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::super::wire::Answer;
use super::row::KeyRow;

/// The two spellings of one instant that the API mixes.
#[derive(Clone, Copy)]
pub(super) enum TimeForm {
    /// `2026-11-21T03:06:00.123Z`
    Zulu,
    /// `2026-11-21T03:06:00.123000+00:00`
    Offset,
}

impl TimeForm {
    pub(super) fn show(self, time: DateTime<Utc>) -> String {
        match self {
            Self::Zulu => time.to_rfc3339_opts(SecondsFormat::Millis, true),
            Self::Offset => time.to_rfc3339_opts(SecondsFormat::Micros, false),
        }
    }
}

/// Whole amounts come as integers, as from the vendor's own serialiser.
pub(super) fn amount(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// The eight usage figures, of a key or of nothing.
fn usage(row: Option<&KeyRow>) -> Value {
    let figure = |read: fn(&KeyRow) -> f64| amount(row.map_or(0.0, read));
    json!({
        "usage": figure(|row| row.usage),
        "usage_daily": figure(|row| row.usage_daily),
        "usage_weekly": figure(|row| row.usage_weekly),
        "usage_monthly": figure(|row| row.usage_monthly),
        "byok_usage": figure(|row| row.byok_usage),
        "byok_usage_daily": figure(|row| row.byok_usage),
        "byok_usage_weekly": figure(|row| row.byok_usage),
        "byok_usage_monthly": figure(|row| row.byok_usage),
    })
}

/// A key as `/keys` shows it.
pub(super) fn key(row: &KeyRow, creator: &str, times: TimeForm) -> Value {
    let time = |time: Option<DateTime<Utc>>| time.map(|time| times.show(time));
    merged(
        json!({
            "hash": row.hash,
            "name": row.name,
            "label": row.label,
            "disabled": row.disabled,
            "limit": row.limit.map(amount),
            "limit_remaining": row.limit_remaining().map(amount),
            "limit_reset": row.limit_reset,
            "include_byok_in_limit": row.include_byok_in_limit,
            "created_at": times.show(row.created_at),
            "updated_at": time(row.updated_at),
            "expires_at": time(row.expires_at),
            "last_used_at": time(row.last_used_at),
            "creator_user_id": creator,
            "workspace_id": row.workspace_id,
            "external_user": null,
        }),
        usage(Some(row)),
    )
}

/// Whose key it is, for [`current_key`].
pub(super) struct Identity<'a> {
    pub(super) label: &'a str,
    pub(super) creator: &'a str,
    pub(super) organization: Option<&'a str>,
    pub(super) workspace: Option<&'a str>,
    /// The row of a regular key; a provisioning key has none.
    pub(super) row: Option<&'a KeyRow>,
}

/// A key as `GET /key` shows it: no hash, no name, no `disabled`.
pub(super) fn current_key(who: &Identity<'_>, times: TimeForm) -> Value {
    let row = who.row;
    merged(
        json!({
            "label": who.label,
            "limit": row.and_then(|row| row.limit).map(amount),
            "limit_remaining": row.and_then(KeyRow::limit_remaining).map(amount),
            "limit_reset": row.and_then(|row| row.limit_reset.as_deref()),
            "creator_user_id": who.creator,
            "organization_id": who.organization,
            "workspace_id": who.workspace,
            "expires_at": row.and_then(|row| row.expires_at).map(|time| times.show(time)),
            "include_byok_in_limit": row.is_some_and(|row| row.include_byok_in_limit),
            "is_free_tier": false,
            "is_management_key": row.is_none(),
            "is_provisioning_key": row.is_none(),
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated."},
            "allowed_data_regions": ["global"],
            "free_model_daily_requests": {"limit": 1000, "remaining": 1000, "used": 0},
            "budgets": [],
            "effective_budget": null,
        }),
        usage(row),
    )
}

/// An error in the vendor's shape.
pub(super) fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &error_body(status, message, None, None))
}

/// An error that names the user it befell, as those after a successful login do.
pub(super) fn error_for(user: &str, status: u16, message: &str, metadata: Option<Value>) -> Answer {
    Answer::json(status, &error_body(status, message, metadata, Some(user)))
}

fn error_body(status: u16, message: &str, metadata: Option<Value>, user: Option<&str>) -> Value {
    let mut body = json!({"error": {"code": status, "message": message}});
    if let Some(metadata) = metadata {
        body["error"]["metadata"] = metadata;
    }
    if let Some(user) = user {
        body["user_id"] = json!(user);
    }
    body
}

/// The body of an error that strikes any call, by status.
pub(super) fn passing_error(status: u16) -> Value {
    let message = match status {
        401 => "User not found.",
        402 => "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        403 => "Forbidden",
        408 => "Request timed out",
        429 => "Rate limit exceeded",
        502 => "Provider returned error",
        503 => "Service temporarily unavailable",
        524 => "A timeout occurred",
        529 => "Overloaded",
        _ => "Internal Server Error",
    };
    error_body(status, message, None, None)
}

fn merged(mut into: Value, from: Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut into, from) {
        into.extend(from);
    }
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same_instant() {
        let time = DateTime::from_timestamp_millis(1_790_000_000_120).unwrap();
        let (zulu, offset) = (TimeForm::Zulu.show(time), TimeForm::Offset.show(time));
        assert!(zulu.ends_with("20Z") && offset.ends_with(".120000+00:00"), "{zulu} {offset}");
        let parse = |text: &str| DateTime::parse_from_rfc3339(text).unwrap();
        assert_eq!(parse(&zulu), parse(&offset));
    }

    #[test]
    fn whole_amounts_are_integers() {
        assert_eq!(amount(0.0).to_string(), "0");
        assert_eq!(amount(12.5).to_string(), "12.5");
    }
}
