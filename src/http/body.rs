//! What a request says, as JSON. A body that cannot be read is answered without repeating any of it: it may be a secret.

use axum::Json;
use axum::body::HttpBody;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::domain::secret::Secret;

/// A body of this form.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A secret in a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(pub Secret);

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // Who asks for something without a choice need not say so in JSON.
        if request.body().size_hint().exact() == Some(0) {
            return serde_json::from_str("{}").map(Self).map_err(|error| malformed(&error.to_string()));
        }
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(problem(&rejection)),
        }
    }
}

fn problem(rejection: &JsonRejection) -> Problem {
    match rejection {
        JsonRejection::JsonDataError(error) => malformed(&without_values(&error.body_text())),
        JsonRejection::JsonSyntaxError(_) => malformed("the body is not JSON"),
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "send the header Content-Type: application/json",
        ),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(other.status(), "too_large", "the body is larger than this path takes")
        }
        other => Problem::new(other.status(), "bad_request", "the body cannot be read"),
    }
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", detail)
}

/// The parser's words without the values that it quotes; names of fields stand in other quotes.
fn without_values(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(from), Some(until)) if from < until => format!("{}\"…\"{}", &text[..from], &text[until + 1..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        #[expect(dead_code, reason = "only its form matters")]
        password: Hidden,
        #[expect(dead_code, reason = "only its form matters")]
        tries: u8,
    }

    async fn refused(kind: &str, body: &str) -> Problem {
        let request = Request::builder().method("POST").header("content-type", kind);
        let request = request.body(body.to_owned().into()).unwrap();
        Body::<Login>::from_request(request, &()).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_and_not_repeated() {
        let json = "application/json";
        let unknown = refused(json, r#"{"password": "x", "tries": 1, "colour": 2}"#).await;
        assert!(unknown.detail().contains("`colour`"), "{unknown:?}");
        for body in [
            r#"{"password": "x", "tries": "not-a-key"}"#,
            r#"{"password": "x", "tries": "a\"not-a-key\"b"}"#,
            r#"["not-a-key"]"#,
            r#"{"password": "not-a-key", "tries": 1"#,
        ] {
            let problem = refused(json, body).await;
            assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
            assert!(!problem.detail().contains("not-a-key"), "{body}: {problem:?}");
        }
        assert_eq!(refused("text/plain", "{}").await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
