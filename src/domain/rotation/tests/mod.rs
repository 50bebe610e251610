//! The protocol's tables, one test a row; properties over arbitrary runs; and whole stories in a toy world.

pub(crate) mod any;
mod applying;
mod back;
mod emergency;
mod found;
mod grace;
mod inherit;
mod issuing;
mod property;
mod world;

use std::collections::BTreeSet;

use super::facts::{Facts, Holding, KeyFacts, Remote, RemoteFacts, TestResult};
use super::*;
use crate::domain::time::Timestamp;

/// The moment at which every table begins, on both clocks.
pub(super) const T0: i64 = 1_800_000_000_000;

pub(super) fn at(offset: Span) -> Stamp {
    let moment = Timestamp(T0).plus(offset);
    Stamp { ours: moment, theirs: Some(moment) }
}

pub(super) fn now() -> Stamp {
    at(Span::ZERO)
}

/// A wait that was set an hour ago and ends then.
pub(super) fn wait_until(end: Stamp) -> Until {
    Until { set_at: Timestamp(T0).plus(Span::hours(-1)), at: end.ours }
}

pub(super) fn ago(span: Span) -> Stamp {
    at(Span(-span.0))
}

pub(super) fn key(generation: i64) -> KeyRef {
    KeyRef { id: format!("k{generation}"), generation, hash: format!("h{generation}"), has_secret: true }
}

pub(super) fn target(name: &str, required: bool) -> Target {
    Target {
        name: name.to_owned(),
        address: format!("at:{name}"),
        required,
        needs: Level::Confirmed,
        on_drift: OnDrift::Hold,
    }
}

pub(super) fn policy() -> Policy {
    Policy {
        targets: vec![target("must", true), target("may", false)],
        grace: Span::hours(24),
        quiet: Span::hours(24),
        observe: Span::hours(24),
        max_overlap: Span::hours(24 * 7),
        max_exposure: Span::minutes(15),
        propagation: Span::minutes(2),
        settle: Span::seconds(15),
        confirm_after: Span::seconds(60),
        spec: SpecPolicy::default(),
        chat_model: None,
        inherit: Inherit::default(),
        can_disable: true,
    }
}

pub(super) fn figures(usage: i64) -> Usage {
    Usage::Figures(Figures { usage: MicroUsd(usage), byok_usage: MicroUsd(0), last_used_at: None })
}

/// A scheduled run that brings in generation 2 and retires generation 1.
pub(crate) fn run(state: State) -> Run {
    let mut run = Run::new("r".into(), "production".into(), "org:a".into(), Trigger::Schedule, policy());
    run.predecessor = Some(key(1));
    run.retirees = vec![Retiree::new(key(1), false, run.policy.observe)];
    let made = !matches!(state, State::Planned | State::Issuing { .. });
    run.candidate = made.then(|| key(2));
    run.published = made && !matches!(state, State::Verifying { .. } | State::Aborting { .. });
    if matches!(state, State::Aborting { .. } | State::RollingBack { stage: Rollback::Retiring { .. }, .. }) {
        run.retirees.push(Retiree::new(key(2), false, Span::ZERO));
    }
    if made {
        run.inheritance = Inheritance::Done;
    }
    run.state = state;
    run
}

pub(super) fn grace_since(since: Stamp) -> State {
    State::Grace { since, overlap_told: false }
}

pub(super) fn rolling(stage: Rollback) -> State {
    State::RollingBack { reason: "test".into(), stage }
}

pub(super) fn aborting() -> State {
    State::Aborting { reason: "test".into() }
}

pub(super) fn tested(result: TestResult, when: Stamp) -> KeyFacts {
    let refused_since = (result == TestResult::Unauthorized).then_some(when);
    KeyFacts { tested: Some((result, when)), refused_since }
}

/// Nothing is known but the time.
pub(super) fn blank() -> Facts {
    Facts {
        now: now(),
        clock: now().ours,
        frozen: false,
        paused: false,
        detached: None,
        dropped: Vec::new(),
        request: None,
        strays: None,
        candidate: KeyFacts::default(),
        predecessor: KeyFacts::default(),
        disable_in_doubt: false,
        remote: Vec::new(),
        lacking: None,
        holdings: Vec::new(),
        handed_out: BTreeSet::new(),
    }
}

pub(super) fn holding(target: &str, key: &KeyRef, level: Level) -> Holding {
    let checked = (level >= Level::Confirmed).then(now);
    Holding { level, checked, ..Holding::pending(format!("at:{target}"), target, &key.id) }
}

/// Everything holds: both destinations hold the new key, which was tested just now; the old one was just read.
pub(super) fn all_well() -> Facts {
    Facts {
        candidate: tested(TestResult::Valid, now()),
        strays: Some(0),
        lacking: Some((Vec::new(), now())),
        remote: vec![RemoteFacts { hash: "h1".into(), remote: Remote::Enabled(figures(7)), at: now() }],
        holdings: vec![
            holding("must", &key(2), Level::Confirmed),
            holding("may", &key(2), Level::Confirmed),
            holding("must", &key(1), Level::Intended),
        ],
        ..blank()
    }
}

/// The old key has shown the figures of [`all_well`] since then.
pub(super) fn quiet_since(mut run: Run, since: Stamp) -> Run {
    run.retirees[0].phase = Phase::Live { quiet: Some((figures(7), since)) };
    run
}

pub(super) fn is_wait(directive: &Directive) -> bool {
    matches!(directive, Directive::Wait { .. })
}

/// True for the two calls that take a working key away.
pub(super) fn destroys(directive: &Directive) -> bool {
    matches!(directive, Directive::Disable { .. } | Directive::Delete { .. })
}
