//! What a form sends. Of what it says nothing is repeated: it may hold a password or a key.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use crate::domain::secret::Secret;
use crate::http::problem::Problem;

/// The hidden field with what only a page of ours knows (interface.md §3).
pub(super) const TOKEN: &str = "csrf_token";
const TOKEN_HEADER: &str = "x-csrf-token";

/// Names and what was filled in.
pub(super) struct Fields(Vec<(String, Secret)>);

impl Fields {
    fn read(body: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(body);
        Self(pairs.map(|(name, value)| (name.into_owned(), Secret::new(value))).collect())
    }

    /// A field as it is; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// A field that nobody may see.
    pub(super) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.text(name))
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// Every field of that name, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let own = self.0.iter().filter(move |(field, _)| field == name);
        own.map(|(_, value)| value.expose())
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_form(request.headers()) {
            return Err(Problem::from(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = Bytes::from_request(request, state).await;
        body.map(|body| Self::read(&body)).map_err(|_| Problem::from(StatusCode::BAD_REQUEST))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().is_some_and(|media| media.trim() == "application/x-www-form-urlencoded")
}

/// A page without a script cannot send a header: its hidden field becomes the one that a request is believed by.
pub(super) async fn with_token(request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !is_form(request.headers()) {
        return next.run(request).await;
    }
    let (mut head, body) = request.into_parts();
    // It has come whole already, and is no longer than anybody may send.
    let Ok(body) = body.collect().await else {
        return Problem::from(StatusCode::BAD_REQUEST).into_response();
    };
    let body = body.to_bytes();
    let token = Fields::read(&body).secret(TOKEN);
    if let Ok(mut value) = HeaderValue::from_str(token.expose())
        && !value.is_empty()
    {
        value.set_sensitive(true);
        head.headers.insert(TOKEN_HEADER, value);
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name() {
        let fields = Fields::read(b"id=1&id=2&email=ada%40example.com&keep=on&empty=");
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.text("email"), "ada@example.com");
        assert!(fields.is_ticked("keep") && !fields.is_ticked("empty") && !fields.is_ticked("absent"));
        assert_eq!(fields.text("absent"), "");
    }
}
