//! Planned and issuing: what must be in order, the create under its unique name, and what became of it.

use serde_json::json;

use crate::crypto::{EncryptionKeyId, Purpose, Use};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::key::{KeyKind, KeySpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::{Directive, Event, Issuing, KeyRef, Run, State};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Until};
use crate::engine::EngineError;
use crate::engine::publish::address;
use crate::engine::retire::sweep;
use crate::engine::session::commit::Performed;
use crate::engine::session::{Session, again, commit, keys};
use crate::provider::IssuedKey;
use crate::store::{Change, EffectKind, EffectStatus, NewEffect, NewKey, Role, new_id};

/// A refused create is tried again this much later at the least.
const AFTER_REFUSAL: Span = Span::seconds(5);

/// Everything that would stop a rotation later, found before the first side effect.
pub(crate) async fn preflight(session: &mut Session<'_>, run: &Run) -> Result<Performed, EngineError> {
    let trouble = trouble_ahead(session, run).await?;
    let (event, did) = match trouble {
        None => (Event::PreflightPassed, "checked account, destinations, store and clocks".to_owned()),
        Some(reason) if run.trigger.is_emergency() => return delayed(session, run, reason).await,
        Some(reason) => {
            let did = format!("preflight failed: {reason}");
            (Event::PreflightFailed { reason }, did)
        }
    };
    Ok(Performed { run: commit::record(session, run, &event, Vec::new()).await?, did })
}

/// An emergency does not give up: a key is leaked or dead, and the keys of a run that it took over are its own now.
async fn delayed(session: &Session<'_>, run: &Run, reason: String) -> Result<Performed, EngineError> {
    let detail = format!(
        "The emergency of rotation {} cannot start yet: {reason}. It is tried again until a person says \
         `rekeyd runs abort {}`.",
        run.rotation, run.id
    );
    let alert = NewAlert::new(Kind::RotationFailed, Subject::Rotation(run.rotation.clone()), detail)
        .rotation(run.rotation.clone());
    commit::postpone(session, run, &Directive::Preflight, reason, None, vec![Change::Alert(alert)]).await
}

async fn trouble_ahead(session: &mut Session<'_>, run: &Run) -> Result<Option<String>, EngineError> {
    if let Err(failure) = sweep::reconcile(session, run.trigger.is_emergency()).await? {
        return Ok(Some(format!("the account could not be listed: {failure}")));
    }
    if let Some(reason) = session.engine.parts.store.freeze_of(&session.identity).await? {
        return Ok(Some(format!("the account is frozen: {reason}")));
    }
    if let Some(trouble) = canary_in_trouble(session).await? {
        return Ok(Some(trouble));
    }
    if let Some(reason) = session.clocks_differ() {
        return Ok(Some(reason.to_owned()));
    }
    if run.trigger.is_emergency() {
        return Ok(None);
    }
    destinations_in_trouble(session, run).await
}

/// A secret must survive encrypt → store → read → decrypt, with the key that seals now.
async fn canary_in_trouble(session: &Session<'_>) -> Result<Option<String>, EngineError> {
    const CANARY: &str = "sealed:preflight";
    let (engine, purpose) = (session.engine, Purpose::of(Use::Fact, CANARY));
    let sealing = match engine.sealing_key().await {
        Err(EngineError::Crypto(stale)) => return Ok(Some(stale.to_string())),
        sealing => sealing?,
    };
    let sealed = engine.seal(&sealing, &purpose, &Secret::new("canary"))?;
    let back = engine.parts.store.canary(CANARY, &sealed).await?;
    let survived = engine.parts.ring.open(&back, &purpose).is_ok_and(|secret| secret.expose() == "canary");
    Ok((!survived).then(|| "a canary secret did not survive the store".to_owned()))
}

async fn destinations_in_trouble(
    session: &mut Session<'_>,
    run: &Run,
) -> Result<Option<String>, EngineError> {
    for target in run.policy.targets.iter().filter(|target| target.required) {
        let deadline = session.deadline().await?;
        let place = session.engine.destination(&target.name)?;
        if let Err(failure) = place.adapter.preflight(deadline).await {
            return Ok(Some(format!("destination {}: {}", target.name, address::with_hint(&failure))));
        }
    }
    Ok(None)
}

/// R1, R6, I4: a unique name is committed alone, then the provider is asked once.
pub(crate) async fn create(session: &mut Session<'_>, run: &Run) -> Result<Performed, EngineError> {
    let sealing = match session.engine.sealing_key().await {
        Err(EngineError::Crypto(stale)) => {
            return commit::postpone(session, run, &Directive::Create, stale.to_string(), None, Vec::new())
                .await;
        }
        sealing => sealing?,
    };
    let spec = run.policy.spec.resolve(inherited(session, run).await?);
    let generation = session.engine.parts.store.take_generation(&session.lease, &run.rotation).await?;
    let nonce = session.engine.clock().nonce();
    let name = session.names().of_generation(&run.rotation, generation, &nonce);
    let effect = NewEffect {
        id: new_id(),
        run: Some(run.id.clone()),
        account: session.identity.clone(),
        kind: EffectKind::Create,
        target: name.clone(),
        address: None,
    };
    let deadline = session.deadline().await?;
    let intent = Event::CreateIntended { name: name.clone(), spec: spec.clone() };
    let before = vec![Change::MaySeal { by: sealing.clone() }, Change::Intend(effect.clone())];
    let run = commit::record(session, run, &intent, before).await?;
    let called = session.account.issuer.create(&name, &spec, deadline).await;
    match session.noting(called) {
        Ok(issued) => store_issued(session, &run, &effect.id, (generation, sealing), &name, issued).await,
        Err(failure) => create_failed(session, &run, &effect.id, failure).await,
    }
}

/// What the predecessor is allowed, as the account shows it now; of one that was deleted, as it last did (R10).
async fn inherited(session: &Session<'_>, run: &Run) -> Result<Option<KeySpec>, EngineError> {
    let Some(predecessor) = run.predecessor.as_ref().filter(|_| run.policy.inherit.limits) else {
        return Ok(None);
    };
    let listed = session.listing.as_ref().and_then(|listing| listing.key(&predecessor.hash));
    if let Some(key) = listed {
        return Ok(Some(key.spec()));
    }
    Ok(session.engine.parts.store.rotation(&run.rotation).await?.and_then(|row| row.spec))
}

/// One commit: ciphertext, hash, fingerprint, generation, effect done.
async fn store_issued(
    session: &mut Session<'_>,
    run: &Run,
    effect: &str,
    (generation, sealing): (i64, EncryptionKeyId),
    name: &str,
    issued: IssuedKey,
) -> Result<Performed, EngineError> {
    let key = KeyRef { id: new_id(), generation, hash: issued.remote.hash.clone(), has_secret: true };
    let row = NewKey {
        id: key.id.clone(),
        name: run.rotation.clone(),
        priority: 100,
        rotation: Some(run.rotation.clone()),
        generation: Some(generation),
        role: Role::Candidate,
        numbered: false,
        ..keys::issued_row(session, name, &issued)
    };
    let mask = row.mask.clone();
    let settled = Change::Settle {
        id: effect.to_owned(),
        status: EffectStatus::Done,
        evidence: json!({ "hash": key.hash, "key": mask }),
    };
    let event = Event::Created { key, at: session.now() };
    let mut sealing = sealing;
    let after = loop {
        let row = session.engine.with_secrets(&sealing, row.clone(), Some(&issued.secret), None)?;
        let new = Change::NewKey { provider: keys::provider_row(session), key: Box::new(row) };
        let stored = commit::record(session, run, &event, vec![new, settled.clone()]).await;
        if !again::is_worth_it(session, &stored, &mut sealing).await {
            break stored?;
        }
    };
    Ok(Performed { run: after, did: format!("issued generation {generation} ({mask})") })
}

async fn create_failed(
    session: &mut Session<'_>,
    run: &Run,
    effect: &str,
    failure: Failure,
) -> Result<Performed, EngineError> {
    let settle = |status| Change::Settle {
        id: effect.to_owned(),
        status,
        evidence: json!({ "status": failure.status, "answer": failure.message }),
    };
    let reason = failure.to_string();
    let wait = failure.retry_after.unwrap_or_else(|| session.engine.backoff(run.creates));
    let until = session.until(wait.clamp(AFTER_REFUSAL, commit::LONGEST_WAIT));
    let (event, status) = match failure.kind {
        FailureKind::Unauthorized | FailureKind::Forbidden => (
            Event::CreateRefused { reason: reason.clone(), doubtful: true, permanent: false, until },
            EffectStatus::Failed,
        ),
        FailureKind::Refused | FailureKind::NotFound => (
            Event::CreateRefused { reason: reason.clone(), doubtful: false, permanent: true, until },
            EffectStatus::Failed,
        ),
        FailureKind::RateLimited | FailureKind::NotSent | FailureKind::OverBudget => (
            Event::CreateRefused { reason: reason.clone(), doubtful: false, permanent: false, until },
            EffectStatus::Failed,
        ),
        FailureKind::Unclear => (Event::CreateUnclear { reason: reason.clone() }, EffectStatus::Unknown),
    };
    let after = commit::record(session, run, &event, vec![settle(status)]).await?;
    Ok(Performed { run: after, did: format!("the provider did not issue a key: {reason}") })
}

/// Lists, removes strays; a create of unknown outcome is settled by the second look.
pub(crate) async fn look_for_strays(session: &mut Session<'_>, run: &Run) -> Result<Performed, EngineError> {
    if let Err(failure) = sweep::reconcile(session, run.trigger.is_emergency()).await? {
        let reason = format!("the account could not be listed: {failure}");
        let call = Directive::Reconcile;
        return commit::postpone(session, run, &call, reason, failure.retry_after, Vec::new()).await;
    }
    let left = session.listing.as_ref().map_or(0, |listing| listing.strays_left);
    if left > 0 {
        let reason = format!("{left} stray key(s) could not be removed yet");
        session.listing = None;
        return commit::postpone(session, run, &Directive::Reconcile, reason, None, Vec::new()).await;
    }
    let (extra, until) = settled_creates(session, run).await?;
    let event = Event::Listed { at: session.now(), until };
    let after = commit::record(session, run, &event, extra).await?;
    Ok(Performed { run: after, did: "listed the account".to_owned() })
}

/// After the second look the create in doubt is settled: found and removed, or not there.
async fn settled_creates(session: &Session<'_>, run: &Run) -> Result<(Vec<Change>, Until), EngineError> {
    let State::Issuing { issuing } = &run.state else { return Ok((Vec::new(), Until::OVER)) };
    match issuing {
        Issuing::Ready { until } => Ok((Vec::new(), *until)),
        Issuing::Recover { looked: Some(_), .. } => {
            let effects = session.engine.parts.store.effects(&run.id).await?;
            let open = effects.into_iter().filter(|effect| {
                effect.kind == EffectKind::Create
                    && matches!(effect.status, EffectStatus::Intended | EffectStatus::Unknown)
            });
            let settle = |effect: crate::store::EffectRow| Change::Settle {
                id: effect.id,
                status: EffectStatus::Failed,
                evidence: json!({ "settled_by": "two listings", "usable": false }),
            };
            let wait = session.engine.backoff(run.creates);
            Ok((open.map(settle).collect(), session.until(wait)))
        }
        _ => Ok((Vec::new(), Until::OVER)),
    }
}

pub(crate) async fn check_provisioning(
    session: &mut Session<'_>,
    run: &Run,
) -> Result<Performed, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami_provisioning(deadline).await;
    let event = match session.noting(called) {
        Ok(key) if key.kind == KeyKind::Provisioning => {
            let wait = session.engine.backoff(run.creates).max(AFTER_REFUSAL);
            Event::ProvisioningWorks { until: session.until(wait) }
        }
        Ok(_) => Event::Parked { reason: "the provisioning key is a regular key now".to_owned() },
        Err(failure) if failure.kind == FailureKind::Unauthorized => {
            let second = matches!(
                &run.state,
                State::Issuing { issuing: Issuing::Doubt { refused_since: Some(_), .. } }
            );
            Event::ProvisioningRefused { at: session.now(), confirmed: second }
        }
        Err(failure) => {
            let reason = format!("the provisioning key could not be checked: {failure}");
            let call = Directive::CheckProvisioning;
            return commit::postpone(session, run, &call, reason, failure.retry_after, Vec::new()).await;
        }
    };
    let after = commit::record(session, run, &event, Vec::new()).await?;
    Ok(Performed { run: after, did: "asked what the provisioning key is".to_owned() })
}
