//! Arbitrary runs, facts and events for properties.

use proptest::prelude::*;

use super::super::facts::Request;
use super::*;
use crate::domain::inherit::Roll;
use crate::domain::key::KeySpec;

fn stamp() -> BoxedStrategy<Stamp> {
    let offset = prop_oneof![
        Just(0_i64),
        -400_000_i64..10_000,
        Just(-Span::hours(25).0),
        Just(-Span::hours(24 * 8).0),
        Just(Span::hours(24 * 365).0),
    ];
    (offset.clone(), proptest::option::weighted(0.9, offset), any::<bool>())
        .prop_map(|(ours, theirs, same)| {
            let theirs = if same { theirs.map(|_| ours) } else { theirs };
            Stamp { ours: Timestamp(T0 + ours), theirs: theirs.map(|theirs| Timestamp(T0 + theirs)) }
        })
        .boxed()
}

fn phase() -> BoxedStrategy<Phase> {
    prop_oneof![
        Just(Phase::Live { quiet: None }),
        stamp().prop_map(|since| Phase::Live { quiet: Some((figures(7), since)) }),
        Just(Phase::Disabling),
        (any::<bool>(), proptest::option::of(stamp()))
            .prop_map(|(late, since)| Phase::Revived { late, since }),
        (stamp(), any::<bool>()).prop_map(|(since, by_us)| Phase::Disabled { since, by_us }),
        Just(Phase::Deleting),
        Just(Phase::Dead),
    ]
    .boxed()
}

fn issuing() -> BoxedStrategy<Issuing> {
    let name = || "n".to_owned();
    prop_oneof![
        stamp().prop_map(|at| Issuing::Ready { until: wait_until(at) }),
        Just(Issuing::Sent { name: name() }),
        proptest::option::of(stamp()).prop_map(move |looked| Issuing::Recover { name: name(), looked }),
        proptest::option::of(stamp())
            .prop_map(|refused_since| Issuing::Doubt { reason: "401".into(), refused_since }),
    ]
    .boxed()
}

fn open_state() -> BoxedStrategy<State> {
    prop_oneof![
        Just(State::Planned),
        issuing().prop_map(|issuing| State::Issuing { issuing }),
        stamp().prop_map(|since| State::Verifying { since }),
        Just(State::Publishing),
        (stamp(), any::<bool>()).prop_map(|(since, overlap_told)| State::Grace { since, overlap_told }),
        Just(State::Observing),
        Just(aborting()),
        Just(rolling(Rollback::Reviving)),
        Just(rolling(Rollback::Republishing)),
        stamp().prop_map(|since| rolling(Rollback::Retiring { since })),
    ]
    .boxed()
}

pub(super) fn state() -> BoxedStrategy<State> {
    let reason = || "x".to_owned();
    prop_oneof![
        12 => open_state(),
        2 => open_state().prop_map(move |from| State::Parked { from: Box::new(from), reason: reason() }),
        1 => prop_oneof![
            Just(State::Done),
            Just(State::Aborted { reason: reason() }),
            Just(State::RolledBack { reason: reason() }),
            Just(State::Superseded { by: reason() }),
        ],
    ]
    .boxed()
}

pub(crate) fn run() -> BoxedStrategy<Run> {
    let trigger =
        prop_oneof![Just(Trigger::Schedule), Just(Trigger::Manual), Just(Trigger::Leak), Just(Trigger::Heal)];
    let retirees = proptest::collection::vec((phase(), any::<bool>()), 0..3);
    let keys = (any::<bool>(), any::<bool>(), any::<bool>());
    (state(), trigger, retirees, keys, 0..8_u32, any::<[bool; 2]>(), (stamp(), inheritance()))
        .prop_map(|(state, trigger, retirees, (candidate, predecessor, has_secret), creates, flags, more)| {
            let (patience, inheritance) = more;
            let mut run = super::run(State::Planned);
            run.state = state;
            run.trigger = trigger;
            run.inheritance = inheritance;
            run.candidate = candidate.then(|| key(2));
            run.predecessor = predecessor.then(|| KeyRef { has_secret, ..key(1) });
            run.retirees =
                (1..).zip(retirees).map(|(n, (phase, urgent))| retiree(n, urgent, phase)).collect();
            (run.creates, run.published, run.abort_asked) = (creates, flags[0], flags[1]);
            let wait =
                Wait { attempts: creates, until: wait_until(patience), reason: "x".into(), by_policy: false };
            run.waits = calls().into_iter().map(|call| (call, wait.clone())).collect();
            run
        })
        .boxed()
}

/// Some calls of a run.
fn calls() -> Vec<String> {
    let (address, key) = ("at:must".to_owned(), key(2));
    let calls = [
        Directive::Reconcile,
        Directive::Test(key.clone()),
        Directive::Read(super::key(1)),
        Directive::Inherit,
        Directive::Compare,
        Directive::Publish { address, key },
    ];
    calls.iter().map(Directive::call).collect()
}

fn retiree(generation: i64, urgent: bool, phase: Phase) -> Retiree {
    Retiree { phase, ..Retiree::new(key(generation), urgent, Span::hours(24)) }
}

fn result() -> BoxedStrategy<TestResult> {
    prop_oneof![
        3 => Just(TestResult::Valid),
        2 => Just(TestResult::Unauthorized),
        1 => Just(TestResult::Unlike { reason: "x".into() }),
        1 => Just(TestResult::WrongKind { reason: "x".into() }),
        1 => Just(TestResult::ProbeRefused { reason: "x".into() }),
        1 => Just(TestResult::Inconclusive { reason: "x".into() }),
    ]
    .boxed()
}

fn key_facts() -> BoxedStrategy<KeyFacts> {
    (proptest::option::of((result(), stamp())), proptest::option::of(stamp()))
        .prop_map(|(tested, refused_since)| KeyFacts { tested, refused_since })
        .boxed()
}

fn remote() -> BoxedStrategy<Vec<RemoteFacts>> {
    let shown = prop_oneof![
        Just(Remote::Gone),
        Just(Remote::Disabled),
        (6_i64..9).prop_map(|usage| Remote::Enabled(figures(usage))),
    ];
    proptest::collection::vec((shown, stamp()), 3)
        .prop_map(|all| {
            let fact = |(n, (remote, at))| RemoteFacts { hash: format!("h{n}"), remote, at };
            (1..).zip(all).map(fact).collect()
        })
        .boxed()
}

fn inheritance() -> BoxedStrategy<Inheritance> {
    prop_oneof![Just(Inheritance::Open), Just(Inheritance::Done), Just(Inheritance::Waived)].boxed()
}

fn lacking() -> BoxedStrategy<Option<(Vec<Roll>, Stamp)>> {
    let rolls = prop_oneof![Just(Vec::new()), Just(vec![Roll::Guardrail("g".into())])];
    proptest::option::of((rolls, stamp())).boxed()
}

fn level() -> BoxedStrategy<Level> {
    prop_oneof![
        Just(Level::Pending),
        Just(Level::Intended),
        Just(Level::Accepted),
        Just(Level::Confirmed),
        Just(Level::Effective),
    ]
    .boxed()
}

/// Level, last look, permanent failure and drift, next attempt.
type Row = (Level, Option<Stamp>, [bool; 2], Stamp);

fn holdings() -> BoxedStrategy<Vec<Holding>> {
    let row = (level(), proptest::option::of(stamp()), any::<[bool; 2]>(), stamp());
    proptest::collection::vec(proptest::option::of(row), 4)
        .prop_map(|rows| {
            let places = [("must", 1), ("must", 2), ("may", 1), ("may", 2)];
            let fill = |((name, n), row): ((&str, i64), Option<Row>)| {
                let (level, checked, [permanent, drift], wait) = row?;
                let drift = drift.then(|| "x".to_owned());
                Some(Holding {
                    checked,
                    permanent,
                    drift,
                    until: wait_until(wait),
                    ..holding(name, &key(n), level)
                })
            };
            places.into_iter().zip(rows).filter_map(fill).collect()
        })
        .boxed()
}

fn request() -> BoxedStrategy<Request> {
    prop_oneof![
        Just(Request::Abort),
        Just(Request::Rollback),
        Just(Request::Resume),
        Just(Request::Release { destination: "must".into() }),
    ]
    .boxed()
}

pub(super) fn facts() -> BoxedStrategy<Facts> {
    let asked = proptest::option::weighted(0.1, request());
    let odd = proptest::bool::weighted(0.05);
    let looked = (key_facts(), key_facts(), remote(), holdings(), lacking());
    let strays = proptest::option::of(0_usize..2);
    (odd, any::<bool>(), odd, asked, strays, looked, proptest::bool::weighted(0.9))
        .prop_map(|(frozen, paused, detached, asked, strays, looked, dated)| {
            let (candidate, predecessor, remote, holdings, lacking) = looked;
            Facts {
                now: Stamp { theirs: now().theirs.filter(|_| dated), ..now() },
                clock: now().ours,
                frozen,
                paused,
                detached: detached.then(|| "x".to_owned()),
                dropped: if detached { vec!["must".to_owned()] } else { Vec::new() },
                request: asked.map(|request| ("q".to_owned(), request)),
                strays,
                candidate,
                predecessor,
                disable_in_doubt: paused,
                remote,
                lacking,
                holdings,
                handed_out: paused.then(|| key(2).id).into_iter().collect(),
            }
        })
        .boxed()
}

/// One of every event.
pub(crate) fn events() -> Vec<Event> {
    let (reason, hash, id, at) = (|| "x".to_owned(), || "h1".to_owned(), || "q".to_owned(), now());
    vec![
        Event::PreflightPassed,
        Event::PreflightFailed { reason: reason() },
        Event::CreateIntended { name: "n".into(), spec: KeySpec::default() },
        Event::Created { key: key(2), at },
        Event::CreateRefused { reason: reason(), doubtful: false, permanent: false, until: Until::OVER },
        Event::CreateUnclear { reason: reason() },
        Event::Listed { at, until: Until::OVER },
        Event::ProvisioningWorks { until: Until::OVER },
        Event::ProvisioningRefused { at, confirmed: true },
        Event::Inherited,
        Event::InheritanceWaived { reason: reason() },
        Event::LimitsWaived { reason: reason() },
        Event::ProbeWaived { reason: reason() },
        Event::Verified { at },
        Event::VerifyFailed { reason: reason() },
        Event::PublishIntended,
        Event::PublishedEverywhere { at },
        Event::FiguresMoved { hash: hash(), figures: figures(9), at },
        Event::FoundGone { hash: hash() },
        Event::FoundDisabled { hash: hash(), at },
        Event::FoundEnabled { hash: hash(), at },
        Event::OverlapTold,
        Event::ExposureTold { waits_for: vec!["must".into()] },
        Event::GraceOver,
        Event::DisableIntended { hash: hash() },
        Event::Disabled { hash: hash(), at },
        Event::DeleteIntended { hash: hash() },
        Event::Deleted { hash: hash() },
        Event::CandidateFailed { reason: reason() },
        Event::AbortAsked { id: id() },
        Event::AbortReady { reason: reason() },
        Event::AbortFinished { until: Until::OVER },
        Event::LeftForNow { until: Until::OVER },
        Event::RollbackAsked { id: id() },
        Event::Enabled { hash: hash(), at },
        Event::Revived { at },
        Event::ReviveAgain,
        Event::RepublishedEverywhere { at },
        Event::RollbackFinished,
        Event::Resumed { id: id() },
        Event::Released { id: id(), destination: "may".into() },
        Event::RequestRefused { id: id(), reason: reason() },
        Event::Parked { reason: reason() },
        Event::Postponed { call: "list".into(), reason: reason(), until: Until::OVER, by_policy: false },
        Event::Superseded { by: reason() },
        Event::Finished,
    ]
}
