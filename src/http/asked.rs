//! What a request asks for, read before its handler runs: the page of a list, a body of JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::domain::listing::Wanted;

/// Which page of a list. It is there on every path that was declared as one with [`super::Routes::list`].
#[derive(Debug, Clone)]
pub struct Asked(pub Wanted);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked = parts.extensions.remove::<Self>();
        asked.ok_or_else(|| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// A body of JSON. Nothing of it is repeated in a refusal but the names of fields: it may hold a secret.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_json = media.split(';').next().is_some_and(|media| media.trim() == "application/json");
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|_| Problem::from(StatusCode::BAD_REQUEST))?;
        // An action without a body has nothing to say of its media type.
        let text = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
        if !is_json && !bytes.is_empty() {
            return Err(Problem::from(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        serde_json::from_slice(text).map(Self).map_err(|error| Problem::malformed(&said(&error)))
    }
}

/// What serde says of fields names them; what it says of values repeats them.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let of_fields = ["unknown field", "missing field", "duplicate field"];
    if of_fields.iter().any(|prefix| text.starts_with(prefix)) {
        return text;
    }
    format!("line {} column {} is not what this path takes: see /api/docs", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what does not fit is looked at")]
    struct Given {
        priority: i64,
    }

    #[test]
    fn a_refusal_names_fields_and_repeats_no_value() {
        let of = |text: &str| said(&serde_json::from_str::<Given>(text).unwrap_err());
        assert!(of(r#"{"prioirty": 1}"#).starts_with("unknown field `prioirty`"));
        assert!(of("{}").starts_with("missing field `priority`"));
        for secret in
            [r#"{"priority": "sk-or-v1-false"}"#, r#"["sk-or-v1-false"]"#, r#"{"priority": sk-or-v1-false"#]
        {
            assert!(!of(secret).contains("false"), "{}", of(secret));
        }
    }
}
