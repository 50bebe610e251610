//! One key to every destination: what is the next write or look, and what is in the way.
//!
//! Destinations are retried alone: a failing one never blocks another, but a failing *required* one blocks
//! what comes after publishing (rotation.md, "publishing").

use super::agenda::{Agenda, Step};
use super::directive::{Blocker, Cause, Directive};
use super::facts::{Facts, Holding, KeyFacts};
use super::{KeyRef, Level, OnDrift, Target};
use crate::domain::time::Span;

/// A destination that waits for somebody is looked at again after so long.
const LATER: Span = Span::minutes(5);

/// How far the delivery of one key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// Every destination is at its level.
    Everywhere,
    /// Every required one is.
    Required,
    /// A required one is not.
    Behind,
}

/// The next step to bring `key` to all targets of the run. What a required destination waits for is noted.
pub(super) fn everywhere(agenda: &mut Agenda<'_>, key: &KeyRef, known: &KeyFacts) -> Step<Reached> {
    let mut reached = Reached::Everywhere;
    for target in agenda.run.policy.targets.iter().filter(|t| !is_reached(agenda.facts, t, key)) {
        reached = reached.max(if target.required { Reached::Behind } else { Reached::Required });
        if is_held_up(agenda, target, key) {
            continue;
        }
        let directive = act(agenda.facts, target, key, known);
        match agenda.waits_for(&directive) {
            Some((_, left)) if !target.required => agenda.look_within(left),
            _ => agenda.call(directive, Cause::Destination(target.name.clone()))?,
        }
    }
    Ok(reached)
}

/// True when the target proved that it holds `key` at its required level, and nobody changed it since.
pub(super) fn is_reached(facts: &Facts, target: &Target, key: &KeyRef) -> bool {
    facts.holding(&target.address, &key.id).is_some_and(|h| h.level >= target.needs && h.drift.is_none())
}

/// True when nothing can be done for this target now. An optional one holds up nothing: it is only looked at again.
fn is_held_up(agenda: &mut Agenda<'_>, target: &Target, key: &KeyRef) -> bool {
    let Some(holding) = agenda.facts.holding(&target.address, &key.id) else { return false };
    let cause = || Cause::Destination(target.name.clone());
    let error = holding.error.as_deref().unwrap_or("not proved yet");
    let left = agenda.left(holding.until);
    let held = holding.drift.as_ref().filter(|_| holds_drift(agenda, target));
    let (look, text) = match (held, holding.permanent, left) {
        (Some(drift), ..) => (LATER, format!("{}: changed by someone else ({drift})", target.name)),
        (None, true, _) => (LATER, format!("{}: {error}", target.name)),
        (None, false, Some(left)) => (left, format!("{}: {error}", target.name)),
        (None, false, None) => return false,
    };
    match (target.required, held.is_none() && !holding.permanent) {
        (false, _) => agenda.look_within(look),
        (true, true) => agenda.tried_again(holding.until, look, cause(), text),
        (true, false) => agenda.note(look, Blocker::cause(cause(), text)),
    }
    true
}

/// An emergency writes over what somebody else put there.
fn holds_drift(agenda: &Agenda<'_>, target: &Target) -> bool {
    target.on_drift == OnDrift::Hold && !agenda.run.trigger.is_emergency()
}

/// The write, the look, or the test that must come first (R13).
fn act(facts: &Facts, target: &Target, key: &KeyRef, known: &KeyFacts) -> Directive {
    let address = target.address.clone();
    match facts.holding(&target.address, &key.id) {
        Some(Holding {
            level: Level::Accepted | Level::Confirmed | Level::Effective, drift: None, ..
        }) => Directive::Check { address, key: key.clone() },
        _ if known.valid_now(facts.now) => Directive::Publish { address, key: key.clone() },
        _ => Directive::Test(key.clone()),
    }
}
