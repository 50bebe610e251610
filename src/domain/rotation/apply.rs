//! What an event makes of a run. Total: an event that does not belong to the state is [`IllegalEvent`].

use serde::{Deserialize, Serialize};

use super::{Inheritance, Issuing, KeyRef, Phase, Retiree, Rollback, Run, State, Usage, Wait};
use crate::domain::key::KeySpec;
use crate::domain::time::{Span, Stamp, Until};

/// Something that happened, committed together with what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[expect(missing_docs, reason = "fields are named after the state they fill; see rotation/mod.rs")]
pub enum Event {
    /// Everything that a rotation needs answered; nothing was changed.
    PreflightPassed,
    /// Something would not have worked; nothing was changed.
    PreflightFailed { reason: String },
    /// The intent to create under this name is committed.
    CreateIntended { name: String, spec: KeySpec },
    /// The key is stored.
    Created { key: KeyRef, at: Stamp },
    /// The provider refused in its own form; nothing was created. `doubtful` for 401 and 403.
    CreateRefused { reason: String, doubtful: bool, permanent: bool, until: Until },
    /// Nobody knows whether the key exists.
    CreateUnclear { reason: String },
    /// The account was listed and its strays dealt with.
    Listed { at: Stamp, until: Until },
    /// The provisioning key works after all.
    ProvisioningWorks { until: Until },
    /// The provisioning key was refused (once, or again).
    ProvisioningRefused { at: Stamp, confirmed: bool },
    /// The new key is named wherever the old one is.
    Inherited,
    /// An emergency goes on although it is not.
    InheritanceWaived { reason: String },
    /// An emergency goes on with limits that differ from what was asked for.
    LimitsWaived { reason: String },
    /// An emergency goes on without the billed probe, which the provider refuses.
    ProbeWaived { reason: String },
    /// The new key is what was asked for.
    Verified { at: Stamp },
    /// The new key does not work, or is not what was asked for.
    VerifyFailed { reason: String },
    /// A publish intent for the candidate is committed.
    PublishIntended,
    /// Every required destination is at its level.
    PublishedEverywhere { at: Stamp },
    /// The old key's figures moved, or were seen for the first time.
    FiguresMoved { hash: String, figures: Usage, at: Stamp },
    /// A key on its way out was deleted by somebody.
    FoundGone { hash: String },
    /// A key on its way out was disabled by somebody.
    FoundDisabled { hash: String, at: Stamp },
    /// A key that was disabled is enabled again: somebody needs it.
    FoundEnabled { hash: String, at: Stamp },
    /// The admins have been told that the old key is still used after `max_overlap`.
    OverlapTold,
    /// People have been told that a leaked key lives longer than `max_exposure`, and what it waits for.
    ExposureTold { waits_for: Vec<String> },
    /// Nothing speaks against disabling the old keys.
    GraceOver,
    /// The intent to disable is committed.
    DisableIntended { hash: String },
    /// It is disabled, read back.
    Disabled { hash: String, at: Stamp },
    /// The intent to delete is committed: the point of no return.
    DeleteIntended { hash: String },
    /// It is gone: 404.
    Deleted { hash: String },
    /// The candidate worked and does not any more.
    CandidateFailed { reason: String },
    /// Stop: nothing was published.
    AbortAsked { id: String },
    /// The create in doubt is settled, the asked-for abort can go on.
    AbortReady { reason: String },
    /// The candidate of an aborted run is gone. An emergency makes another after the wait.
    AbortFinished { until: Until },
    /// The failed candidate is the last key of the account, or in use, and stays until another exists.
    LeftForNow { until: Until },
    /// Back to the old key, because a person says so.
    RollbackAsked { id: String },
    /// The old key is seen enabled again: what was asked of it before proves nothing now (R19).
    Enabled { hash: String, at: Stamp },
    /// The old key is enabled and tested.
    Revived { at: Stamp },
    /// The old key is refused after all.
    ReviveAgain,
    /// The old key is everywhere again.
    RepublishedEverywhere { at: Stamp },
    /// The candidate of a rolled-back run is gone.
    RollbackFinished,
    /// A person says: go on.
    Resumed { id: String },
    /// A person says: this destination no longer counts.
    Released { id: String, destination: String },
    /// What a person asked for cannot be.
    RequestRefused { id: String, reason: String },
    /// Needs a person.
    Parked { reason: String },
    /// This call did not work this time, see [`super::Directive::call`].
    Postponed {
        call: String,
        reason: String,
        until: Until,
        #[serde(default)]
        by_policy: bool,
    },
    /// An emergency took over.
    Superseded { by: String },
    /// All keys on their way out are gone.
    Finished,
}

/// An event that does not belong to the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} is illegal in state {state}")]
pub struct IllegalEvent {
    /// The state's word.
    pub state: &'static str,
    /// The event's name.
    pub event: String,
}

/// The next run. Never touches anything but the run.
pub fn apply(run: &Run, event: &Event) -> Result<Run, IllegalEvent> {
    let mut after = run.clone();
    let legal = match event {
        Event::PreflightPassed
        | Event::PreflightFailed { .. }
        | Event::CreateIntended { .. }
        | Event::Created { .. }
        | Event::CreateRefused { .. }
        | Event::CreateUnclear { .. }
        | Event::Listed { .. }
        | Event::ProvisioningWorks { .. }
        | Event::ProvisioningRefused { .. } => making(&mut after, event),
        Event::Verified { .. }
        | Event::VerifyFailed { .. }
        | Event::Inherited
        | Event::InheritanceWaived { .. }
        | Event::LimitsWaived { .. }
        | Event::ProbeWaived { .. }
        | Event::PublishIntended
        | Event::PublishedEverywhere { .. }
        | Event::OverlapTold
        | Event::ExposureTold { .. }
        | Event::GraceOver
        | Event::Finished
        | Event::CandidateFailed { .. } => advancing(&mut after, event),
        Event::FiguresMoved { .. }
        | Event::FoundGone { .. }
        | Event::FoundDisabled { .. }
        | Event::FoundEnabled { .. }
        | Event::DisableIntended { .. }
        | Event::Disabled { .. }
        | Event::DeleteIntended { .. }
        | Event::Deleted { .. } => retiring(&mut after, event),
        Event::AbortReady { .. }
        | Event::AbortFinished { .. }
        | Event::LeftForNow { .. }
        | Event::Enabled { .. }
        | Event::Revived { .. }
        | Event::ReviveAgain
        | Event::RepublishedEverywhere { .. }
        | Event::RollbackFinished => returning(&mut after, event),
        Event::AbortAsked { .. }
        | Event::RollbackAsked { .. }
        | Event::Resumed { .. }
        | Event::Released { .. }
        | Event::RequestRefused { .. }
        | Event::Parked { .. }
        | Event::Postponed { .. }
        | Event::Superseded { .. } => steering(&mut after, event),
    };
    if legal && !run.state.is_terminal() { Ok(after) } else { Err(illegal(run, event)) }
}

fn illegal(run: &Run, event: &Event) -> IllegalEvent {
    let text = format!("{event:?}");
    let event = text.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
    IllegalEvent { state: run.state.word(), event }
}

/// From the plan to a stored key.
fn making(run: &mut Run, event: &Event) -> bool {
    let next = match (&run.state, event) {
        (State::Planned, Event::PreflightPassed) => issuing(Issuing::Ready { until: Until::OVER }),
        // An emergency may have taken over the keys of another run: it may not end before it began.
        (State::Planned, Event::PreflightFailed { reason }) if !run.trigger.is_emergency() => {
            State::Aborted { reason: reason.clone() }
        }
        (State::Issuing { issuing: Issuing::Ready { .. } }, Event::CreateIntended { name, spec }) => {
            run.creates += 1;
            run.asked = Some(spec.clone());
            issuing(Issuing::Sent { name: name.clone() })
        }
        (State::Issuing { issuing: Issuing::Sent { .. } }, Event::Created { key, at }) => {
            run.candidate = Some(key.clone());
            run.inheritance = Inheritance::Open;
            State::Verifying { since: *at }
        }
        (
            State::Issuing { issuing: Issuing::Sent { .. } },
            Event::CreateRefused { reason, doubtful, permanent, until },
        ) => match (doubtful, permanent) {
            (true, _) => issuing(Issuing::Doubt { reason: reason.clone(), refused_since: None }),
            (_, true) => parked(issuing(Issuing::Ready { until: *until }), reason),
            _ => issuing(Issuing::Ready { until: *until }),
        },
        (State::Issuing { issuing: Issuing::Sent { name } }, Event::CreateUnclear { .. }) => {
            run.unclear += 1;
            issuing(Issuing::Recover { name: name.clone(), looked: None })
        }
        (State::Issuing { issuing: Issuing::Recover { name, looked: None } }, Event::Listed { at, .. }) => {
            issuing(Issuing::Recover { name: name.clone(), looked: Some(*at) })
        }
        (
            State::Issuing { issuing: Issuing::Recover { .. } | Issuing::Ready { .. } },
            Event::Listed { until, .. },
        ) => issuing(Issuing::Ready { until: *until }),
        (State::Issuing { issuing: Issuing::Doubt { .. } }, Event::ProvisioningWorks { until }) => {
            issuing(Issuing::Ready { until: *until })
        }
        (
            State::Issuing { issuing: Issuing::Doubt { reason, refused_since } },
            Event::ProvisioningRefused { at, confirmed },
        ) => match (refused_since, confirmed) {
            (Some(_), true) => parked(
                issuing(Issuing::Ready { until: Until::OVER }),
                &format!("the provisioning key is refused: {reason}"),
            ),
            (since, _) => {
                issuing(Issuing::Doubt { reason: reason.clone(), refused_since: since.or(Some(*at)) })
            }
        },
        _ => return false,
    };
    run.state = next;
    true
}

fn issuing(issuing: Issuing) -> State {
    State::Issuing { issuing }
}

fn parked(from: State, reason: &str) -> State {
    State::Parked { from: Box::new(from), reason: reason.to_owned() }
}

/// From a stored key to the end of grace.
fn advancing(run: &mut Run, event: &Event) -> bool {
    let next = match (&run.state, event) {
        (State::Verifying { .. }, Event::Verified { .. }) => {
            (run.creates, run.unclear, run.failures) = (0, 0, 0);
            State::Publishing
        }
        (State::Verifying { .. }, Event::Inherited) if run.inheritance == Inheritance::Open => {
            run.inheritance = Inheritance::Done;
            return true;
        }
        (State::Verifying { .. }, Event::InheritanceWaived { .. })
            if run.trigger.is_emergency() && run.inheritance == Inheritance::Open =>
        {
            run.inheritance = Inheritance::Waived;
            return true;
        }
        (State::Verifying { .. }, Event::LimitsWaived { .. }) if run.trigger.is_emergency() => {
            run.asked = None;
            return true;
        }
        (State::Verifying { .. }, Event::ProbeWaived { .. }) if run.trigger.is_emergency() => {
            run.policy.chat_model = None;
            return true;
        }
        (State::Verifying { .. }, Event::VerifyFailed { reason }) => {
            run.failures += 1;
            doom_candidate(run, Span::ZERO);
            State::Aborting { reason: reason.clone() }
        }
        (state, Event::PublishIntended) if may_publish(state) => {
            run.published |= !matches!(state, State::RollingBack { .. });
            return true;
        }
        (State::Publishing, Event::PublishedEverywhere { .. }) if run.retirees.is_empty() => State::Done,
        (State::Publishing, Event::PublishedEverywhere { at }) => {
            // A rotation without destinations has no publish intent.
            run.published = true;
            State::Grace { since: *at, overlap_told: false }
        }
        (State::Grace { since, .. }, Event::OverlapTold) => {
            State::Grace { since: *since, overlap_told: true }
        }
        (state, Event::ExposureTold { .. }) if may_publish(state) && !run.exposure_told => {
            run.exposure_told = true;
            return true;
        }
        (State::Grace { .. }, Event::GraceOver) => State::Observing,
        (State::Grace { .. } | State::Observing, Event::Finished)
            if run.retirees.iter().all(Retiree::is_dead) =>
        {
            State::Done
        }
        (State::Publishing | State::Grace { .. } | State::Observing, Event::CandidateFailed { reason })
            if run.can_roll_back().is_ok() =>
        {
            State::RollingBack { reason: reason.clone(), stage: Rollback::Reviving }
        }
        _ => return false,
    };
    run.state = next;
    true
}

fn may_publish(state: &State) -> bool {
    matches!(state, State::Publishing | State::Grace { .. } | State::Observing)
        || matches!(
            state,
            State::RollingBack { stage: Rollback::Republishing | Rollback::Retiring { .. }, .. }
        )
}

/// Puts the candidate on its way out.
fn doom_candidate(run: &mut Run, observe: Span) {
    if let Some(key) = run.candidate.clone()
        && !run.retirees.iter().any(|r| r.key.id == key.id)
    {
        run.retirees.push(Retiree::new(key, false, observe));
    }
}

/// One key on its way out.
fn retiring(run: &mut Run, event: &Event) -> bool {
    let (hash, phase) = match event {
        Event::FiguresMoved { hash, figures, at } => (hash, Phase::Live { quiet: Some((*figures, *at)) }),
        Event::FoundGone { hash } | Event::Deleted { hash } => (hash, Phase::Dead),
        Event::FoundDisabled { hash, at } => (hash, Phase::Disabled { since: *at, by_us: false }),
        Event::FoundEnabled { hash, .. } => (hash, Phase::Live { quiet: None }),
        Event::DisableIntended { hash } => (hash, Phase::Disabling),
        Event::Disabled { hash, at } => (hash, Phase::Disabled { since: *at, by_us: true }),
        Event::DeleteIntended { hash } => (hash, Phase::Deleting),
        _ => return false,
    };
    let Some(retiree) = run.retirees.iter_mut().find(|r| &r.key.hash == hash) else { return false };
    let legal = match (&retiree.phase, event) {
        (Phase::Dead, _) => false,
        (phase, Event::FiguresMoved { .. }) => matches!(phase, Phase::Live { .. }),
        (phase, Event::FoundDisabled { .. }) => matches!(phase, Phase::Live { .. } | Phase::Revived { .. }),
        (phase, Event::FoundEnabled { .. }) => matches!(phase, Phase::Disabled { .. }),
        (phase, Event::DisableIntended { .. }) => {
            matches!(phase, Phase::Live { .. } | Phase::Disabling | Phase::Revived { .. })
        }
        (phase, Event::Disabled { .. }) => matches!(phase, Phase::Disabling),
        (phase, Event::DeleteIntended { .. }) => {
            let at_once =
                !run.policy.can_disable && matches!(phase, Phase::Live { .. } | Phase::Revived { .. });
            at_once || matches!(phase, Phase::Disabled { .. } | Phase::Deleting)
        }
        (phase, Event::Deleted { .. }) => matches!(phase, Phase::Deleting),
        (_, Event::FoundGone { .. }) => true,
        _ => false,
    };
    if !legal {
        return false;
    }
    retiree.phase = phase;
    if let (Event::FiguresMoved { figures, .. }, State::Aborting { .. }) = (event, &run.state)
        && figures.may_be_used()
    {
        // Somebody has it: it is taken away like any other key.
        retiree.observe = run.policy.observe;
    }
    if let (Event::FoundEnabled { at, .. }, State::Observing) = (event, &run.state) {
        // Somebody needs the old key: both live again, and the wait for quiet begins anew (fault 22).
        run.state = State::Grace { since: *at, overlap_told: false };
    }
    true
}

/// The ways back: abort and rollback.
fn returning(run: &mut Run, event: &Event) -> bool {
    let next = match (&run.state, event) {
        (State::Issuing { issuing: Issuing::Ready { .. } }, Event::AbortReady { reason }) => {
            State::Aborting { reason: reason.clone() }
        }
        (State::Aborting { reason }, Event::AbortFinished { until }) if candidate_is_dead(run) => {
            abort_finished(run, reason.clone(), *until)
        }
        // An ordinary run that waited here for another key would keep healing from making one.
        (State::Aborting { reason }, Event::LeftForNow { until }) => {
            abort_finished(run, reason.clone(), *until)
        }
        (State::RollingBack { stage: Rollback::Reviving, .. }, Event::Enabled { hash, at }) => {
            return enabled(run, hash, *at);
        }
        (State::RollingBack { reason, stage: Rollback::Reviving }, Event::Revived { .. }) => {
            let reason = reason.clone();
            revived(run);
            State::RollingBack { reason, stage: Rollback::Republishing }
        }
        (State::RollingBack { reason, .. }, Event::ReviveAgain) => {
            State::RollingBack { reason: reason.clone(), stage: Rollback::Reviving }
        }
        (
            State::RollingBack { reason, stage: Rollback::Republishing },
            Event::RepublishedEverywhere { at },
        ) => {
            let reason = reason.clone();
            doom_candidate(run, run.policy.observe);
            State::RollingBack { reason, stage: Rollback::Retiring { since: *at } }
        }
        (State::RollingBack { reason, stage: Rollback::Retiring { .. } }, Event::RollbackFinished)
            if others_are_dead(run) =>
        {
            State::RolledBack { reason: reason.clone() }
        }
        _ => return false,
    };
    run.state = next;
    true
}

/// An emergency cannot end without a new key: it tries again. Any other run ends here.
fn abort_finished(run: &mut Run, reason: String, until: Until) -> State {
    if !run.trigger.is_emergency() || run.abort_asked {
        return State::Aborted { reason };
    }
    run.candidate = None;
    issuing(Issuing::Ready { until })
}

fn candidate_is_dead(run: &Run) -> bool {
    run.candidate.as_ref().is_none_or(|key| run.retirees.iter().any(|r| r.key.id == key.id && r.is_dead()))
}

/// All keys but the one that production runs with again.
fn others_are_dead(run: &Run) -> bool {
    let old = run.predecessor.as_ref().map(|key| &key.id);
    candidate_is_dead(run) && run.retirees.iter().all(|r| r.is_dead() || Some(&r.key.id) == old)
}

/// The old key is off its way out; whether a disable of ours may still land is remembered.
fn revived(run: &mut Run) {
    let Some(old) = &run.predecessor else { return };
    let retiree = run.retirees.iter_mut().find(|r| r.key.id == old.id);
    if let Some(retiree) = retiree.filter(|r| !matches!(r.phase, Phase::Revived { .. })) {
        retiree.phase = Phase::Revived { late: retiree.phase == Phase::Disabling, since: None };
    }
}

/// The same, and what its tests must be younger than.
fn enabled(run: &mut Run, hash: &str, at: Stamp) -> bool {
    let retiree = run.retirees.iter_mut().find(|r| r.key.hash == hash);
    let Some(retiree) = retiree.filter(|r| !matches!(r.phase, Phase::Deleting | Phase::Dead)) else {
        return false;
    };
    let late = matches!(retiree.phase, Phase::Disabling | Phase::Revived { late: true, .. });
    retiree.phase = Phase::Revived { late, since: Some(at) };
    true
}

/// What persons and emergencies do to a run.
fn steering(run: &mut Run, event: &Event) -> bool {
    match event {
        Event::AbortAsked { .. } if run.is_before_retiring() => ask_abort(run),
        Event::RollbackAsked { .. } if run.can_roll_back().is_ok() => ask_rollback(run),
        Event::Resumed { .. } => {
            (run.creates, run.unclear, run.failures) = (0, 0, 0);
            run.waits.clear();
            unpark(run);
        }
        // R14. Whatever else parked it parks it again.
        Event::Released { destination, .. } => {
            run.policy.targets.retain(|t| t.name != *destination && t.address != *destination);
            // What waited for it waits no longer.
            run.waits.clear();
            unpark(run);
        }
        Event::RequestRefused { .. } => {}
        Event::Parked { reason } if !matches!(run.state, State::Parked { .. }) => {
            run.state = parked(run.state.clone(), reason);
        }
        Event::Postponed { call, reason, until, by_policy } => {
            let attempts = run.attempts(call).saturating_add(1);
            run.waits.insert(
                call.clone(),
                Wait { attempts, until: *until, reason: reason.clone(), by_policy: *by_policy },
            );
        }
        Event::Superseded { by } => run.state = State::Superseded { by: by.clone() },
        _ => return false,
    }
    true
}

fn unpark(run: &mut Run) {
    if let State::Parked { from, .. } = &run.state {
        run.state = (**from).clone();
    }
}

/// Abort at once where nothing is in doubt; else settle the create first.
fn ask_abort(run: &mut Run) {
    run.abort_asked = true;
    let reason = super::ASKED.to_owned();
    let state = run.state.underlying().clone();
    run.state = match state {
        State::Planned => State::Aborted { reason },
        State::Issuing { issuing: Issuing::Ready { .. } | Issuing::Doubt { .. } } => {
            State::Aborting { reason }
        }
        State::Verifying { .. } | State::Publishing | State::Grace { .. } => {
            doom_candidate(run, Span::ZERO);
            State::Aborting { reason }
        }
        other => other,
    };
}

/// Back to the old key, wherever the run stands between the first publish and the delete intent.
fn ask_rollback(run: &mut Run) {
    if matches!(run.state.underlying(), State::RollingBack { .. }) {
        return unpark(run);
    }
    run.state = State::RollingBack { reason: super::ASKED.to_owned(), stage: Rollback::Reviving };
}
