//! Each directive: one look or one call, and the event that it comes to.

use crate::domain::guard::Kill;
use crate::domain::rotation::{Directive, Event, KeyRef, Run, Trigger};
use crate::engine::EngineError;
use crate::engine::publish::{deliver, inherit};
use crate::engine::retire::kill;
use crate::engine::run::{issue, start, verify};
use crate::engine::session::commit::Performed;
use crate::engine::session::{Session, commit, keys, listing};

/// Performs one directive that is neither a wait nor the end.
pub(crate) async fn perform(
    session: &mut Session<'_>,
    before: &Run,
    directive: Directive,
) -> Result<Performed, EngineError> {
    let call = directive.call();
    let done = act(session, before, directive).await?;
    // What did not work this time waits longer than before.
    if done.run.attempts(&call) > before.attempts(&call) {
        return Ok(done);
    }
    let run = commit::forget_wait(session, &done.run, &call).await?;
    if died(before, &run) {
        look_after_delete(session, &run).await?;
    }
    Ok(Performed { run, ..done })
}

/// A key of the run is gone that was not before.
fn died(before: &Run, after: &Run) -> bool {
    let dead = |run: &Run| run.retirees.iter().filter(|retiree| retiree.is_dead()).count();
    dead(after) > dead(before)
}

/// "After a delete: list again. Zero usable left (someone deleted the other one meanwhile): page the admins at once, issue
/// and publish." The tests would find that out as well, later.
async fn look_after_delete(session: &mut Session<'_>, run: &Run) -> Result<(), EngineError> {
    if listing::list(session).await?.is_err() || listing::count_usable(session).await? > 0 {
        return Ok(());
    }
    let current = keys::current(session.engine, &run.rotation).await?.and_then(|key| key.hash);
    let Some(hash) = current else { return Ok(()) };
    if session.listing.as_ref().is_none_or(|listing| !listing.unsure.is_empty()) {
        // Nobody knows whether it is (R21).
        return Ok(());
    }
    let lives =
        session.listing.as_ref().and_then(|listing| listing.key(&hash)).is_some_and(|key| !key.disabled);
    if lives {
        return Ok(());
    }
    let reason = "no usable key is left on the account after a delete";
    match start::start_emergency(session, Trigger::Heal, &run.rotation, None, reason).await {
        Err(error @ EngineError::Store(_)) => Err(error),
        Err(error) => {
            tracing::warn!(rotation = %run.rotation, %error, "not healed at once");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

async fn act(session: &mut Session<'_>, run: &Run, directive: Directive) -> Result<Performed, EngineError> {
    match directive {
        Directive::Apply(event @ Event::InheritanceWaived { .. }) => {
            inherit::waive(session, run, &event).await
        }
        Directive::Apply(event) => {
            let did = describe(&event);
            Ok(Performed { run: commit::record(session, run, &event, Vec::new()).await?, did })
        }
        Directive::Preflight => issue::preflight(session, run).await,
        Directive::Create => issue::create(session, run).await,
        Directive::Reconcile => issue::look_for_strays(session, run).await,
        Directive::CheckProvisioning => issue::check_provisioning(session, run).await,
        Directive::Test(key) => verify::test(session, run, &key).await,
        Directive::Publish { address, key } => deliver::publish(session, run, &address, &key).await,
        Directive::Check { address, key } => deliver::check(session, run, &address, &key).await,
        Directive::Read(key) => read(session, run, &key).await,
        Directive::Inherit => inherit::inherit(session, run).await,
        Directive::Compare => inherit::compare(session, run).await,
        Directive::Enable(key) => kill::enable(session, run, &key).await,
        Directive::Disable { key, urgent } => kill::kill(session, run, &key, Kill::Disable, urgent).await,
        Directive::Delete { key, urgent } => kill::kill(session, run, &key, Kill::Delete, urgent).await,
        Directive::Supersede { reason } => supersede(session, run, reason).await,
        Directive::Wait { .. } | Directive::Finished => {
            Ok(Performed { run: run.clone(), did: "nothing".to_owned() })
        }
    }
}

async fn read(session: &mut Session<'_>, run: &Run, key: &KeyRef) -> Result<Performed, EngineError> {
    match listing::look_up(session, &key.hash).await? {
        Ok(_) => Ok(Performed { run: run.clone(), did: format!("looked at generation {}", key.generation) }),
        Err(failure) => {
            let reason = format!("generation {} could not be read: {failure}", key.generation);
            let call = Directive::Read(key.clone());
            commit::postpone(session, run, &call, reason, failure.retry_after, Vec::new()).await
        }
    }
}

/// No way on and no way back: a healing run inherits the keys.
async fn supersede(session: &mut Session<'_>, run: &Run, reason: String) -> Result<Performed, EngineError> {
    let successor = start::start_emergency(session, Trigger::Heal, &run.rotation, None, &reason).await;
    match successor {
        Ok(run) => Ok(Performed { run, did: format!("{reason}: a healing run took over") }),
        Err(
            refusal @ (EngineError::Usage { .. }
            | EngineError::NoSuch { .. }
            | EngineError::Refused(_)
            | EngineError::Frozen { .. }),
        ) => {
            let text = refusal.to_string();
            let event = Event::Parked { reason: format!("{reason}; {text}") };
            Ok(Performed { run: commit::record(session, run, &event, Vec::new()).await?, did: text })
        }
        Err(other) => Err(other),
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::CreateUnclear { .. } => "the outcome of a create is unknown: looking for it".to_owned(),
        Event::Verified { .. } => "the new key works and is as it was asked for".to_owned(),
        Event::VerifyFailed { reason } => format!("the new key is not usable: {reason}"),
        Event::PublishedEverywhere { .. } => "every required destination holds the new key".to_owned(),
        Event::FiguresMoved { .. } => "noted the old key's usage".to_owned(),
        Event::FoundGone { .. } => "a key on its way out was deleted by somebody".to_owned(),
        Event::FoundDisabled { .. } => "a key on its way out was disabled by somebody".to_owned(),
        Event::FoundEnabled { .. } => "somebody enabled the old key again".to_owned(),
        Event::OverlapTold => "told the admins that the old key is still used".to_owned(),
        Event::ExposureTold { .. } => "told the admins that a leaked key is still usable".to_owned(),
        Event::GraceOver => "the old key is quiet and nothing holds it".to_owned(),
        Event::CandidateFailed { reason } => format!("{reason}: going back"),
        Event::AbortAsked { .. } => "a person asked to abort".to_owned(),
        Event::AbortReady { .. } | Event::AbortFinished { .. } => "aborted".to_owned(),
        Event::RollbackAsked { .. } => "a person asked to roll back".to_owned(),
        Event::Revived { .. } => "the previous key works".to_owned(),
        Event::ReviveAgain => "the previous key is refused again".to_owned(),
        Event::RepublishedEverywhere { .. } => {
            "every required destination holds the previous key again".to_owned()
        }
        Event::RollbackFinished => "rolled back".to_owned(),
        Event::Resumed { .. } => "a person said: go on".to_owned(),
        Event::Released { destination, .. } => format!("a person released {destination}"),
        Event::RequestRefused { reason, .. } => format!("a request was refused: {reason}"),
        Event::Parked { reason } => format!("parked: {reason}"),
        Event::Finished => "the old key is gone".to_owned(),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
