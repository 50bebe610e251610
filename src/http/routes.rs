//! Paths and who may ask for them. A path cannot be added without saying so, and a handler that asks who calls is
//! answered 403 on a path that was never declared here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};

use super::api::Api;
use super::auth::{self, Caller};
use super::crowd::Guest;
use super::problem::Problem;
use crate::domain::role::Permission;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Method.
    pub method: Method,
    /// Path, with `{names}`.
    pub path: &'static str,
    /// Who may ask for it.
    pub allow: Allow,
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
        self.declared.push(Declared { method, path, allow });
        self
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
    if let Err(problem) = admit(&api, &mut request, allow).await {
        return problem.into_response();
    }
    handler.call(request, api).await
}

async fn admit(api: &Api, request: &mut Request, allow: Allow) -> Result<(), Problem> {
    if allow == Allow::Anyone {
        return auth::believe_stranger(api, request);
    }
    let caller = Caller::of(api, request).await?;
    if let Allow::May(permission) = allow {
        caller.may(permission)?;
    }
    if let Some(guest) = request.extensions().get::<Arc<Guest>>() {
        guest.is_known();
    }
    request.extensions_mut().insert(caller);
    Ok(())
}
