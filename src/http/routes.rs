//! Paths and who may ask for them. A path cannot be added without saying so, and a handler that asks who calls is
//! answered 403 on a path that was never declared here.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use schemars::JsonSchema;

use super::api::Api;
use super::asked::Asked;
use super::auth::{self, Caller};
use super::crowd::Guest;
use super::doc::{self, Answer, Doc};
use super::once::once;
use super::problem::Problem;
use crate::domain::listing::{Page, Shape};
use crate::domain::role::Permission;
use crate::domain::secret::without_masks;
use crate::engine::commands::note_refusal;

/// So many characters of what was asked are kept of a refusal.
const ASKED: usize = 256;

/// Who may ask for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Everybody, unknown as they may be.
    Anyone,
    /// Whoever proves who they are, whatever they may else.
    Known,
    /// Whoever may this.
    May(Permission),
}

/// A path as it was declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Method.
    pub method: Method,
    /// Path, with `{names}`.
    pub path: &'static str,
    /// Who may ask for it.
    pub allow: Allow,
    /// What the document says of it.
    pub doc: Doc,
}

/// Paths of one resource, or of all of them.
#[derive(Default)]
pub struct Routes {
    router: Router<Api>,
    declared: Vec<Declared>,
}

impl Routes {
    /// Adds a path. The handler runs only for who may; it gets them as an argument of type [`Caller`].
    #[must_use]
    pub fn at<H, T>(mut self, method: Method, path: &'static str, allow: Allow, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that axum knows");
        let guarded =
            move |State(api): State<Api>, request: Request| guard(api, request, allow, handler.clone());
        self.router = self.router.route(path, on(filter, guarded));
        self.declared.push(Declared { method, path, allow, doc: Doc::default() });
        self
    }

    /// Adds a list in pages. Its handler gets what was asked as an argument of type [`Asked`].
    #[must_use]
    pub fn list<V, H, T>(self, path: &'static str, allow: Allow, shape: &'static Shape, handler: H) -> Self
    where
        V: JsonSchema,
        H: Handler<T, Api>,
        T: 'static,
    {
        let asking =
            move |State(api): State<Api>, request: Request| asking(api, request, shape, handler.clone());
        let mut routes = self.at(Method::GET, path, allow, asking).answers::<Page<V>>(200);
        routes.last().list = Some(shape);
        routes
    }

    /// Adds something that is done once however often it is asked for under one `Idempotency-Key`.
    #[must_use]
    pub fn once<H, T>(self, path: &'static str, allow: Allow, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let once = move |State(api): State<Api>, request: Request| once(api, request, handler.clone());
        let mut routes = self.at(Method::POST, path, allow, once);
        routes.last().takes_idempotency_key = true;
        routes
    }

    /// In one sentence, what the path is for.
    #[must_use]
    pub fn says(mut self, summary: &'static str) -> Self {
        self.last().summary = summary;
        self
    }

    /// It takes this as JSON.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        self.last().takes = Some(("application/json", doc::of::<T>));
        self
    }

    /// It takes text of any kind.
    #[must_use]
    pub fn takes_text(mut self) -> Self {
        self.last().takes = Some(("text/plain", doc::of::<String>));
        self
    }

    /// A query parameter of what is no list.
    #[must_use]
    pub fn with(mut self, name: &'static str, says: &'static str) -> Self {
        self.last().parameters.push((name, says));
        self
    }

    /// It answers with this as JSON; of one status what is said last.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16) -> Self {
        self.answering(Answer { status, media: "application/json", schema: Some(doc::of::<T>) })
    }

    /// It answers with text of another kind.
    #[must_use]
    pub fn answers_text(self, media: &'static str) -> Self {
        self.answering(Answer { status: 200, media, schema: Some(doc::of::<String>) })
    }

    /// It answers 204, without a body.
    #[must_use]
    pub fn answers_nothing(self) -> Self {
        self.answering(Answer { status: 204, media: "", schema: None })
    }

    fn answering(mut self, answer: Answer) -> Self {
        let answers = &mut self.last().answers;
        answers.retain(|other| other.status != answer.status);
        answers.push(answer);
        self
    }

    fn last(&mut self) -> &mut Doc {
        &mut self.declared.last_mut().expect("something is said of a path that was added").doc
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.declared.extend(others.declared);
        self
    }

    /// Every path that is served.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// As the router that answers.
    pub(super) fn into_router(self) -> Router<Api> {
        self.router
    }
}

/// Lets those through who may.
async fn guard<H, T>(api: Api, mut request: Request, allow: Allow, handler: H) -> Response
where
    H: Handler<T, Api>,
    T: 'static,
{
    if allow == Allow::Anyone {
        return match auth::believe_stranger(&api, &request) {
            Ok(()) => handler.call(request, api).await,
            Err(problem) => problem.into_response(),
        };
    }
    let caller = match Caller::of(&api, &mut request).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Some(guest) = request.extensions().get::<Arc<Guest>>() {
        guest.is_known();
    }
    let asked: String =
        format!("{} {}", request.method(), request.uri().path()).chars().take(ASKED).collect();
    let allowed = match allow {
        Allow::May(permission) => caller.may(permission),
        Allow::Anyone | Allow::Known => Ok(()),
    };
    let mut response = match allowed {
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            handler.call(request, api.clone()).await
        }
        Err(problem) => problem.into_response(),
    };
    if !caller.role().may(Permission::Keys) && allow != Allow::May(Permission::Credentials) {
        response = hidden(response).await;
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    audited(&api, &caller, &asked, response).await
}

/// The same answer for who may not see masks.
async fn hidden(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.ends_with("json") {
        return response;
    }
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(head, Body::from(without_masks(&String::from_utf8_lossy(&body)))),
        Err(_) => Problem::from(StatusCode::INTERNAL_SERVER_ERROR).into_response(),
    }
}

/// Reads what was asked of a list before its handler runs.
async fn asking<H, T>(api: Api, mut request: Request, shape: &'static Shape, handler: H) -> Response
where
    H: Handler<T, Api>,
    T: 'static,
{
    let query = request.uri().query().unwrap_or_default();
    match shape.read(url::form_urlencoded::parse(query.as_bytes())) {
        Ok(wanted) => request.extensions_mut().insert(Asked(wanted)),
        Err(error) => return Problem::bad_parameter(&error.to_string()).into_response(),
    };
    handler.call(request, api).await
}

/// What a rule or a role refuses to somebody known is a row of the audit trail, committed before the answer (I12).
async fn audited(api: &Api, caller: &Caller, asked: &str, response: Response) -> Response {
    let refusal = response.extensions().get::<Problem>().filter(|problem| problem.is_refusal());
    let Some(problem) = refusal else { return response };
    match note_refusal(&api.engine_for(caller), "request.refused", asked, problem.detail()).await {
        Ok(()) => response,
        Err(error) => Problem::from(error).into_response(),
    }
}
