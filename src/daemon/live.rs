//! What one configuration makes.

use std::sync::Arc;

use super::heartbeat::Heartbeat;
use crate::engine::Engine;

/// What one configuration makes: swapped as a whole by a reload, between passes.
pub struct Live {
    /// The engine.
    pub engine: Engine,
    /// Who is told that passes progress.
    pub heartbeat: Option<Arc<Heartbeat>>,
}
