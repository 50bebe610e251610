//! Waiting for an account that another works on.
//!
//! Who waits in this process stands in one line an account, and only the first looks: the database is asked whether
//! the lease is free, the provider only then. Visits of the daemon see that somebody waits and make room.

use tokio_util::sync::CancellationToken;

use crate::domain::time::Span;
use crate::engine::session::{Opened, Session, open_session};
use crate::engine::{Engine, EngineError};

/// Between two looks at the lease.
const LOOK: Span = Span(200);

/// A session, waiting up to `patience` for another to let go of the account.
pub async fn wait_for_session<'e>(
    engine: &'e Engine,
    account: &str,
    patience: Span,
) -> Result<Session<'e>, EngineError> {
    wait_for_session_or_stop(engine, account, patience, &CancellationToken::new()).await
}

/// The same; who is asked to stop does not wait on.
pub(crate) async fn wait_for_session_or_stop<'e>(
    engine: &'e Engine,
    account: &str,
    patience: Span,
    stop: &CancellationToken,
) -> Result<Session<'e>, EngineError> {
    let until = Span(engine.clock().monotonic().0 + patience.0);
    let line = engine.waiting.line(account);
    let _here = line.enter();
    let busy = || EngineError::Busy(account.to_owned());
    let first = tokio::select! {
        biased;
        first = line.first() => first,
        () = over(engine, until, stop) => return Err(busy()),
    };
    let session = loop {
        match open_session(engine, account).await? {
            Opened::Ready(session) => break session,
            Opened::Busy => free(engine, account, until, stop).await?,
        }
        if stop.is_cancelled() || engine.clock().monotonic() > until {
            return Err(busy());
        }
    };
    drop(first);
    Ok(*session)
}

/// The patience is over, or nobody should wait any more.
async fn over(engine: &Engine, until: Span, stop: &CancellationToken) {
    let left = Span((until.0 - engine.clock().monotonic().0).max(0));
    tokio::select! {
        () = stop.cancelled() => {}
        () = engine.clock().sleep(left) => {}
    }
}

/// Waits until nobody holds the lease that the account's entry last stood for.
async fn free(
    engine: &Engine,
    account: &str,
    until: Span,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    loop {
        tokio::select! {
            () = engine.clock().sleep(LOOK) => {}
            () = over(engine, until, stop) => return Err(EngineError::Busy(account.to_owned())),
        }
        let Some(identity) = store.entry_identity(account).await? else { return Ok(()) };
        if !store.is_held(&format!("account:{identity}")).await? {
            return Ok(());
        }
    }
}
