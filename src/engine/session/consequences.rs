//! What an event changes besides the run: roles of keys, answers to persons, alerts, the audit trail.

use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::rotation::{Event, Inheritance, Phase, Retiree, Run, State, Trigger};
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::engine::session::trail::Line;
use crate::engine::session::{Session, trail};
use crate::engine::testing::alerts as key_alerts;
use crate::store::Change;

/// All that is committed together with the event (I12).
pub(crate) fn consequences(session: &Session<'_>, before: &Run, event: &Event, after: &Run) -> Vec<Change> {
    let mut changes = roles(before, event);
    changes.extend(answers(before, event));
    changes.extend(alerts(before, event, after, session.now()));
    if matches!(event, Event::PublishedEverywhere { .. }) {
        // A key that works was just proved.
        let subject = Subject::Account(session.account.name.clone());
        changes.push(Change::Resolve { kind: Kind::AccountWithoutKeys, subject });
    }
    let entry = |line: Line| session.engine.entry(line.action, line.subject, line.detail);
    changes.extend(trail::lines(before, event, after).into_iter().map(|line| Change::Audit(entry(line))));
    changes
}

/// Which generation consumers should use, and which are gone.
fn roles(run: &Run, event: &Event) -> Vec<Change> {
    let promoted = trail::promoted(run, event);
    let mut changes: Vec<Change> = promoted
        .map(|key| Change::Promote { rotation: run.rotation.clone(), id: key.id.clone() })
        .into_iter()
        .collect();
    match event {
        Event::Deleted { hash } => {
            changes.extend(trail::retiree(run, hash).map(|key| Change::Bury { id: key.id.clone() }));
        }
        Event::FoundGone { hash } => {
            let retiree = run.retirees.iter().find(|retiree| &retiree.key.hash == hash);
            // Nobody goes back to a key that strangers have.
            let keep = |one: &Retiree| if one.leaked.is_some() { Span::ZERO } else { run.policy.observe };
            let gone = |one: &Retiree| Change::FoundGone { id: one.key.id.clone(), keep: keep(one) };
            changes.extend(retiree.map(gone));
        }
        _ => {}
    }
    changes
}

/// What a person's request came to.
fn answers(run: &Run, event: &Event) -> Vec<Change> {
    let answer =
        |id: &String, answer: &str| Change::Answer { request: id.clone(), answer: answer.to_owned() };
    let rotation = run.rotation.clone();
    match event {
        Event::AbortAsked { id } => vec![answer(id, "aborting")],
        Event::RollbackAsked { id } => vec![answer(id, "rolling back")],
        Event::Resumed { id } => vec![answer(id, "resumed"), Change::RetryNow { rotation }],
        Event::Released { id, destination } => {
            vec![answer(id, "released"), Change::Release { rotation, destination: destination.clone() }]
        }
        Event::RequestRefused { id, reason } => vec![answer(id, &format!("refused: {reason}"))],
        _ => Vec::new(),
    }
}

/// What the admins are told, and what is over.
fn alerts(run: &Run, event: &Event, after: &Run, now: Stamp) -> Vec<Change> {
    let subject = Subject::Rotation(run.rotation.clone());
    let open = |kind: Kind, detail: String| {
        Change::Alert(NewAlert::new(kind, subject.clone(), detail).rotation(run.rotation.clone()))
    };
    let resolve = |kind: Kind| Change::Resolve { kind, subject: subject.clone() };
    let mut changes = match event {
        Event::PreflightFailed { reason } => vec![open(
            Kind::RotationFailed,
            format!(
                "Rotation {} could not start: {reason}. Nothing was changed{}.",
                run.rotation,
                again(run)
            ),
        )],
        Event::VerifyFailed { reason } => vec![open(
            Kind::RotationFailed,
            format!(
                "The new key of rotation {} was not published: {reason}. The old key was never touched.",
                run.rotation
            ),
        )],
        Event::LimitsWaived { reason } | Event::ProbeWaived { reason } => vec![open(
            Kind::RotationFailed,
            format!("The emergency of rotation {} goes on all the same: {reason}.", run.rotation),
        )],
        Event::InheritanceWaived { reason } => vec![open(
            Kind::InheritanceFailed,
            format!(
                "The new key of rotation {} is published without its predecessor's guardrail or places in BYOK \
                 allow-lists: {reason}. It is tried again until it is done.",
                run.rotation
            ),
        )],
        Event::Inherited => vec![resolve(Kind::InheritanceFailed)],
        Event::CandidateFailed { reason } => vec![open(
            Kind::RotationFailed,
            format!("Rotation {} goes back to the previous key: {reason}.", run.rotation),
        )],
        Event::OverlapTold => vec![open(Kind::OldKeyInUse, in_use(run, now))],
        Event::ExposureTold { waits_for } => waits_for.iter().map(|place| exposed(run, place)).collect(),
        Event::Resumed { .. } => vec![resolve(Kind::RotationParked)],
        Event::Released { destination, .. } => released(destination, resolve(Kind::RotationParked)),
        Event::PublishedEverywhere { .. } => {
            let mut over: Vec<Change> = key_alerts::OF_A_KEY.map(resolve).into();
            if run.trigger == Trigger::Heal {
                let detail = format!("The dead key of rotation {} was replaced and published.", run.rotation);
                // Told once: it is news, not a condition.
                over.extend([open(Kind::KeyHealed, detail), resolve(Kind::KeyHealed)]);
            }
            over
        }
        _ => Vec::new(),
    };
    if let (State::Parked { reason, .. }, false) = (&after.state, matches!(run.state, State::Parked { .. })) {
        changes.push(open(
            Kind::RotationParked,
            format!(
                "Rotation {} needs a person: {reason}. All its keys stay alive. When that is settled: \
                 `rekeyd runs resume {}`.",
                run.rotation, run.id
            ),
        ));
    }
    changes.extend(left_alive(event, after).map(|detail| open(Kind::RotationFailed, detail)));
    if after.state.is_terminal() {
        changes.push(resolve(Kind::RotationParked));
        changes.push(resolve(Kind::OldKeyInUse));
        if after.inheritance == Inheritance::Done {
            changes.push(resolve(Kind::InheritanceFailed));
        }
    }
    if after.state == State::Done {
        changes.push(resolve(Kind::RotationFailed));
        changes.push(resolve(Kind::LeakDetected));
    }
    changes
}

/// An abort leaves the predecessor in use. Other keys that the run was to retire live on, and no run does it now.
fn left_alive(event: &Event, after: &Run) -> Option<String> {
    let (State::Aborted { reason }, false) = (&after.state, matches!(event, Event::PreflightFailed { .. }))
    else {
        return None;
    };
    let stays = |retiree: &&Retiree| after.predecessor.as_ref().is_some_and(|old| old.id == retiree.key.id);
    let left = after.retirees.iter().filter(|retiree| !retiree.is_dead() && !stays(retiree));
    let left: Vec<String> = left.map(|retiree| retiree.key.generation.to_string()).collect();
    let keys = left.join(", ");
    (!left.is_empty()).then(|| {
        format!(
            "A run of rotation {} was ended ({reason}), and no run retires generation {keys} any more, which may still work. \
             The next one does: `rekeyd rotations run {}`.",
            after.rotation, after.rotation
        )
    })
}

/// A leaked key lives because this destination does not hold the new one: a person may accept that its consumers stop.
fn exposed(run: &Run, place: &str) -> Change {
    let detail = format!(
        "The leaked key of rotation {} still works, because destination {place} is required and does not hold the new one. \
         Mend it; or accept that its consumers stop: `rekeyd runs release {} {place}`, and the leaked key is disabled.",
        run.rotation, run.id
    );
    let subject = Subject::Destination(place.to_owned());
    let alert = NewAlert::new(Kind::DestinationFailed, subject, detail).rotation(run.rotation.clone());
    Change::Alert(NewAlert { severity: Severity::Critical, ..alert })
}

/// What a destination that no longer counts had to say is over.
fn released(destination: &str, parked: Change) -> Vec<Change> {
    let subject = Subject::Destination(destination.to_owned());
    let over = [Kind::DestinationFailed, Kind::DestinationDrift];
    over.map(|kind| Change::Resolve { kind, subject: subject.clone() }).into_iter().chain([parked]).collect()
}

/// A schedule comes round; what a person started, a person starts again.
fn again(run: &Run) -> String {
    match run.trigger {
        Trigger::Manual => format!(". When that is over: `rekeyd rotations run {}`", run.rotation),
        _ => "; it is tried again".to_owned(),
    }
}

/// The old key outlives `max_overlap`: how much it is used, and since when.
fn in_use(run: &Run, now: Stamp) -> String {
    let since = match run.state.underlying() {
        State::Grace { since, .. } => format!(" since {}", since.ours.rfc3339()),
        _ => String::new(),
    };
    let keys: Vec<String> = run.retirees.iter().filter_map(|retiree| figures(retiree, now)).collect();
    format!(
        "An old key of rotation {} is still needed, although every required destination holds the new one{since}. {} It \
         is not disabled while it is in use, or while a destination may hold it. Find the consumer that still has it.",
        run.rotation,
        keys.join(" ")
    )
}

/// What the provider last showed of one key on its way out, in one sentence.
fn figures(retiree: &Retiree, now: Stamp) -> Option<String> {
    let Phase::Live { quiet: Some((usage, since)) } = &retiree.phase else { return None };
    let Some(figures) = usage.figures() else {
        let generation = retiree.key.generation;
        return Some(format!("Generation {generation}: its provider does not tell whether it is used."));
    };
    let used = figures.last_used_at.map_or_else(|| "never".to_owned(), Timestamp::rfc3339);
    let ago = Span(now.ours.since(since.ours).0.max(0) / 1000 * 1000);
    Some(format!(
        "Generation {}: last used {used}, {:.4} USD spent in all ({:.4} USD more with own vendor keys); these figures \
         have stood since {}, {} ago.",
        retiree.key.generation,
        figures.usage.usd(),
        figures.byok_usage.usd(),
        since.ours.rfc3339(),
        humantime::format_duration(ago.to_std())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inherit::Inherit;
    use crate::domain::key::MicroUsd;
    use crate::domain::rotation::{Figures, KeyRef, Policy, SpecPolicy, Usage};

    fn at(seconds: i64) -> Stamp {
        Stamp { ours: Timestamp(seconds * 1000), theirs: None }
    }

    fn run_in_grace(phase: Phase) -> Run {
        let policy = Policy {
            targets: Vec::new(),
            grace: Span::ZERO,
            quiet: Span::ZERO,
            observe: Span::ZERO,
            max_overlap: Span::ZERO,
            max_exposure: Span::ZERO,
            propagation: Span::ZERO,
            settle: Span::ZERO,
            confirm_after: Span::ZERO,
            spec: SpecPolicy::default(),
            chat_model: None,
            inherit: Inherit::default(),
            can_disable: true,
        };
        let mut run = Run::new("r".into(), "production".into(), "org:a".into(), Trigger::Manual, policy);
        let key = KeyRef { id: "k".into(), generation: 4, hash: "h".into(), has_secret: true };
        run.retirees = vec![Retiree { phase, ..Retiree::new(key, false, Span::ZERO) }];
        run.state = State::Grace { since: at(60), overlap_told: false };
        run
    }

    #[test]
    fn a_key_that_is_still_used_is_told_with_its_figures() {
        let figures = Figures {
            usage: MicroUsd::from_usd(1.25),
            byok_usage: MicroUsd(0),
            last_used_at: Some(Timestamp(3_590_000)),
        };
        let told = in_use(
            &run_in_grace(Phase::Live { quiet: Some((Usage::Figures(figures), at(3_600))) }),
            at(3_660),
        );
        for said in [
            "since 1970-01-01T00:01:00",
            "Generation 4: last used 1970-01-01T00:59:50",
            "1.2500 USD",
            "have stood since 1970-01-01T01:00:00",
            "1m ago",
        ] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert!(!told.contains("rekeyd why"), "{told}");
    }

    #[test]
    fn a_key_that_is_gone_is_not_told_of() {
        assert!(!in_use(&run_in_grace(Phase::Dead), at(3_660)).contains("Generation"));
    }
}
