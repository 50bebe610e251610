//! Errors, as all of Vercel's calls answer them.

use serde_json::{Value, json};

use super::super::wire::Answer;

/// An error in the vendor's shape.
pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({"error": {"code": code, "message": message}}))
}

/// 400 for a body that is not what was asked for.
pub(super) fn bad_request(message: &str) -> Answer {
    error(400, "bad_request", &format!("Invalid request: {message}"))
}

/// 404 for a project, a variable or a deployment.
pub(super) fn not_found(what: &str) -> Answer {
    error(404, "not_found", &format!("{what} not found"))
}

/// The inside of a 429; `reset` in seconds since 1970.
pub(super) fn rate_limited(message: &str, reset: i64) -> Value {
    let limit = json!({"remaining": 0, "reset": reset, "resetMs": reset * 1000, "total": 6});
    json!({"code": "rate_limited", "message": message, "limit": limit})
}

/// The body of an error that strikes any call, by status.
pub(super) fn passing_error(status: u16, now: i64) -> Value {
    let (code, message) = match status {
        401 | 403 => ("forbidden", "Not authorized"),
        404 => ("not_found", "Not found"),
        429 => return json!({"error": rate_limited("Rate limit exceeded", now + 60)}),
        502..=504 => ("service_unavailable", "The service is temporarily unavailable"),
        400..=499 => ("bad_request", "Invalid request"),
        _ => ("internal_server_error", "An unexpected internal error occurred"),
    };
    json!({"error": {"code": code, "message": message}})
}
