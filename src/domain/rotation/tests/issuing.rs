//! From the plan to a verified key.

use super::super::facts::Request;
use super::*;
use crate::domain::key::KeySpec;

fn issuing(issuing: Issuing) -> Run {
    run(State::Issuing { issuing })
}

fn ready() -> Issuing {
    Issuing::Ready { until: Until::OVER }
}

fn sent() -> Issuing {
    Issuing::Sent { name: "rekeyd/i/production/2-x".into() }
}

fn refused(doubtful: bool, permanent: bool) -> Event {
    Event::CreateRefused { reason: "no".into(), doubtful, permanent, until: wait_until(at(Span::seconds(9))) }
}

#[test]
fn a_plan_looks_before_anything_else() {
    assert_eq!(next(&run(State::Planned), &blank()), Directive::Preflight);
    let after = apply(&run(State::Planned), &Event::PreflightFailed { reason: "x".into() }).unwrap();
    assert!(after.state.is_terminal(), "a failure here starts nothing");
    for trigger in [Trigger::Leak, Trigger::Heal] {
        let emergency = Run { trigger, ..run(State::Planned) };
        assert!(apply(&emergency, &Event::PreflightFailed { reason: "x".into() }).is_err(), "it tries again");
    }
}

#[test]
fn no_key_is_made_before_a_listing_without_strays() {
    for strays in [None, Some(1), Some(7)] {
        let facts = Facts { strays, ..blank() };
        assert_eq!(next(&issuing(ready()), &facts), Directive::Reconcile, "{strays:?}");
    }
    assert_eq!(next(&issuing(ready()), &Facts { strays: Some(0), ..blank() }), Directive::Create);
}

#[test]
fn a_found_intent_is_of_unknown_outcome_and_its_name_is_never_sent_again() {
    let run = issuing(sent());
    let directive = next(&run, &all_well());
    assert!(matches!(directive, Directive::Apply(Event::CreateUnclear { .. })), "{directive:?}");
    let Directive::Apply(event) = directive else { unreachable!() };
    let after = apply(&run, &event).unwrap();
    assert_eq!(next(&after, &all_well()), Directive::Reconcile, "look at once");
    let again = Event::CreateIntended { name: "n".into(), spec: KeySpec::default() };
    assert!(
        apply(&run, &again).is_err() && apply(&after, &again).is_err(),
        "no create while one is in doubt"
    );
}

#[test]
fn the_second_look_comes_after_settle_on_both_clocks() {
    let looked = |looked| issuing(Issuing::Recover { name: "n".into(), looked: Some(looked) });
    assert!(is_wait(&next(&looked(ago(Span::seconds(14))), &blank())));
    assert_eq!(next(&looked(ago(Span::seconds(15))), &blank()), Directive::Reconcile);
    let only_ours = Stamp { ours: ago(Span::hours(1)).ours, theirs: now().theirs };
    assert!(is_wait(&next(&looked(only_ours), &blank())), "a jump of our clock is no time");
    let first = apply(&looked(now()), &Event::Listed { at: now(), until: Until::OVER }).unwrap();
    assert!(matches!(first.state, State::Issuing { issuing: Issuing::Ready { .. } }));
}

#[test]
fn refusals_wait_are_doubted_or_park() {
    let later = apply(&issuing(sent()), &refused(false, false)).unwrap();
    assert!(is_wait(&next(&later, &Facts { strays: Some(0), ..blank() })), "429 honours Retry-After");
    let parked = apply(&issuing(sent()), &refused(false, true)).unwrap();
    assert!(matches!(parked.state, State::Parked { .. }));
    let doubt = apply(&issuing(sent()), &refused(true, false)).unwrap();
    assert_eq!(next(&doubt, &blank()), Directive::CheckProvisioning);
}

#[test]
fn a_lone_401_of_the_provisioning_key_parks_nothing() {
    let doubt = apply(&issuing(sent()), &refused(true, false)).unwrap();
    let once = apply(&doubt, &Event::ProvisioningRefused { at: now(), confirmed: true }).unwrap();
    assert!(matches!(once.state, State::Issuing { issuing: Issuing::Doubt { .. } }));
    assert!(is_wait(&next(&once, &blank())), "confirm_after apart");
    let later = Facts { now: at(Span::seconds(60)), ..blank() };
    assert_eq!(next(&once, &later), Directive::CheckProvisioning);
    let twice = apply(&once, &Event::ProvisioningRefused { at: later.now, confirmed: true }).unwrap();
    assert!(matches!(twice.state, State::Parked { .. }));
}

#[test]
fn after_creates_of_unknown_outcome_a_person_is_asked_and_resume_starts_counting_anew() {
    let mut run = issuing(ready());
    run.creates = 100;
    assert_eq!(next(&run, &all_well()), Directive::Create, "refusals are never counted");
    run.unclear = MAX_UNCLEAR;
    let Directive::Apply(event) = next(&run, &all_well()) else { panic!("must park") };
    let parked = apply(&run, &event).unwrap();
    assert!(matches!(parked.state, State::Parked { .. }));
    let resumed = apply(&parked, &Event::Resumed { id: "q".into() }).unwrap();
    assert_eq!(next(&resumed, &all_well()), Directive::Create);
}

#[test]
fn an_emergency_never_stops_and_waits_longer_after_each_key_that_does_not_work() {
    let mut run = issuing(ready());
    run.trigger = Trigger::Heal;
    run.unclear = MAX_UNCLEAR;
    let mut pauses = Vec::new();
    for generation in 0..10 {
        assert_eq!(next(&run, &Facts { clock: at(Span::hours(1)).ours, ..all_well() }), Directive::Create);
        let hash = format!("h{}", generation + 2);
        for event in [
            Event::CreateIntended { name: format!("n{generation}"), spec: KeySpec::default() },
            Event::Created { key: key(generation + 2), at: now() },
            Event::VerifyFailed { reason: "401".into() },
            Event::FoundGone { hash },
        ] {
            run = apply(&run, &event).unwrap();
        }
        let Directive::Apply(over) = next(&run, &all_well()) else { panic!("the key is gone") };
        run = apply(&run, &over).unwrap();
        let Directive::Wait { span, .. } = next(&run, &all_well()) else { panic!("it waits") };
        pauses.push(span.0 / 1000);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600], "looked at every ten minutes");
    assert_eq!(run.pause_between_keys(), Span::minutes(15));
}

#[test]
fn an_emergency_goes_on_without_its_only_usable_but_failed_key() {
    let mut run = run(aborting());
    run.trigger = Trigger::Leak;
    let after = apply(&run, &Event::LeftForNow { until: Until::OVER }).unwrap();
    assert!(matches!(after.state, State::Issuing { .. }) && after.candidate.is_none());
    assert!(after.retirees.iter().any(|r| r.key == key(2) && !r.is_dead()), "it is retired later");
}

#[test]
fn verifying_follows_the_test() {
    let verifying = run(State::Verifying { since: ago(Span::minutes(1)) });
    let with = |candidate| next(&verifying, &Facts { candidate, ..blank() });
    assert_eq!(with(KeyFacts::default()), Directive::Test(key(2)));
    assert!(matches!(with(tested(TestResult::Valid, now())), Directive::Apply(Event::Verified { .. })));
    assert_eq!(with(tested(TestResult::Valid, ago(Span(300_001)))), Directive::Test(key(2)), "R13");
    let unlike = TestResult::Unlike { reason: "limit".into() };
    assert!(matches!(with(tested(unlike, now())), Directive::Apply(Event::VerifyFailed { .. })));
    assert!(is_wait(&with(tested(TestResult::Unauthorized, now()))), "within propagation it is not yet");
}

#[test]
fn a_401_fails_only_after_propagation_on_both_clocks_and_two_looks() {
    let verifying = |since| run(State::Verifying { since });
    let twice = KeyFacts {
        tested: Some((TestResult::Unauthorized, now())),
        refused_since: Some(ago(Span::minutes(2))),
    };
    let facts = Facts { candidate: twice, ..blank() };
    let failed =
        |since| matches!(next(&verifying(since), &facts), Directive::Apply(Event::VerifyFailed { .. }));
    assert!(failed(ago(Span::minutes(2))));
    assert!(!failed(ago(Span::seconds(119))));
    assert!(!failed(Stamp { ours: ago(Span::hours(9)).ours, theirs: now().theirs }));
}

#[test]
fn abort_is_possible_while_no_address_may_hold_the_new_key() {
    let with = |run: &Run, request: Request, level: Level| {
        let holdings = vec![holding("must", &key(2), level)];
        next(run, &Facts { request: Some(("q".to_owned(), request)), holdings, ..all_well() })
    };
    let asked = |run: &Run| with(run, Request::Abort, Level::Pending);
    let doubtful = issuing(Issuing::Recover { name: "n".into(), looked: None });
    for before in [run(State::Planned), issuing(ready()), doubtful, run(State::Verifying { since: now() })] {
        assert!(matches!(asked(&before), Directive::Apply(Event::AbortAsked { .. })), "{:?}", before.state);
    }
    // A write that was proved to have failed left nothing behind; an intent may have.
    for state in [State::Publishing, grace_since(now())] {
        let run = run(state);
        for request in [Request::Abort, Request::Rollback] {
            let directive = with(&run, request.clone(), Level::Pending);
            assert!(
                matches!(directive, Directive::Apply(Event::AbortAsked { .. })),
                "{request:?} {directive:?}"
            );
            let directive = with(&run, request.clone(), Level::Intended);
            let back = matches!(directive, Directive::Apply(Event::RollbackAsked { .. }));
            assert_eq!(back, request == Request::Rollback, "{directive:?}");
        }
    }
    let mut observing = run(State::Observing);
    observing.retirees[0].phase = Phase::Disabled { since: now(), by_us: true };
    assert!(
        matches!(asked(&observing), Directive::Apply(Event::RequestRefused { .. })),
        "the old key is off"
    );
    assert!(apply(&observing, &Event::AbortAsked { id: "q".into() }).is_err());
}

/// One of the two is always possible where the other is not, and neither names the other as the way.
#[test]
fn abort_and_rollback_never_point_at_each_other() {
    for state in [State::Planned, State::Publishing, grace_since(now()), State::Observing] {
        for level in [Level::Pending, Level::Intended, Level::Confirmed] {
            let holdings = vec![holding("must", &key(2), level)];
            let made = !matches!(state, State::Planned);
            let goes = |request| {
                let facts = Facts {
                    request: Some(("q".into(), request)),
                    holdings: if made { holdings.clone() } else { Vec::new() },
                    ..all_well()
                };
                !matches!(next(&run(state.clone()), &facts), Directive::Apply(Event::RequestRefused { .. }))
            };
            assert!(goes(Request::Rollback), "{state:?} {level:?}");
            let _ = goes(Request::Abort);
        }
    }
}

#[test]
fn a_key_that_was_used_is_aborted_through_quiet_and_observing() {
    let mut used = run(aborting());
    let seen = |usage| {
        let shown = Remote::Enabled(figures(usage));
        Facts { remote: vec![RemoteFacts { hash: "h2".into(), remote: shown, at: now() }], ..all_well() }
    };
    let Directive::Apply(moved) = next(&used, &seen(3)) else { panic!("figures are noted") };
    used = apply(&used, &moved).unwrap();
    assert!(is_wait(&next(&used, &seen(3))), "somebody uses it");
    assert_eq!(used.retirees[1].observe, used.policy.observe);
    used.trigger = Trigger::Leak;
    let directive = next(&used, &seen(3));
    assert!(
        matches!(directive, Directive::Apply(Event::LeftForNow { .. })),
        "an emergency goes on: {directive:?}"
    );
}

#[test]
fn a_key_that_somebody_was_given_is_aborted_through_quiet_and_observing() {
    let mut given = run(aborting());
    let shown = Remote::Enabled(figures(0));
    let seen = Facts {
        remote: vec![RemoteFacts { hash: "h2".into(), remote: shown, at: now() }],
        handed_out: [key(2).id].into(),
        ..all_well()
    };
    given.retirees[1].phase = Phase::Live { quiet: Some((figures(0), ago(Span::hours(1)))) };
    assert!(is_wait(&next(&given, &seen)), "nobody used it yet");
    let urgent = Run { trigger: Trigger::Leak, ..given.clone() };
    assert!(
        matches!(next(&urgent, &seen), Directive::Apply(Event::LeftForNow { .. })),
        "an emergency goes on"
    );
    given.retirees[1].phase = Phase::Live { quiet: Some((figures(0), ago(given.policy.quiet))) };
    assert!(matches!(next(&given, &seen), Directive::Disable { .. }));
    given.retirees[1].phase = Phase::Disabled { since: now(), by_us: true };
    assert!(is_wait(&next(&given, &seen)), "it can be brought back");
    given.retirees[1].phase = Phase::Disabled { since: ago(given.policy.observe), by_us: true };
    assert!(matches!(next(&given, &seen), Directive::Delete { .. }));
}

#[test]
fn an_abort_waits_until_the_create_in_doubt_is_settled() {
    let doubtful = issuing(Issuing::Recover { name: "n".into(), looked: None });
    let asked = apply(&doubtful, &Event::AbortAsked { id: "q".into() }).unwrap();
    assert_eq!(next(&asked, &blank()), Directive::Reconcile);
    let looked = apply(&asked, &Event::Listed { at: ago(Span::minutes(1)), until: Until::OVER }).unwrap();
    let settled = apply(&looked, &Event::Listed { at: now(), until: Until::OVER }).unwrap();
    assert!(matches!(next(&settled, &all_well()), Directive::Apply(Event::AbortReady { .. })), "no create");
}

#[test]
fn an_aborted_candidate_is_disabled_then_deleted_and_the_old_key_is_not_touched() {
    let mut run = run(aborting());
    assert_eq!(next(&run, &blank()), Directive::Read(key(2)), "is it used?");
    run.retirees[1].phase = Phase::Live { quiet: Some((figures(0), now())) };
    let shown = Remote::Enabled(figures(0));
    let unused =
        Facts { remote: vec![RemoteFacts { hash: "h2".into(), remote: shown, at: now() }], ..blank() };
    assert!(matches!(next(&run, &unused), Directive::Disable { key: k, .. } if k == key(2)));
    run.retirees[1].phase = Phase::Disabled { since: now(), by_us: true };
    assert!(matches!(next(&run, &blank()), Directive::Delete { key: k, .. } if k == key(2)));
    run.retirees[1].phase = Phase::Dead;
    let Directive::Apply(event) = next(&run, &blank()) else { panic!("over") };
    let over = apply(&run, &event).unwrap();
    assert!(matches!(over.state, State::Aborted { .. }));
    assert!(matches!(over.retirees[0].phase, Phase::Live { .. }));
}
