//! A commit that finds the database busy right after a key was made, or another encryption key in force: what it would
//! store is in memory only, and lost with it is the key. Nothing was committed then, so it is tried again inside the
//! lease, sealed with the key that seals by then.

use crate::crypto::EncryptionKeyId;
use crate::domain::time::Span;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::store::StoreError;

/// Between two tries; a busy database was waited for already.
const PAUSE: Span = Span(100);

/// Whether the commit is to be tried once more, after a pause, and with which encryption key.
pub(crate) async fn is_worth_it<T>(
    session: &Session<'_>,
    committed: &Result<T, EngineError>,
    sealing: &mut EncryptionKeyId,
) -> bool {
    let why = match committed {
        Err(EngineError::Store(StoreError::Busy)) => "the database is busy",
        Err(EngineError::Store(StoreError::EpochOver)) => "another encryption key seals now",
        _ => return false,
    };
    if !session.holds_lease() {
        return false;
    }
    tracing::warn!(account = %session.account.name, why, "a new key is not stored yet");
    session.engine.clock().sleep(PAUSE).await;
    if let Ok(now) = session.engine.sealing_key().await {
        *sealing = now;
    }
    true
}
