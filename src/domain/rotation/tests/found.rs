//! Holes that the model checker found (`tests/it/model`), each as one table.

use super::*;

const DAY: Span = Span::hours(24);
const YEAR: Span = Span::hours(24 * 365);

/// Noted while our clock was a year ahead.
fn noted_ahead(since: Stamp) -> Stamp {
    Stamp { ours: since.ours.plus(YEAR), ..since }
}

/// The old key is gone and the new one never worked: as long as the run waited here for another key, healing, which
/// leaves an account with a run at work alone, did not make one.
#[test]
fn an_ordinary_run_ends_when_only_its_failed_key_is_left() {
    let after = apply(&run(aborting()), &Event::LeftForNow { until: Until::OVER }).unwrap();
    assert!(matches!(after.state, State::Aborted { .. }), "{:?}", after.state);
    assert!(after.retirees.iter().all(|retiree| !retiree.is_dead()), "it stays alive");
}

/// The guard may refuse for days; nobody looked at the new key meanwhile.
#[test]
fn the_new_key_is_tested_before_each_kill_step_of_observing() {
    let observing = quiet_since(run(State::Observing), ago(DAY));
    let stale = Facts { candidate: tested(TestResult::Valid, ago(Span::minutes(6))), ..all_well() };
    assert_eq!(next(&observing, &stale), Directive::Test(key(2)));
    assert!(destroys(&next(&observing, &all_well())));
}

/// The new key was tested on and on, without a wait in between, for a year.
#[test]
fn a_test_after_a_disable_that_a_wrong_clock_noted_counts() {
    let mut observing = run(State::Observing);
    let mut facts = all_well();
    facts.remote[0].remote = Remote::Disabled;
    observing.retirees[0].phase = Phase::Disabled { since: noted_ahead(ago(Span::minutes(1))), by_us: true };
    assert!(is_wait(&next(&observing, &facts)), "{:?}", next(&observing, &facts));
    observing.retirees[0].phase = Phase::Disabled { since: noted_ahead(now()), by_us: true };
    facts.candidate = tested(TestResult::Valid, ago(Span(1)));
    assert_eq!(next(&observing, &facts), Directive::Test(key(2)));
}

/// The provider tells whole seconds: a test right after a disable may carry an earlier `Date`. The new key was tested
/// on and on, without a wait in between, until the second was over.
#[test]
fn a_test_after_a_disable_counts_although_the_providers_second_is_not_over() {
    let mut observing = run(State::Observing);
    let mut facts = all_well();
    facts.remote[0].remote = Remote::Disabled;
    observing.retirees[0].phase = Phase::Disabled { since: ago(Span(40)), by_us: true };
    let tested_at = |ours: Span, theirs: Span| {
        let at = Stamp { ours: ago(ours).ours, theirs: ago(theirs).theirs };
        next(&observing, &Facts { candidate: tested(TestResult::Valid, at), ..facts.clone() })
    };
    assert!(is_wait(&tested_at(Span(20), Span(900))), "{:?}", tested_at(Span(20), Span(900)));
    assert_eq!(tested_at(Span(60), Span(20)), Directive::Test(key(2)), "before the disable on our clock");
    assert_eq!(
        tested_at(Span(20), Span(1600)),
        Directive::Test(key(2)),
        "more than a second before on theirs"
    );
}

/// A wait that began while our clock was ahead is measured by the provider's once both agree again.
#[test]
fn a_wait_that_a_wrong_clock_began_is_over_when_the_other_says_so() {
    for wrong in [noted_ahead(ago(DAY)), Stamp { theirs: Some(Timestamp(T0).plus(YEAR)), ..ago(DAY) }] {
        assert!(now().passed(wrong, DAY), "{wrong:?}");
        assert!(!now().passed(wrong, Span(DAY.0 + 1)), "{wrong:?}");
    }
    let jumped_back = Stamp { ours: Timestamp(T0).plus(Span(-YEAR.0)), ..now() };
    assert!(!jumped_back.passed(ago(DAY), DAY), "while the clocks disagree nothing is over");
    assert!(!now().passed(noted_ahead(Stamp { theirs: now().theirs, ..ago(DAY) }), DAY));
}
