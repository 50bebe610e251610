//! What every state with a key in use does (its health, its delivery, a look at the keys on their way out), and the way
//! out of a key: watched until it is quiet, disabled, observed, deleted. What may really be disabled or deleted is the
//! guard's word, not ours.

use super::agenda::{Agenda, Step};
use super::deliver::{self, Reached};
use super::directive::{Blocker, Cause, Directive};
use super::facts::{Facts, Holding, KeyFacts, Remote, TestResult};
use super::inherit;
use super::{CHECK_FRESH, Event, KeyRef, Phase, Retiree, Rollback, Run, State, TEST_FRESH, Target};
use crate::domain::time::{Span, Stamp, Timestamp, Until};

/// The longest time between two looks at a key that nothing hurries.
const SELDOM: Span = Span::minutes(10);

/// How often keys are looked at: an eighth of the shortest wait that is really pending, ten minutes at most, and
/// a minute at the least while that wait is longer than one.
pub(super) fn watch_interval(agenda: &Agenda<'_>) -> Span {
    let Some(shortest) = pending(agenda.run, agenda.facts).into_iter().min() else { return SELDOM };
    let least = if shortest > Span::minutes(1) { Span::minutes(1) } else { Span(500) };
    Span((shortest.0 / 8).clamp(least.0, SELDOM.0))
}

/// The waits of the policy that are not over yet, in states in which somebody waits for them.
fn pending(run: &Run, facts: &Facts) -> Vec<Span> {
    let since = match &run.state {
        State::Grace { since, .. } | State::RollingBack { stage: Rollback::Retiring { since }, .. } => {
            Some(*since)
        }
        State::Observing | State::Aborting { .. } => None,
        _ => return Vec::new(),
    };
    let grace = since.filter(|since| !facts.now.passed(*since, run.grace())).map(|_| run.grace());
    let of_keys = run.retirees.iter().filter_map(|retiree| match &retiree.phase {
        Phase::Live { quiet: Some((_, since)) } if facts.now.passed(*since, run.policy.quiet) => None,
        Phase::Live { .. } => Some(run.policy.quiet),
        Phase::Disabled { since, .. } => {
            Some(facts.observe(run, retiree)).filter(|span| !facts.now.passed(*since, *span))
        }
        _ => None,
    });
    grace.into_iter().chain(of_keys).filter(|span| *span > Span::ZERO).collect()
}

/// The health of the key in use, its delivery everywhere, then those in a hurry, then a look at all others on their
/// way out. One that is leaked waits for nobody but the required destinations.
fn tend(agenda: &mut Agenda<'_>) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let mut reached = Reached::Everywhere;
    if let Some(key) = &run.candidate {
        candidate_health(agenda, key)?;
        reached = deliver::everywhere(agenda, key, &facts.candidate)?;
    }
    if reached == Reached::Behind {
        run.candidate.as_ref().map_or(Ok(()), |key| tell_exposure(agenda, key))?;
    } else {
        run.retirees.iter().filter(|r| r.urgent).try_for_each(|retiree| kill(agenda, retiree, true))?;
    }
    watch_all(agenda)
}

/// A leaked key has lived for too long, because required destinations do not hold the new one: people are told once what a
/// person can do.
pub(super) fn tell_exposure(agenda: &mut Agenda<'_>, key: &KeyRef) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    if run.exposure_told || !facts.is_exposed(run) {
        return Ok(());
    }
    let behind = run.policy.targets.iter().filter(|t| t.required && !deliver::is_reached(facts, t, key));
    let waits_for = behind.map(|target| target.name.clone()).collect();
    Err(Directive::Apply(Event::ExposureTold { waits_for }))
}

/// Both keys work. Leaves when everything that rotation.md, "grace", asks for holds.
pub(super) fn grace(agenda: &mut Agenda<'_>, since: Stamp, overlap_told: bool) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    tend(agenda)?;
    if run.retirees.iter().all(Retiree::is_dead) {
        return Err(Directive::Apply(Event::Finished));
    }
    still_used(agenda);
    still_held(agenda);
    let too_long = Span(run.policy.max_overlap.0.saturating_add(run.spread.0));
    if !overlap_told && facts.now.passed(since, too_long) && agenda.is_waiting() {
        return Err(Directive::Apply(Event::OverlapTold));
    }
    if !facts.now.passed(since, run.grace()) {
        agenda.note_until(since, run.grace(), Blocker::policy("grace is not over"));
    }
    if !agenda.is_waiting() {
        confirm_again(agenda)?;
    }
    if !agenda.is_waiting() {
        inherit::compared(agenda)?;
    }
    if agenda.is_waiting() { Ok(()) } else { Err(Directive::Apply(Event::GraceOver)) }
}

/// The old keys are disabled one by one, watched with the new key alone in use, then deleted. A kill step may have
/// waited for days (pause, breaker, clocks, guard): does the new key still work, and is the old one still quiet?
pub(super) fn observe(agenda: &mut Agenda<'_>) -> Step {
    let run = agenda.run;
    if let Some(key) = &run.candidate {
        test_after_disable(agenda, key)?;
    }
    tend(agenda)?;
    let open: Vec<&Retiree> = run.retirees.iter().filter(|r| !r.is_dead()).collect();
    if open.is_empty() {
        return Err(Directive::Apply(Event::Finished));
    }
    still_used(agenda);
    still_held(agenda);
    if agenda.is_waiting() {
        return Ok(());
    }
    match open.iter().find(|r| r.is_enabled()) {
        Some(live) => kill(agenda, live, live.urgent),
        None => open.iter().try_for_each(|retiree| kill(agenda, retiree, retiree.urgent)),
    }
}

/// What follows from a candidate that is refused, or a due test of it. One that worked and is refused now: look twice,
/// then back to the old key, or on to another.
pub(super) fn candidate_health(agenda: &mut Agenda<'_>, key: &KeyRef) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let known = &facts.candidate;
    let Some((TestResult::Unauthorized, at)) = &known.tested else { return due_test(agenda, key, known) };
    if !known.refused(run.policy.confirm_after) {
        let since = known.refused_since.unwrap_or(*at);
        if facts.now.passed(since, run.policy.confirm_after) {
            return agenda.ask(Directive::Test(key.clone()));
        }
        // Nothing is built on a key in doubt.
        let blocker = Blocker::policy("the new key was refused once: looking again")
            .over_in(facts.left(since, run.policy.confirm_after));
        return Err(Directive::wait(facts.remaining(since, run.policy.confirm_after), blocker));
    }
    let reason = "the provider no longer accepts the new key".to_owned();
    Err(match run.can_roll_back() {
        Ok(()) => Directive::Apply(Event::CandidateFailed { reason }),
        Err(_) => agenda
            .waits_for(&Directive::Supersede { reason: String::new() })
            .map_or(Directive::Supersede { reason }, |(wait, left)| {
                Directive::wait(left, Blocker::cause(Cause::Person, &wait.reason))
            }),
    })
}

/// A test of the key in use, when the last one is too old.
pub(super) fn due_test(agenda: &mut Agenda<'_>, key: &KeyRef, known: &KeyFacts) -> Step {
    let interval = watch_interval(agenda).min(TEST_FRESH);
    agenda.look_within(interval);
    if agenda.facts.is_tested(known, interval) {
        return Ok(());
    }
    agenda.ask(Directive::Test(key.clone()))
}

/// "Test the new key at once": a test that is younger than the last disable.
fn test_after_disable(agenda: &mut Agenda<'_>, key: &KeyRef) -> Step {
    let disabled = agenda.run.retirees.iter().filter_map(|r| match r.phase {
        Phase::Disabled { since, .. } => Some(since),
        _ => None,
    });
    let Some(since) = disabled.max_by_key(|since| since.ours) else { return Ok(()) };
    let tested =
        agenda.facts.candidate.tested.as_ref().is_some_and(|(result, at)| {
            at.follows(since) && !matches!(result, TestResult::Inconclusive { .. })
        });
    if tested { Ok(()) } else { agenda.ask(Directive::Test(key.clone())) }
}

/// Destinations that may hold an old key and do not hold the new one yet, also those that the policy no longer has.
/// They would make the guard refuse, and after grace nobody would write to them any more.
fn still_held(agenda: &mut Agenda<'_>) {
    let (run, facts) = (agenda.run, agenda.facts);
    let Some(key) = &run.candidate else { return };
    let retiring =
        |h: &&Holding| h.may_hold() && run.retirees.iter().any(|r| !r.is_dead() && r.key.id == h.key);
    let mut told: Vec<&str> = Vec::new();
    for holding in facts.holdings.iter().filter(retiring) {
        let target = run.policy.targets.iter().find(|t| t.address == holding.address);
        // One that is required is waited for already.
        let served = target.is_some_and(|t| t.required || deliver::is_reached(facts, t, key));
        if served || told.contains(&holding.address.as_str()) {
            continue;
        }
        told.push(&holding.address);
        // A mirrored row may have the name of a destination that this run publishes to, and is another place.
        let is_anothers = |name: &String| run.policy.targets.iter().any(|t| t.name == *name);
        let name = match target {
            Some(target) => &target.name,
            None if is_anothers(&holding.destination) => &holding.address,
            None => &holding.destination,
        };
        let text = format!(
            "{name}: may still hold the old key (`rekeyd runs release {} {name}` when that does not matter)",
            run.id
        );
        agenda.note(Span::minutes(5), Blocker::cause(Cause::Destination(name.clone()), text));
    }
}

/// Old keys whose figures have moved too lately.
fn still_used(agenda: &mut Agenda<'_>) {
    let run = agenda.run;
    run.retirees.iter().filter(|r| !r.urgent).for_each(|retiree| not_quiet(agenda, retiree));
}

fn not_quiet(agenda: &mut Agenda<'_>, retiree: &Retiree) {
    let facts = agenda.facts;
    let Phase::Live { quiet: Some((figures, since)) } = &retiree.phase else { return };
    if facts.now.passed(*since, agenda.run.policy.quiet) {
        return;
    }
    let (generation, since_when) = (retiree.key.generation, since.ours.rfc3339());
    let text = match figures.figures() {
        Some(figures) => {
            let used = figures.last_used_at.map_or_else(|| "never".to_owned(), Timestamp::rfc3339);
            format!(
                "the old key (generation {generation}) is not quiet yet: its figures have stood since {since_when}, last \
                 use {used}"
            )
        }
        None => format!(
            "nobody knows whether the old key (generation {generation}) is used: it is given time since {since_when}"
        ),
    };
    agenda.note_until(*since, agenda.run.policy.quiet, Blocker::policy(text));
}

/// Looks at all keys on their way out that nobody hurries.
fn watch_all(agenda: &mut Agenda<'_>) -> Step {
    let run = agenda.run;
    run.retirees.iter().filter(|r| !r.urgent && !r.is_dead()).try_for_each(|r| watch(agenda, r))
}

/// Looks at a key on its way out: a look or an event that is due.
fn watch(agenda: &mut Agenda<'_>, retiree: &Retiree) -> Step {
    let (facts, interval) = (agenda.facts, watch_interval(agenda));
    agenda.look_within(interval);
    let seen = facts.remote(&retiree.key.hash).filter(|seen| facts.now.fresh(seen.at, interval));
    let Some(seen) = seen else { return agenda.ask(Directive::Read(retiree.key.clone())) };
    noticed(retiree, &seen.remote, seen.at).map_or(Ok(()), |event| Err(Directive::Apply(event)))
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
fn confirm_again(agenda: &mut Agenda<'_>) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let Some(key) = &run.candidate else { return Ok(()) };
    for target in run.policy.targets.iter().filter(|t| t.required) {
        let holding = facts.holding(&target.address, &key.id);
        if holding.and_then(|h| h.checked).is_some_and(|at| facts.now.fresh(at, CHECK_FRESH)) {
            continue;
        }
        look_at(agenda, target, holding, key)?;
    }
    if facts.candidate.valid_now(facts.now) { Ok(()) } else { agenda.ask(Directive::Test(key.clone())) }
}

fn look_at(agenda: &mut Agenda<'_>, target: &Target, holding: Option<&Holding>, key: &KeyRef) -> Step {
    let cause = Cause::Destination(target.name.clone());
    let waiting = holding.and_then(|h| Some((h.until, agenda.left(h.until)?)));
    let Some((until, left)) = waiting else {
        return agenda.call(Directive::Check { address: target.address.clone(), key: key.clone() }, cause);
    };
    agenda.tried_again(until, left, cause, format!("{}: could not be looked at, trying again", target.name));
    Ok(())
}

/// The next step of one key's way out without any waiting for quiet; `Ok` once it is dead, or when it waits.
pub(super) fn kill(agenda: &mut Agenda<'_>, retiree: &Retiree, urgent: bool) -> Step {
    let key = retiree.key.clone();
    if agenda.facts.paused && !agenda.run.trigger.is_emergency() && !retiree.is_dead() {
        let blocker = Blocker::policy("the rotation is paused: no key is disabled or deleted");
        agenda.note(Span::minutes(1), blocker);
        return Ok(());
    }
    match &retiree.phase {
        Phase::Live { .. } | Phase::Revived { .. } if !agenda.run.policy.can_disable => {
            agenda.ask(Directive::Delete { key, urgent })
        }
        Phase::Live { .. } | Phase::Disabling | Phase::Revived { .. } => {
            agenda.ask(Directive::Disable { key, urgent })
        }
        Phase::Disabled { since, .. } => {
            let observe = agenda.facts.observe(agenda.run, retiree);
            if agenda.facts.now.passed(*since, observe) {
                return agenda.ask(Directive::Delete { key, urgent });
            }
            let text = format!("generation {} is disabled and under observation", key.generation);
            agenda.note_until(*since, observe, Blocker::policy(text));
            Ok(())
        }
        Phase::Deleting => agenda.ask(Directive::Delete { key, urgent }),
        Phase::Dead => Ok(()),
    }
}

/// True when a key that is taken back may go now: when somebody uses it, or was given it, it must go quiet first. An
/// emergency does not wait for that; it goes on to another key, and this one is retired with the others.
pub(super) fn may_be_taken_back(agenda: &mut Agenda<'_>, doomed: &Retiree) -> Step<bool> {
    if !matches!(doomed.phase, Phase::Live { .. }) {
        return Ok(true);
    }
    watch(agenda, doomed)?;
    let is_given = agenda.facts.handed_out.contains(&doomed.key.id);
    match &doomed.phase {
        Phase::Live { quiet: Some((figures, _)) } if !figures.may_be_used() && !is_given => return Ok(true),
        Phase::Live { quiet: None } => return Ok(false),
        _ => {}
    }
    if agenda.run.trigger.is_emergency() {
        let until = Until::after(agenda.facts.clock, agenda.run.pause_between_keys());
        return Err(Directive::Apply(Event::LeftForNow { until }));
    }
    not_quiet(agenda, doomed);
    Ok(!agenda.is_waiting())
}

/// Rolling back: all keys but the one that production runs with again. One that works is disabled only after it went
/// quiet, like any other; one that is refused, or leaked, waits for nothing.
pub(super) fn all_but(agenda: &mut Agenda<'_>, old: &KeyRef, since: Stamp) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let refused = facts.candidate.refused(run.policy.confirm_after);
    let is_candidate = |r: &Retiree| run.candidate.as_ref().is_some_and(|key| key.id == r.key.id);
    let others: Vec<&Retiree> = run.retirees.iter().filter(|r| r.key.id != old.id && !r.is_dead()).collect();
    let (hurried, patient): (Vec<&Retiree>, Vec<&Retiree>) =
        others.into_iter().partition(|r| r.urgent || (refused && is_candidate(r)));
    for retiree in hurried {
        kill(agenda, retiree, retiree.urgent)?;
    }
    for retiree in &patient {
        watch(agenda, retiree)?;
        not_quiet(agenda, retiree);
    }
    let live = patient.iter().any(|r| matches!(r.phase, Phase::Live { .. }));
    if live && !facts.now.passed(since, run.policy.grace) {
        agenda.note_until(since, run.policy.grace, Blocker::policy("grace of the rollback is not over"));
    }
    if agenda.is_waiting() {
        return Ok(());
    }
    patient.iter().try_for_each(|retiree| kill(agenda, retiree, false))
}

/// Rolling back: the old key must be enabled, and proved after that, before anything else.
pub(super) fn revive(agenda: &mut Agenda<'_>, old: &KeyRef) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let fresh = facts.remote(&old.hash).filter(|seen| facts.now.fresh(seen.at, CHECK_FRESH));
    let Some(seen) = fresh else { return agenda.ask(Directive::Read(old.clone())) };
    let phase = run.retirees.iter().find(|r| r.key.id == old.id).map(|r| &r.phase);
    let ours = matches!(
        phase,
        Some(Phase::Disabled { by_us: true, .. } | Phase::Disabling | Phase::Revived { late: true, .. })
    );
    let lost = |reason: &str| Err(Directive::Supersede { reason: reason.to_owned() });
    match &seen.remote {
        Remote::Gone => lost("the previous key is gone at the provider"),
        Remote::Disabled if ours => agenda.ask(Directive::Enable(old.clone())),
        Remote::Disabled => lost("a person disabled the previous key"),
        // Nobody moves to a key that may be disabled any moment, unless the one in use is worse.
        Remote::Enabled(_)
            if facts.disable_in_doubt && !facts.candidate.refused(run.policy.confirm_after) =>
        {
            let text = "the outcome of a disable of the previous key is unknown: it may still land";
            agenda.note(Span::seconds(5), Blocker::cause(Cause::Account, text));
            Ok(())
        }
        Remote::Enabled(_) if matches!(phase, Some(Phase::Disabled { .. } | Phase::Disabling)) => {
            // Whoever enabled it did so before this moment; a disable of ours may have ended only now.
            Err(Directive::Apply(Event::Enabled { hash: old.hash.clone(), at: facts.now }))
        }
        Remote::Enabled(_) => {
            let since = match phase {
                Some(Phase::Revived { since, .. }) => *since,
                _ => None,
            };
            prove_revived(agenda, old, since)
        }
    }
}

/// A test that was asked before the key was enabled again proves nothing about it now (R19).
fn prove_revived(agenda: &mut Agenda<'_>, old: &KeyRef, enabled: Option<Stamp>) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let known = &facts.predecessor;
    let after = |at: &Stamp| enabled.is_none_or(|since| at.follows(since));
    match &known.tested {
        Some((TestResult::Valid, at)) if after(at) && known.valid_now(facts.now) => {
            Err(Directive::Apply(Event::Revived { at: facts.now }))
        }
        Some((TestResult::Unauthorized, at)) if after(at) && known.refused(run.policy.propagation) => {
            let reason = "the provider no longer accepts the previous key".to_owned();
            Err(Directive::Supersede { reason })
        }
        Some((result, at))
            if after(at)
                && !matches!(result, TestResult::Valid)
                && !facts.now.passed(*at, Span::seconds(5)) =>
        {
            let text = "the previous key is not accepted yet";
            agenda.note(Span::seconds(5), Blocker::cause(Cause::Account, text));
            Ok(())
        }
        _ => agenda.ask(Directive::Test(old.clone())),
    }
}
