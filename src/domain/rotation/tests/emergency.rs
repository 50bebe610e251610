//! What an emergency takes over, by the state of the run that it supersedes.

use super::super::emergency::{Emergency, gives_way_to_healing};
use super::*;

fn heal<'a>(open: &'a Run, policy: &'a Policy, candidate: &'a KeyFacts) -> Emergency<'a> {
    Emergency {
        id: "e".into(),
        rotation: "production",
        account: "org:a",
        trigger: Trigger::Heal,
        policy,
        target: key(1),
        retiring: false,
        living: vec![key(1), key(2)],
        current: Some(key(1)),
        open: Some(open),
        candidate: Some(candidate),
        now: now(),
    }
}

fn unpublished(state: State) -> Run {
    Run { published: false, ..run(state) }
}

fn parked(state: State) -> State {
    State::Parked { from: Box::new(state), reason: "test".into() }
}

fn aborting() -> State {
    State::Aborting { reason: "test".into() }
}

fn sent() -> State {
    State::Issuing { issuing: Issuing::Sent { name: "n".into() } }
}

fn verifying() -> State {
    State::Verifying { since: ago(Span::minutes(1)) }
}

#[test]
fn healing_waits_for_no_run_that_brings_no_key() {
    let before = [State::Planned, sent(), verifying(), State::Publishing, aborting()];
    for state in before {
        let open = unpublished(state.clone());
        assert!(gives_way_to_healing(&open), "{state:?}");
        let emergency = Run { trigger: Trigger::Leak, ..open };
        assert!(!gives_way_to_healing(&emergency), "{state:?}: it makes a key itself");
    }
    for state in [State::Publishing, grace_since(now()), State::Observing, rolling(Rollback::Reviving)] {
        assert!(!gives_way_to_healing(&run(state.clone())), "{state:?}: it turns round by itself");
        assert!(gives_way_to_healing(&run(parked(state.clone()))), "{state:?}: nobody is at work");
    }
}

#[test]
fn a_new_key_that_may_work_is_brought_in_and_no_other_is_made() {
    let refused = KeyFacts {
        tested: Some((TestResult::Unauthorized, now())),
        refused_since: Some(ago(Span::minutes(3))),
    };
    let wrong = TestResult::WrongKind { reason: "test".into() };
    let wrong = KeyFacts { tested: Some((wrong, now())), refused_since: None };
    for state in [verifying(), parked(verifying()), State::Publishing, aborting()] {
        let open = unpublished(state.clone());
        let (policy, unknown) = (policy(), KeyFacts::default());
        let healing = heal(&open, &policy, &unknown).run();
        assert_eq!(healing.candidate, Some(key(2)), "{state:?}");
        assert!(matches!(healing.state, State::Verifying { .. }), "{state:?}");
        assert_eq!(healing.retirees.iter().map(|r| r.key.generation).collect::<Vec<_>>(), [1], "{state:?}");
        assert!(!healing.published && healing.trigger == Trigger::Heal);
        for known in [refused.clone(), wrong.clone()] {
            let healing = heal(&open, &policy, &known).run();
            if known == refused && matches!(open.state.underlying(), State::Verifying { .. }) {
                assert_eq!(
                    healing.candidate,
                    Some(key(2)),
                    "it may be accepted yet: `propagation` says how long"
                );
                continue;
            }
            assert_eq!(
                (healing.candidate.clone(), healing.state.clone()),
                (None, State::Planned),
                "{state:?}"
            );
            let dropped = healing.retirees.iter().find(|r| r.key.generation == 2).unwrap();
            assert!(dropped.urgent, "{state:?}: nobody waits for a key that nobody was given");
            assert!(!healing.retirees.iter().find(|r| r.key.generation == 1).unwrap().urgent);
        }
    }
    let open = unpublished(verifying());
    let since = heal(&open, &policy(), &KeyFacts::default()).run().state;
    assert_eq!(since, verifying(), "its first minutes are not counted anew");
}

#[test]
fn a_key_that_is_being_disabled_or_was_used_is_not_dropped_in_a_hurry() {
    let moved = Phase::Live { quiet: Some((figures(3), now())) };
    for (phase, inherited, urgent) in [
        (Phase::Live { quiet: None }, true, false),
        (moved.clone(), true, false),
        (Phase::Disabling, false, true),
        (Phase::Disabled { since: now(), by_us: true }, false, true),
        (Phase::Deleting, false, true),
    ] {
        let mut open = unpublished(aborting());
        open.retirees[1].phase = phase.clone();
        let healing = heal(&open, &policy(), &KeyFacts::default()).run();
        assert_eq!(healing.candidate.is_some(), inherited, "{phase:?}");
        let dropped = healing.retirees.iter().find(|r| r.key.generation == 2);
        assert_eq!(dropped.is_some_and(|r| r.urgent && r.phase == phase), urgent, "{phase:?}");
    }
    let mut open = unpublished(aborting());
    open.retirees[1].phase = moved;
    let refused = KeyFacts {
        tested: Some((TestResult::Unauthorized, now())),
        refused_since: Some(ago(Span::minutes(3))),
    };
    let healing = heal(&open, &policy(), &refused).run();
    let used = healing.retirees.iter().find(|r| r.key.generation == 2).unwrap();
    assert!(!used.urgent, "somebody has it");
}

#[test]
fn a_create_in_doubt_is_looked_for_before_the_next() {
    let recover = State::Issuing { issuing: Issuing::Recover { name: "n".into(), looked: Some(now()) } };
    for state in [sent(), recover, parked(sent())] {
        let healing = heal(&unpublished(state.clone()), &policy(), &KeyFacts::default()).run();
        let looks = Issuing::Recover { name: "n".into(), looked: None };
        assert_eq!(healing.state, State::Issuing { issuing: looks }, "{state:?}");
    }
    let ready = State::Issuing { issuing: Issuing::Ready { until: Until::OVER } };
    let healing = heal(&unpublished(ready), &policy(), &KeyFacts::default()).run();
    assert_eq!(healing.state, State::Planned);
}

#[test]
fn what_is_dead_itself_is_not_brought_in() {
    let open = unpublished(verifying());
    let (policy, unknown) = (policy(), KeyFacts::default());
    let leaked = Emergency { target: key(2), trigger: Trigger::Leak, ..heal(&open, &policy, &unknown) };
    let healing = leaked.run();
    assert_eq!(healing.candidate, None);
    assert!(healing.retirees.iter().find(|r| r.key.generation == 2).unwrap().urgent);
    let gone = Emergency { living: vec![key(1)], ..heal(&open, &policy, &unknown) };
    assert_eq!(gone.run().candidate, None);
    let by_hash = Run { candidate: Some(KeyRef { has_secret: false, ..key(2) }), ..open.clone() };
    assert_eq!(heal(&by_hash, &policy, &unknown).run().candidate, None);
}
