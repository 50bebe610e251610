//! What the resources work with: the engine of the present configuration.

use std::sync::Arc;

use super::auth::Caller;
use crate::engine::Engine;

/// Who has the engine. A reload changes it: whoever asks again gets the new one.
pub trait Engines: Send + Sync {
    /// The engine of the present configuration.
    fn engine(&self) -> Engine;
}

/// The state of every route of the API.
#[derive(Clone)]
pub struct Api {
    engines: Arc<dyn Engines>,
}

impl Api {
    /// An API on these engines.
    pub fn new(engines: Arc<dyn Engines>) -> Self {
        Self { engines }
    }

    /// The engine, acting for nobody in particular: to look who calls.
    pub fn engine(&self) -> Engine {
        self.engines.engine()
    }

    /// The engine at work for this caller: what is audited says who, from where and by which request.
    pub fn engine_for(&self, caller: &Caller) -> Engine {
        self.engine().acting_as(caller.actor())
    }
}
