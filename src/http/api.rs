//! What the resources work with: the engine of the present configuration.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio_util::task::TaskTracker;

use super::auth::Caller;
use super::problem::Problem;
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
}

impl Api {
    /// An API on these engines.
    pub fn new(engines: Arc<dyn Engines>) -> Self {
        Self { engines, begun: TaskTracker::new() }
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
    pub(super) async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.detached(work).await?.map_err(Problem::from)
    }

    /// Runs to its end whether anybody waits for it or not.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.begun.spawn(work).await;
        done.map_err(|_| Problem::from(StatusCode::INTERNAL_SERVER_ERROR))
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
