//! Which page of a list a request asks for, read before its handler runs.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

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
