//! Drift: somebody else changed a destination since our last proved write to it.
//!
//! Looked for before each write, and between rotations with the rhythm of the tests: every destination of every
//! rotation that has a current key. What is seen stands in the destination's row, so an open run sees it too and does
//! its own repairs; without one, `on_drift` says what happens. `hold` tells people and leaves it; `overwrite` tells
//! them and writes again, after a fresh test (R13). A write of our own that was never proved is repeated either way.
//! A frozen account is looked at and told of, never written to (R9).

use std::collections::BTreeMap;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::destination::Delivery;
use crate::domain::rotation::{Level, OnDrift, State, Target};
use crate::domain::time::{Span, Until};
use crate::domain::turn::Class;
use crate::engine::publish::{address, deliver, drift, repair};
use crate::engine::session::{Session, in_doubt, keys};
use crate::engine::testing::endpoint;
use crate::engine::{ConfiguredDestination, Engine, EngineError, Rotation, lease, session};
use crate::store::{Change, HoldingRow, KeyRow, Lease};

/// Looks at destinations between rotations.
const QUEUE: &str = "queue:drift";

/// Where the store remembers when each rotation is to be looked at.
const MARKS: &str = "drift waits";

/// After a look that could not be made.
const RETRY: Span = Span::minutes(1);

/// After one that found the account taken.
const SOON: Span = Span::seconds(5);

/// After this long a stay at an account makes room.
const TURN: Span = Span::seconds(10);

/// When each rotation is to be looked at, by name.
type Marks = BTreeMap<String, Until>;

/// Looks at the destinations of every rotation whose time has come.
pub async fn drift_tick(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    // After the tests, never beside them: their look at an account passes by one that is taken.
    if endpoint::watch_is_due(engine).await? || to_look_at(engine, &marks(engine).await?).await?.is_empty() {
        return Ok(());
    }
    let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    lease::while_held(engine, &lease, Box::pin(drift_pass(engine, &lease, stop))).await
}

async fn marks(engine: &Engine) -> Result<Marks, EngineError> {
    Ok(engine.parts.store.memory_or_anew(MARKS).await?)
}

async fn to_look_at<'e>(engine: &'e Engine, marks: &Marks) -> Result<Vec<&'e Rotation>, EngineError> {
    let now = engine.store().now().await?;
    let waits = |until: &Until| until.left(now).is_some();
    let due = engine.rotations().filter(|rotation| !marks.get(&rotation.name).is_some_and(waits));
    Ok(due.collect())
}

fn rhythm(engine: &Engine) -> Span {
    engine.parts.tests.interval
}

async fn drift_pass(engine: &Engine, lease: &Lease, stop: &CancellationToken) -> Result<(), EngineError> {
    // Again, under the lease: another replica may just have looked.
    let mut marks = marks(engine).await?;
    marks.retain(|name, _| engine.parts.rotations.contains_key(name));
    let mut due = to_look_at(engine, &marks).await?;
    due.sort_by_key(|rotation| &rotation.account);
    let mut visit = None;
    for rotation in due {
        if stop.is_cancelled() {
            break;
        }
        let wait = match look_for_drift(engine, &mut visit, rotation, stop).await {
            Ok(true) => rhythm(engine),
            Ok(false) => rhythm(engine).min(SOON),
            Err(error) if !error.concerns_one() => return Err(error),
            Err(error) => {
                tracing::warn!(rotation = %rotation.name, %error, "its destinations could not be looked at");
                rhythm(engine).min(RETRY)
            }
        };
        marks.insert(rotation.name.clone(), Until::after(engine.store().now().await?, wait));
        let doc = json!(marks);
        let mark = Change::Remember { subject: MARKS.to_owned(), doc };
        engine.parts.store.commit(lease, &[mark]).await?;
    }
    leave(&mut visit).await
}

/// A stay at one account, for many of its rotations: each would ask anew who the account is (R16).
struct Visit<'e> {
    session: Session<'e>,
    begun: Span,
}

/// It goes on, unless the account is another or its turn is over. Between two steps of it whoever is more urgent goes
/// first all the same.
async fn stays(visit: Option<&Visit<'_>>, account: &str) -> Result<bool, EngineError> {
    let Some(Visit { session, begun }) = visit else { return Ok(false) };
    let long = session.engine.clock().monotonic().0 - begun.0 > TURN.0;
    Ok(session.account.name == account && !long && !session.gives_way().await?)
}

async fn leave(visit: &mut Option<Visit<'_>>) -> Result<(), EngineError> {
    match visit.take() {
        Some(visit) => visit.session.close().await,
        None => Ok(()),
    }
}

/// False when another process works on the account.
async fn look_for_drift<'e>(
    engine: &'e Engine,
    visit: &mut Option<Visit<'e>>,
    rotation: &Rotation,
    stop: &CancellationToken,
) -> Result<bool, EngineError> {
    if keys::current(engine, &rotation.name).await?.is_none() {
        return Ok(true);
    }
    if !stays(visit.as_ref(), &rotation.account).await? {
        leave(visit).await?;
        let (account, class) = (&rotation.account, Class::Drift);
        let waited = session::wait_for_session_or_stop(engine, account, class, class.patience(), stop).await;
        *visit = match waited {
            Err(EngineError::Busy(_)) => return Ok(false),
            waited => Some(Visit { session: waited?, begun: engine.clock().monotonic() }),
        };
    }
    let Some(here) = visit.take() else { return Ok(false) };
    match look_at_destinations(here.session, rotation, stop).await {
        Err(EngineError::Busy(_)) => Ok(false),
        looked => {
            *visit = Some(Visit { session: looked?, begun: here.begun });
            Ok(true)
        }
    }
}

/// What a look between rotations comes to.
enum Found {
    /// It holds the current key, or a write would not help.
    Fine,
    /// A write of ours was never proved: it is repeated.
    Unfinished,
    /// It holds something else.
    Drift,
}

/// While a run is in these states it works on the destinations itself.
fn is_publishing(state: &State) -> bool {
    !matches!(state, State::Planned | State::Grace { .. } | State::Observing | State::Parked { .. })
}

/// One destination is a step: whoever is more urgent goes between two of them.
async fn look_at_destinations<'e>(
    mut session: Session<'e>,
    rotation: &Rotation,
    stop: &CancellationToken,
) -> Result<Session<'e>, EngineError> {
    for target in &rotation.policy.targets {
        if stop.is_cancelled() {
            break;
        }
        session = session::make_room(session, stop).await?;
        match look_at(&mut session, rotation, target).await {
            Err(error) if !error.concerns_one() => {
                session.close().await?;
                return Err(error);
            }
            Err(error) => tracing::warn!(destination = %target.name, %error, "not written again"),
            Ok(()) => {}
        }
    }
    Ok(session)
}

async fn look_at(session: &mut Session<'_>, rotation: &Rotation, target: &Target) -> Result<(), EngineError> {
    let store = &session.engine.parts.store;
    // Under the lease: nobody starts a run or ends one now.
    let open = store.open_run(&rotation.name).await?;
    let current = keys::current(session.engine, &rotation.name).await?;
    let mine = current.filter(|key| key.account.as_deref() == Some(&session.identity));
    let Some(key) = mine.filter(|_| !open.as_ref().is_some_and(|row| is_publishing(&row.run.state))) else {
        return Ok(());
    };
    let frozen = store.freeze_of(&session.identity).await?.is_some();
    let place = session.engine.destination(&target.name)?.clone();
    look_between(session, rotation, &place, &key, open.is_none() && !frozen).await
}

async fn look_between(
    session: &mut Session<'_>,
    rotation: &Rotation,
    place: &ConfiguredDestination,
    key: &KeyRow,
    may_write: bool,
) -> Result<(), EngineError> {
    let rows = session.engine.parts.store.holdings_at(&place.target.address).await?;
    // Of an adopted key that a place never showed nothing is known: a look must not publish it. Nor does what a
    // person released count.
    let known = |row: &HoldingRow| row.fact.level >= Level::Accepted || !row.evidence.is_null();
    let newest = rows.into_iter().find(|row| row.fact.level > Level::Pending && !row.released);
    let Some(newest) = newest.filter(|row| row.fact.key == key.id && known(row)) else { return Ok(()) };
    // What does not stay, and what fails, is looked at and written ever more rarely (R16).
    if newest.fact.until.left(session.clock()).is_some() {
        return Ok(());
    }
    let found = look_once_more(session, rotation, place, key, newest, may_write).await?;
    let again = match found {
        Found::Fine => false,
        Found::Unfinished => true,
        Found::Drift => place.target.on_drift == OnDrift::Overwrite,
    };
    if again && may_write {
        let did = repair::publish_current(session, &rotation.name, place, key).await?;
        tracing::info!(destination = %place.target.name, did, "written again");
    }
    Ok(())
}

async fn look_once_more(
    session: &mut Session<'_>,
    rotation: &Rotation,
    place: &ConfiguredDestination,
    key: &KeyRow,
    row: HoldingRow,
    may_write: bool,
) -> Result<Found, EngineError> {
    let Some(secret) = session.engine.open(key)? else { return Ok(Found::Fine) };
    let delivery = Delivery {
        secret,
        rotation: rotation.name.clone(),
        generation: key.generation.unwrap_or_default(),
        destination: place.target.name.clone(),
    };
    let (before, tried) = (row.fact.level, row.fact.attempts);
    let (mut row, _, mut alert) = deliver::look(session, place, row, &delivery, &rotation.name, None).await?;
    // It holds the key, and an older deployment was put back: another write would change nothing there, because a
    // vendor holds later deployments back until a person promotes one.
    let rolled_back = before == Level::Effective && row.fact.level == Level::Confirmed;
    if rolled_back {
        let how = "production no longer runs with the key: an older deployment serves it, until somebody promotes a \
                   newer one";
        (row.fact.level, row.fact.drift, row.fact.error) = (before, Some(how.to_owned()), None);
        alert = Some(drift::alert(&rotation.name, place, how));
    }
    if before == Level::Intended && row.fact.drift.take().is_some() {
        // Our own write may be what it shows, or may still be missing: it is no change of somebody else's.
        alert = None;
    }
    let mut changes = address::looked(&row, place, alert);
    changes.extend(in_doubt::proved(session, &row, delivery.generation).await?);
    session.commit(&changes).await?;
    match (rolled_back, &row.fact.drift) {
        (true, _) => return Ok(Found::Fine),
        (false, Some(_)) => return Ok(Found::Drift),
        (false, None) => {}
    }
    let behind = row.fact.level < place.target.needs && address::proved_for_rollout(&row, place);
    if behind && may_write {
        deliver::roll_out(session, None, place, row, &delivery, tried).await?;
        return Ok(Found::Fine);
    }
    Ok(if row.fact.level == Level::Intended { Found::Unfinished } else { Found::Fine })
}
