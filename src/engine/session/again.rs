//! A commit that finds the database busy right after a key was made: what it would store is in memory only, and lost
//! with it is the key. Nothing was committed then, so the same commit is tried again inside the lease.

use crate::domain::time::Span;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::store::StoreError;

/// Between two tries; a busy database was waited for already.
const PAUSE: Span = Span(100);

/// Whether the same commit is to be tried once more, after a pause.
pub(crate) async fn is_worth_it<T>(session: &Session<'_>, committed: &Result<T, EngineError>) -> bool {
    let busy = matches!(committed, Err(EngineError::Store(StoreError::Busy)));
    if !busy || !session.holds_lease() {
        return false;
    }
    tracing::warn!(account = %session.account.name, "a new key is not stored yet: the database is busy");
    session.engine.clock().sleep(PAUSE).await;
    true
}
