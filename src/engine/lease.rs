//! Holding a queue while working: one process at a time does the work of a pass.

use crate::domain::time::Span;
use crate::engine::{Engine, EngineError};
use crate::store::Lease;

/// Does the work of a pass while its lease is renewed, then gives the lease back. Ends early when it is lost.
pub(crate) async fn while_held<T>(
    engine: &Engine,
    lease: &Lease,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let done = tokio::select! {
        done = work => done,
        error = keep(engine, lease) => Err(error),
    };
    engine.parts.store.release(lease).await?;
    done
}

/// Renews the lease until it is lost.
async fn keep(engine: &Engine, lease: &Lease) -> EngineError {
    loop {
        engine.clock().sleep(Span(engine.parts.lease.0 / 3)).await;
        if let Err(error) = engine.parts.store.renew(lease, engine.parts.lease).await {
            return error.into();
        }
    }
}
