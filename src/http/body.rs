//! What a request says, as JSON. A body that cannot be read is answered without repeating any of it: it may be a secret.

use axum::Json;
use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::problem::Problem;
use crate::domain::secret::Secret;

/// PostgreSQL has no text with one in it.
const NUL: &[u8] = b"\\u0000";

/// A body of this form.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A secret in a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(pub Secret);

impl Hidden {
    /// The key that it is. 400 for what lists show instead of one: a form that was filled from a list would store that.
    pub fn key(self) -> Result<Secret, Problem> {
        if self.0.is_masked() || self.0.expose() == "..." {
            let detail = "this is the mask of a key, as lists show it: send the key itself, or leave it out";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "masked_value", detail));
        }
        Ok(self.0)
    }
}

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

/// A field of a change: what is left out stays, null takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// It is left out.
    #[default]
    Missing,
    /// It is null.
    Null,
    /// It has this value.
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(from)?.map_or(Self::Null, Self::Value))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
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
        let (head, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(head.clone(), body), state).await;
        let body = body.map_err(|rejection| problem(&rejection.into()))?;
        if body.windows(NUL.len()).any(|bytes| bytes == NUL) {
            return Err(malformed("there is a NUL character in it, which no text here may have"));
        }
        match Json::<T>::from_request(Request::from_parts(head, body.into()), state).await {
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
            r#"{"password": "not-a-key\u0000", "tries": 1}"#,
            r#"{"password": "not-a-key", "tries": 1"#,
        ] {
            let problem = refused(json, body).await;
            assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
            assert!(!problem.detail().contains("not-a-key"), "{body}: {problem:?}");
        }
        assert_eq!(refused("text/plain", "{}").await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
