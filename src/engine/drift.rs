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

use super::deliver::{looked, proved_for_rollout};
use super::session::Session;
use super::{Engine, EngineError, Opened, Place, Rotation};
use crate::destination::{Delivery, Look, Standing};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::rotation::{KeyRef, Level, OnDrift, Run, State};
use crate::domain::time::{Span, Timestamp};
use crate::store::{Change, HoldingRow, KeyRow, Lease, Role};

/// Looks at destinations between rotations.
const QUEUE: &str = "queue:drift";
/// Where the store remembers when each rotation is to be looked at.
const MARKS: &str = "drift";
/// After a look that could not be made.
const RETRY: Span = Span::minutes(1);
/// After one that found the account taken.
const SOON: Span = Span::seconds(5);

/// When each rotation is to be looked at, by name.
type Marks = BTreeMap<String, Timestamp>;

impl Engine {
    /// Looks at the destinations of every rotation whose time has come.
    pub async fn drift_tick(&self, stop: &CancellationToken) -> Result<(), EngineError> {
        // After the tests, never beside them: their look at an account passes by one that is taken.
        if self.pass_is_due(self.rhythm()).await? || self.to_look_at(&self.marks().await?).is_empty() {
            return Ok(());
        }
        let lease = self.parts.store.acquire(QUEUE, &self.parts.owner, self.parts.lease).await?;
        let Some(lease) = lease else { return Ok(()) };
        self.while_held(&lease, self.drift_pass(&lease, stop)).await
    }

    async fn marks(&self) -> Result<Marks, EngineError> {
        Ok(self.parts.store.provider_health(MARKS).await?)
    }

    /// A mark further ahead than the rhythm is one of a clock that went back.
    fn to_look_at(&self, marks: &Marks) -> Vec<&Rotation> {
        let now = self.clock().now();
        let waits = |at: &Timestamp| (1..=self.rhythm().0).contains(&at.since(now).0);
        self.rotations().filter(|rotation| !marks.get(&rotation.name).is_some_and(waits)).collect()
    }

    fn rhythm(&self) -> Span {
        self.parts.tests.interval
    }

    async fn drift_pass(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), EngineError> {
        // Again, under the lease: another replica may just have looked.
        let mut marks = self.marks().await?;
        marks.retain(|name, _| self.parts.rotations.contains_key(name));
        for rotation in self.to_look_at(&marks) {
            if stop.is_cancelled() {
                break;
            }
            let wait = match self.look_for_drift(rotation, stop).await {
                Ok(true) => self.rhythm(),
                Ok(false) => self.rhythm().min(SOON),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(rotation = %rotation.name, %error, "its destinations could not be looked at");
                    self.rhythm().min(RETRY)
                }
            };
            marks.insert(rotation.name.clone(), self.clock().now().plus(wait));
            let doc = json!(marks);
            let mark = Change::ProviderHealth { subject: MARKS.to_owned(), doc };
            self.parts.store.commit(lease, &[mark]).await?;
        }
        Ok(())
    }

    /// False when another process works on the account.
    async fn look_for_drift(
        &self,
        rotation: &Rotation,
        stop: &CancellationToken,
    ) -> Result<bool, EngineError> {
        if self.current(&rotation.name).await?.is_none() {
            return Ok(true);
        }
        let Opened::Ready(mut session) = self.open_session(&rotation.account).await? else {
            return Ok(false);
        };
        let looked = session.look_for_drift(rotation, stop).await;
        session.close().await?;
        looked.map(|()| true)
    }

    /// The current key of a rotation.
    pub(super) async fn current(&self, rotation: &str) -> Result<Option<KeyRow>, EngineError> {
        let generations = self.parts.store.generations(rotation).await?;
        Ok(generations.into_iter().find(|key| key.role == Role::Current))
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

impl Session<'_> {
    async fn look_for_drift(
        &mut self,
        rotation: &Rotation,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let engine = self.engine;
        // Under the lease: nobody starts a run or ends one now.
        let open = engine.parts.store.open_run(&rotation.name).await?;
        let current = engine.current(&rotation.name).await?;
        let mine = current.filter(|key| key.account.as_deref() == Some(&self.identity));
        let Some(key) = mine.filter(|_| !open.as_ref().is_some_and(|row| is_publishing(&row.run.state)))
        else {
            return Ok(());
        };
        let frozen = engine.parts.store.freeze_of(&self.identity).await?.is_some();
        for target in &rotation.policy.targets {
            if stop.is_cancelled() {
                break;
            }
            let place = engine.place(&target.name)?.clone();
            match self.look_between(rotation, &place, &key, open.is_none() && !frozen).await {
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(destination = %target.name, %error, "not written again"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn look_between(
        &mut self,
        rotation: &Rotation,
        place: &Place,
        key: &KeyRow,
        may_write: bool,
    ) -> Result<(), EngineError> {
        let rows = self.engine.parts.store.holdings_at(&place.target.address).await?;
        // Of an adopted key that a place never showed nothing is known: a look must not publish it. Nor does what a
        // person released count.
        let known = |row: &HoldingRow| row.fact.level >= Level::Accepted || !row.evidence.is_null();
        let newest = rows.into_iter().find(|row| row.fact.level > Level::Pending && !row.released);
        let Some(newest) = newest.filter(|row| row.fact.key == key.id && known(row)) else { return Ok(()) };
        let found = self.look_once_more(rotation, place, key, newest, may_write).await?;
        let again = match found {
            Found::Fine => false,
            Found::Unfinished => true,
            Found::Drift => place.target.on_drift == OnDrift::Overwrite,
        };
        if again && may_write {
            let did = self.publish_current(&rotation.name, place, key).await?;
            tracing::info!(destination = %place.target.name, did, "written again");
        }
        Ok(())
    }

    async fn look_once_more(
        &mut self,
        rotation: &Rotation,
        place: &Place,
        key: &KeyRow,
        row: HoldingRow,
        may_write: bool,
    ) -> Result<Found, EngineError> {
        let Some(secret) = self.engine.open(key)? else { return Ok(Found::Fine) };
        let delivery = Delivery {
            secret,
            rotation: rotation.name.clone(),
            generation: key.generation.unwrap_or_default(),
            destination: place.target.name.clone(),
        };
        let (before, tried) = (row.fact.level, row.fact.attempts);
        let (mut row, _, mut alert) = self.look(place, row, &delivery, &rotation.name, None).await?;
        // It holds the key, and an older deployment was put back: another write would change nothing there, because a
        // vendor holds later deployments back until a person promotes one.
        let rolled_back = before == Level::Effective && row.fact.level == Level::Confirmed;
        if rolled_back {
            let how = "production no longer runs with the key: an older deployment serves it, until somebody promotes a \
                       newer one";
            (row.fact.level, row.fact.drift) = (before, Some(how.to_owned()));
            alert = Some(self::alert(&rotation.name, place, how));
        }
        self.commit(&looked(&row, place, alert)).await?;
        match (rolled_back, &row.fact.drift) {
            (true, _) => return Ok(Found::Fine),
            (false, Some(_)) => return Ok(Found::Drift),
            (false, None) => {}
        }
        let behind = row.fact.level < place.target.needs && proved_for_rollout(&row, place);
        if behind && may_write {
            self.roll_out(None, place, row, &delivery, tried).await?;
            return Ok(Found::Fine);
        }
        Ok(if row.fact.level == Level::Intended { Found::Unfinished } else { Found::Fine })
    }

    /// Looks whether somebody else changed the destination since our last proved write to it.
    pub(super) async fn drift_before(
        &mut self,
        run: &Run,
        place: &Place,
        key: &KeyRef,
    ) -> Result<Option<String>, EngineError> {
        if run.trigger.is_emergency() || place.target.on_drift == OnDrift::Overwrite {
            return Ok(None);
        }
        let rows = self.engine.parts.store.holdings_at(&place.target.address).await?;
        let last = rows.into_iter().find(|row| row.fact.level > Level::Pending);
        let Some(last) = last else { return Ok(None) };
        if last.fact.level < Level::Confirmed || last.fact.key == key.id {
            return Ok(None);
        }
        let Some(row) = self.engine.parts.store.key(&last.fact.key).await? else { return Ok(None) };
        let Some(secret) = self.engine.open(&row)? else { return Ok(None) };
        let delivery = Delivery {
            secret,
            rotation: run.rotation.clone(),
            generation: row.generation.unwrap_or_default(),
            destination: place.target.name.clone(),
        };
        let deadline = self.deadline().await?;
        let look = place.adapter.look(&delivery, &last.evidence, deadline).await;
        Ok(match look {
            Ok(Look { standing: Standing::Drift(how), .. }) => Some(how),
            _ => None,
        })
    }
}

/// Drift that was seen before a write: the row and the alert.
pub(super) fn noted(mut row: HoldingRow, how: &str, rotation: &str, place: &Place) -> Vec<Change> {
    row.fact.drift = Some(how.to_owned());
    vec![
        Change::Holding { row: Box::new(row), fresh_write: true },
        Change::Alert(alert(rotation, place, how)),
    ]
}

/// What people are told, and what becomes of it.
pub(super) fn alert(rotation: &str, place: &Place, how: &str) -> NewAlert {
    let name = &place.target.name;
    let next = match place.target.on_drift {
        OnDrift::Hold => format!(
            "rekeyd does not write over it (on_drift = \"hold\"); no key is retired meanwhile. Find out who did it, then \
             `rekeyd destinations publish {name}`."
        ),
        OnDrift::Overwrite => {
            "The current key is written again (on_drift = \"overwrite\"). Find out who did it: \
                               somebody else may count on what was there."
                .to_owned()
        }
    };
    let detail = format!("Destination {name} does not show what rekeyd wrote there last: {how}. {next}");
    NewAlert::new(Kind::DestinationDrift, format!("destination {name}"), detail).rotation(rotation)
}
