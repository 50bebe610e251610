//! R23: what names the old key names the new one before anybody is given it.

use super::*;
use crate::domain::inherit::Roll;
use crate::domain::key::KeySpec;

fn stored(trigger: Trigger, age: Span) -> Run {
    let state = State::Verifying { since: ago(age) };
    Run { trigger, inheritance: Inheritance::Open, ..run(state) }
}

/// After so many failed tries, the next of them much later.
fn failed(mut run: Run, attempts: u32) -> Run {
    let until = Until::after(now().ours, Span::minutes(15));
    let wait = Wait { attempts, until, reason: "500".into(), by_policy: false };
    run.waits.insert(Directive::Inherit.call(), wait);
    run
}

fn tested_now() -> Facts {
    Facts { candidate: tested(TestResult::Valid, now()), ..blank() }
}

#[test]
fn a_new_key_inherits_before_it_is_verified() {
    let run = stored(Trigger::Schedule, Span::ZERO);
    assert_eq!(next(&run, &tested_now()), Directive::Inherit);
    let named = apply(&run, &Event::Inherited).unwrap();
    assert!(matches!(next(&named, &tested_now()), Directive::Apply(Event::Verified { .. })));
    assert!(apply(&named, &Event::Inherited).is_err(), "once");
}

#[test]
fn each_new_key_inherits_anew() {
    let mut run = run(State::Issuing { issuing: Issuing::Sent { name: "n".into() } });
    run.inheritance = Inheritance::Done;
    let made = apply(&run, &Event::Created { key: key(3), at: now() }).unwrap();
    assert_eq!(made.inheritance, Inheritance::Open);
    let intent = Event::CreateIntended { name: "m".into(), spec: KeySpec::default() };
    assert!(apply(&made, &intent).is_err());
}

#[test]
fn nothing_is_inherited_from_nobody_or_by_a_policy_without() {
    let mut alone = stored(Trigger::Schedule, Span::ZERO);
    alone.predecessor = None;
    let mut without = stored(Trigger::Schedule, Span::ZERO);
    without.policy.inherit = Inherit { limits: true, guardrails: false, byok: false };
    for run in [alone, without] {
        assert!(matches!(next(&run, &tested_now()), Directive::Apply(Event::Verified { .. })));
    }
}

#[test]
fn an_ordinary_run_tries_again_and_aborts() {
    let within = failed(stored(Trigger::Schedule, Span::minutes(1)), 5);
    assert!(is_wait(&next(&within, &tested_now())), "the provider may not know the new key yet");
    let once = failed(stored(Trigger::Schedule, Span::minutes(9)), 1);
    assert!(is_wait(&next(&once, &tested_now())), "one answer proves nothing");
    let often = failed(stored(Trigger::Schedule, Span::minutes(2)), 2);
    let Directive::Apply(event) = next(&often, &tested_now()) else { panic!("it aborts") };
    assert!(matches!(&event, Event::VerifyFailed { reason } if reason.ends_with("500")), "{event:?}");
    assert!(matches!(apply(&often, &event).unwrap().state, State::Aborting { .. }));
}

#[test]
fn an_emergency_goes_on_after_a_minute() {
    for trigger in [Trigger::Leak, Trigger::Heal] {
        assert_eq!(next(&stored(trigger, Span::ZERO), &tested_now()), Directive::Inherit);
        let waits = next(&failed(stored(trigger, Span::seconds(20)), 9), &tested_now());
        let Directive::Wait { span, .. } = waits else { panic!("{waits:?}") };
        assert_eq!(span, Span::seconds(40), "{trigger:?}");
        for tried in [0, 9] {
            let late = failed(stored(trigger, Span::minutes(1)), tried);
            let Directive::Apply(event) = next(&late, &tested_now()) else { panic!("it goes on") };
            let after = apply(&late, &event).unwrap();
            assert_eq!(after.inheritance, Inheritance::Waived);
            assert!(matches!(next(&after, &tested_now()), Directive::Apply(Event::Verified { .. })));
        }
    }
    let ordinary = stored(Trigger::Manual, Span::ZERO);
    assert!(apply(&ordinary, &Event::InheritanceWaived { reason: "x".into() }).is_err());
}

/// The provider's clock may be unknown, and ours may go back: production waits for neither.
#[test]
fn the_minute_is_measured_on_our_clock_alone() {
    let since = Stamp { theirs: None, ..ago(Span::minutes(1)) };
    let future = at(Span::hours(1));
    for since in [since, future] {
        let state = State::Verifying { since };
        let run = Run { state, ..stored(Trigger::Leak, Span::ZERO) };
        let directive = next(&run, &tested_now());
        assert!(matches!(directive, Directive::Apply(Event::InheritanceWaived { .. })), "{directive:?}");
    }
}

#[test]
fn a_candidate_that_an_emergency_takes_over_keeps_what_it_inherited() {
    for (open, old) in [(Inheritance::Done, 1), (Inheritance::Open, 7)] {
        let mut before = stored(Trigger::Schedule, Span::minutes(5));
        before.inheritance = Inheritance::Done;
        before.predecessor = Some(key(old));
        let facts = tested(TestResult::Valid, now());
        let policy = policy();
        let emergency = Emergency {
            id: "e".into(),
            rotation: "production",
            account: "org:a",
            trigger: Trigger::Heal,
            policy: &policy,
            target: key(1),
            retiring: false,
            living: vec![key(1), key(2)],
            current: Some(key(1)),
            open: Some(&before),
            candidate: Some(&facts),
            now: now(),
        };
        assert_eq!(emergency.run().inheritance, open, "of generation {old}");
    }
}

#[test]
fn before_grace_ends_both_keys_are_compared() {
    let over = quiet_since(run(grace_since(ago(Span::hours(25)))), ago(Span::hours(25)));
    assert!(matches!(next(&over, &all_well()), Directive::Apply(Event::GraceOver)));
    for lacking in [None, Some((Vec::new(), ago(Span::minutes(4))))] {
        assert_eq!(next(&over, &Facts { lacking, ..all_well() }), Directive::Compare);
    }
    let lacking = Some((vec![Roll::Byok("b".into())], now()));
    let held = next(&over, &Facts { lacking, ..all_well() });
    let Directive::Wait { blockers, .. } = held else { panic!("{held:?}") };
    assert!(blockers.iter().any(|one| one.text.contains("BYOK credential b")), "{blockers:?}");
}

#[test]
fn a_leaked_key_waits_for_no_comparison() {
    let mut leaked = run(grace_since(now()));
    leaked.trigger = Trigger::Leak;
    leaked.retirees[0].urgent = true;
    let directive = next(&leaked, &Facts { lacking: None, ..all_well() });
    assert!(matches!(directive, Directive::Disable { urgent: true, .. }), "{directive:?}");
}
