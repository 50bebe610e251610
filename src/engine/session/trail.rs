//! What the audit trail says of an event (I12): a row for each change of a run's or a key's state.

use crate::domain::rotation::{Event, KeyRef, Run, State};

/// A row, without who and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// What an event is to the trail.
enum Told<'e> {
    /// It moves the run: a row of the state that it is in now, if that is another one.
    Move,
    /// The same, and a row even when the state stays.
    Said(&'e str),
    /// The state of a key, too.
    Key(Option<&'e KeyRef>, &'static str),
    /// Whoever commits it writes its row.
    Elsewhere,
    /// It changes no state.
    Nothing,
}

/// The rows of one event.
pub(crate) fn lines(before: &Run, event: &Event, after: &Run) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(key) = promoted(before, event) {
        lines.push(of_key(before, key.generation, "key.current"));
    }
    let said = match told(before, event) {
        Told::Nothing | Told::Elsewhere => return lines,
        Told::Move => None,
        Told::Said(detail) => Some(detail),
        Told::Key(key, action) => {
            lines.push(of_key(before, key.map_or(0, |key| key.generation), action));
            None
        }
    };
    if said.is_some() || before.state != after.state {
        let detail = after.state.reason().or(said).unwrap_or_default();
        lines.push(Line {
            action: format!("run.{}", after.state.word()),
            subject: format!("rotation {} run {}", after.rotation, after.id),
            detail: detail.to_owned(),
        });
    }
    lines
}

fn of_key(run: &Run, generation: i64, action: &str) -> Line {
    Line {
        action: action.to_owned(),
        subject: format!("rotation {} generation {generation}", run.rotation),
        detail: format!("run {}", run.id),
    }
}

/// One decision for each event: a new one does not compile without.
fn told<'e>(run: &'e Run, event: &'e Event) -> Told<'e> {
    let key = |hash: &str, action| Told::Key(retiree(run, hash), action);
    match event {
        Event::Created { key, .. } => Told::Key(Some(key), "key.created"),
        Event::Disabled { hash, .. } => key(hash, "key.disabled"),
        Event::Deleted { hash } => key(hash, "key.deleted"),
        Event::Enabled { hash, .. } => key(hash, "key.enabled"),
        Event::FoundGone { hash } => key(hash, "key.found_gone"),
        Event::FoundDisabled { hash, .. } => key(hash, "key.found_disabled"),
        Event::FoundEnabled { hash, .. } => key(hash, "key.found_enabled"),
        // The guard's transaction, see `retire::kill`.
        Event::DisableIntended { .. } | Event::DeleteIntended { .. } => Told::Elsewhere,
        Event::Inherited => Told::Said("the new key is named wherever the old one is"),
        Event::InheritanceWaived { reason }
        | Event::LimitsWaived { reason }
        | Event::ProbeWaived { reason } => Told::Said(reason),
        Event::OverlapTold => Told::Said("an old key is still needed after max_overlap"),
        Event::ExposureTold { .. } => Told::Said("a leaked key has been usable for longer than max_exposure"),
        Event::AbortAsked { .. } => Told::Said("a person asked for an abort"),
        Event::RollbackAsked { .. } => Told::Said("a person asked for a rollback"),
        Event::Resumed { .. } => Told::Said("a person resumed it"),
        Event::Released { destination, .. } => Told::Said(destination),
        Event::PreflightPassed
        | Event::PreflightFailed { .. }
        | Event::CreateIntended { .. }
        | Event::CreateRefused { .. }
        | Event::CreateUnclear { .. }
        | Event::Listed { .. }
        | Event::ProvisioningWorks { .. }
        | Event::ProvisioningRefused { .. }
        | Event::Verified { .. }
        | Event::VerifyFailed { .. }
        | Event::PublishIntended
        | Event::PublishedEverywhere { .. }
        | Event::GraceOver
        | Event::CandidateFailed { .. }
        | Event::AbortReady { .. }
        | Event::AbortFinished { .. }
        | Event::LeftForNow { .. }
        | Event::Revived { .. }
        | Event::ReviveAgain
        | Event::RepublishedEverywhere { .. }
        | Event::RollbackFinished
        | Event::Parked { .. }
        | Event::Superseded { .. }
        | Event::Finished => Told::Move,
        Event::FiguresMoved { .. } | Event::Postponed { .. } | Event::RequestRefused { .. } => Told::Nothing,
    }
}

pub(crate) fn retiree<'r>(run: &'r Run, hash: &str) -> Option<&'r KeyRef> {
    run.retirees.iter().map(|retiree| &retiree.key).find(|key| key.hash == hash)
}

/// The key that consumers should use from this event on.
pub(crate) fn promoted<'r>(run: &'r Run, event: &Event) -> Option<&'r KeyRef> {
    let going_back = matches!(run.state, State::RollingBack { .. });
    match event {
        // "Current" moves with the first publish intent, not before.
        Event::PublishIntended | Event::PublishedEverywhere { .. } if !run.published && !going_back => {
            run.candidate.as_ref()
        }
        Event::AbortAsked { .. } if run.published => run.predecessor.as_ref(),
        Event::Revived { .. } => run.predecessor.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::rotation::tests::{self, any};
    use crate::domain::rotation::{Phase, apply};

    /// What of a run is a state: its own, and those of its keys. Figures are none.
    fn states(run: &Run) -> String {
        let phase = |phase: &Phase| match phase {
            Phase::Live { .. } => "Live".to_owned(),
            other => format!("{other:?}"),
        };
        let keys: Vec<String> =
            run.retirees.iter().map(|one| format!("{:?} {}", one.key, phase(&one.phase))).collect();
        let current = run.candidate.as_ref().map(|key| (key, run.published));
        format!("{:?} {current:?} {keys:?}", run.state)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_change_of_a_state_has_its_row(run in any::run()) {
            for event in any::events() {
                let Ok(after) = apply(&run, &event) else { continue };
                let elsewhere = matches!(event, Event::DisableIntended { .. } | Event::DeleteIntended { .. });
                let silent = lines(&run, &event, &after).is_empty();
                prop_assert!(!silent || elsewhere || states(&run) == states(&after), "{event:?} of {run:?}");
            }
        }
    }

    #[test]
    fn what_becomes_of_a_key_is_in_the_trail_by_its_name() {
        let run = tests::run(State::Planned);
        let of = |event: &Event| lines(&run, event, &run);
        let keyed: Vec<Line> =
            any::events().iter().flat_map(of).filter(|line| line.action.starts_with("key.")).collect();
        for word in ["disabled", "deleted", "enabled", "found_gone", "found_disabled", "found_enabled"] {
            let line = keyed.iter().find(|line| line.action == format!("key.{word}"));
            assert!(
                line.is_some_and(|line| line.subject == "rotation production generation 1"),
                "{word}: {keyed:?}"
            );
        }
        assert!(keyed.iter().any(|line| line.action == "key.created"), "{keyed:?}");
    }
}
