//! One key to every destination: what is the next write or look, and what is in the way.
//!
//! Destinations are retried alone: a failing one never blocks another, but a failing *required* one blocks
//! what comes after publishing (rotation.md, "publishing").

use super::facts::{Facts, Holding, KeyFacts};
use super::{Directive, KeyRef, Level, OnDrift, Run, Target};
use crate::domain::time::{Span, Timestamp};

/// Where the delivery of one key stands.
pub(super) enum Delivery {
    /// The next write or look.
    Do(Directive),
    /// Nothing can be done before `until`; `required` when a required destination is among those waiting.
    Blocked { until: Timestamp, blockers: Vec<String>, required: bool },
    /// Every destination is at its level.
    Complete,
}

/// The next step to bring `key` to all targets of the run.
pub(super) fn step(run: &Run, facts: &Facts, key: &KeyRef, known: &KeyFacts) -> Delivery {
    let open: Vec<&Target> = run.policy.targets.iter().filter(|t| !reached(facts, t, key)).collect();
    let mut blockers = Vec::new();
    let mut until = facts.now.ours.plus(Span::minutes(5));
    for target in &open {
        match obstacle(run, facts, target, key) {
            None => return Delivery::Do(act(facts, target, key, known)),
            Some((why, at)) => {
                blockers.push(why);
                until = until.min(at);
            }
        }
    }
    if open.is_empty() {
        return Delivery::Complete;
    }
    Delivery::Blocked { until, blockers, required: open.iter().any(|t| t.required) }
}

/// True when the target proved that it holds `key` at its required level, and nobody changed it since.
pub(super) fn reached(facts: &Facts, target: &Target, key: &KeyRef) -> bool {
    facts.holding(&target.address, &key.id).is_some_and(|h| h.level >= target.needs && h.drift.is_none())
}

/// Why nothing can be done for this target now, and when to look again.
fn obstacle(run: &Run, facts: &Facts, target: &Target, key: &KeyRef) -> Option<(String, Timestamp)> {
    let holding = facts.holding(&target.address, &key.id)?;
    let later = facts.now.ours.plus(Span::minutes(5));
    if let Some(drift) = &holding.drift
        && target.on_drift == OnDrift::Hold
        && !run.trigger.is_emergency()
    {
        return Some((format!("{}: changed by someone else ({drift})", target.name), later));
    }
    let error = holding.error.as_deref().unwrap_or("not proved yet");
    if holding.permanent {
        return Some((format!("{}: {error}", target.name), later));
    }
    let left = holding.not_before.since(facts.now.ours);
    (left > Span::ZERO && left < Span::hours(2))
        .then(|| (format!("{}: {error}", target.name), holding.not_before))
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
