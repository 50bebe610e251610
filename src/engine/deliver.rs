//! Publishing one key to one destination, and proving it. Intent, call, outcome; never blindly over somebody
//! else's change.

use serde_json::{Value, json};

use super::drift;
use super::session::Session;
use super::step::Performed;
use super::{EngineError, Place};
use crate::destination::{Delivery, Standing};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::Holding;
use crate::domain::rotation::{Event, KeyRef, Level, Run};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::net::Deadline;
use crate::store::{Change, EffectKind, EffectStatus, HoldingRow, KeyRow, NewEffect, new_id};

/// After so many looks without a proof the write is repeated (fault 16: 200, and nothing stored).
const LOOKS_BEFORE_REWRITE: u32 = 2;

impl Session<'_> {
    /// Writes a key to the destination at this address.
    pub(super) async fn publish(
        &mut self,
        run: &Run,
        address: &str,
        key: &KeyRef,
    ) -> Result<Performed, EngineError> {
        let (place, row, secret) = self.delivery_parts(run, address, key).await?;
        let name = place.target.name.clone();
        let known = self.holding(address, key, &name, &run.rotation).await?;
        if let Some(drift) = self.drift_before(run, &place, key).await? {
            let did = format!("{name}: not written, somebody else changed it ({drift})");
            let change = drift::noted(known, &drift, &run.rotation, &place);
            self.commit(&change).await?;
            return Ok(Performed { run: run.clone(), did });
        }
        let effect = self.effect_of(Some(&run.id), EffectKind::Publish, &name, key.generation).await?;
        let mut intended = known.clone();
        // What was proved of an earlier write says nothing about this one, nor about the time after a refusal.
        let before = known.fact.level.min(Level::Intended);
        intended.fact.level = Level::Intended;
        intended.fact.checked = None;
        intended.fact.drift = None;
        intended.released = false;
        let deadline = self.deadline_for(&place).await?;
        let changes = vec![
            Change::Intend(effect.clone()),
            Change::Holding { row: Box::new(intended.clone()), fresh_write: true },
        ];
        let run = self.record(run, &Event::PublishIntended, changes).await?;
        let delivery = Delivery {
            secret,
            rotation: run.rotation.clone(),
            generation: key.generation,
            destination: name.clone(),
        };
        let outcome = place.adapter.publish(&delivery, deadline).await;
        let did = match &outcome {
            Ok(_) => format!("wrote generation {} to {name}", key.generation),
            Err(failure) => {
                format!("{name} did not take generation {}: {}", key.generation, with_hint(failure))
            }
        };
        let changes = match outcome {
            Ok(evidence) => self.accepted(&effect.id, intended, &row, evidence),
            Err(failure) => self.not_taken(Some(&run.id), &effect.id, before, intended, &failure),
        };
        self.commit(&changes).await?;
        Ok(Performed { run, did })
    }

    /// Adapter, key row and secret for a delivery of this run.
    async fn delivery_parts(
        &self,
        run: &Run,
        address: &str,
        key: &KeyRef,
    ) -> Result<(Place, KeyRow, Secret), EngineError> {
        let target = run.policy.targets.iter().find(|target| target.address == address);
        let name = target.map(|target| target.name.clone()).unwrap_or_default();
        let place = self.engine.place(&name)?.clone();
        let row = self.engine.parts.store.key(&key.id).await?;
        let row = row.ok_or_else(|| {
            EngineError::Refused(format!("generation {} is not in the store", key.generation))
        })?;
        let secret = self.engine.open(&row)?.ok_or_else(|| {
            EngineError::Refused(format!("refused: nobody has the secret of generation {}", key.generation))
        })?;
        Ok((place, row, secret))
    }

    /// The row of this key at this address, or a blank one.
    pub(super) async fn holding(
        &self,
        address: &str,
        key: &KeyRef,
        name: &str,
        rotation: &str,
    ) -> Result<HoldingRow, EngineError> {
        let rows = self.engine.parts.store.holdings_at(address).await?;
        let found = rows.into_iter().find(|row| row.fact.key == key.id);
        Ok(found.unwrap_or_else(|| blank(address, &key.id, name, rotation)))
    }

    /// The same effect again is another attempt; a first one is new.
    pub(super) async fn effect_of(
        &self,
        run: Option<&str>,
        kind: EffectKind,
        name: &str,
        generation: i64,
    ) -> Result<NewEffect, EngineError> {
        let target = format!("{name} generation {generation}");
        let effects = match run {
            Some(run) => self.engine.parts.store.effects(run).await?,
            None => Vec::new(),
        };
        let known = effects.into_iter().find(|e| e.kind == kind && e.target == target);
        Ok(NewEffect {
            id: known.map_or_else(new_id, |effect| effect.id),
            run: run.map(str::to_owned),
            account: self.identity.clone(),
            kind,
            target,
        })
    }

    pub(super) fn accepted(
        &self,
        effect: &str,
        mut row: HoldingRow,
        key: &KeyRow,
        evidence: Value,
    ) -> Vec<Change> {
        row.fact.level = Level::Accepted;
        row.fact.error = None;
        row.fact.permanent = false;
        // Attempts go on counting until it is proved: what says yes and stores nothing is written ever more rarely.
        row.fact.not_before = Timestamp(0);
        row.evidence = evidence.clone();
        let detail = format!("generation {} ({})", key.generation.unwrap_or_default(), key.mask);
        let subject = format!("destination {}", row.destination);
        vec![
            Change::Settle { id: effect.to_owned(), status: EffectStatus::Done, evidence },
            Change::Audit(self.engine.entry("destination.written", subject, detail)),
            Change::Holding { row: Box::new(row), fresh_write: true },
        ]
    }

    /// A refusal proves that nothing was written; anything else may have been.
    pub(super) fn not_taken(
        &self,
        run: Option<&str>,
        effect: &str,
        before: Level,
        mut row: HoldingRow,
        failure: &Failure,
    ) -> Vec<Change> {
        let unclear = failure.kind == FailureKind::Unclear;
        if !unclear {
            row.fact.level = before;
        }
        let tried = row.fact.attempts;
        self.not_done(&mut row, failure, tried);
        let status = if unclear { EffectStatus::Unknown } else { EffectStatus::Failed };
        let evidence = json!({ "status": failure.status, "answer": failure.message, "hint": failure.hint });
        let mut changes = vec![Change::Settle { id: effect.to_owned(), status, evidence }];
        if failure.is_permanent() || row.fact.attempts >= 3 {
            changes.push(Change::Alert(destination_failed(&row.rotation, run, &row.destination, failure)));
        }
        changes.push(Change::Holding { row: Box::new(row), fresh_write: false });
        changes
    }

    /// Looks whether the destination holds the key, and notes what it proved.
    pub(super) async fn check(
        &mut self,
        run: &Run,
        address: &str,
        key: &KeyRef,
    ) -> Result<Performed, EngineError> {
        let (place, _, secret) = self.delivery_parts(run, address, key).await?;
        let name = place.target.name.clone();
        let row = self.holding(address, key, &name, &run.rotation).await?;
        let delivery = Delivery {
            secret,
            rotation: run.rotation.clone(),
            generation: key.generation,
            destination: name.clone(),
        };
        let (_, did) = self.look_and_go_on(&place, row, &delivery, Some(&run.id)).await?;
        Ok(Performed { run: run.clone(), did })
    }

    /// One look with its consequences, and the step after a proved write when it is due.
    pub(super) async fn look_and_go_on(
        &mut self,
        place: &Place,
        row: HoldingRow,
        delivery: &Delivery,
        run: Option<&str>,
    ) -> Result<(HoldingRow, String), EngineError> {
        let tried = row.fact.attempts;
        let (row, did, alert) = self.look(place, row, delivery, &delivery.rotation, run).await?;
        self.commit(&looked(&row, place, alert)).await?;
        if !proved_for_rollout(&row, place) {
            return Ok((row, did));
        }
        let did = self.roll_out(run, place, row.clone(), delivery, tried).await?;
        Ok((row, did))
    }

    /// The step after a proved write (a redeploy, a dispatch): an effect of its own, sent once. `tried`: attempts
    /// before the look that proved the write.
    pub(super) async fn roll_out(
        &mut self,
        run: Option<&str>,
        place: &Place,
        mut row: HoldingRow,
        delivery: &Delivery,
        tried: u32,
    ) -> Result<String, EngineError> {
        let Some(rollout) = place.adapter.rollout() else { return Ok(String::new()) };
        let name = &place.target.name;
        let effect = self.effect_of(run, EffectKind::Deploy, name, delivery.generation).await?;
        let deadline = self.deadline_for(place).await?;
        self.commit(&[Change::Intend(effect.clone())]).await?;
        let (status, evidence, did) = match rollout.start(delivery, &row.evidence, deadline).await {
            Ok(evidence) => {
                row.evidence = evidence.clone();
                (EffectStatus::Done, evidence, format!("{name} holds the key and was asked to deploy it"))
            }
            Err(failure) => {
                self.not_done(&mut row, &failure, tried);
                if failure.is_permanent() {
                    row.evidence = rollout.given_up(row.evidence);
                }
                let did = format!("{name} holds the key, but could not be told: {failure}");
                let loud = rollout.required() && (failure.is_permanent() || row.fact.attempts >= 3);
                if !rollout.required() {
                    (row.fact.error, row.fact.permanent) = (None, false);
                }
                let evidence =
                    json!({ "status": failure.status, "answer": failure.message, "hint": failure.hint });
                if loud {
                    let alert = destination_failed(&row.rotation, run, name, &failure);
                    self.commit(&[Change::Alert(alert)]).await?;
                }
                (EffectStatus::Failed, evidence, did)
            }
        };
        self.commit(&[
            Change::Settle { id: effect.id, status, evidence },
            Change::Holding { row: Box::new(row), fresh_write: false },
        ])
        .await?;
        Ok(did)
    }

    /// Another failed attempt: what it says, and when the next one may be.
    fn not_done(&self, row: &mut HoldingRow, failure: &Failure, tried: u32) {
        row.fact.attempts = tried + 1;
        row.fact.error = Some(with_hint(failure));
        row.fact.permanent = failure.is_permanent();
        let wait = failure.retry_after.unwrap_or_else(|| self.engine.backoff(row.fact.attempts));
        row.fact.not_before = self.engine.clock().now().plus(wait);
    }

    /// The deadline of one publish: a destination may need longer than an ordinary call.
    pub(super) async fn deadline_for(&mut self, place: &Place) -> Result<Deadline, EngineError> {
        match place.adapter.patience() {
            None => self.deadline().await,
            Some(patience) => self.long_deadline(patience).await,
        }
    }

    /// One look at a destination and what it makes of the row.
    pub(super) async fn look(
        &mut self,
        place: &Place,
        mut row: HoldingRow,
        delivery: &Delivery,
        rotation: &str,
        run: Option<&str>,
    ) -> Result<(HoldingRow, String, Option<NewAlert>), EngineError> {
        let deadline = self.deadline().await?;
        let name = &place.target.name;
        let look = match place.adapter.look(delivery, &row.evidence, deadline).await {
            Ok(look) => look,
            Err(failure) => {
                let tried = row.fact.attempts;
                self.not_done(&mut row, &failure, tried);
                let loud = failure.is_permanent() || row.fact.attempts >= 3;
                let alert = loud.then(|| destination_failed(rotation, run, name, &failure));
                return Ok((row, format!("{name} could not be looked at: {failure}"), alert));
            }
        };
        row.evidence = look.evidence;
        let (did, alert) = self.stand(&mut row.fact, look.standing, place, rotation);
        Ok((row, did, alert))
    }

    /// What a standing means for the level.
    fn stand(
        &self,
        fact: &mut Holding,
        standing: Standing,
        place: &Place,
        rotation: &str,
    ) -> (String, Option<NewAlert>) {
        let name = &place.target.name;
        let proved = match &standing {
            Standing::Confirmed => Some(Level::Confirmed),
            Standing::Effective => Some(Level::Effective),
            _ => None,
        };
        if let Some(level) = proved {
            // A redeploy that is still building: confirmed now, effective later.
            let waiting = level < Level::Effective && fact.level == Level::Confirmed;
            let wait = if waiting { Span::seconds(2) } else { Span::ZERO };
            *fact = Holding {
                level,
                checked: Some(self.now()),
                drift: None,
                error: None,
                permanent: false,
                attempts: 0,
                not_before: self.engine.clock().now().plus(wait),
                ..fact.clone()
            };
            return (format!("{name} proved that it holds the key ({})", level.word()), None);
        }
        match standing {
            Standing::Drift(how) => {
                fact.drift = Some(how.clone());
                (
                    format!("{name} was changed by somebody else: {how}"),
                    Some(drift::alert(rotation, place, &how)),
                )
            }
            Standing::Missing => {
                let how = "there is nothing at this address any more".to_owned();
                fact.drift = Some(how.clone());
                (format!("{name}: {how}"), Some(drift::alert(rotation, place, &how)))
            }
            Standing::Accepted(why) => self.not_proved(fact, name, rotation, why),
            _ => self.not_proved(fact, name, rotation, "it cannot be told what it holds".to_owned()),
        }
    }

    /// People are told when a second write was in vain: a destination that says yes and stores nothing (rotation.md,
    /// fault 16) would hold up the run in silence.
    fn not_proved(
        &self,
        fact: &mut Holding,
        name: &str,
        rotation: &str,
        why: String,
    ) -> (String, Option<NewAlert>) {
        fact.attempts += 1;
        // A second is what vendors' times are made of; then twice as long each time, up to a minute.
        let wait = Span::seconds(1 << (fact.attempts - 1).min(6)).min(Span::minutes(1));
        fact.not_before = self.engine.clock().now().plus(wait);
        if fact.attempts.is_multiple_of(LOOKS_BEFORE_REWRITE) {
            fact.level = Level::Intended;
        }
        let did = format!("{name} does not prove it yet: {why}");
        let failure = Failure::new(FailureKind::Unclear, why.clone());
        let in_vain = fact.attempts >= 2 * LOOKS_BEFORE_REWRITE;
        let alert = in_vain.then(|| destination_failed(rotation, None, name, &failure));
        fact.error = Some(why);
        (did, alert)
    }
}

/// The failure and how to mend it, in one sentence.
pub(super) fn with_hint(failure: &Failure) -> String {
    failure.hint.as_ref().map_or_else(|| failure.to_string(), |hint| format!("{failure} ({hint})"))
}

/// True when the write is proved and running consumers have not been told yet.
pub(super) fn proved_for_rollout(row: &HoldingRow, place: &Place) -> bool {
    let proved = row.fact.level >= Level::Confirmed && row.fact.drift.is_none() && row.fact.error.is_none();
    proved && place.adapter.rollout().is_some_and(|rollout| rollout.due(&row.evidence))
}

/// What a look changes: the row, an alert, or the end of one when everything that the destination needs is proved.
pub(super) fn looked(row: &HoldingRow, place: &Place, alert: Option<NewAlert>) -> Vec<Change> {
    let mut changes = vec![Change::Holding { row: Box::new(row.clone()), fresh_write: false }];
    changes.extend(alert.map(Change::Alert));
    let clean = row.fact.drift.is_none() && row.fact.error.is_none();
    if clean && row.fact.level >= place.target.needs {
        let subject = format!("destination {}", place.target.name);
        let over = [Kind::DestinationFailed, Kind::DestinationDrift];
        changes.extend(over.map(|kind| Change::Resolve { kind, subject: subject.clone() }));
    }
    changes
}

/// A row for a key that this address has not seen.
pub(super) fn blank(address: &str, key: &str, name: &str, rotation: &str) -> HoldingRow {
    HoldingRow {
        fact: Holding {
            address: address.to_owned(),
            key: key.to_owned(),
            level: Level::Pending,
            checked: None,
            drift: None,
            error: None,
            permanent: false,
            attempts: 0,
            not_before: Timestamp(0),
        },
        destination: name.to_owned(),
        rotation: rotation.to_owned(),
        seq: 0,
        evidence: Value::Null,
        released: false,
    }
}

fn destination_failed(rotation: &str, run: Option<&str>, name: &str, failure: &Failure) -> NewAlert {
    let hint = failure.hint.as_ref().map(|hint| format!(" {hint}.")).unwrap_or_default();
    let next = run.map(|id| format!(" When it is mended: `rekeyd runs resume {id}`.")).unwrap_or_default();
    let detail = format!(
        "Destination {name} does not take or prove the key of rotation {rotation}: {failure}.{hint} The old key stays \
         alive until it does.{next}",
    );
    NewAlert::new(Kind::DestinationFailed, format!("destination {name}"), detail).rotation(rotation)
}
