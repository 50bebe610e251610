//! Every event in every state: what is legal, and that nothing else is.

use super::*;

fn name(event: &Event) -> String {
    format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

fn accepted(run: &Run) -> Vec<String> {
    any::events().iter().filter(|event| apply(run, event).is_ok()).map(name).collect()
}

/// Legal in every open state.
const ALWAYS: &[&str] = &["Resumed", "Released", "RequestRefused", "Postponed", "Superseded"];
/// What may be seen of, or intended for, a live key in every open state.
const LIVE: &[&str] = &["FiguresMoved", "FoundGone", "FoundDisabled", "DisableIntended"];

fn assert_accepts(run: &Run, groups: &[&[&str]]) {
    let mut expected: Vec<String> = groups.concat().into_iter().map(str::to_owned).collect();
    let mut found = accepted(run);
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{:?}", run.state);
}

#[test]
fn terminal_states_accept_nothing() {
    let reason = || "x".to_owned();
    for state in [
        State::Done,
        State::Aborted { reason: reason() },
        State::RolledBack { reason: reason() },
        State::Superseded { by: reason() },
    ] {
        assert_eq!(accepted(&run(state.clone())), Vec::<String>::new(), "{state:?}");
        assert_eq!(next(&run(state), &all_well()), Directive::Finished);
    }
}

#[test]
fn each_state_accepts_its_own_events_and_no_others() {
    let issuing = |issuing| State::Issuing { issuing };
    let doubt = Issuing::Doubt { reason: "x".into(), refused_since: None };
    let recover = Issuing::Recover { name: "n".into(), looked: None };
    let table: &[(State, &[&str])] = &[
        (State::Planned, &["Parked", "AbortAsked", "PreflightPassed", "PreflightFailed"]),
        (
            issuing(Issuing::Ready { until: Until::OVER }),
            &["Parked", "AbortAsked", "AbortReady", "CreateIntended", "Listed"],
        ),
        (
            issuing(Issuing::Sent { name: "n".into() }),
            &["Parked", "AbortAsked", "Created", "CreateRefused", "CreateUnclear"],
        ),
        (issuing(recover), &["Parked", "AbortAsked", "Listed"]),
        (issuing(doubt), &["Parked", "AbortAsked", "ProvisioningWorks", "ProvisioningRefused"]),
        (State::Verifying { since: now() }, &["Parked", "AbortAsked", "Verified", "VerifyFailed"]),
        (
            State::Publishing,
            &[
                "Parked",
                "AbortAsked",
                "RollbackAsked",
                "PublishIntended",
                "PublishedEverywhere",
                "ExposureTold",
                "CandidateFailed",
            ],
        ),
        (
            grace_since(now()),
            &[
                "Parked",
                "AbortAsked",
                "RollbackAsked",
                "PublishIntended",
                "OverlapTold",
                "ExposureTold",
                "GraceOver",
                "CandidateFailed",
            ],
        ),
        (
            State::Observing,
            &["Parked", "RollbackAsked", "PublishIntended", "ExposureTold", "CandidateFailed"],
        ),
        (aborting(), &["Parked", "AbortAsked", "LeftForNow"]),
        (rolling(Rollback::Reviving), &["Parked", "RollbackAsked", "Enabled", "Revived", "ReviveAgain"]),
        (
            rolling(Rollback::Republishing),
            &[
                "Parked",
                "RollbackAsked",
                "PublishIntended",
                "ExposureTold",
                "RepublishedEverywhere",
                "ReviveAgain",
            ],
        ),
        (
            rolling(Rollback::Retiring { since: now() }),
            &["Parked", "RollbackAsked", "PublishIntended", "ExposureTold", "ReviveAgain"],
        ),
        (State::Parked { from: Box::new(State::Observing), reason: "x".into() }, &["RollbackAsked"]),
    ];
    for (state, own) in table {
        assert_accepts(&run(state.clone()), &[ALWAYS, LIVE, own]);
    }
}

#[test]
fn each_phase_of_a_key_accepts_its_own_events_and_no_others() {
    let parked = ["Parked", "RollbackAsked", "PublishIntended", "ExposureTold", "CandidateFailed"];
    let no_way_back = ["Parked", "PublishIntended", "ExposureTold"];
    let table: &[(Phase, &[&str], &[&str])] = &[
        (Phase::Disabling, &["FoundGone", "DisableIntended", "Disabled"], &parked),
        (
            Phase::Revived { late: false, since: None },
            &["FoundGone", "FoundDisabled", "DisableIntended"],
            &parked,
        ),
        (
            Phase::Disabled { since: now(), by_us: true },
            &["FoundGone", "FoundEnabled", "DeleteIntended"],
            &parked,
        ),
        (Phase::Deleting, &["FoundGone", "DeleteIntended", "Deleted"], &no_way_back),
        (Phase::Dead, &["Finished"], &no_way_back),
    ];
    for (phase, own, more) in table {
        let mut run = run(State::Observing);
        run.retirees[0].phase = phase.clone();
        assert_accepts(&run, &[ALWAYS, own, more]);
    }
}

#[test]
fn a_kill_intent_is_no_progress() {
    let mut waiting = run(State::Observing);
    let call = Directive::Disable { key: key(1), urgent: false }.call();
    let later =
        Event::Postponed { call: call.clone(), reason: "502".into(), until: Until::OVER, by_policy: false };
    for attempts in 1..4 {
        waiting = apply(&waiting, &later).unwrap();
        assert_eq!(waiting.attempts(&call), attempts);
        waiting = apply(&waiting, &Event::DisableIntended { hash: "h1".into() }).unwrap();
        assert_eq!(waiting.attempts(&call), attempts, "backoff goes on growing");
    }
    assert_eq!(waiting.attempts("list"), 0, "a wait belongs to its call");
    let resumed = apply(&waiting, &Event::Resumed { id: "q".into() }).unwrap();
    assert!(resumed.waits.is_empty(), "a person said: now");
}
