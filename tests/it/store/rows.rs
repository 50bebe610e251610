//! Runs, requests, effects, holdings, alerts, rotations, accounts, audit: what is written comes back.

use rekeyd::domain::alert::{Kind, NewAlert, Severity, Subject};
use rekeyd::domain::key::{KeySpec, MicroUsd, RemoteKey};
use rekeyd::domain::rotation::facts::Request;
use rekeyd::domain::rotation::{
    Blocker, Cause, Figures, Issuing, Level, Phase, Retiree, Rollback, Run, State, Usage, Wait,
};
use rekeyd::domain::time::{Span, Stamp, Timestamp, Until};
use rekeyd::store::{Change, Created, EffectKind, EffectStatus, HoldingRow, NewEffect, Role};
use serde_json::json;

use super::shelf::{
    ACCOUNT, ROTATION, Shelf, audit, effect, entry, hold, holding, intend, key_ref, run_change, settle,
};
use crate::support::{Db, on_both_databases, remote_key};

const STAMP: Stamp = Stamp { ours: Timestamp(1_700_000_000_123), theirs: Some(Timestamp(1_700_000_000_000)) };

/// A run in which everything is set that can be.
fn full(run: Run) -> Run {
    let figures =
        Figures { usage: MicroUsd(1_234_567), byok_usage: MicroUsd(-1), last_used_at: Some(Timestamp(5)) };
    let phases = [
        Phase::Live { quiet: Some((Usage::Figures(figures), STAMP)) },
        Phase::Live { quiet: Some((Usage::Unknown, STAMP)) },
        Phase::Disabling,
        Phase::Revived { late: true, since: Some(STAMP) },
        Phase::Disabled { since: STAMP, by_us: false },
        Phase::Deleting,
        Phase::Dead,
    ];
    let retirees = (1..).zip(phases).map(|(number, phase)| Retiree {
        phase,
        ..Retiree::new(key_ref(number), number == 2, Span::hours(24))
    });
    Run {
        candidate: Some(key_ref(7)),
        predecessor: Some(key_ref(6)),
        retirees: retirees.collect(),
        asked: Some(KeySpec { limit: Some(MicroUsd(5_000_000)), ..KeySpec::default() }),
        creates: 2,
        published: true,
        abort_asked: true,
        unclear: 1,
        failures: 4,
        waits: [(
            "read generation 6".to_owned(),
            Wait {
                attempts: 3,
                until: Until::after(Timestamp(9), Span(2)),
                reason: "GitHub said „no“".to_owned(),
                by_policy: false,
            },
        )]
        .into(),
        ..run
    }
}

/// A wait that is over when the database's clock goes back behind 1970.
const ASLEEP: Until = Until { set_at: Timestamp(0), at: Timestamp(i64::MAX) };

fn blockers() -> Vec<Blocker> {
    let cause = Cause::Destination("github-production".to_owned());
    vec![
        Blocker { text: "the old key is in use".to_owned(), cause: None, left: None },
        Blocker { text: "„quoted“ \"text\"".to_owned(), cause: Some(cause), left: Some(Span(5)) },
    ]
}

async fn awake(shelf: &Shelf) -> Vec<String> {
    let rows = shelf.store.runs_awake().await.unwrap();
    rows.into_iter().map(|row| row.run.id).collect()
}

/// One of each.
fn states() -> Vec<State> {
    let name = "rekeyd/i/production/7-nonce".to_owned();
    let reason = "because".to_owned();
    vec![
        State::Issuing { issuing: Issuing::Ready { until: Until::after(Timestamp(3), Span(4)) } },
        State::Issuing { issuing: Issuing::Sent { name: name.clone() } },
        State::Issuing { issuing: Issuing::Recover { name, looked: Some(STAMP) } },
        State::Issuing { issuing: Issuing::Doubt { reason: reason.clone(), refused_since: Some(STAMP) } },
        State::Verifying { since: STAMP },
        State::Publishing,
        State::Grace { since: STAMP, overlap_told: true },
        State::Observing,
        State::Aborting { reason: reason.clone() },
        State::RollingBack { reason: reason.clone(), stage: Rollback::Retiring { since: STAMP } },
        State::Parked { from: Box::new(State::Publishing), reason },
        State::Done,
    ]
}

on_both_databases! {
    async fn a_run_comes_back_from_every_state_as_it_was(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, lease) = shelf.open_run("r").await;
        assert_eq!(shelf.store.run("r").await.unwrap().unwrap().run, run);
        let run = full(run);
        for state in states() {
            let run = Run { state, ..run.clone() };
            let change = Change::Run {
                run: Box::new(run.clone()),
                wake: Until::after(Timestamp(70), Span(7)),
                blockers: blockers(),
                error: Some("502".to_owned()),
            };
            shelf.store.commit(&lease, &[change]).await.unwrap();
            let row = shelf.another().await.run("r").await.unwrap().unwrap();
            assert_eq!(row.run, run);
            assert_eq!((row.wake, row.generation), (Until::after(Timestamp(70), Span(7)), Some(7)));
            let told: Vec<_> = row.blockers.iter().map(|wait| (wait.text.clone(), wait.cause.clone())).collect();
            let said: Vec<_> = blockers().into_iter().map(|blocker| (blocker.text, blocker.cause)).collect();
            assert_eq!((told, row.error.as_deref()), (said, Some("502")));
            let left = row.blockers[1].until.unwrap();
            assert_eq!((row.blockers[0].until, left.at.since(left.set_at)), (None, Span(5)));
            assert_eq!(row.is_open, !run.state.is_terminal());
            assert_eq!(row.finished_at.is_some(), run.state.is_terminal());
        }
    }
}

on_both_databases! {
    async fn runs_are_found_by_what_they_are_to_their_rotation(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.finished_run("r1", None).await;
        shelf.finished_run("r2", None).await;
        shelf.open_run("r3").await;
        let ids = |rows: Vec<rekeyd::store::RunRow>| rows.into_iter().map(|row| row.run.id).collect::<Vec<_>>();
        assert_eq!(ids(shelf.store.runs(10).await.unwrap()), ["r3", "r2", "r1"]);
        assert_eq!(ids(shelf.store.runs(2).await.unwrap()), ["r3", "r2"]);
        assert_eq!(ids(shelf.store.open_runs().await.unwrap()), ["r3"]);
        assert_eq!(shelf.store.open_run(ROTATION).await.unwrap().unwrap().run.id, "r3");
        assert_eq!(shelf.store.last_run(ROTATION).await.unwrap().unwrap().run.id, "r2");
        assert!(shelf.store.open_run("staging").await.unwrap().is_none());
        assert!(shelf.store.run("r9").await.unwrap().is_none());
    }
}

on_both_databases! {
    async fn a_request_wakes_its_run_and_is_answered_once_handled(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, lease) = shelf.open_run("r").await;
        let asleep = Change::Run {
            run: Box::new(run),
            wake: ASLEEP,
            blockers: Vec::new(),
            error: None,
        };
        shelf.store.commit(&lease, &[asleep]).await.unwrap();
        let release = Request::Release { destination: "github-production".to_owned() };
        let first = shelf.store.ask("r", &release, "ada", &entry("run.asked")).await.unwrap();
        let second = shelf.store.ask("r", &Request::Abort, "bob", &entry("run.asked")).await.unwrap();
        assert_eq!(awake(&shelf).await, ["r"]);
        assert_eq!(shelf.store.open_request("r").await.unwrap(), Some((first.clone(), release)));
        assert_eq!(shelf.store.request_answer(&first).await.unwrap(), None);
        let answer = Change::Answer { request: first.clone(), answer: "released".to_owned() };
        shelf.store.commit(&lease, &[answer]).await.unwrap();
        assert_eq!(shelf.store.request_answer(&first).await.unwrap().as_deref(), Some("released"));
        assert_eq!(shelf.store.open_request("r").await.unwrap(), Some((second, Request::Abort)));
        // Nobody can be asked of what is not there, and then nothing is on record.
        let before = shelf.count("audit").await;
        shelf.store.ask("r9", &Request::Abort, "ada", &entry("run.asked")).await.unwrap_err();
        assert_eq!(shelf.count("audit").await, before);
    }
}

on_both_databases! {
    async fn the_journal_counts_attempts_and_forgets_no_name(db: Db) {
        let shelf = Shelf::new(db).await;
        let publish = NewEffect { run: Some("r".to_owned()), ..effect("e1", EffectKind::Publish, "github") };
        shelf.commit(&[Change::Intend(publish.clone())]).await.unwrap();
        shelf.commit(&[settle("e1", EffectStatus::Unknown)]).await.unwrap();
        let row = shelf.store.effects("r").await.unwrap().remove(0);
        assert_eq!((row.status, row.attempt, row.finished_at), (EffectStatus::Unknown, 1, None));
        shelf.commit(&[Change::Intend(publish)]).await.unwrap();
        let row = shelf.store.effects("r").await.unwrap().remove(0);
        assert_eq!((row.status, row.attempt), (EffectStatus::Intended, 2));
        shelf.commit(&[settle("e1", EffectStatus::Done)]).await.unwrap();
        let row = shelf.store.effects("r").await.unwrap().remove(0);
        assert_eq!((row.status, row.evidence), (EffectStatus::Done, json!({ "seen": true })));
        assert!(row.finished_at.is_some_and(|at| at >= row.started_at));
        for (id, status) in [("e2", EffectStatus::Failed), ("e3", EffectStatus::Done), ("e4", EffectStatus::Unknown)] {
            shelf.commit(&[intend(id, EffectKind::Create, &format!("name of {id}")), settle(id, status)]).await.unwrap();
        }
        let asked = ["name of e1", "name of e2", "name of e3", "name of e4"].map(str::to_owned);
        let names = shelf.store.journalled(&asked).await.unwrap();
        let [two, three, four] = ["e2", "e3", "e4"].map(|id| format!("name of {id}"));
        assert_eq!(names, [(two, Created::Never), (three, Created::Done(None)), (four, Created::Never)].into());
        let evidence = json!({ "hash": "h3" });
        let issued = Change::Settle { id: "e3".to_owned(), status: EffectStatus::Done, evidence };
        shelf.commit(&[issued]).await.unwrap();
        let names = shelf.store.journalled(&asked[2..3]).await.unwrap();
        assert_eq!(names.into_values().collect::<Vec<_>>(), [Created::Done(Some("h3".to_owned()))]);
        assert_eq!(shelf.store.unknown_effects().await.unwrap(), 1);
        assert!(shelf.store.open_toggles(ACCOUNT).await.unwrap().is_empty(), "a create is no toggle");
        shelf.commit(&[intend("e5", EffectKind::Limit, "h"), intend("e6", EffectKind::Disable, "h")]).await.unwrap();
        let open = shelf.store.open_toggles(ACCOUNT).await.unwrap();
        assert_eq!(open.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["e5", "e6"]);
    }
}

on_both_databases! {
    async fn holdings_are_in_the_order_of_writes_to_their_address(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Retiring).await;
        shelf.generation(2, Role::Current).await;
        let mut row = holding("github:a", 1);
        row.fact.level = Level::Effective;
        row.fact.checked = Some(STAMP);
        row.fact.drift = Some("changed by hand".to_owned());
        (row.fact.attempts, row.fact.until) = (4, Until::after(Timestamp(90), Span(9)));
        row.evidence = json!({ "updated_at": "2026-01-01T00:00:00Z" });
        shelf.commit(&[hold(&holding("github:a", 2), true), hold(&row, true)]).await.unwrap();
        let order = |rows: &[HoldingRow]| rows.iter().map(|r| (r.fact.key.clone(), r.seq)).collect::<Vec<_>>();
        let rows = shelf.store.holdings_at("github:a").await.unwrap();
        assert_eq!(order(&rows), [("g1".to_owned(), 2), ("g2".to_owned(), 1)]);
        assert_eq!((&rows[0].fact, &rows[0].evidence), (&row.fact, &row.evidence));
        // A look does not change the order, a write does.
        shelf.commit(&[hold(&rows[1], false)]).await.unwrap();
        assert_eq!(order(&shelf.store.holdings_at("github:a").await.unwrap()), order(&rows));
        shelf.commit(&[hold(&rows[1], true)]).await.unwrap();
        let rows = shelf.store.holdings_at("github:a").await.unwrap();
        assert_eq!(order(&rows), [("g2".to_owned(), 3), ("g1".to_owned(), 2)]);
        // Each address counts for itself.
        shelf.commit(&[hold(&holding("file:/b", 2), true)]).await.unwrap();
        let rows = shelf.store.holdings(ROTATION).await.unwrap();
        let order: Vec<_> = rows.iter().map(|r| (r.fact.address.as_str(), r.seq)).collect();
        assert_eq!(order, [("file:/b", 1), ("github:a", 3), ("github:a", 2)]);
    }
}

on_both_databases! {
    async fn a_write_to_an_address_takes_back_what_other_keys_had_proved(db: Db) {
        let shelf = Shelf::new(db).await;
        for number in 1..=3 {
            shelf.generation(number, Role::Retiring).await;
        }
        let mut proved = holding("github:a", 1);
        (proved.fact.checked, proved.fact.drift) = (Some(STAMP), Some("changed by hand".to_owned()));
        let mut unsent = holding("github:a", 2);
        unsent.fact.level = Level::Pending;
        let elsewhere = holding("file:/b", 1);
        shelf.commit(&[hold(&unsent, true), hold(&proved, true), hold(&elsewhere, true)]).await.unwrap();
        let drift = &shelf.store.holdings_at("github:a").await.unwrap()[1].fact.drift;
        assert_eq!(drift.as_deref(), Some("changed by hand"), "it is the address's, whichever key waits for it");
        shelf.commit(&[hold(&holding("github:a", 3), true)]).await.unwrap();
        let rows = shelf.store.holdings_at("github:a").await.unwrap();
        let levels: Vec<_> = rows.iter().map(|row| row.fact.level).collect();
        assert_eq!(levels, [Level::Confirmed, Level::Intended, Level::Pending]);
        assert_eq!((rows[1].fact.checked, &rows[1].fact.drift), (None, &None));
        assert_eq!(shelf.store.holdings_at("file:/b").await.unwrap()[0].fact.level, Level::Confirmed);
        // A look proves anew what it looks at, and takes nothing from the others.
        let again = HoldingRow { seq: rows[1].seq, ..proved };
        shelf.commit(&[hold(&again, false)]).await.unwrap();
        let rows = shelf.store.holdings_at("github:a").await.unwrap();
        assert_eq!((rows[0].fact.level, rows[1].fact.level), (Level::Confirmed, Level::Confirmed));
    }
}

on_both_databases! {
    async fn a_wait_keeps_its_beginning_until_the_run_moves(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, lease) = shelf.open_run("r").await;
        let begun = async |state: &State, blockers: Vec<Blocker>| {
            let run = Box::new(Run { state: state.clone(), ..run.clone() });
            let change = Change::Run { run, wake: ASLEEP, blockers, error: None };
            shelf.store.commit(&lease, &[change]).await.unwrap();
            let row = shelf.store.run("r").await.unwrap().unwrap();
            row.blockers.into_iter().map(|wait| wait.since).collect::<Vec<_>>()
        };
        let first = begun(&State::Publishing, blockers()).await;
        // A try in between, and the same cause with other words.
        assert_eq!(begun(&State::Publishing, Vec::new()).await, first);
        let mut other = blockers();
        other[0].text.replace_range(.., "another thing");
        other[1].text.replace_range(.., "503");
        let then = begun(&State::Publishing, other).await;
        assert!(then[0] > first[0], "{then:?} after {first:?}");
        assert_eq!(then[1], first[1]);
        // The run moved: what it waited for is over, and begins anew.
        assert_eq!(begun(&State::Observing, Vec::new()).await, []);
        assert!(begun(&State::Observing, blockers()).await[1] > first[1]);
    }
}

on_both_databases! {
    async fn waits_that_older_versions_stored_are_read(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, lease) = shelf.open_run("r").await;
        let wake = Until::after(Timestamp(70), Span(7));
        let change = Change::Run { run: Box::new(run), wake, blockers: blockers(), error: None };
        shelf.store.commit(&lease, &[change]).await.unwrap();
        for (written, text, cause) in [
            (r#"["in one sentence"]"#, "in one sentence", None),
            (r#"[{"text": "502", "cause": {"on": "account"}, "left": 7}]"#, "502", Some(Cause::Account)),
        ] {
            shelf.execute(&format!("UPDATE runs SET blockers = '{written}'")).await.unwrap();
            let wait = shelf.store.run("r").await.unwrap().unwrap().blockers.remove(0);
            assert_eq!((wait.text.as_str(), wait.cause, wait.since), (text, cause, Timestamp(70)));
        }
    }
}

on_both_databases! {
    async fn whatever_is_learned_of_a_destination_wakes_the_run_that_waits_for_it(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let (run, lease) = shelf.open_run("r").await;
        let asleep = Change::Run { run: Box::new(run), wake: ASLEEP, blockers: blockers(), error: None };
        shelf.store.commit(&lease, &[asleep]).await.unwrap();
        let elsewhere = HoldingRow { writer: "staging".to_owned(), ..holding("github:b", 9) };
        shelf.store.commit(&lease, &[hold(&elsewhere, true)]).await.unwrap();
        assert!(awake(&shelf).await.is_empty());
        shelf.store.commit(&lease, &[hold(&holding("github:a", 1), false)]).await.unwrap();
        assert_eq!(awake(&shelf).await, ["r"]);
    }
}

on_both_databases! {
    async fn a_person_releases_a_destination_or_has_it_tried_again(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Retiring).await;
        shelf.generation(2, Role::Current).await;
        let mut failed = holding("github:a", 1);
        (failed.fact.permanent, failed.fact.error) = (true, Some("404".to_owned()));
        failed.fact.until = ASLEEP;
        let mut other = holding("file:/b", 1);
        other.fact.destination.replace_range(.., "agent-env");
        shelf.commit(&[hold(&failed, true), hold(&other, true), hold(&holding("github:b", 2), true)]).await.unwrap();
        shelf.commit(&[Change::RetryNow { rotation: ROTATION.to_owned() }]).await.unwrap();
        let row = shelf.store.holdings_at("github:a").await.unwrap().remove(0);
        assert_eq!((row.fact.permanent, row.fact.error, row.fact.until.at), (false, None, Timestamp(0)));
        let release =
            Change::Release { rotation: ROTATION.to_owned(), destination: "github-production".to_owned() };
        shelf.commit(&[release]).await.unwrap();
        let rows = shelf.store.holdings(ROTATION).await.unwrap();
        let released: Vec<_> = rows.iter().map(|row| (row.fact.address.as_str(), row.released)).collect();
        assert_eq!(
            released,
            [("file:/b", false), ("github:a", true), ("github:b", false)],
            "of the retiring key only: nobody accepted anything about the current one"
        );
    }
}

fn alert(subject: &str, detail: &str) -> NewAlert {
    NewAlert::new(Kind::KeyInvalid, Subject::parse(subject), detail).rotation(ROTATION)
}

fn resolve(subject: &str) -> Change {
    Change::Resolve { kind: Kind::KeyInvalid, subject: Subject::parse(subject) }
}

on_both_databases! {
    async fn an_alert_opens_once_resolves_and_opens_again_as_another(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.commit(&[Change::Alert(alert("key 1", "first"))]).await.unwrap();
        let opened = shelf.store.alerts(false).await.unwrap().remove(0);
        let worse = NewAlert { severity: Severity::Critical, ..alert("key 1", "worse") };
        shelf.commit(&[Change::Alert(worse), Change::Alert(alert("key 2", "other"))]).await.unwrap();
        let open = shelf.store.alerts(false).await.unwrap();
        assert_eq!(open.len(), 2);
        let same = open.iter().find(|row| row.subject == "key 1").unwrap();
        assert_eq!((&same.id, &same.opened_at), (&opened.id, &opened.opened_at));
        assert_eq!((same.detail.as_str(), same.severity.as_str()), ("worse", "critical"));
        shelf.commit(&[resolve("key 1"), resolve("key 1"), resolve("key 9")]).await.unwrap();
        assert_eq!(shelf.store.alerts(false).await.unwrap().len(), 1);
        shelf.commit(&[Change::Alert(alert("key 1", "again"))]).await.unwrap();
        let all = shelf.store.alerts(true).await.unwrap();
        let of_key: Vec<_> = all.iter().filter(|row| row.subject == "key 1").collect();
        assert_eq!(of_key.len(), 2);
        let over = of_key.iter().find(|row| row.id == opened.id).unwrap();
        assert!(over.resolved_at.is_some() && over.detail == "worse");
        let again = of_key.iter().find(|row| row.id != opened.id).unwrap();
        assert!(again.resolved_at.is_none() && again.detail == "again");
        // What is over is over: its end does not move when the next one ends.
        shelf.execute("UPDATE alerts SET resolved_at = 5 WHERE resolved_at IS NOT NULL").await.unwrap();
        shelf.commit(&[resolve("key 1")]).await.unwrap();
        let all = shelf.store.alerts(true).await.unwrap();
        let over = all.iter().find(|row| row.id == opened.id).unwrap();
        assert_eq!(over.resolved_at.as_deref(), Some("1970-01-01T00:00:00.005Z"));
    }
}

on_both_databases! {
    async fn a_rotation_keeps_what_it_was_told(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.ensure_rotation(ROTATION, None).await.unwrap();
        let row = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!(row.account.as_deref(), Some(ACCOUNT), "what is not known does not erase what is");
        assert_eq!((row.last_generation, row.paused, row.next_due_at), (0, false, None));
        shelf.store.set_paused(ROTATION, rekeyd::store::Pause::AndHealing, &entry("rotation.paused")).await.unwrap();
        shelf.store.set_due(ROTATION, Some(Timestamp(5))).await.unwrap();
        shelf.commit(&[Change::Healed { rotation: ROTATION.to_owned(), at: Timestamp(6) }]).await.unwrap();
        let row = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!((row.paused, row.next_due_at, row.healed_at), (true, Some(Timestamp(5)), Some(Timestamp(6))));
        shelf.store.set_paused(ROTATION, rekeyd::store::Pause::Over, &entry("rotation.resumed")).await.unwrap();
        shelf.commit(&[Change::Due { rotation: ROTATION.to_owned(), at: None }]).await.unwrap();
        let row = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!((row.paused, row.next_due_at), (false, None));
        assert_eq!(shelf.store.rotations().await.unwrap().len(), 1);
    }
}

on_both_databases! {
    async fn an_account_is_its_identity_and_not_its_name(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.note_entry("alias", ACCOUNT).await.unwrap();
        assert_eq!(shelf.store.entries_of(ACCOUNT).await.unwrap(), ["alias", "main"]);
        shelf.store.note_entry("alias", "user:bob").await.unwrap();
        assert_eq!(shelf.store.entries_of(ACCOUNT).await.unwrap(), ["main"]);
        assert_eq!(shelf.store.entry_identity("alias").await.unwrap().as_deref(), Some("user:bob"));
        assert_eq!(shelf.store.entry_identity("nobody").await.unwrap(), None);
        assert_eq!(shelf.store.account("user:bob").await.unwrap().unwrap().frozen, None);
        assert_eq!(shelf.store.account("nobody").await.unwrap(), None);
    }
}

fn unknown_key(hash: &str) -> RemoteKey {
    RemoteKey {
        name: "rekeyd/i/production/9-nonce".to_owned(),
        label: "sk-or-v1-abc...xyz".to_owned(),
        ..remote_key(hash)
    }
}

on_both_databases! {
    async fn a_thaw_raises_the_counters_and_wants_an_adopt(db: Db) {
        let shelf = Shelf::new(db).await;
        let freeze = Change::Freeze { account: ACCOUNT.to_owned(), reason: "cloned".to_owned() };
        shelf.commit(&[freeze]).await.unwrap();
        let row = shelf.another().await.account(ACCOUNT).await.unwrap().unwrap();
        assert_eq!(row.frozen.as_deref(), Some("cloned"));
        let thaw = |seen| Change::Thaw {
            account: ACCOUNT.to_owned(),
            foreign: vec![unknown_key("h1"), unknown_key("h2")],
            counters: vec![(ROTATION.to_owned(), seen), ("gone".to_owned(), 3)],
            rotations: vec!["young".to_owned()],
        };
        shelf.commit(&[thaw(9)]).await.unwrap();
        assert_eq!(shelf.store.account(ACCOUNT).await.unwrap().unwrap().frozen, None);
        let rotation = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!((rotation.last_generation, rotation.needs_adopt), (9, true));
        for (young, seen) in [("young", 0), ("gone", 3)] {
            let row = shelf.store.rotation(young).await.unwrap().unwrap();
            assert_eq!((row.last_generation, row.needs_adopt), (seen, true), "{young}");
        }
        let mut foreign = shelf.store.foreign_keys(ACCOUNT).await.unwrap();
        foreign.sort();
        let known = |hash: &str| (hash.to_owned(), unknown_key(hash).name);
        assert_eq!(foreign, ["h1", "h2"].map(known));
        let lease = shelf.lease().await;
        assert_eq!(shelf.store.take_generation(&lease, ROTATION).await.unwrap(), 10);
        // A counter never falls.
        shelf.store.commit(&lease, &[thaw(4), Change::Adopted { rotation: ROTATION.to_owned() }]).await.unwrap();
        let rotation = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!((rotation.last_generation, rotation.needs_adopt), (10, false));
    }
}

on_both_databases! {
    async fn the_audit_trail_is_newest_first_also_within_one_commit(db: Db) {
        let shelf = Shelf::new(db).await;
        let (run, lease) = shelf.open_run("r").await;
        shelf.store.commit(&lease, &[audit("one"), run_change(&run), audit("two"), audit("three")]).await.unwrap();
        shelf.store.commit(&lease, &[audit("four")]).await.unwrap();
        let rows = shelf.store.audit(10).await.unwrap();
        let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
        assert_eq!(actions, ["four", "three", "two", "one", "run.started"]);
        assert_eq!(shelf.store.audit(2).await.unwrap(), rows[..2]);
        let row = &rows[0];
        let text = (row.actor.as_str(), row.subject.as_str(), row.detail.as_str());
        assert_eq!(text, ("cli:tester", "rotation production", "because"));
    }
}
