//! What holds for every run and all facts, however odd.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn next_always_answers_and_its_events_are_always_legal(run in any::run(), facts in any::facts()) {
        if let Directive::Apply(event) = next(&run, &facts) {
            prop_assert!(apply(&run, &event).is_ok(), "{event:?} in {:?}", run.state);
        }
    }

    #[test]
    fn no_run_spins_on_the_same_facts(run in any::run(), facts in any::facts()) {
        let (mut run, mut facts) = (run, facts);
        for _ in 0..20 {
            let Directive::Apply(event) = next(&run, &facts) else { return Ok(()) };
            facts.request = None;
            run = apply(&run, &event).unwrap();
        }
        prop_assert!(false, "twenty events without a look: {:?}", run.state);
    }

    #[test]
    fn apply_answers_every_event_and_terminal_states_are_final(run in any::run()) {
        for event in any::events() {
            let after = apply(&run, &event);
            prop_assert!(!(run.state.is_terminal() && after.is_ok()), "{event:?}");
        }
    }

    #[test]
    fn nothing_is_destroyed_while_frozen_parked_or_paused(run in any::run(), facts in any::facts()) {
        let held = Facts { frozen: true, ..facts.clone() };
        prop_assert!(!destroys(&next(&run, &held)));
        let paused = Facts { paused: true, ..facts.clone() };
        prop_assert!(run.trigger.is_emergency() || !destroys(&next(&run, &paused)));
        let parked = Run { state: State::Parked { from: Box::new(run.state.clone()), reason: "x".into() }, ..run };
        prop_assert!(!destroys(&next(&parked, &facts)));
    }

    #[test]
    fn a_deleted_key_was_disabled_for_its_observation_on_both_clocks(run in any::run(), facts in any::facts()) {
        let Directive::Delete { key, .. } = next(&run, &facts) else { return Ok(()) };
        let doomed = run.retirees.iter().find(|r| r.key == key).unwrap();
        let observed = match doomed.phase {
            Phase::Disabled { since, .. } => facts.now.passed(since, doomed.observe),
            Phase::Deleting => true,
            _ => false,
        };
        prop_assert!(observed, "{:?}", doomed.phase);
    }

    #[test]
    fn what_waits_says_for_what_and_is_told_unless_the_policy_names_it(run in any::run(), facts in any::facts()) {
        let Directive::Wait { blockers, .. } = next(&run, &facts) else { return Ok(()) };
        prop_assert!(!blockers.is_empty(), "{:?} waits and does not say for what", run.state);
        for wait in Waiting::carried(&blockers, &[], facts.clock) {
            let moment = wait.until.map_or(facts.clock, |until| until.at);
            let told = wait.is_stalled(run.trigger.is_emergency(), moment.plus(Span::minutes(30)));
            let named = wait.cause.is_none() && (wait.until.is_some() || wait.text.contains("paused"));
            prop_assert!(told || named, "{wait:?} in {:?}", run.state);
        }
    }

    /// R23: an ordinary run gives nobody a key that does not inherit what it must.
    #[test]
    fn an_ordinary_run_verifies_nothing_before_it_is_named(run in any::run(), facts in any::facts()) {
        let heir = run.predecessor.is_some() && run.candidate.is_some();
        let open = run.inheritance == Inheritance::Open && heir && !run.trigger.is_emergency();
        if let (State::Verifying { .. }, true) = (&run.state, open) {
            let goes_on = matches!(next(&run, &facts), Directive::Apply(Event::Verified { .. }) | Directive::Test(_));
            prop_assert!(!goes_on);
        }
    }

    /// R23: production does not stand still for longer than a minute because of guardrails and lists.
    #[test]
    fn an_emergency_waits_a_minute_for_its_inheritance_at_most(run in any::run(), facts in any::facts()) {
        let State::Verifying { since } = run.state else { return Ok(()) };
        let age = facts.now.ours.since(since.ours);
        if run.trigger.is_emergency() && !(Span::ZERO..Span::minutes(1)).contains(&age) {
            prop_assert!(next(&run, &facts) != Directive::Inherit);
        }
        let Directive::Wait { span, .. } = next(&run, &facts) else { return Ok(()) };
        let open = run.inheritance == Inheritance::Open && run.predecessor.is_some();
        if run.trigger.is_emergency() && open && run.candidate.is_some() && !facts.frozen {
            prop_assert!(age.0 + span.0 <= Span::minutes(1).0 + 200, "{span:?} at {age:?}");
        }
    }

    #[test]
    fn what_is_published_was_tested_within_five_minutes(run in any::run(), facts in any::facts()) {
        let Directive::Publish { key: published, .. } = next(&run, &facts) else { return Ok(()) };
        let known = if published == key(2) { &facts.candidate } else { &facts.predecessor };
        prop_assert!(known.valid_now(facts.now));
    }
}
