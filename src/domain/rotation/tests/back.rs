//! The way back: a person's rollback, a candidate that fails, a late disable.

use super::super::facts::{Request, proved_now};
use super::*;

fn old_phase(stage: Rollback, phase: Phase) -> Run {
    let mut run = run(rolling(stage));
    run.retirees[0].phase = phase;
    run
}

fn seen(remote: Remote, predecessor: KeyFacts) -> Facts {
    let remote = vec![RemoteFacts { hash: "h1".into(), remote, at: now() }];
    Facts { predecessor, remote, ..all_well() }
}

fn refused_twice() -> KeyFacts {
    KeyFacts { tested: Some((TestResult::Unauthorized, now())), refused_since: Some(ago(Span::minutes(3))) }
}

#[test]
fn rollback_is_possible_until_the_delete_intent() {
    let asked = Facts { request: Some(("q".into(), Request::Rollback)), ..all_well() };
    let mut observing = run(State::Observing);
    for (phase, possible) in [
        (Phase::Live { quiet: None }, true),
        (Phase::Disabling, true),
        (Phase::Disabled { since: now(), by_us: true }, true),
        (Phase::Disabled { since: now(), by_us: false }, false),
        (Phase::Deleting, false),
        (Phase::Dead, false),
    ] {
        observing.retirees[0].phase = phase.clone();
        let directive = next(&observing, &asked);
        let goes = matches!(directive, Directive::Apply(Event::RollbackAsked { .. }));
        assert_eq!(goes, possible, "{phase:?}");
        assert_eq!(
            apply(&observing, &Event::RollbackAsked { id: "q".into() }).is_ok(),
            possible,
            "{phase:?}"
        );
    }
}

#[test]
fn there_is_no_way_back_without_a_secret_to_a_leaked_key_or_before_publishing() {
    let mut no_secret = run(grace_since(now()));
    no_secret.predecessor.as_mut().unwrap().has_secret = false;
    let mut leaked = run(grace_since(now()));
    leaked.retirees[0].urgent = true;
    let mut first = run(grace_since(now()));
    first.predecessor = None;
    for run in [no_secret, leaked, first] {
        assert!(apply(&run, &Event::RollbackAsked { id: "q".into() }).is_err());
        let facts = Facts { request: Some(("q".into(), Request::Rollback)), ..all_well() };
        assert!(matches!(next(&run, &facts), Directive::Apply(Event::RequestRefused { .. })));
    }
}

#[test]
fn a_new_key_that_fails_twice_is_rolled_back_or_replaced() {
    for state in [State::Publishing, grace_since(now()), State::Observing] {
        let mut failing = run(state);
        let once = Facts { candidate: tested(TestResult::Unauthorized, now()), ..all_well() };
        assert!(is_wait(&next(&failing, &once)), "a lone 401 is nothing");
        let twice = Facts { candidate: refused_twice(), ..all_well() };
        let directive = next(&failing, &twice);
        assert!(matches!(directive, Directive::Apply(Event::CandidateFailed { .. })), "{directive:?}");
        failing.retirees[0].phase = Phase::Deleting;
        assert!(matches!(next(&failing, &twice), Directive::Supersede { .. }), "no way back");
    }
}

/// "A disable of unknown outcome is settled before turning round."
#[test]
fn a_disable_in_doubt_is_settled_before_turning_round_unless_the_new_key_is_dead() {
    let turning = old_phase(Rollback::Reviving, Phase::Disabling);
    let works = seen(Remote::Enabled(figures(1)), tested(TestResult::Valid, now()));
    let doubt = Facts { disable_in_doubt: true, ..works.clone() };
    let revived = |facts: &Facts| matches!(next(&turning, facts), Directive::Apply(Event::Enabled { .. }));
    assert!(revived(&works));
    assert!(is_wait(&next(&turning, &doubt)), "{:?}", next(&turning, &doubt));
    assert!(revived(&Facts { candidate: refused_twice(), ..doubt }), "production cannot wait for it");
}

/// R19: what was asked before the key was enabled again proves nothing.
#[test]
fn a_revived_key_is_tested_after_it_was_enabled() {
    let enabled = Event::Enabled { hash: "h1".into(), at: now() };
    let disabled = Phase::Disabled { since: ago(Span::minutes(1)), by_us: true };
    let reviving = apply(&old_phase(Rollback::Reviving, disabled), &enabled).unwrap();
    let asked = |when| next(&reviving, &seen(Remote::Enabled(figures(1)), tested(TestResult::Valid, when)));
    assert_eq!(asked(ago(Span::minutes(2))), Directive::Test(key(1)));
    assert!(matches!(asked(now()), Directive::Apply(Event::Revived { .. })));
    let refused =
        KeyFacts { tested: Some((TestResult::Unauthorized, ago(Span::seconds(9)))), ..refused_twice() };
    let directive = next(&reviving, &seen(Remote::Enabled(figures(1)), refused));
    assert_eq!(directive, Directive::Test(key(1)), "nor does a refusal from before");
}

/// Faults of the reviews: a leaked older generation outlived the rollback.
#[test]
fn a_rollback_ends_when_every_other_key_is_dead() {
    let mut rolling = run(rolling(Rollback::Retiring { since: ago(Span::hours(24)) }));
    rolling.retirees[1].phase = Phase::Dead;
    rolling.retirees.push(Retiree::new(key(3), true, Span::ZERO));
    let facts = Facts {
        predecessor: tested(TestResult::Valid, now()),
        holdings: vec![holding("must", &key(1), Level::Confirmed), holding("may", &key(1), Level::Confirmed)],
        ..all_well()
    };
    assert!(matches!(next(&rolling, &facts), Directive::Disable { key: k, urgent: true } if k == key(3)));
    assert!(apply(&rolling, &Event::RollbackFinished).is_err());
    rolling.retirees[2].phase = Phase::Dead;
    assert_eq!(next(&rolling, &facts), Directive::Apply(Event::RollbackFinished));
}

#[test]
fn reviving_enables_what_we_disabled_and_never_what_a_person_disabled() {
    let disabled = |by_us| Phase::Disabled { since: now(), by_us };
    let facts = seen(Remote::Disabled, KeyFacts::default());
    for (phase, enables) in [
        (disabled(true), true),
        (Phase::Disabling, true),
        (Phase::Revived { late: true, since: None }, true),
        (disabled(false), false),
        (Phase::Revived { late: false, since: None }, false),
        (Phase::Live { quiet: None }, false),
    ] {
        let directive = next(&old_phase(Rollback::Reviving, phase.clone()), &facts);
        assert_eq!(directive == Directive::Enable(key(1)), enables, "{phase:?} {directive:?}");
        assert_eq!(matches!(directive, Directive::Supersede { .. }), !enables, "{phase:?}");
    }
}

#[test]
fn reviving_looks_and_tests_before_it_believes() {
    let reviving = run(rolling(Rollback::Reviving));
    assert_eq!(next(&reviving, &blank()), Directive::Read(key(1)));
    let enabled = Remote::Enabled(figures(7));
    assert_eq!(next(&reviving, &seen(enabled.clone(), KeyFacts::default())), Directive::Test(key(1)));
    let valid = seen(enabled.clone(), tested(TestResult::Valid, now()));
    assert!(matches!(next(&reviving, &valid), Directive::Apply(Event::Revived { .. })));
    let refused = seen(enabled, refused_twice());
    assert!(matches!(next(&reviving, &refused), Directive::Supersede { .. }));
    let gone = seen(Remote::Gone, KeyFacts::default());
    assert!(matches!(next(&reviving, &gone), Directive::Supersede { .. }));
}

#[test]
fn a_rollback_writes_the_old_key_again_where_the_new_one_was_written() {
    // Newest write first, as the store answers: the old key's proof is older than the new key's write.
    let rows = [
        holding("must", &key(2), Level::Intended),
        holding("must", &key(1), Level::Confirmed),
        holding("may", &key(2), Level::Confirmed),
        holding("may", &key(1), Level::Confirmed),
    ];
    let facts =
        Facts { holdings: proved_now(rows), predecessor: tested(TestResult::Valid, now()), ..all_well() };
    let directive = next(&run(rolling(Rollback::Republishing)), &facts);
    assert_eq!(directive, Directive::Publish { address: "at:must".into(), key: key(1) });
}

#[test]
fn a_rollback_waits_for_an_address_that_somebody_else_changed() {
    let drift = Some("by hand".to_owned());
    let held = |key, level| Holding { drift: drift.clone(), ..holding("must", key, level) };
    let rows = [held(&key(2), Level::Confirmed), held(&key(1), Level::Confirmed)];
    let rows = rows.into_iter().chain([holding("may", &key(1), Level::Confirmed)]);
    let facts =
        Facts { holdings: proved_now(rows), predecessor: tested(TestResult::Valid, now()), ..all_well() };
    let Directive::Wait { blockers, .. } = next(&run(rolling(Rollback::Republishing)), &facts) else {
        panic!("it acts")
    };
    assert!(blockers[0].text.contains("by hand"), "{blockers:?}");
}

#[test]
fn an_old_proof_counts_while_nothing_was_written_after_it() {
    let drifted = Holding { drift: Some("x".into()), ..holding("must", &key(2), Level::Pending) };
    let rows = proved_now([drifted, holding("must", &key(1), Level::Confirmed)]);
    assert_eq!(rows[1].level, Level::Confirmed, "a write that was held back is none");
}

#[test]
fn a_late_disable_of_the_old_key_is_undone_in_every_stage() {
    let valid = tested(TestResult::Valid, now());
    for stage in [Rollback::Republishing, Rollback::Retiring { since: now() }] {
        let run = old_phase(stage, Phase::Revived { late: true, since: None });
        let refused = Facts { predecessor: tested(TestResult::Unauthorized, now()), ..all_well() };
        assert_eq!(next(&run, &refused), Directive::Apply(Event::ReviveAgain));
    }
    let retiring = old_phase(Rollback::Retiring { since: now() }, Phase::Revived { late: true, since: None });
    let stale = Facts { predecessor: tested(TestResult::Valid, ago(Span::minutes(6))), ..all_well() };
    assert_eq!(next(&retiring, &stale), Directive::Test(key(1)), "the key that production uses is watched");
    assert!(!matches!(next(&retiring, &Facts { predecessor: valid, ..all_well() }), Directive::Test(_)));
}

#[test]
fn an_optional_destination_that_was_down_gets_the_old_key_back_while_the_new_one_retires() {
    let retiring = run(rolling(Rollback::Retiring { since: now() }));
    let rows = [
        holding("must", &key(1), Level::Confirmed),
        holding("may", &key(2), Level::Confirmed),
        holding("may", &key(1), Level::Intended),
    ];
    let facts =
        Facts { holdings: rows.to_vec(), predecessor: tested(TestResult::Valid, now()), ..all_well() };
    let directive = next(&retiring, &facts);
    assert_eq!(directive, Directive::Publish { address: "at:may".into(), key: key(1) });
}

#[test]
fn a_working_new_key_is_retired_only_when_quiet_and_after_grace() {
    let mut retiring = run(rolling(Rollback::Retiring { since: ago(Span::hours(24)) }));
    let facts = Facts {
        predecessor: tested(TestResult::Valid, now()),
        holdings: [key(1)]
            .iter()
            .flat_map(|k| [holding("must", k, Level::Confirmed), holding("may", k, Level::Confirmed)])
            .collect(),
        remote: vec![RemoteFacts { hash: "h2".into(), remote: Remote::Enabled(figures(1)), at: now() }],
        ..all_well()
    };
    assert!(matches!(next(&retiring, &facts), Directive::Apply(Event::FiguresMoved { .. })));
    for (since, waits) in [(ago(Span::hours(23)), true), (ago(Span::hours(24)), false)] {
        retiring.retirees[1].phase = Phase::Live { quiet: Some((figures(1), since)) };
        assert_eq!(is_wait(&next(&retiring, &facts)), waits);
    }
    retiring.state = rolling(Rollback::Retiring { since: ago(Span::hours(23)) });
    assert!(is_wait(&next(&retiring, &facts)), "grace of the rollback");
}

#[test]
fn a_run_that_lost_track_of_its_new_key_parks() {
    for state in [aborting(), rolling(Rollback::Retiring { since: now() })] {
        let mut lost = run(state);
        lost.retirees.truncate(1);
        let facts = Facts { predecessor: tested(TestResult::Valid, now()), ..all_well() };
        assert!(matches!(next(&lost, &facts), Directive::Apply(Event::Parked { .. })));
    }
}

#[test]
fn parked_runs_answer_persons_only() {
    let parked = State::Parked { from: Box::new(State::Publishing), reason: "x".into() };
    assert!(is_wait(&next(&run(parked.clone()), &all_well())));
    let resumed = apply(&run(parked.clone()), &Event::Resumed { id: "q".into() }).unwrap();
    assert_eq!(resumed.state, State::Publishing);
    let back = apply(&run(parked), &Event::RollbackAsked { id: "q".into() }).unwrap();
    assert_eq!(back.state, rolling_for_a_person());
}

fn rolling_for_a_person() -> State {
    State::RollingBack { reason: "a person asked for it".into(), stage: Rollback::Reviving }
}
