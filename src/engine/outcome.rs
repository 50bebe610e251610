//! What an event changes besides the run: roles of keys, answers to persons, alerts, the audit trail.

use super::session::Session;
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::rotation::{Event, KeyRef, Retiree, Run, State, Trigger};
use crate::store::Change;

impl Session<'_> {
    /// All that is committed together with the event (I12).
    pub(super) fn consequences(&self, before: &Run, event: &Event, after: &Run) -> Vec<Change> {
        let mut changes = roles(before, event);
        changes.extend(answers(before, event));
        changes.extend(alerts(before, event, after));
        if matches!(event, Event::PublishedEverywhere { .. }) {
            // A key that works was just proved.
            let subject = format!("account {}", self.account.name);
            changes.push(Change::Resolve { kind: Kind::AccountWithoutKeys, subject });
        }
        if before.state != after.state || matches!(event, Event::Resumed { .. } | Event::Released { .. }) {
            let detail = after.state.reason().unwrap_or_default().to_owned();
            let subject = format!("rotation {} run {}", after.rotation, after.id);
            changes.push(Change::Audit(self.engine.entry(
                format!("run.{}", after.state.word()),
                subject,
                detail,
            )));
        }
        changes
    }
}

fn retiree<'r>(run: &'r Run, hash: &str) -> Option<&'r KeyRef> {
    run.retirees.iter().map(|r: &Retiree| &r.key).find(|key| key.hash == hash)
}

/// Which generation consumers should use, and which are gone.
fn roles(run: &Run, event: &Event) -> Vec<Change> {
    let promote = |key: &Option<KeyRef>| {
        key.iter().map(|key| Change::Promote { rotation: run.rotation.clone(), id: key.id.clone() }).collect()
    };
    match event {
        Event::Verified { .. } => promote(&run.candidate),
        Event::Revived { .. } => promote(&run.predecessor),
        Event::Deleted { hash } | Event::FoundGone { hash } => {
            retiree(run, hash).map(|key| Change::Bury { id: key.id.clone() }).into_iter().collect()
        }
        _ => Vec::new(),
    }
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
fn alerts(run: &Run, event: &Event, after: &Run) -> Vec<Change> {
    let subject = format!("rotation {}", run.rotation);
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
        Event::CandidateFailed { reason } => vec![open(
            Kind::RotationFailed,
            format!("Rotation {} goes back to the previous key: {reason}.", run.rotation),
        )],
        Event::OverlapTold => vec![open(Kind::OldKeyInUse, in_use(run))],
        Event::Resumed { .. } => vec![resolve(Kind::RotationParked)],
        Event::Released { destination, .. } => released(destination, resolve(Kind::RotationParked)),
        Event::PublishedEverywhere { .. } => {
            let mut over: Vec<Change> = super::tell::OF_A_KEY.map(resolve).into();
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
    if after.state.is_terminal() {
        changes.push(resolve(Kind::RotationParked));
        changes.push(resolve(Kind::OldKeyInUse));
    }
    if after.state == State::Done {
        changes.push(resolve(Kind::RotationFailed));
        changes.push(resolve(Kind::LeakDetected));
    }
    changes
}

/// What a destination that no longer counts had to say is over.
fn released(destination: &str, parked: Change) -> Vec<Change> {
    let subject = format!("destination {destination}");
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

fn in_use(run: &Run) -> String {
    format!(
        "The old key of rotation {} is still used although every required destination holds the new one. It is not \
         disabled while it is in use: `rekeyd why {}` says since when. Find the consumer that still holds it.",
        run.rotation, run.rotation
    )
}
