//! What the resources work with: the engine of the present configuration.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Caller;
use super::events::Hub;
use super::problem::{Problem, rate_limit};
use crate::domain::limit::Limit;
use crate::engine::commands;
use crate::engine::{Engine, EngineError};
use crate::meter::{self, Sample};

/// Who has the engine. A reload changes it: whoever asks again gets the new one.
pub trait Engines: Send + Sync {
    /// The engine of the present configuration.
    fn engine(&self) -> Engine;

    /// When each pass of this process last came to its end, in seconds since 1970.
    fn passes(&self) -> Vec<(&'static str, f64)>;
}

/// The state of every route of the API.
#[derive(Clone)]
pub struct Api {
    engines: Arc<dyn Engines>,
    /// What was begun and is finished even when who asked has gone.
    begun: TaskTracker,
    /// Whoever listens to what changes.
    events: Arc<Hub>,
}

impl Api {
    /// An API on these engines. Who listens to what changes leaves as soon as the daemon stops.
    pub fn new(engines: Arc<dyn Engines>, stopping: CancellationToken) -> Self {
        let events = Hub::new(Arc::clone(&engines), stopping);
        Self { engines, begun: TaskTracker::new(), events }
    }

    /// What changes, as it happens.
    pub(super) fn events(&self) -> &Arc<Hub> {
        &self.events
    }

    /// The engine, acting for nobody in particular: to look who calls.
    pub fn engine(&self) -> Engine {
        self.engines.engine()
    }

    /// When each pass last came to its end.
    pub(super) fn passes(&self) -> Vec<Sample> {
        let sample = |(pass, value): (&'static str, f64)| Sample {
            metric: &meter::PASS_LAST_SUCCESS,
            labels: vec![pass.to_owned()],
            value,
        };
        self.engines.passes().into_iter().map(sample).collect()
    }

    /// Does something that changes things, whole: a connection that breaks does not leave it half done.
    pub(super) fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Problem>> {
        let work = Box::pin(work);
        async move { self.detached(work).await?.map_err(Problem::from) }
    }

    /// Begins something that goes on by itself, and to its end.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.begun.spawn(work);
    }

    /// Runs to its end whether anybody waits for it or not.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.begun.spawn(work).await;
        done.map_err(|_| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// Runs something that is limited, if anything is left of the limit, and tells of that with the answer, whatever it is.
    pub(super) async fn limited<T: IntoResponse>(
        &self,
        limit: Limit,
        caller: &Caller,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Response {
        let allowance = match commands::allow(&self.engine(), limit, &caller.counted_as()).await {
            Ok(allowance) => allowance,
            Err(error) => return Problem::from(error).into_response(),
        };
        let mut response = work.await.into_response();
        response.headers_mut().extend(rate_limit(&allowance));
        response
    }

    /// Waits until all that was begun is done.
    pub async fn finished(&self) {
        self.begun.close();
        self.begun.wait().await;
    }

    /// The engine at work for this caller: what is audited says who, from where and by which request.
    pub fn engine_for(&self, caller: &Caller) -> Engine {
        self.engine().acting_as(caller.actor())
    }
}
