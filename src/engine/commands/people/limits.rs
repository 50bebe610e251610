//! What is asked for too often.

use crate::domain::limit::{Allowance, Limit};
use crate::engine::{Engine, EngineError};

/// Counts one for this subject, over all replicas. [`EngineError::Limited`] when none is left.
pub async fn allow(engine: &Engine, limit: Limit, subject: &str) -> Result<Allowance, EngineError> {
    engine.store().take(limit, subject).await?.map_err(EngineError::Limited)
}
