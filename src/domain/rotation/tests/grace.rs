//! Publishing, grace and observing: when the old key may go.

use super::super::facts::Request;
use super::*;

const DAY: Span = Span::hours(24);

fn over() -> Run {
    quiet_since(run(grace_since(ago(DAY))), ago(DAY))
}

#[test]
fn a_publish_needs_a_test_of_at_most_five_minutes() {
    let publishing = run(State::Publishing);
    let with = |when| next(&publishing, &Facts { candidate: tested(TestResult::Valid, when), ..blank() });
    assert!(matches!(with(ago(Span::minutes(5))), Directive::Publish { .. }));
    assert_eq!(with(ago(Span(300_001))), Directive::Test(key(2)));
    assert_eq!(with(at(Span::seconds(3))), Directive::Test(key(2)), "a test of the future proves nothing");
    let skewed = Stamp { ours: now().ours, theirs: ago(Span::hours(1)).theirs };
    assert_eq!(with(skewed), Directive::Test(key(2)), "old on the provider's clock");
}

#[test]
fn a_failing_optional_destination_blocks_nothing_and_a_required_one_does() {
    let publishing = run(State::Publishing);
    for (broken, passes) in [("may", true), ("must", false)] {
        let mut facts = all_well();
        let row = facts.holdings.iter_mut().find(|h| h.address == format!("at:{broken}")).unwrap();
        (row.level, row.error, row.permanent) = (Level::Intended, Some("403".into()), true);
        let published =
            matches!(next(&publishing, &facts), Directive::Apply(Event::PublishedEverywhere { .. }));
        assert_eq!(published, passes, "{broken}");
    }
}

#[test]
fn drift_holds_overwrites_by_policy_and_is_overwritten_in_an_emergency() {
    let mut facts = all_well();
    facts.holdings[0].drift = Some("somebody".into());
    let mut publishing = quiet_since(run(State::Publishing), now());
    assert!(is_wait(&next(&publishing, &facts)));
    publishing.trigger = Trigger::Leak;
    assert!(matches!(next(&publishing, &facts), Directive::Publish { .. }));
    publishing.trigger = Trigger::Manual;
    publishing.policy.targets[0].on_drift = OnDrift::Overwrite;
    assert!(matches!(next(&publishing, &facts), Directive::Publish { .. }));
}

#[test]
fn grace_ends_only_when_everything_holds() {
    assert_eq!(next(&over(), &all_well()), Directive::Apply(Event::GraceOver));
    let short = quiet_since(run(grace_since(ago(Span(DAY.0 - 1)))), ago(DAY));
    assert!(is_wait(&next(&short, &all_well())), "grace");
    let busy = quiet_since(run(grace_since(ago(DAY))), ago(Span(DAY.0 - 1)));
    assert!(is_wait(&next(&busy, &all_well())), "quiet");
    let mut stale = all_well();
    stale.holdings[0].checked = Some(ago(Span::seconds(181)));
    assert!(matches!(next(&over(), &stale), Directive::Check { .. }), "looked at now");
    let untested = Facts { candidate: tested(TestResult::Valid, ago(Span(300_001))), ..all_well() };
    assert_eq!(next(&over(), &untested), Directive::Test(key(2)));
    let unread = Facts { remote: Vec::new(), ..all_well() };
    assert_eq!(next(&over(), &unread), Directive::Read(key(1)));
}

#[test]
fn a_test_that_showed_nothing_does_not_end_grace() {
    let nothing = TestResult::Inconclusive { reason: "502".into() };
    let facts = Facts { candidate: tested(nothing, now()), ..all_well() };
    assert_eq!(next(&over(), &facts), Directive::Test(key(2)));
}

#[test]
fn an_optional_destination_that_may_hold_the_old_key_keeps_grace() {
    let mut facts = all_well();
    facts.holdings[1] = holding("may", &key(1), Level::Intended);
    facts.holdings.push(Holding { permanent: true, ..holding("may", &key(2), Level::Intended) });
    assert!(is_wait(&next(&over(), &facts)));
    let released = apply(&over(), &Event::Released { id: "q".into(), destination: "may".into() }).unwrap();
    facts.holdings.retain(|row| row.address != "at:may");
    assert_eq!(next(&released, &facts), Directive::Apply(Event::GraceOver), "a person accepts it");
}

/// A destination that left the configuration while no run was open (R20).
#[test]
fn an_address_that_the_policy_no_longer_has_keeps_grace_until_it_is_released() {
    let mut facts = all_well();
    facts.holdings.push(holding("gone", &key(1), Level::Confirmed));
    let Directive::Wait { blockers, .. } = next(&over(), &facts) else { panic!("it may hold the old key") };
    assert!(blockers[0].text.contains("rekeyd runs release r gone"), "{blockers:?}");
    for name in ["gone", "at:gone"] {
        let destination = name.to_owned();
        let asked = Facts { request: Some(("q".into(), Request::Release { destination })), ..facts.clone() };
        assert!(matches!(next(&over(), &asked), Directive::Apply(Event::Released { .. })), "{name}");
    }
}

/// A vendor's wait of a day (R18).
#[test]
fn a_wait_that_a_vendor_names_is_kept_and_an_emergency_asks_again() {
    let day = Until::after(now().ours, Span::hours(24));
    let mut facts = all_well();
    facts.holdings[0] =
        Holding { until: day, error: Some("429".into()), ..holding("must", &key(2), Level::Accepted) };
    let publishing = quiet_since(run(State::Publishing), now());
    let asks = |facts: &Facts| matches!(next(&publishing, facts), Directive::Check { .. });
    assert!(!asks(&facts));
    assert!(
        !asks(&Facts { clock: at(Span(DAY.0 - 1)).ours, ..facts.clone() }),
        "a day is no jump of a clock"
    );
    assert!(asks(&Facts { clock: at(DAY).ours, ..facts.clone() }));
    assert!(
        asks(&Facts { clock: ago(Span::minutes(2)).ours, ..facts.clone() }),
        "set in the future: a clock went back"
    );
    let hurried = leaked(State::Publishing);
    let later = |clock| next(&hurried, &Facts { clock, ..facts.clone() });
    assert!(is_wait(&later(at(Span::minutes(14)).ours)), "{:?}", later(at(Span::minutes(14)).ours));
    assert!(matches!(later(at(Span::minutes(15)).ours), Directive::Check { .. }));
}

/// Of a wait of one call nothing else hears (R18).
#[test]
fn a_call_that_waits_holds_up_nothing_else() {
    let mut waiting = over();
    let until = Until::after(now().ours, Span::hours(1));
    let wait = Wait { attempts: 1, until, reason: "429".into(), by_policy: false };
    waiting.waits.insert(Directive::Read(key(1)).call(), wait);
    let mut facts = Facts { remote: Vec::new(), ..all_well() };
    facts.candidate = tested(TestResult::Valid, ago(Span::hours(1)));
    assert_eq!(next(&waiting, &facts), Directive::Test(key(2)), "the key in use is tested");
    facts.candidate = tested(TestResult::Valid, now());
    facts.holdings[0].level = Level::Intended;
    assert!(matches!(next(&waiting, &facts), Directive::Publish { .. }), "and delivered");
    facts.holdings[0].level = Level::Confirmed;
    assert!(is_wait(&next(&waiting, &facts)), "but nothing is taken away unseen");
}

/// Deliveries go on while the old key is observed (A5 of the reviews: production ran with a dead key).
#[test]
fn what_changes_while_the_old_key_is_observed_is_mended() {
    let mut observing = run(State::Observing);
    observing.retirees[0].phase = Phase::Disabled { since: ago(Span::minutes(1)), by_us: true };
    observing.policy.targets[0].on_drift = OnDrift::Overwrite;
    let mut facts = all_well();
    facts.holdings[0].drift = Some("the old key was put back".into());
    assert!(matches!(next(&observing, &facts), Directive::Publish { .. }));
}

/// A policy of no waiting at all asks the provider no more often than any other.
#[test]
fn no_span_of_zero_makes_looks_more_frequent() {
    let span_of = |quiet, grace| {
        let mut run = run(grace_since(now()));
        (run.policy.quiet, run.policy.grace, run.policy.observe) = (quiet, grace, Span::ZERO);
        let run = quiet_since(run, now());
        match next(&run, &all_well()) {
            Directive::Wait { span, .. } => span,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(span_of(Span::ZERO, DAY), Span::minutes(5), "tested within five minutes");
    assert_eq!(span_of(Span::minutes(2), DAY), Span::minutes(1));
    assert_eq!(span_of(Span::seconds(8), DAY), Span::seconds(1));
}

#[test]
fn a_jump_of_either_clock_destroys_nothing() {
    let year = Span::hours(24 * 365);
    let fresh = quiet_since(run(grace_since(now())), now());
    let mut observing = run(State::Observing);
    observing.retirees[0].phase = Phase::Disabled { since: now(), by_us: true };
    for (ours, theirs) in [(year, Span(1)), (Span(1), year), (Span(-DAY.0), Span(1)), (Span(1), Span(-DAY.0))]
    {
        let moment = Stamp { ours: at(ours).ours, theirs: at(theirs).theirs };
        for run in [&fresh, &observing] {
            let mut facts = all_well();
            facts.now = moment;
            facts.candidate = tested(TestResult::Valid, moment);
            facts.remote[0].at = moment;
            facts.holdings[0].checked = Some(moment);
            if run.state == State::Observing {
                facts.remote[0].remote = Remote::Disabled;
            }
            let directive = next(run, &facts);
            assert!(
                !destroys(&directive) && directive != Directive::Apply(Event::GraceOver),
                "{directive:?}"
            );
        }
    }
}

#[test]
fn without_the_providers_clock_no_wait_is_ever_over() {
    let facts = Facts { now: Stamp { theirs: None, ..now() }, ..all_well() };
    assert!(is_wait(&next(&over(), &facts)));
}

#[test]
fn quiet_begins_anew_when_figures_move() {
    let mut facts = all_well();
    facts.remote[0].remote = Remote::Enabled(figures(8));
    let Directive::Apply(event) = next(&over(), &facts) else { panic!("moved") };
    let after = apply(&over(), &event).unwrap();
    assert!(is_wait(&next(&after, &facts)));
    assert!(matches!(after.retirees[0].phase, Phase::Live { quiet: Some((_, since)) } if since == now()));
}

#[test]
fn max_overlap_tells_once_and_goes_on_waiting() {
    let used = quiet_since(run(grace_since(ago(Span::hours(24 * 7)))), ago(Span::hours(1)));
    let Directive::Apply(event) = next(&used, &all_well()) else { panic!("tell") };
    assert_eq!(event, Event::OverlapTold);
    assert!(is_wait(&next(&apply(&used, &event).unwrap(), &all_well())), "a key in use is never disabled");
}

#[test]
fn observing_disables_waits_on_both_clocks_then_deletes() {
    let mut observing = quiet_since(run(State::Observing), ago(DAY));
    assert!(matches!(next(&observing, &all_well()), Directive::Disable { urgent: false, .. }));
    let mut facts = all_well();
    facts.remote[0].remote = Remote::Disabled;
    for (since, deletes) in [(ago(DAY), true), (ago(Span(DAY.0 - 1)), false)] {
        observing.retirees[0].phase = Phase::Disabled { since, by_us: true };
        assert_eq!(matches!(next(&observing, &facts), Directive::Delete { .. }), deletes);
    }
}

#[test]
fn a_key_that_is_used_again_before_its_disable_is_not_disabled() {
    let observing = quiet_since(run(State::Observing), ago(DAY));
    let mut facts = all_well();
    facts.remote[0].remote = Remote::Enabled(figures(8));
    let Directive::Apply(event) = next(&observing, &facts) else { panic!("moved") };
    assert!(is_wait(&next(&apply(&observing, &event).unwrap(), &facts)));
    let unread = Facts { remote: Vec::new(), ..all_well() };
    assert_eq!(next(&observing, &unread), Directive::Read(key(1)), "it is looked at just before");
}

#[test]
fn the_new_key_is_tested_after_the_disable() {
    let mut observing = run(State::Observing);
    observing.retirees[0].phase = Phase::Disabled { since: now(), by_us: true };
    let facts = Facts { candidate: tested(TestResult::Valid, ago(Span(1))), ..all_well() };
    assert_eq!(next(&observing, &facts), Directive::Test(key(2)));
}

#[test]
fn a_person_who_enables_the_old_key_gets_a_grace_anew() {
    let mut observing = run(State::Observing);
    observing.retirees[0].phase = Phase::Disabled { since: ago(DAY), by_us: true };
    let Directive::Apply(event) = next(&observing, &all_well()) else { panic!("noticed") };
    let after = apply(&observing, &event).unwrap();
    assert_eq!(after.state, grace_since(now()));
    assert!(matches!(after.retirees[0].phase, Phase::Live { quiet: None }));
}

#[test]
fn paused_holds_kills_but_not_emergencies() {
    let facts = Facts { paused: true, ..all_well() };
    let mut observing = quiet_since(run(State::Observing), ago(DAY));
    assert!(is_wait(&next(&observing, &facts)));
    observing.trigger = Trigger::Leak;
    assert!(matches!(next(&observing, &facts), Directive::Disable { .. }));
}

fn leaked(state: State) -> Run {
    let mut run = run(state);
    run.trigger = Trigger::Leak;
    run.retirees = vec![Retiree::new(key(1), true, run.policy.observe)];
    run
}

#[test]
fn a_leaked_key_dies_as_soon_as_required_destinations_confirm_and_not_before() {
    let mut facts = all_well();
    facts.holdings[0].level = Level::Accepted;
    assert!(matches!(next(&leaked(State::Publishing), &facts), Directive::Check { .. }));
    let Directive::Apply(event) = next(&leaked(State::Publishing), &all_well()) else { panic!("published") };
    let mut run = apply(&leaked(State::Publishing), &event).unwrap();
    assert!(matches!(next(&run, &all_well()), Directive::Disable { urgent: true, .. }), "no grace, no quiet");
    run.retirees[0].phase = Phase::Disabled { since: now(), by_us: true };
    assert!(matches!(next(&run, &all_well()), Directive::Delete { urgent: true, .. }), "no observing");
}

#[test]
fn an_emergency_goes_on_delivering_what_its_guard_waits_for() {
    let mut facts = all_well();
    facts.holdings[1] = Holding { until: Until::OVER, ..holding("may", &key(2), Level::Intended) };
    assert!(matches!(next(&leaked(grace_since(now())), &facts), Directive::Publish { .. }));
    facts.holdings[1].until = Until::after(now().ours, Span::minutes(1));
    assert!(matches!(next(&leaked(grace_since(now())), &facts), Directive::Disable { .. }));
}

#[test]
fn an_emergency_whose_new_key_dies_is_replaced_instead_of_asking_the_guard_for_ever() {
    let dead = KeyFacts {
        tested: Some((TestResult::Unauthorized, now())),
        refused_since: Some(ago(Span::minutes(2))),
    };
    let facts = Facts { candidate: dead, ..all_well() };
    assert!(matches!(next(&leaked(grace_since(now())), &facts), Directive::Supersede { .. }));
}

#[test]
fn frozen_holds_everything_and_detached_parks() {
    let states = [
        State::Planned,
        State::Issuing { issuing: Issuing::Ready { until: Until::OVER } },
        State::Verifying { since: now() },
        State::Publishing,
        grace_since(ago(DAY)),
        State::Observing,
        aborting(),
        rolling(Rollback::Reviving),
        rolling(Rollback::Republishing),
        rolling(Rollback::Retiring { since: ago(DAY) }),
    ];
    for state in states {
        let run = run(state);
        assert!(is_wait(&next(&run, &Facts { frozen: true, ..all_well() })), "{:?}", run.state);
        let directive = next(&run, &Facts { detached: Some("gone".into()), ..all_well() });
        let parks = matches!(directive, Directive::Apply(Event::Parked { .. }));
        assert_eq!(parks, !matches!(run.state, State::Aborting { .. }), "{:?}", run.state);
    }
}

#[test]
fn an_abort_ends_a_run_whose_rotation_is_gone() {
    let detached = |request| Facts { detached: Some("gone".into()), request, ..all_well() };
    let mut current = run(State::Issuing { issuing: Issuing::Ready { until: Until::OVER } });
    let mut request = Some(("q".to_owned(), super::super::facts::Request::Abort));
    for _ in 0..5 {
        if let Directive::Apply(event) = next(&current, &detached(request.take())) {
            current = apply(&current, &event).unwrap();
        }
    }
    assert!(matches!(current.state, State::Aborted { .. }), "{:?}", current.state);
}

/// I7: nobody talks rekeyd into disabling a key that a required destination may hold.
#[test]
fn only_what_is_optional_or_left_the_configuration_is_released() {
    let publishing = run(State::Publishing);
    let asked = |destination: &str, dropped: &[&str]| {
        let request = Request::Release { destination: destination.to_owned() };
        let dropped = dropped.iter().map(|name| (*name).to_owned()).collect();
        let facts = Facts { request: Some(("q".into(), request)), dropped, ..all_well() };
        matches!(next(&publishing, &facts), Directive::Apply(Event::Released { .. }))
    };
    assert!(asked("may", &[]), "optional");
    assert!(!asked("must", &[]), "required");
    assert!(asked("must", &["must"]), "out of the configuration");
    assert!(!asked("nosuch", &["nosuch"]), "not of this run");
}

#[test]
fn what_comes_next_is_named_with_its_earliest_moment() {
    let said = |run: &Run| {
        let moments = moments(run).into_iter();
        moments.map(|one| (one.what, one.at.since(Timestamp(T0)).0 / 3_600_000)).collect::<Vec<_>>()
    };
    let text = |what: &str, hours| (what.to_owned(), hours);
    let mut run = run(State::Grace { since: now(), overlap_told: false });
    assert_eq!(said(&run), [text("grace ends", 24)], "the old key was not looked at yet");
    run.retirees[0].phase = Phase::Live { quiet: Some((figures(7), at(Span::hours(2)))) };
    let expected = [
        text("grace ends", 24),
        text("generation 1 has been quiet long enough", 26),
        text("generation 1 is disabled", 26),
        text("generation 1 is deleted", 50),
    ];
    assert_eq!(said(&run), expected);
    run.state = State::Observing;
    run.retirees[0].phase = Phase::Disabled { since: at(Span::hours(3)), by_us: true };
    assert_eq!(said(&run), [text("generation 1 is deleted", 27)]);
    // Going back, the old key is no key on its way out.
    run.state = rolling(Rollback::Retiring { since: now() });
    assert_eq!(said(&run), [text("grace ends", 24)]);
    for state in [State::Planned, State::Publishing, State::Done] {
        run.state = state;
        assert_eq!(said(&run), []);
    }
}

/// There is no way back from a delete: it waits for all that a disable waits for, and for nothing after it.
#[test]
fn where_nothing_can_be_disabled_a_key_is_deleted_after_grace_and_not_observed() {
    let mut run = quiet_since(run(grace_since(ago(Span::hours(23)))), ago(Span::hours(25)));
    run.policy.can_disable = false;
    assert!(is_wait(&next(&run, &all_well())), "grace is not over");
    run.state = State::Observing;
    assert_eq!(next(&run, &all_well()), Directive::Delete { key: key(1), urgent: false });
    let doomed = apply(&run, &Event::DeleteIntended { hash: "h1".into() }).unwrap();
    assert_eq!(doomed.retirees[0].phase, Phase::Deleting);
    let gone = apply(&doomed, &Event::Deleted { hash: "h1".into() }).unwrap();
    assert!(matches!(next(&gone, &all_well()), Directive::Apply(Event::Finished)));
    run.policy.can_disable = true;
    assert!(apply(&run, &Event::DeleteIntended { hash: "h1".into() }).is_err(), "I8");
}

/// A provider without figures: time alone.
#[test]
fn a_key_of_whose_use_nobody_knows_is_given_the_time_of_quiet() {
    let shown = |at| vec![RemoteFacts { hash: "h1".into(), remote: Remote::Enabled(Usage::Unknown), at }];
    let mut run = run(grace_since(ago(Span::hours(25))));
    let seen = Facts { remote: shown(now()), ..all_well() };
    let Directive::Apply(moved) = next(&run, &seen) else { panic!("the first look is noted") };
    run = apply(&run, &moved).unwrap();
    assert!(is_wait(&next(&run, &seen)));
    run.retirees[0].phase = Phase::Live { quiet: Some((Usage::Unknown, ago(Span::hours(24)))) };
    assert!(matches!(next(&run, &seen), Directive::Apply(Event::GraceOver)));
    assert!(Usage::Unknown.may_be_used() && !Usage::Figures(Figures::default()).may_be_used());
}
