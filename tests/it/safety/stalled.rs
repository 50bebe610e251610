//! No silence (R17): an open run that stands still has a moment, or an alert that names what it waits for; and so has a
//! key that no run looks after. Time passes by setting what the store holds back: the database's clock cannot be pushed.

use rekeyd::domain::actor::Actor;
use rekeyd::domain::alert::{Kind, NewAlert, Subject};
use rekeyd::domain::rotation::{Blocker, Cause, Issuing, Rollback, Run, State, Trigger};
use rekeyd::domain::time::{Span, Stamp, Timestamp, Until};
use rekeyd::engine::{self, Engine, Opened, Progress, passes};
use rekeyd::store::{About, AlertRow, AuditEntry, Change, NewKey, NewProvider, NewRun, Origin, Role};
use serde_json::{Value, json};
use sqlx::{Connection, Row};

use super::*;
use crate::support::{Ahead, ledger};

/// Every state in which a run is open.
fn open_states() -> Vec<State> {
    let at = Stamp { ours: Timestamp(1), theirs: Some(Timestamp(1)) };
    let reason = || "because".to_owned();
    let issuing = |issuing| State::Issuing { issuing };
    let back = |stage| State::RollingBack { reason: reason(), stage };
    vec![
        State::Planned,
        issuing(Issuing::Ready { until: Until::OVER }),
        issuing(Issuing::Sent { name: "n".to_owned() }),
        issuing(Issuing::Recover { name: "n".to_owned(), looked: Some(at) }),
        issuing(Issuing::Doubt { reason: reason(), refused_since: Some(at) }),
        State::Verifying { since: at },
        State::Publishing,
        State::Grace { since: at, overlap_told: false },
        State::Observing,
        State::Aborting { reason: reason() },
        back(Rollback::Reviving),
        back(Rollback::Republishing),
        back(Rollback::Retiring { since: at }),
        State::Parked { from: Box::new(State::Publishing), reason: reason() },
    ]
}

fn entry() -> AuditEntry {
    AuditEntry::new(Actor::cli("tester"), "run.started", "x", "x")
}

async fn commit(engine: &Engine, run: Option<&str>, changes: &[Change]) {
    let store = engine.store();
    let lease = store.acquire("account:test", "test", Span::seconds(30)).await.unwrap().unwrap();
    if let Some(run) = run {
        store.claim_run(&lease, run).await.unwrap();
    }
    store.commit(&lease, changes).await.unwrap();
    store.release(&lease).await.unwrap();
}

/// A run of a rotation and an account of its own, both with this name, that waits like this.
async fn waiting(engine: &Engine, name: &str, state: &State, blockers: Vec<Blocker>) -> Run {
    let store = engine.store();
    store.ensure_rotation(name, None).await.unwrap();
    let policy = engine.rotation("production").unwrap().policy.clone();
    let id = format!("run-{name}");
    let run = Run::new(id.clone(), name.to_owned(), format!("org:{name}"), Trigger::Schedule, policy);
    let new = NewRun { run: run.clone(), due_at: None, previous_generation: None };
    store.start_run(&new, &entry()).await.unwrap();
    let run = Run { state: state.clone(), ..run };
    waits_on(engine, &run, blockers).await;
    run
}

async fn waits_on(engine: &Engine, run: &Run, blockers: Vec<Blocker>) {
    let wake = Until::after(engine.store().now().await.unwrap(), Span::hours(1000));
    let change = Change::Run { run: Box::new(run.clone()), wake, blockers, error: None };
    commit(engine, Some(&run.id), &[change]).await;
}

fn blocker(cause: Option<Cause>, left: Option<Span>) -> Blocker {
    Blocker { text: "it does not answer".to_owned(), cause, left }
}

/// Sets every moment in a document back.
fn back(doc: &mut Value, span: Span) {
    match doc {
        Value::Number(at) if at.as_i64().is_some_and(|at| at > 1_000_000_000_000) => {
            *doc = json!(at.as_i64().unwrap() - span.0);
        }
        Value::Array(all) => all.iter_mut().for_each(|one| back(one, span)),
        Value::Object(all) => all.values_mut().for_each(|one| back(one, span)),
        _ => {}
    }
}

/// Time passes for all that waits and all that is remembered.
async fn pass_time(world: &World, span: Span) {
    let mut connection = ledger::connect(world).await;
    for (read, write) in [
        ("SELECT id, blockers FROM runs", "UPDATE runs SET blockers = $1 WHERE id = $2"),
        (
            "SELECT subject, doc FROM provider_health",
            "UPDATE provider_health SET doc = $1 WHERE subject = $2",
        ),
    ] {
        for row in sqlx::query(read).fetch_all(&mut connection).await.unwrap() {
            let (id, text): (String, String) = (row.get(0), row.get(1));
            let mut doc: Value = serde_json::from_str(&text).unwrap();
            back(&mut doc, span);
            sqlx::query(write).bind(doc.to_string()).bind(id).execute(&mut connection).await.unwrap();
        }
    }
    connection.close().await.unwrap();
}

/// What the alerts of this kind that are open after a look are about.
async fn told(engine: &Engine) -> Vec<AlertRow> {
    passes::tell_stalled(engine).await.unwrap();
    let open = engine.store().alerts(false).await.unwrap();
    open.into_iter().filter(|alert| alert.kind == "run_stalled").collect()
}

async fn told_of(engine: &Engine) -> Vec<String> {
    let mut subjects: Vec<String> = told(engine).await.into_iter().map(|alert| alert.subject).collect();
    subjects.sort();
    subjects
}

async fn a_world(db: Db) -> (World, Engine) {
    let world = World::new(db).await;
    world.rekeyd(&["rotations", "list"]).await.ok();
    let engine = world.engine(Ahead::by(Span(0))).await;
    engine.store().migrate().await.unwrap();
    (world, engine)
}

on_both_databases! {
    async fn an_open_run_that_stands_still_has_a_moment_or_an_alert_in_every_state(db: Db) {
        let (world, engine) = a_world(db).await;
        let (mut expected, mut runs) = (Vec::new(), Vec::new());
        for (n, state) in open_states().iter().enumerate() {
            let name = |kind: &str| format!("{kind}-{n}");
            let place = |kind: &str| Cause::Destination(name(kind));
            for (kind, cause, subject) in [
                ("a", Cause::Account, format!("account org:{}", name("a"))),
                ("p", Cause::Person, format!("rotation {}", name("p"))),
                ("d", place("d"), format!("destination {}", name("d"))),
            ] {
                runs.push(waiting(&engine, &name(kind), state, vec![blocker(Some(cause), None)]).await);
                expected.push(subject);
            }
            // A wait of the policy, and one with a moment.
            let soon = blocker(Some(place("q")), Some(Span::hours(20)));
            waiting(&engine, &name("q"), state, vec![blocker(None, None), Blocker { text: "then".to_owned(), ..soon }]).await;
        }
        expected.sort();
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
        pass_time(&world, Span::minutes(29)).await;
        // Somebody tries again meanwhile, and waits for the same.
        for run in &runs {
            let row = engine.store().run(&run.id).await.unwrap().unwrap();
            waits_on(&engine, run, Vec::new()).await;
            waits_on(&engine, run, vec![blocker(row.blockers[0].cause.clone(), None)]).await;
        }
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
        pass_time(&world, Span::minutes(2)).await;
        assert_eq!(told_of(&engine).await, expected);
        let alert = told(&engine).await.into_iter().find(|alert| alert.subject == "destination d-7").unwrap();
        for said in ["Run run-d-7 of rotation d-7 (grace)", "waits since 20", "it does not answer", "rekeyd runs resume"] {
            assert!(alert.detail.contains(said), "{said}: {alert:?}");
        }
        // They go on: it is over after ten minutes, not before.
        for run in &runs {
            waits_on(&engine, run, vec![blocker(None, None)]).await;
        }
        assert_eq!(told_of(&engine).await, expected);
        pass_time(&world, Span::minutes(9)).await;
        assert_eq!(told_of(&engine).await, expected);
        pass_time(&world, Span::minutes(2)).await;
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
    }
}

on_both_databases! {
    async fn a_cause_that_another_alert_names_is_told_once(db: Db) {
        let (world, engine) = a_world(db).await;
        let place = Cause::Destination("vercel".to_owned());
        waiting(&engine, "one", &State::Publishing, vec![blocker(Some(place), None)]).await;
        let parked = open_states().pop().unwrap();
        waiting(&engine, "two", &parked, vec![blocker(Some(Cause::Person), None)]).await;
        let known = [
            (Kind::DestinationFailed, Subject::Destination("vercel".to_owned())),
            (Kind::RotationParked, Subject::Rotation("two".to_owned())),
        ];
        for (kind, subject) in known.clone() {
            commit(&engine, None, &[Change::Alert(NewAlert::new(kind, subject, "x"))]).await;
        }
        pass_time(&world, Span::hours(2)).await;
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
        for (kind, subject) in known {
            commit(&engine, None, &[Change::Resolve { kind, subject }]).await;
        }
        assert_eq!(told_of(&engine).await, ["destination vercel", "rotation two"]);
    }
}

fn generation(rotation: &str, role: Role) -> NewKey {
    NewKey {
        id: format!("key-{rotation}"),
        provider: "openrouter".to_owned(),
        name: rotation.to_owned(),
        priority: 100,
        is_active: true,
        settings: json!({}),
        secret: None,
        api_secret: None,
        fingerprint: None,
        mask: "sk-or-v...1234".to_owned(),
        hash: Some(format!("hash-{rotation}")),
        account: Some(format!("org:{rotation}")),
        rotation: Some(rotation.to_owned()),
        generation: Some(3),
        role,
        origin: Origin::Created,
        issued_name: None,
        numbered: false,
        is_placeholder: false,
        about: About::default(),
    }
}

on_both_databases! {
    async fn a_key_that_no_run_looks_after_is_told(db: Db) {
        let (world, engine) = a_world(db).await;
        for (rotation, role) in [("dead", Role::Current), ("left", Role::Retiring), ("tended", Role::Retiring)] {
            engine.store().ensure_rotation(rotation, None).await.unwrap();
            let provider =
                NewProvider { name: "openrouter".to_owned(), kind: "openrouter".to_owned(), title: None, endpoint: None };
            let key = Box::new(generation(rotation, role));
            commit(&engine, None, &[Change::NewKey { provider, key }]).await;
        }
        waiting(&engine, "tended", &State::Observing, vec![blocker(None, None)]).await;
        let mut connection = ledger::connect(&world).await;
        let dead = "UPDATE keys SET verdict = 'invalid' WHERE id = 'key-dead'";
        sqlx::query(dead).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
        pass_time(&world, Span::minutes(31)).await;
        let mut daemon = world.serve();
        until("told by the daemon", async || ledger::alerts(&world).await.contains(&"run_stalled".to_owned())).await;
        daemon.kill().await.unwrap();
        let told = told(&engine).await;
        let of = |subject: &str| told.iter().find(|alert| alert.subject == subject).unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((of("rotation dead").severity.as_str(), of("rotation left").severity.as_str()), ("critical", "warning"));
        assert!(of("rotation dead").detail.contains("`rekeyd rotations run dead --leaked`"), "{told:?}");
        assert!(of("rotation left").detail.contains("Generation 3 of rotation left"), "{told:?}");
    }
}

on_both_databases! {
    async fn a_run_that_nobody_comes_to_is_told_with_the_account(db: Db) {
        let (world, engine) = a_world(db).await;
        world.adopt().await;
        let policy = engine.rotation("production").unwrap().policy.clone();
        let run = Run::new("r".to_owned(), "production".to_owned(), "org:a".to_owned(), Trigger::Schedule, policy);
        let new = NewRun { run, due_at: None, previous_generation: None };
        engine.store().start_run(&new, &entry()).await.unwrap();
        let fails = async |text| passes::note_visit(&engine, "main", Some(text)).await.unwrap();
        // What failed before nobody came any more is another story.
        fails("GET /key: 502").await;
        pass_time(&world, Span::minutes(31)).await;
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
        for _ in 0..4 {
            fails("GET /key: 503").await;
            assert_eq!(told_of(&engine).await, Vec::<String>::new());
            pass_time(&world, Span::minutes(8)).await;
        }
        let alert = told(&engine).await.remove(0);
        assert_eq!(alert.subject, "account main");
        assert!(alert.detail.contains("Run r of rotation production (planned)") && alert.detail.contains("503"), "{alert:?}");
        passes::note_visit(&engine, "main", None).await.unwrap();
        assert_eq!(told_of(&engine).await, ["account main"]);
        pass_time(&world, Span::minutes(11)).await;
        assert_eq!(told_of(&engine).await, Vec::<String>::new());
    }
}

on_both_databases! {
    async fn a_daemon_that_cannot_open_an_account_remembers_since_when(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "1h";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        let trouble = async || {
            let rows = ledger::rows(&world, "SELECT doc FROM provider_health WHERE subject = 'trouble:main'").await;
            rows.first().map(|row| row.get::<String, _>(0))
        };
        world.script.always("whoami", When::Before, Act::status(503));
        ledger::rows(&world, "UPDATE runs SET wake_at = 0").await;
        let mut daemon = world.serve();
        until("noted", async || trouble().await.is_some_and(|doc| doc.contains("since"))).await;
        world.script.clear();
        until("over", async || trouble().await.as_deref() == Some("null")).await;
        daemon.kill().await.unwrap();
    }
}

/// Steps of the open run until it waits.
async fn steps(engine: &Engine, run: &str) {
    let Opened::Ready(mut session) = engine::open_session(engine, "main").await.unwrap() else {
        panic!("busy")
    };
    for _ in 0..100 {
        let report = engine::step(&mut session, run).await.unwrap();
        if matches!(report.progress, Progress::Wait(..)) {
            break;
        }
    }
    session.close().await.unwrap();
}

on_both_databases! {
    async fn a_run_whose_account_does_not_answer_is_told_and_shown_in_the_same_words(db: Db) {
        let mut world = World::new(db).await;
        (world.waits.grace, world.waits.quiet) = ("1h", "2h");
        world.configure();
        world.adopt().await;
        let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
        let id = run["id"].as_str().unwrap();
        assert_eq!(run["state"], "grace", "{run}");
        let of = |view: &Value, what: &str| {
            let next = view["next"].as_array().unwrap().iter();
            next.filter(|moment| moment["what"].as_str().unwrap().contains(what)).count()
        };
        for what in ["grace ends", "quiet long enough", "is disabled", "is deleted", "next look"] {
            assert_eq!(of(&run, what), 1, "{what}: {run}");
        }
        assert!(run["waits"][0]["until"].is_string() && run["waits"][0]["on"].is_null(), "{run}");

        world.script.always("read_key", When::Before, Act::status(503));
        let engine = world.engine(Ahead::by(Span(0))).await;
        steps(&engine, id).await;
        pass_time(&world, Span::minutes(31)).await;
        let alert = told(&engine).await.remove(0);
        assert_eq!(alert.subject, "account main");
        assert!(alert.detail.contains(id) && alert.detail.contains("(grace)"), "{alert:?}");
        // However long the commands take, the next look is still to come.
        ledger::rows(&world, "UPDATE runs SET wake_at = wake_at + 3600000").await;
        let shown = world.rekeyd(&["runs", "show", id, "--json"]).await.ok().json();
        let why = world.rekeyd(&["why", "production", "--json"]).await.ok().json();
        let rotation = world.rotation().await;
        assert_eq!((&shown["waits"], &shown["next"]), (&why["waits"], &why["next"]));
        assert_eq!((&shown["waits"], &shown["next"]), (&rotation["waits"], &rotation["next"]));
        let account = shown["waits"].as_array().unwrap().iter().find(|wait| wait["on"] == "account").unwrap();
        let line = format!("{} (since {})", account["text"].as_str().unwrap(), account["since"].as_str().unwrap());
        for command in [&["runs", "show", id][..], &["why", "production"], &["rotations", "show", "production"]] {
            let text = world.rekeyd(command).await.ok().stdout;
            assert!(text.contains(&line) && text.contains("next look, at the earliest at 20"), "{line}: {text}");
        }
        world.assert_nothing_leaked();
    }
}
