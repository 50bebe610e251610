//! The way out of a key: watched until it is quiet, disabled, observed, deleted. Shared by grace, observing,
//! aborting and rolling back. What may really be disabled or deleted is the guard's word, not ours.

use super::deliver::{self, Delivery};
use super::facts::{Facts, Holding, Remote, TestResult};
use super::{CHECK_FRESH, Directive, Event, KeyRef, Level, Phase, Retiree, Run, TEST_FRESH, Target};
use crate::domain::time::{Span, Stamp};

/// How often a key in grace or under observation is looked at: an eighth of the wait, at most ten minutes.
pub(super) fn watch_interval(run: &Run) -> Span {
    let shortest = run.policy.quiet.min(run.policy.grace).min(run.policy.observe);
    Span((shortest.0 / 8).clamp(500, Span::minutes(10).0))
}

/// Both keys work. Leaves when everything that rotation.md, "grace", asks for holds.
pub(super) fn grace(run: &Run, facts: &Facts, since: Stamp, overlap_told: bool) -> Directive {
    if let Some(urgent) = run.retirees.iter().filter(|r| r.urgent).find_map(|r| kill(run, facts, r)) {
        // The guard does not let go of a key that any destination may still hold: bring them on first. One that
        // does not take the key holds nothing up but itself.
        // Nor does it while the new key is refused: then this run ends, and another replaces both.
        return facts.candidate_trouble(run).or_else(|| delivery_due(run, facts)).unwrap_or(urgent);
    }
    if let Some(directive) = candidate_health(run, facts).or_else(|| optional_deliveries(run, facts)) {
        return directive;
    }
    let mut waits = Vec::new();
    for retiree in run.retirees.iter().filter(|r| !r.urgent && !r.is_dead()) {
        match watch(run, facts, retiree) {
            Ok(None) => {}
            Ok(Some(wait)) => waits.push(wait),
            Err(look) => return look,
        }
    }
    if run.retirees.iter().all(Retiree::is_dead) {
        return Directive::Apply(Event::Finished);
    }
    waits.extend(still_held(run, facts));
    if !overlap_told && facts.now.passed(since, run.policy.max_overlap) && !waits.is_empty() {
        return Directive::Apply(Event::OverlapTold);
    }
    if !facts.now.passed(since, run.policy.grace) {
        let left = facts.remaining(since, run.policy.grace);
        waits.push((left, "grace is not over".to_owned()));
    }
    if waits.is_empty() {
        return confirm_again(run, facts).unwrap_or(Directive::Apply(Event::GraceOver));
    }
    wait_for(run, facts, waits)
}

/// The shortest of the waits, and never longer than the next look is due.
fn wait_for(run: &Run, facts: &Facts, waits: Vec<(Span, String)>) -> Directive {
    let shortest = waits.iter().map(|(span, _)| *span).min().unwrap_or(Span::seconds(1));
    let span = shortest.min(watch_interval(run)).max(Span(200));
    let blockers = waits.into_iter().map(|(_, blocker)| blocker).collect();
    Directive::Wait { until: facts.now.ours.plus(span), blockers }
}

/// A due test of the candidate, or what follows from a failed one.
fn candidate_health(run: &Run, facts: &Facts) -> Option<Directive> {
    let key = run.candidate.as_ref()?;
    facts
        .candidate_trouble(run)
        .or_else(|| facts.due_test(key, &facts.candidate, watch_interval(run).min(TEST_FRESH)))
}

/// The next write or look of a destination that is behind, if one is due.
fn delivery_due(run: &Run, facts: &Facts) -> Option<Directive> {
    match deliver::step(run, facts, run.candidate.as_ref()?, &facts.candidate) {
        Delivery::Do(directive) => Some(directive),
        Delivery::Blocked { .. } | Delivery::Complete => None,
    }
}

/// Optional destinations that may hold an old key and do not hold the new one yet. They would make the guard refuse,
/// and after grace nobody would write to them any more.
fn still_held(run: &Run, facts: &Facts) -> Vec<(Span, String)> {
    let Some(key) = &run.candidate else { return Vec::new() };
    let behind = |target: &&Target| {
        let old =
            |r: &&Retiree| !r.is_dead() && facts.holding(&target.address, &r.key.id).is_some_and(may_hold);
        !deliver::reached(facts, target, key) && run.retirees.iter().any(|r| old(&r))
    };
    let wait = |target: &Target| {
        let text = format!(
            "{}: may still hold the old key (`rekeyd runs release {} {}` when that does not matter)",
            target.name, run.id, target.name
        );
        (Span::minutes(5), text)
    };
    run.policy.targets.iter().filter(behind).map(wait).collect()
}

fn may_hold(holding: &Holding) -> bool {
    holding.level > Level::Pending
}

/// Destinations that are still behind go on being tried while the old key waits.
fn optional_deliveries(run: &Run, facts: &Facts) -> Option<Directive> {
    match deliver::step(run, facts, run.candidate.as_ref()?, &facts.candidate) {
        Delivery::Do(directive) => Some(directive),
        Delivery::Blocked { until, blockers, required: true } => Some(Directive::Wait { until, blockers }),
        Delivery::Blocked { .. } | Delivery::Complete => None,
    }
}

/// Looks at a key on its way out. `Err` is a look or an event that is due; `Ok(Some)` what is waited for.
fn watch(run: &Run, facts: &Facts, retiree: &Retiree) -> Result<Option<(Span, String)>, Directive> {
    let interval = watch_interval(run);
    let read = || Directive::Read(retiree.key.clone());
    let seen =
        facts.remote(&retiree.key.hash).filter(|seen| facts.now.fresh(seen.at, interval)).ok_or_else(read)?;
    if let Some(event) = noticed(retiree, &seen.remote, seen.at) {
        return Err(Directive::Apply(event));
    }
    let Phase::Live { quiet: Some((figures, since)) } = &retiree.phase else { return Ok(None) };
    if !facts.now.passed(*since, run.policy.quiet) {
        let left = facts.remaining(*since, run.policy.quiet);
        let used = figures.last_used_at.map_or_else(|| "never".to_owned(), super::Timestamp::rfc3339);
        let blocker = format!(
            "the old key (generation {}) is not quiet yet: its figures last moved {} ago, last use {used}",
            retiree.key.generation,
            humantime::format_duration(std::time::Duration::from_secs(
                facts.now.ours.since(since.ours).to_std().as_secs()
            )),
        );
        return Ok(Some((left, blocker)));
    }
    Ok(None)
}

/// The event that a look at a key on its way out stands for, when it shows something new.
fn noticed(retiree: &Retiree, remote: &Remote, at: Stamp) -> Option<Event> {
    let hash = retiree.key.hash.clone();
    match (&retiree.phase, remote) {
        (Phase::Dead, _)
        | (
            Phase::Disabled { .. } | Phase::Disabling | Phase::Revived { .. } | Phase::Deleting,
            Remote::Disabled,
        )
        | (Phase::Disabling | Phase::Revived { .. } | Phase::Deleting, Remote::Enabled(_)) => None,
        (_, Remote::Gone) => Some(Event::FoundGone { hash }),
        (Phase::Live { .. }, Remote::Disabled) => Some(Event::FoundDisabled { hash, at }),
        (Phase::Live { quiet }, Remote::Enabled(figures)) => {
            let same = quiet.as_ref().is_some_and(|(known, _)| known == figures);
            (!same).then_some(Event::FiguresMoved { hash, figures: *figures, at })
        }
        (Phase::Disabled { .. }, Remote::Enabled(_)) => Some(Event::FoundEnabled { hash, at }),
    }
}

/// Every required destination is looked at now, and the new key tested now, before the old one is touched.
fn confirm_again(run: &Run, facts: &Facts) -> Option<Directive> {
    let key = run.candidate.as_ref()?;
    for target in run.policy.targets.iter().filter(|t| t.required) {
        let holding = facts.holding(&target.address, &key.id);
        let now = holding.and_then(|h| h.checked).is_some_and(|at| facts.now.fresh(at, CHECK_FRESH));
        if now {
            continue;
        }
        let left = holding.map_or(Span::ZERO, |h| h.not_before.since(facts.now.ours));
        if left > Span::ZERO && left < Span::hours(2) {
            let blocker = format!("{}: could not be looked at, trying again", target.name);
            return Some(Directive::wait(facts.now, left, blocker));
        }
        return Some(Directive::Check { address: target.address.clone(), key: key.clone() });
    }
    (!facts.candidate.valid_now(facts.now)).then(|| Directive::Test(key.clone()))
}

/// The old keys are disabled one by one, watched with the new key alone in use, then deleted.
pub(super) fn observe(run: &Run, facts: &Facts) -> Directive {
    if let Some(directive) = facts.candidate_trouble(run) {
        return directive;
    }
    let open: Vec<&Retiree> = run.retirees.iter().filter(|r| !r.is_dead()).collect();
    if open.is_empty() {
        return Directive::Apply(Event::Finished);
    }
    if let Some(live) = open.iter().find(|r| r.is_enabled()) {
        // A kill step may have waited for days (pause, breaker, clocks, guard): does the new key still work, and is
        // the old one still quiet?
        if let Some(test) = candidate_health(run, facts) {
            return test;
        }
        match watch(run, facts, live) {
            Err(look) if !live.urgent => return look,
            Ok(Some(wait)) if !live.urgent => return wait_for(run, facts, vec![wait]),
            _ => {}
        }
        return kill(run, facts, live).unwrap_or(Directive::Apply(Event::Finished));
    }
    if let Some(directive) = test_after_disable(run, facts, &open) {
        return directive;
    }
    for retiree in &open {
        if let Err(look) = watch(run, facts, retiree) {
            return look;
        }
    }
    open.iter().find_map(|r| kill(run, facts, r)).unwrap_or(Directive::Apply(Event::Finished))
}

/// "Test the new key at once": a test that is younger than the last disable, and not older than the interval.
fn test_after_disable(run: &Run, facts: &Facts, open: &[&Retiree]) -> Option<Directive> {
    let key = run.candidate.as_ref()?;
    let disabled = open.iter().filter_map(|r| match r.phase {
        Phase::Disabled { since, .. } => Some(since),
        _ => None,
    });
    let since = disabled.max_by_key(|since| since.ours)?;
    let tested =
        facts.candidate.tested.as_ref().is_some_and(|(result, at)| {
            at.follows(since) && !matches!(result, TestResult::Inconclusive { .. })
        });
    if !tested {
        return Some(Directive::Test(key.clone()));
    }
    facts.due_test(key, &facts.candidate, watch_interval(run).min(TEST_FRESH))
}

/// The next step of one key's way out without any waiting for quiet; `None` once it is dead.
pub(super) fn kill(run: &Run, facts: &Facts, retiree: &Retiree) -> Option<Directive> {
    let key = retiree.key.clone();
    let urgent = retiree.urgent;
    if facts.paused && !run.trigger.is_emergency() && !retiree.is_dead() {
        let blocker = "the rotation is paused: no key is disabled or deleted";
        return Some(Directive::wait(facts.now, Span::minutes(1), blocker));
    }
    match &retiree.phase {
        Phase::Live { .. } | Phase::Disabling | Phase::Revived { .. } => {
            Some(Directive::Disable { key, urgent })
        }
        Phase::Disabled { since, .. } if facts.now.passed(*since, retiree.observe) => {
            Some(Directive::Delete { key, urgent })
        }
        Phase::Disabled { since, .. } => {
            let left = facts.remaining(*since, retiree.observe).min(watch_interval(run));
            let blocker = format!("generation {} is disabled and under observation", key.generation);
            Some(Directive::wait(facts.now, left, blocker))
        }
        Phase::Deleting => Some(Directive::Delete { key, urgent }),
        Phase::Dead => None,
    }
}

/// Rolling back: the old key must be enabled and proved before anything else.
pub(super) fn revive(run: &Run, facts: &Facts, old: &KeyRef) -> Directive {
    let fresh = facts.remote(&old.hash).filter(|seen| facts.now.fresh(seen.at, CHECK_FRESH));
    let Some(seen) = fresh else { return Directive::Read(old.clone()) };
    let ours = run.retirees.iter().find(|r| r.key.id == old.id).is_some_and(|r| {
        matches!(
            r.phase,
            Phase::Disabled { by_us: true, .. } | Phase::Disabling | Phase::Revived { late: true }
        )
    });
    match &seen.remote {
        Remote::Gone => {
            Directive::Supersede { reason: "the previous key is gone at the provider".to_owned() }
        }
        Remote::Disabled if ours => Directive::Enable(old.clone()),
        Remote::Disabled => Directive::Supersede { reason: "a person disabled the previous key".to_owned() },
        // Nobody moves to a key that may be disabled any moment, unless the one in use is worse.
        Remote::Enabled(_)
            if facts.disable_in_doubt && !facts.candidate.refused(run.policy.confirm_after) =>
        {
            let blocker = "the outcome of a disable of the previous key is unknown: it may still land";
            Directive::wait(facts.now, Span::seconds(5), blocker)
        }
        Remote::Enabled(_) if facts.predecessor.valid_now(facts.now) => {
            Directive::Apply(Event::Revived { at: facts.now })
        }
        Remote::Enabled(_) if facts.predecessor.refused(run.policy.propagation) => {
            Directive::Supersede { reason: "the provider no longer accepts the previous key".to_owned() }
        }
        Remote::Enabled(_) => match &facts.predecessor.tested {
            Some((TestResult::Valid, _)) | None => Directive::Test(old.clone()),
            Some((_, at)) if facts.now.passed(*at, Span::seconds(5)) => Directive::Test(old.clone()),
            Some(_) => Directive::wait(facts.now, Span::seconds(5), "the previous key is not accepted yet"),
        },
    }
}

/// While rolling back, a new key that works is disabled only after it went quiet, like any other.
pub(super) fn still_used(run: &Run, facts: &Facts, doomed: &Retiree, since: Stamp) -> Option<Directive> {
    let works = !facts.candidate.refused(run.policy.confirm_after);
    if !works || !matches!(doomed.phase, Phase::Live { .. }) {
        return None;
    }
    let mut waits = match watch(run, facts, doomed) {
        Ok(wait) => wait.into_iter().collect::<Vec<_>>(),
        Err(look) => return Some(look),
    };
    if !facts.now.passed(since, run.policy.grace) {
        waits
            .push((facts.remaining(since, run.policy.grace), "grace of the rollback is not over".to_owned()));
    }
    (!waits.is_empty()).then(|| wait_for(run, facts, waits))
}
