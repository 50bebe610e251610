//! Errors, times and the other shapes that all of GitHub's answers share.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::super::wire::Answer;
use super::access::Allowance;

/// Where the documents are; part of every error.
const DOCUMENTS: &str = "https://docs.github.com/rest";

/// An error in the vendor's shape.
pub(super) fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &error_body(status, message))
}

/// 422 naming a field.
pub(super) fn invalid(field: &str, message: &str) -> Answer {
    let errors = json!([{"resource": "Secret", "field": field, "code": "custom", "message": message}]);
    let body = json!({"message": "Validation Failed", "errors": errors, "documentation_url": DOCUMENTS,
        "status": "422"});
    Answer::json(422, &body)
}

/// 404, which also stands for what the token may not know of.
pub(super) fn not_found() -> Answer {
    error(404, "Not Found")
}

/// The body of an error.
pub(super) fn error_body(status: u16, message: &str) -> Value {
    json!({"message": message, "documentation_url": DOCUMENTS, "status": status.to_string()})
}

/// The body of an error that strikes any call, by status.
pub(super) fn passing_error(status: u16) -> Value {
    let message = match status {
        401 => "Bad credentials",
        403 => "Forbidden",
        404 => "Not Found",
        422 => "Validation Failed",
        429 => "API rate limit exceeded",
        502 => "Server Error",
        503 => "Service unavailable",
        _ => "Internal Server Error",
    };
    error_body(status, message)
}

/// Whole seconds, `Z`.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The same answer with the `x-ratelimit-*` headers.
pub(super) fn with_allowance(answer: Answer, allowance: Allowance) -> Answer {
    let remaining = allowance.limit.saturating_sub(allowance.used);
    answer
        .header("x-ratelimit-limit", allowance.limit.to_string())
        .header("x-ratelimit-remaining", remaining.to_string())
        .header("x-ratelimit-used", allowance.used.min(allowance.limit).to_string())
        .header("x-ratelimit-reset", allowance.reset.timestamp().to_string())
        .header("x-ratelimit-resource", "core")
}
