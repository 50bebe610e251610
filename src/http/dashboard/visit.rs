//! Who looks at a page, and the answer that they get.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::frame::Frame;
use crate::domain::listing::{Shape, Wanted};
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError};
use crate::http::api::Api;
use crate::http::auth::{Caller, csrf_token, session_cookie};
use crate::http::problem::Problem;

/// A reader waits so long for an account that another works on.
pub(super) const PATIENCE: Span = Span::seconds(20);
/// Rows of a page: as many as fit into 60 KB.
pub(super) const ROWS: usize = 50;

/// Somebody known at a page.
pub(super) struct Visit {
    api: Api,
    engine: Engine,
    caller: Caller,
    csrf: String,
    path: String,
    query: String,
}

impl FromRequestParts<Api> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let session = session_cookie(&parts.headers);
        Ok(Self {
            api: api.clone(),
            engine: api.engine_for(&caller),
            caller,
            csrf: session.map(|session| csrf_token(&session).expose().to_owned()).unwrap_or_default(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        })
    }
}

impl Visit {
    /// The engine, acting for who looks.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// A parameter of the address.
    pub(super) fn asked(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.into_owned())
    }

    /// What was asked of a list; without a word so many rows. Fields of a form that were left empty ask for nothing.
    pub(super) fn wanted(&self, shape: &Shape, rows: usize) -> Result<Wanted, Problem> {
        let pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let filled = pairs.filter(|(name, value)| !value.is_empty() && name != "done");
        let wanted = shape.read(filled).map_err(|error| Problem::bad_parameter(&error.to_string()))?;
        if self.asked("limit").is_some() {
            return Ok(wanted);
        }
        Ok(Wanted { limit: Some(rows), ..wanted })
    }

    /// Address of the page of a list after this one.
    pub(super) fn following(&self, cursor: &str) -> String {
        let pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(
            pairs.filter(|(name, value)| !matches!(name.as_ref(), "cursor" | "done") && !value.is_empty()),
        );
        query.append_pair("cursor", cursor);
        format!("{}{}?{}", base(&self.engine), self.path, query.finish())
    }

    /// What stands round the contents.
    pub(super) fn frame(&self, title: impl Into<String>) -> Frame {
        let who = (self.caller.identity.name.clone(), self.caller.role());
        let (path, csrf) = (self.path.clone(), self.csrf.clone());
        let frame = Frame::known(base(&self.engine), path, who, csrf, self.engine.clock().now());
        frame.titled(title).having_done(self.asked("done").as_deref())
    }

    /// Does something that changes things, whole: a reader who leaves does not leave it half done.
    pub(super) async fn whole<T, F>(&self, work: impl FnOnce(Engine) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        // On the heap: what the engine does for a key is larger than a page should carry along.
        self.api.whole(Box::pin(work(self.engine.clone()))).await
    }

    /// The same where it may take long: `None` when it goes on after as long as somebody waits.
    pub(super) async fn begun<T, F>(&self, work: impl FnOnce(Engine) -> F) -> Result<Option<T>, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        match tokio::time::timeout(PATIENCE.to_std(), self.whole(work)).await {
            Ok(done) => done.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// To another page.
    pub(super) fn to(&self, path: &str) -> Response {
        see_other(&format!("{}{path}", base(&self.engine)))
    }

    /// To the page that shows what was done.
    pub(super) fn done(&self, path: &str, what: &str) -> Response {
        see_other(&format!("{}{path}?done={what}", base(&self.engine)))
    }
}

impl Visit {
    /// To a list that is narrowed as it was: its query came along in a hidden field.
    pub(super) fn done_in(&self, list: &str, query: &str, what: &str) -> Response {
        let was = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "done");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(was).append_pair("done", what);
        see_other(&format!("{}{list}?{}", base(&self.engine), query.finish()))
    }
}

/// The path of the public URL without a slash at its end.
pub(super) fn base(engine: &Engine) -> String {
    engine.access().public_url.path().trim_end_matches('/').to_owned()
}

/// 303 to an address of ours.
pub(super) fn see_other(address: &str) -> Response {
    match HeaderValue::from_str(address) {
        Ok(address) => (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response(),
        Err(_) => Problem::from(StatusCode::BAD_REQUEST).into_response(),
    }
}

/// A page.
pub(super) fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be made");
        Problem::from(StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
}

/// A page that was filled in, once more, with what is wrong about it: only the reader can mend that.
pub(super) fn page_after(template: &impl Template, problem: Problem) -> Result<Response, Problem> {
    if problem.status().is_server_error() && problem.status() != StatusCode::BAD_GATEWAY {
        return Err(problem);
    }
    let mut response = page(template)?;
    *response.status_mut() = problem.status();
    // The audit trail has a row of what a rule refused.
    response.extensions_mut().insert(problem);
    Ok(response)
}
