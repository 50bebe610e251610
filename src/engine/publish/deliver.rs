//! Publishing one key to one destination, and proving it. Intent, call, outcome; never blindly over somebody
//! else's change.

use serde_json::{Value, json};

use crate::destination::{Delivery, Standing};
use crate::domain::alert::NewAlert;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::Holding;
use crate::domain::rotation::{Event, KeyRef, Level, Run, Target};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Stamp, Until, backoff};
use crate::engine::publish::{address, drift};
use crate::engine::session::commit::{LONGEST_WAIT, Performed};
use crate::engine::session::{Session, commit, in_doubt};
use crate::engine::{ConfiguredDestination, EngineError};
use crate::store::{Change, EffectKind, EffectStatus, HoldingRow, KeyRow, NewEffect, new_id};

/// The drift of an address at which nothing stands any more.
pub(crate) const NOTHING_THERE: &str = "there is nothing at this address any more";

/// After so many looks without a proof the write is repeated (fault 16: 200, and nothing stored).
const LOOKS_BEFORE_REWRITE: u32 = 2;

/// Writes a key to the destination at this address.
pub(crate) async fn publish(
    session: &mut Session<'_>,
    run: &Run,
    address: &str,
    key: &KeyRef,
) -> Result<Performed, EngineError> {
    let (place, row, secret) = delivery_parts(session, run, address, key).await?;
    let name = place.target.name.clone();
    let known = holding(session, address, key, &name, &run.rotation).await?;
    if let Some(reason) = address::claimed(session, run, &place.target).await? {
        let parked = commit::record(session, run, &Event::Parked { reason: reason.clone() }, vec![]).await?;
        return Ok(Performed { run: parked, did: format!("{name}: not written, {reason}") });
    }
    if let Some(drift) = drift::drift_before(session, run, &place, key).await? {
        let did = format!("{name}: not written, somebody else changed it ({drift})");
        let change = address::noted(known, &drift, &run.rotation, &place);
        session.commit(&change).await?;
        return Ok(Performed { run: run.clone(), did });
    }
    let delivery = Delivery {
        secret,
        rotation: run.rotation.clone(),
        generation: key.generation,
        destination: name.clone(),
    };
    let what = format!("generation {} ({})", key.generation, row.mask);
    let (after, taken) = write(session, Some(run), &place, known, &delivery, &what).await?;
    let did = match taken {
        Ok(()) => format!("wrote generation {} to {name}", key.generation),
        Err(failure) => {
            format!("{name} did not take generation {}: {}", key.generation, address::with_hint(&failure))
        }
    };
    Ok(Performed { run: after.unwrap_or_else(|| run.clone()), did })
}

/// The one way in which a key gets to an address: intent, call, outcome. A run's event is committed with the intent;
/// without one it is a person's word, or a repair between runs. `what` it is, for the audit. Answers the run after it, and whether it was taken.
pub(crate) async fn write(
    session: &mut Session<'_>,
    run: Option<&Run>,
    place: &ConfiguredDestination,
    known: HoldingRow,
    delivery: &Delivery,
    what: &str,
) -> Result<(Option<Run>, Result<(), Failure>), EngineError> {
    let id = run.map(|run| run.id.as_str());
    let effect = effect_of(session, id, EffectKind::Publish, &place.target, delivery.generation).await?;
    // What was proved of an earlier write says nothing about this one, nor about the time after a refusal.
    let before = known.fact.level.min(Level::Intended);
    let earlier = known.fact.landing;
    let mut intended = HoldingRow { released: false, ..known };
    (intended.fact.level, intended.fact.checked, intended.fact.drift) = (Level::Intended, None, None);
    intended.fact.landing = session.until(session.engine.may_land(place));
    let deadline = if run.is_some_and(hurries) && !place.target.required {
        session.deadline().await?
    } else {
        session.deadline_for(place).await?
    };
    let changes = vec![
        Change::Intend(effect.clone()),
        Change::Holding { row: Box::new(intended.clone()), fresh_write: true },
    ];
    let after = match run {
        Some(run) => Some(commit::record(session, run, &Event::PublishIntended, changes).await?),
        None => session.commit(&changes).await.map(|()| None)?,
    };
    let outcome = session.holding(place, place.adapter.publish(delivery, deadline)).await?;
    if !outcome.as_ref().is_err_and(|failure| failure.kind == FailureKind::Unclear) {
        intended.fact.landing = earlier;
    }
    let (changes, taken) = match outcome {
        Ok(evidence) => (accepted(session, &effect.id, intended, what.to_owned(), evidence), Ok(())),
        Err(failure) => (not_taken(session, id, &effect.id, before, intended, &failure), Err(failure)),
    };
    session.commit(&changes).await?;
    Ok((after, taken))
}

/// A leaked key waits for nobody that need not have the new one: so long a call must not last meanwhile.
fn hurries(run: &Run) -> bool {
    run.retirees.iter().any(|retiree| retiree.leaked.is_some() && retiree.is_enabled())
}

/// Adapter, key row and secret for a delivery of this run.
async fn delivery_parts(
    session: &Session<'_>,
    run: &Run,
    address: &str,
    key: &KeyRef,
) -> Result<(ConfiguredDestination, KeyRow, Secret), EngineError> {
    let target = run.policy.targets.iter().find(|target| target.address == address);
    let name = target.map(|target| target.name.clone()).unwrap_or_default();
    let place = session.engine.destination(&name)?.clone();
    let row = session.engine.parts.store.key(&key.id).await?;
    let row = row
        .ok_or_else(|| EngineError::Refused(format!("generation {} is not in the store", key.generation)))?;
    let secret = session.engine.open(&row)?.ok_or_else(|| {
        EngineError::Refused(format!("refused: nobody has the secret of generation {}", key.generation))
    })?;
    Ok((place, row, secret))
}

/// The row of this key at this address, or a blank one.
async fn holding(
    session: &Session<'_>,
    address: &str,
    key: &KeyRef,
    name: &str,
    rotation: &str,
) -> Result<HoldingRow, EngineError> {
    let rows = session.engine.parts.store.holdings_at(address).await?;
    let found = rows.into_iter().find(|row| row.fact.key == key.id);
    Ok(found.unwrap_or_else(|| address::blank(address, &key.id, name, rotation)))
}

/// The same effect again is another attempt; a first one is new, and outside of runs one after a proved one.
pub(crate) async fn effect_of(
    session: &Session<'_>,
    run: Option<&str>,
    kind: EffectKind,
    place: &Target,
    generation: i64,
) -> Result<NewEffect, EngineError> {
    let target = in_doubt::target(&place.name, generation);
    let known = match run {
        Some(run) => {
            let effects = session.engine.parts.store.effects(run).await?;
            effects.into_iter().find(|e| e.kind == kind && e.target == target)
        }
        None => in_doubt::unproved(session, kind, &place.address, &target).await?,
    };
    Ok(NewEffect {
        id: known.map_or_else(new_id, |effect| effect.id),
        run: run.map(str::to_owned),
        account: session.identity.clone(),
        kind,
        target,
        address: Some(place.address.clone()),
    })
}

fn accepted(
    session: &Session<'_>,
    effect: &str,
    mut row: HoldingRow,
    detail: String,
    evidence: Value,
) -> Vec<Change> {
    row.fact.level = Level::Accepted;
    row.fact.error = None;
    row.fact.permanent = false;
    // Attempts go on counting until it is proved: what says yes and stores nothing is written ever more rarely.
    row.fact.until = Until::OVER;
    row.evidence = evidence.clone();
    let subject = format!("destination {}", row.fact.destination);
    vec![
        Change::Settle { id: effect.to_owned(), status: EffectStatus::Done, evidence },
        Change::Audit(session.engine.entry("destination.written", subject, detail)),
        Change::Holding { row: Box::new(row), fresh_write: true },
    ]
}

/// A refusal proves that nothing was written; anything else may have been.
fn not_taken(
    session: &Session<'_>,
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
    not_done(session, &mut row, failure, tried);
    let status = if unclear { EffectStatus::Unknown } else { EffectStatus::Failed };
    let evidence = unsuccessful(&row.fact.address, failure);
    let mut changes = vec![Change::Settle { id: effect.to_owned(), status, evidence }];
    if address::is_told(failure, row.fact.attempts) {
        changes.push(Change::Alert(address::destination_failed(
            &row.writer,
            run,
            &row.fact.destination,
            failure,
        )));
    }
    changes.push(Change::Holding { row: Box::new(row), fresh_write: false });
    changes
}

fn unsuccessful(address: &str, failure: &Failure) -> Value {
    json!({ "status": failure.status, "answer": failure.message, "hint": failure.hint, "address": address })
}

/// Looks whether the destination holds the key, and notes what it proved.
pub(crate) async fn check(
    session: &mut Session<'_>,
    run: &Run,
    address: &str,
    key: &KeyRef,
) -> Result<Performed, EngineError> {
    let (place, _, secret) = delivery_parts(session, run, address, key).await?;
    let name = place.target.name.clone();
    let row = holding(session, address, key, &name, &run.rotation).await?;
    let delivery = Delivery {
        secret,
        rotation: run.rotation.clone(),
        generation: key.generation,
        destination: name.clone(),
    };
    let (_, did) = look_and_go_on(session, &place, row, &delivery, Some(&run.id)).await?;
    Ok(Performed { run: run.clone(), did })
}

/// One look with its consequences, and the step after a proved write when it is due.
pub(crate) async fn look_and_go_on(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: HoldingRow,
    delivery: &Delivery,
    run: Option<&str>,
) -> Result<(HoldingRow, String), EngineError> {
    let tried = row.fact.attempts;
    let (row, did, alert) = look(session, place, row, delivery, &delivery.rotation, run).await?;
    let mut changes = address::looked(&row, place, alert);
    changes.extend(in_doubt::proved(session, &row, delivery.generation).await?);
    session.commit(&changes).await?;
    if !address::proved_for_rollout(&row, place) {
        return Ok((row, did));
    }
    let did = roll_out(session, run, place, row.clone(), delivery, tried).await?;
    Ok((row, did))
}

/// The step after a proved write (a redeploy, a dispatch): an effect of its own, sent once. `tried`: attempts
/// before the look that proved the write.
pub(crate) async fn roll_out(
    session: &mut Session<'_>,
    run: Option<&str>,
    place: &ConfiguredDestination,
    mut row: HoldingRow,
    delivery: &Delivery,
    tried: u32,
) -> Result<String, EngineError> {
    let Some(rollout) = place.adapter.rollout() else { return Ok(String::new()) };
    let name = &place.target.name;
    let effect = effect_of(session, run, EffectKind::Deploy, &place.target, delivery.generation).await?;
    let deadline = session.deadline_for(place).await?;
    session.commit(&[Change::Intend(effect.clone())]).await?;
    let started = session.holding(place, rollout.start(delivery, &row.evidence, deadline)).await?;
    let (status, evidence, did) = match started {
        Ok(evidence) => {
            row.evidence = evidence.clone();
            (EffectStatus::Done, evidence, format!("{name} holds the key and was asked to deploy it"))
        }
        Err(failure) => {
            not_done(session, &mut row, &failure, tried);
            if failure.is_permanent() {
                row.evidence = rollout.given_up(row.evidence);
            }
            let did = format!("{name} holds the key, but could not be told: {failure}");
            let loud = rollout.required() && address::is_told(&failure, row.fact.attempts);
            if !rollout.required() {
                (row.fact.error, row.fact.permanent) = (None, false);
            }
            let evidence = unsuccessful(&row.fact.address, &failure);
            if loud {
                let alert = address::destination_failed(&row.writer, run, name, &failure);
                session.commit(&[Change::Alert(alert)]).await?;
            }
            // What nobody saw the end of may be under way: a look settles it, or finds what it made.
            let unclear = failure.kind == FailureKind::Unclear;
            (if unclear { EffectStatus::Unknown } else { EffectStatus::Failed }, evidence, did)
        }
    };
    session
        .commit(&[
            Change::Settle { id: effect.id, status, evidence },
            Change::Holding { row: Box::new(row), fresh_write: false },
        ])
        .await?;
    Ok(did)
}

/// Another failed attempt: what it says, and when the next one may be.
fn not_done(session: &Session<'_>, row: &mut HoldingRow, failure: &Failure, tried: u32) {
    row.fact.attempts = tried + 1;
    row.fact.error = Some(address::with_hint(failure));
    row.fact.permanent = failure.is_permanent();
    let wait = failure.retry_after.unwrap_or_else(|| session.engine.backoff(row.fact.attempts));
    row.fact.until = session.until(wait.min(LONGEST_WAIT));
}

/// One look at a destination and what it makes of the row.
pub(crate) async fn look(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    mut row: HoldingRow,
    delivery: &Delivery,
    rotation: &str,
    run: Option<&str>,
) -> Result<(HoldingRow, String, Option<NewAlert>), EngineError> {
    let deadline = session.deadline().await?;
    let asked = session.now();
    let name = &place.target.name;
    let look = match place.adapter.look(delivery, &row.evidence, deadline).await {
        Ok(look) => look,
        Err(failure) => {
            let tried = row.fact.attempts;
            not_done(session, &mut row, &failure, tried);
            let loud = address::is_told(&failure, row.fact.attempts);
            let alert = loud.then(|| address::destination_failed(rotation, run, name, &failure));
            return Ok((row, format!("{name} could not be looked at: {failure}"), alert));
        }
    };
    // What gets on is looked at soon again; the wait after a failure says nothing of a build.
    if row.evidence != look.evidence || row.fact.error.is_some() {
        row.fact.until = Until::OVER;
    }
    row.evidence = look.evidence;
    let (did, alert) = stand(session, &mut row.fact, look.standing, place, rotation, asked);
    Ok((row, did, alert))
}

/// What a standing means for the level. A proof is as old as its question (R19).
fn stand(
    session: &Session<'_>,
    fact: &mut Holding,
    standing: Standing,
    place: &ConfiguredDestination,
    rotation: &str,
    asked: Stamp,
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
        let wait = if waiting { twice(fact.until) } else { Span::ZERO };
        *fact = Holding {
            level,
            checked: Some(asked),
            drift: None,
            error: None,
            permanent: false,
            attempts: 0,
            until: session.until(wait),
            ..fact.clone()
        };
        return (format!("{name} proved that it holds the key ({})", level.word()), None);
    }
    match standing {
        Standing::Drift(how) => {
            drifted(session, fact, &how);
            (format!("{name} was changed by somebody else: {how}"), Some(drift::alert(rotation, place, &how)))
        }
        Standing::Missing => {
            drifted(session, fact, NOTHING_THERE);
            (format!("{name}: {NOTHING_THERE}"), Some(drift::alert(rotation, place, NOTHING_THERE)))
        }
        Standing::Held(why) => held(session, fact, place, rotation, &why),
        Standing::Accepted(why) => not_proved(session, fact, name, rotation, why),
        _ => not_proved(session, fact, name, rotation, "it cannot be told what it holds".to_owned()),
    }
}

/// A build that does not get on is looked at again after twice the wait before (R16), from 2 s to 2 min.
fn twice(before: Until) -> Span {
    Span(before.at.since(before.set_at).0.saturating_mul(2)).clamp(Span::seconds(2), Span::minutes(2))
}

/// It holds the key, and somebody else must let its consumers run with it: people are told, and it is looked at again.
fn held(
    session: &Session<'_>,
    fact: &mut Holding,
    place: &ConfiguredDestination,
    rotation: &str,
    why: &str,
) -> (String, Option<NewAlert>) {
    let name = &place.target.name;
    let attempts = fact.attempts.saturating_add(1);
    let wait = backoff(Span::seconds(1), Span::minutes(2), attempts - 1);
    *fact = Holding {
        level: Level::Confirmed,
        drift: None,
        error: Some(why.to_owned()),
        permanent: false,
        attempts,
        until: session.until(wait),
        ..fact.clone()
    };
    (format!("{name} holds the key, but: {why}"), Some(address::held_up(rotation, name, why)))
}

/// What does not stay as it was written is written ever more rarely (R16): somebody else, or the destination
/// itself, changes it each time.
fn drifted(session: &Session<'_>, fact: &mut Holding, how: &str) {
    let again = fact.attempts;
    fact.attempts = again.saturating_add(1);
    let wait = if again == 0 { Span::ZERO } else { backoff(Span::seconds(1), Span::minutes(15), again - 1) };
    (fact.drift, fact.until) = (Some(how.to_owned()), session.until(wait));
}

/// People are told when a second write was in vain: a destination that says yes and stores nothing (rotation.md,
/// fault 16) would hold up the run in silence.
fn not_proved(
    session: &Session<'_>,
    fact: &mut Holding,
    name: &str,
    rotation: &str,
    why: String,
) -> (String, Option<NewAlert>) {
    fact.attempts += 1;
    // A second is what vendors' times are made of; then twice as long each time, up to a minute.
    let wait = backoff(Span::seconds(1), Span::minutes(1), fact.attempts - 1);
    fact.until = session.until(wait);
    if fact.attempts.is_multiple_of(LOOKS_BEFORE_REWRITE) {
        fact.level = Level::Intended;
    }
    let did = format!("{name} does not prove it yet: {why}");
    let failure = Failure::new(FailureKind::Unclear, why.clone());
    let in_vain = fact.attempts >= 2 * LOOKS_BEFORE_REWRITE;
    let alert = in_vain.then(|| address::destination_failed(rotation, None, name, &failure));
    fact.error = Some(why);
    (did, alert)
}
