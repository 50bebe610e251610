//! What names the old key by its hash names the new one, too, before anybody is given it (R23).

use super::agenda::{Agenda, Step};
use super::directive::{Blocker, Cause, Directive};
use super::{CHECK_FRESH, Event, Inheritance, KeyRef, Run};
use crate::domain::inherit::said;
use crate::domain::time::{Span, Stamp};

/// Production does not stand still for longer because of this.
const EMERGENCY_PATIENCE: Span = Span::seconds(60);

/// An ordinary run gives up only after so many tries.
const TRIES: u32 = 2;

/// What differs is looked at again.
const LATER: Span = Span::minutes(5);

/// True when verifying may go on: all is inherited, there is nothing to inherit, or an emergency went on without it.
/// `since`: when the new key was stored. Measured on our own clock alone: an emergency must not wait for the provider's.
pub(super) fn is_settled(agenda: &mut Agenda<'_>, since: Stamp) -> Step<bool> {
    let run = agenda.run;
    if run.inheritance != Inheritance::Open || heirs(run).is_none() {
        return Ok(true);
    }
    let wait = run.waits.get(&Directive::Inherit.call());
    let reason =
        wait.map_or("what names the old key could not be looked at in time", |wait| wait.reason.as_str());
    let left = |patience| left_of(agenda.facts.now, since, patience);
    if run.trigger.is_emergency() {
        let Some(left) = left(EMERGENCY_PATIENCE) else {
            let reason = reason.to_owned();
            return Err(Directive::Apply(Event::InheritanceWaived { reason }));
        };
        if agenda.waits_for(&Directive::Inherit).is_none() {
            return Err(Directive::Inherit);
        }
        let moment = Some(left);
        agenda.note(left, Blocker { left: moment, ..Blocker::cause(Cause::Account, reason) });
        return Ok(false);
    }
    let tried = wait.is_some_and(|wait| wait.attempts >= TRIES);
    if tried && left(run.policy.propagation).is_none() {
        return Err(Directive::Apply(Event::VerifyFailed { reason: reason.to_owned() }));
    }
    agenda.ask(Directive::Inherit)?;
    Ok(false)
}

/// What is left of `patience`; `None` when it is over, or when our clock went back meanwhile.
fn left_of(now: Stamp, since: Stamp, patience: Span) -> Option<Span> {
    let age = now.ours.since(since.ours);
    (age >= Span::ZERO && age < patience).then(|| Span(patience.0 - age.0))
}

/// Before grace ends both keys are compared: what names the old key and not the new one holds the old key.
pub(super) fn compared(agenda: &mut Agenda<'_>) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let Some((old, _)) = heirs(run) else { return Ok(()) };
    let lives = |key: &KeyRef| run.retirees.iter().any(|r| r.key.id == key.id && !r.urgent && r.is_enabled());
    if !lives(old) {
        return Ok(());
    }
    let Some((lacking, _)) = facts.lacking.as_ref().filter(|(_, at)| facts.now.fresh(*at, CHECK_FRESH))
    else {
        return agenda.ask(Directive::Compare);
    };
    if !lacking.is_empty() {
        let text = format!("the new key lacks what names the old one: {}", said(lacking));
        agenda.note(LATER, Blocker::cause(Cause::Person, text));
    }
    Ok(())
}

/// The old key and the new one, where the new one inherits what names keys.
fn heirs(run: &Run) -> Option<(&KeyRef, &KeyRef)> {
    let pair = run.predecessor.as_ref().zip(run.candidate.as_ref());
    pair.filter(|(old, new)| run.policy.inherit.names_keys() && old.id != new.id)
}
