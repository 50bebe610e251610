//! Waiting for an account that another works on, and giving way to whoever waits (R22).
//!
//! Who waits in this process stands in the line of the account's worker, and only the first of it looks: the database is
//! asked whether the lease is free and told who waits for it, the provider is asked only then.

use tokio_util::sync::CancellationToken;

use crate::domain::time::Span;
use crate::domain::turn::{self, Class, TURN};
use crate::engine::session::{Opening, Session, open};
use crate::engine::worker::Place;
use crate::engine::{Engine, EngineError};

/// Between two looks at the lease.
const LOOK: Span = Span(200);

/// A session, as soon as it is this one's turn; [`EngineError::Busy`] when the patience of its class is over.
pub async fn wait_for_session<'e>(
    engine: &'e Engine,
    account: &str,
    class: Class,
) -> Result<Session<'e>, EngineError> {
    wait_for_session_or_stop(engine, account, class, class.patience(), &CancellationToken::new()).await
}

/// The same with another patience; who is asked to stop does not wait on.
pub async fn wait_for_session_or_stop<'e>(
    engine: &'e Engine,
    account: &str,
    class: Class,
    patience: Span,
    stop: &CancellationToken,
) -> Result<Session<'e>, EngineError> {
    let until = Span(engine.clock().monotonic().0 + patience.0);
    let busy = || EngineError::Busy(account.to_owned());
    let mut place = engine.workers.of(account).enter(class);
    loop {
        tokio::select! {
            biased;
            () = place.first() => {}
            () = over(engine, until, stop) => return Err(busy()),
        }
        match open(engine, account, place).await? {
            Opening::Ready(session) => return Ok(*session),
            Opening::Busy { place: kept, resource } => {
                place = kept;
                tokio::select! {
                    taken = free(engine, &resource, &place) => taken?,
                    () = over(engine, until, stop) => return Err(busy()),
                }
            }
        }
        if stop.is_cancelled() || engine.clock().monotonic() > until {
            return Err(busy());
        }
    }
}

/// The session, between two of its steps; a new one when somebody else had to have the account meanwhile (R22).
pub(crate) async fn make_room<'e>(
    session: Session<'e>,
    stop: &CancellationToken,
) -> Result<Session<'e>, EngineError> {
    if !session.gives_way().await? {
        return Ok(session);
    }
    let (engine, account, class) = (session.engine, &session.account.name, session.class);
    session.close().await?;
    wait_for_session_or_stop(engine, account, class, class.patience(), stop).await
}

/// The patience is over, or nobody should wait any more.
async fn over(engine: &Engine, until: Span, stop: &CancellationToken) {
    let left = Span((until.0 - engine.clock().monotonic().0).max(0));
    tokio::select! {
        () = stop.cancelled() => {}
        () = engine.clock().sleep(left) => {}
    }
}

/// Waits until another process lets go of the lease, or until somebody else of this one goes first.
async fn free(engine: &Engine, resource: &str, place: &Place) -> Result<(), EngineError> {
    while place.is_first() {
        if engine.parts.store.stand_in_line(resource, place.standing().rank()).await? {
            return Ok(());
        }
        engine.clock().sleep(LOOK).await;
        place.step_back();
    }
    Ok(())
}

impl<'e> Session<'e> {
    /// Asked between two steps: whether somebody waits to whom this session makes room, in this process or in another.
    /// Then it is to be closed, and waited for again.
    pub async fn gives_way(&self) -> Result<bool, EngineError> {
        let theirs = self.engine.parts.store.waited_for(&self.lease.resource).await?;
        let highest = self.place.waited_for_by().max(Class::of_rank(theirs));
        Ok(turn::gives_way(self.class, self.held(), highest))
    }

    /// The same after a look of a run, whose next step needs what was seen: not for those who have merely waited long,
    /// unless its turn is over. Else two that look by turns would never do anything.
    pub async fn gives_way_after(&self, looked: bool) -> Result<bool, EngineError> {
        if looked && self.held() < TURN {
            return Ok(turn::gives_way(self.class, self.held(), self.place.come_for()));
        }
        self.gives_way().await
    }

    fn held(&self) -> Span {
        Span(self.engine.clock().monotonic().0 - self.begun.0)
    }

    /// The engine that it works with.
    pub fn engine(&self) -> &'e Engine {
        self.engine
    }

    /// The name of its entry in the configuration.
    pub fn account_name(&self) -> &'e str {
        &self.account.name
    }

    /// What the next step is for.
    pub fn works_for(&mut self, class: Class) {
        self.class = class;
    }
}
