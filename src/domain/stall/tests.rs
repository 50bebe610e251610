use super::*;
use crate::domain::rotation::Blocker;
use crate::domain::time::Until;

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn ago(span: Span) -> Timestamp {
    NOW.plus(Span(-span.0))
}

fn wait(cause: Option<Cause>, since: Timestamp, until: Option<Until>) -> Waiting {
    Waiting { text: "it does not answer".to_owned(), cause, since, until }
}

fn waiter(wait: Waiting) -> Waiter {
    Waiter {
        rotation: "production".to_owned(),
        account: "main".to_owned(),
        provider: Some("openrouter".to_owned()),
        who: "Run r of rotation production (publishing)".to_owned(),
        emergency: false,
        in_danger: false,
        help: "Mend it.".to_owned(),
        wait,
    }
}

fn causes() -> [Cause; 3] {
    [Cause::Account, Cause::Destination("vercel".to_owned()), Cause::Person]
}

fn told(kind: Kind, subject: Subject) -> Told {
    Told { kind, subject, severity: kind.severity(), detail: String::new() }
}

/// What is opened for one waiter.
fn opened(waiter: &Waiter, told: &[Told]) -> Vec<NewAlert> {
    decide(std::slice::from_ref(waiter), told, &BTreeMap::new(), NOW).open
}

#[test]
fn a_wait_without_a_moment_is_told_after_half_an_hour_whatever_its_cause() {
    for cause in causes() {
        for emergency in [false, true] {
            let of = |since| Waiter { emergency, ..waiter(wait(Some(cause.clone()), since, None)) };
            assert_eq!(opened(&of(ago(Span(30 * 60_000 - 1))), &[]), [], "{cause:?}");
            let alert = opened(&of(ago(Span::minutes(30))), &[]).remove(0);
            assert_eq!(Some(alert.subject), of(NOW).subject(), "{cause:?}");
            for said in [
                "Run r of rotation production",
                "it does not answer",
                "since 2001-09-09T01:16:40",
                "Mend it.",
            ] {
                assert!(alert.detail.contains(said), "{said}: {}", alert.detail);
            }
        }
    }
}

#[test]
fn what_the_policy_names_is_never_told() {
    for until in [None, Some(Until::after(NOW, Span::hours(2000)))] {
        assert_eq!(opened(&waiter(wait(None, Timestamp(0), until)), &[]), []);
    }
}

#[test]
fn a_moment_is_told_when_it_is_far_and_counts_for_nothing_once_it_has_passed() {
    let stalled = |emergency, set: Timestamp, span| {
        let wait = wait(Some(Cause::Account), set, Some(Until::after(set, span)));
        !opened(&Waiter { emergency, ..waiter(wait) }, &[]).is_empty()
    };
    assert!(!stalled(false, NOW, Span::hours(24)) && stalled(false, NOW, Span(24 * 3_600_000 + 1)));
    assert!(!stalled(true, NOW, Span::minutes(30)) && stalled(true, NOW, Span(30 * 60_000 + 1)));
    // It is put off again and again.
    let put_off =
        wait(Some(Cause::Account), ago(Span::hours(24)), Some(Until::after(NOW, Span::minutes(20))));
    assert_eq!(opened(&waiter(put_off), &[]).len(), 1);
    // It passed: the time without a moment begins there.
    assert!(!stalled(false, ago(Span::hours(30)), Span(30 * 3_600_000 - 29 * 60_000)));
    assert!(stalled(false, ago(Span::hours(30)), Span(30 * 3_600_000 - 30 * 60_000)));
}

#[test]
fn another_alert_about_the_cause_is_enough() {
    let cases = [
        (Cause::Destination("vercel".to_owned()), Kind::DestinationFailed, "destination vercel", true),
        (Cause::Destination("vercel".to_owned()), Kind::DestinationDrift, "destination vercel", true),
        (Cause::Destination("vercel".to_owned()), Kind::DestinationFailed, "destination github", false),
        (Cause::Destination("vercel".to_owned()), Kind::RotationFailed, "rotation production", false),
        (Cause::Person, Kind::RotationParked, "rotation production", true),
        (Cause::Person, Kind::RotationParked, "rotation staging", false),
        (Cause::Person, Kind::KeyInvalid, "rotation production", true),
        (Cause::Person, Kind::RotationOverdue, "rotation production", false),
        (Cause::Account, Kind::AccountFrozen, "account main", true),
        (Cause::Account, Kind::BreakerWaiting, "account main", true),
        (Cause::Account, Kind::AccountFrozen, "account other", false),
        (Cause::Account, Kind::CreditsLow, "account main", false),
        (Cause::Account, Kind::ProvisioningKeyInvalid, "provisioning key of account main", true),
        (Cause::Account, Kind::ProvisioningKeyInvalid, "provisioning key of account other", false),
        (Cause::Account, Kind::ProviderUnreachable, "provider openrouter", true),
        (Cause::Account, Kind::ProviderIncident, "provider openai", false),
    ];
    for (cause, kind, subject, silent) in cases {
        let waiter = waiter(wait(Some(cause.clone()), Timestamp(0), None));
        let alert = told(kind, Subject::parse(subject));
        assert_eq!(opened(&waiter, &[alert]).is_empty(), silent, "{cause:?}, {kind:?} of {subject}");
    }
}

#[test]
fn one_cause_is_one_alert_that_lists_its_runs_and_is_as_bad_as_the_worst() {
    let long = wait(Some(Cause::Account), Timestamp(0), None);
    let second = Waiter {
        rotation: "staging".to_owned(),
        who: "Run s of rotation staging (issuing)".to_owned(),
        in_danger: true,
        ..waiter(long.clone())
    };
    let fresh = Waiter { who: "Run t".to_owned(), ..waiter(wait(Some(Cause::Account), NOW, None)) };
    let decision = decide(&[waiter(long), second, fresh], &[], &BTreeMap::new(), NOW);
    let [alert] = &decision.open[..] else { panic!("{decision:?}") };
    assert_eq!((alert.severity, alert.rotation.as_deref()), (Severity::Critical, Some("production")));
    assert!(
        alert.detail.contains("Run r") && alert.detail.contains("Run s") && !alert.detail.contains("Run t")
    );
    // It is open, and nothing is new.
    let open = Told {
        severity: alert.severity,
        detail: alert.detail.clone(),
        ..told(Kind::RunStalled, alert.subject.clone())
    };
    let long = waiter(wait(Some(Cause::Account), Timestamp(0), None));
    let better = decide(std::slice::from_ref(&long), &[open], &BTreeMap::new(), NOW);
    assert_eq!(better.open.len(), 1, "its text is brought up to date: {better:?}");
    let same = Told {
        detail: better.open[0].detail.clone(),
        ..told(Kind::RunStalled, Subject::Account("main".to_owned()))
    };
    assert_eq!(decide(&[long], &[same], &BTreeMap::new(), NOW), Decision::default());
}

#[test]
fn a_cause_is_over_when_nobody_has_waited_for_it_for_ten_minutes() {
    let open = [told(Kind::RunStalled, Subject::Destination("vercel".to_owned()))];
    let subject = open[0].subject.to_string();
    let look =
        |waiters: &[Waiter], over: &BTreeMap<String, Timestamp>, now| decide(waiters, &open, over, now);
    let first = look(&[], &BTreeMap::new(), NOW);
    assert_eq!((first.resolve.len(), first.over.get(&subject)), (0, Some(&NOW)));
    let short = look(&[], &first.over, NOW.plus(Span(10 * 60_000 - 1)));
    assert_eq!((short.resolve.len(), &short.over), (0, &first.over));
    let over = look(&[], &first.over, NOW.plus(Span::minutes(10)));
    assert_eq!((over.resolve, over.over.len()), (vec![open[0].subject.clone()], 0));
    // It came back meanwhile: the ten minutes begin anew.
    let again = waiter(wait(Some(Cause::Destination("vercel".to_owned())), NOW, None));
    assert_eq!(look(&[again], &first.over, NOW.plus(Span::minutes(9))), Decision::default());
    // The clock went back by a day.
    let back = look(&[], &BTreeMap::from([(subject.clone(), NOW.plus(Span::hours(24)))]), NOW);
    assert_eq!(back.over.get(&subject), Some(&NOW));
}

#[test]
fn a_cause_that_stays_keeps_its_beginning() {
    let cause = Cause::Destination("vercel".to_owned());
    let blocker = |text: &str, cause: Option<Cause>, left| Blocker { text: text.to_owned(), cause, left };
    let since = |blockers: &[Blocker], before: &[Waiting]| {
        Waiting::carried(blockers, before, NOW).iter().map(|wait| wait.since).collect::<Vec<_>>()
    };
    let before = [
        Waiting { text: "502".to_owned(), ..wait(Some(cause.clone()), Timestamp(7), None) },
        Waiting { text: "grace".to_owned(), ..wait(None, Timestamp(8), None) },
        wait(Some(Cause::Account), NOW.plus(Span::hours(1)), None),
    ];
    let now = [
        blocker("503", Some(cause), None),
        blocker("grace", None, None),
        blocker("quiet", None, None),
        blocker("429", Some(Cause::Account), None),
    ];
    assert_eq!(since(&now, &before), [Timestamp(7), Timestamp(8), NOW, NOW], "nothing began in the future");
    let left = Waiting::carried(&[blocker("429", None, Some(Span(5)))], &[], NOW);
    assert_eq!(left[0].until, Some(Until::after(NOW, Span(5))));
}

#[test]
fn a_key_that_stands_alone_is_remembered_as_long_as_it_does() {
    let mut memory = Memory::default();
    let keep = |memory: &mut Memory, seen: &[&str], now| {
        memory.keep_alone(&seen.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), now);
        memory.alone.values().copied().collect::<Vec<_>>()
    };
    assert_eq!(keep(&mut memory, &["a"], Timestamp(1)), [Timestamp(1)]);
    assert_eq!(keep(&mut memory, &["a", "b"], Timestamp(2)), [Timestamp(1), Timestamp(2)]);
    assert_eq!(keep(&mut memory, &["b"], Timestamp(3)), [Timestamp(2)]);
    assert_eq!(keep(&mut memory, &["b"], Timestamp(-100_000)), [Timestamp(-100_000)]);
}
