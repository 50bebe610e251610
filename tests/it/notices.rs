//! People are told: what happened is told once, whatever becomes of the mail server or of us (I12).

use std::time::Duration;

use rekeyd::domain::alert::{Event, Kind, NewAlert, Notice, Severity, Subject};
use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::engine::{commands, passes};
use rekeyd::notify::{Letter, LetterContext, Open};
use rekeyd::sim::smtp::{Mishap, Stage};
use rekeyd::store::{Change, EffectKind, NewEffect};
use tokio_util::sync::CancellationToken;

use crate::support::office::email;
use crate::support::{Db, Office, World, on_both_databases};

const INVALID: &str = "[rekeyd] WARNING production: key invalid";

on_both_databases! {
    async fn each_notice_arrives_once_after_an_outage(db: Db) {
        let office = Office::new(db).await;
        office.mailbox.set_down(true);
        for rotation in ["a", "b", "c", "d"] {
            office.open(Kind::RotationParked, rotation).await;
            let report = office.deliver_later().await;
            assert_eq!((report.built, report.sent), (1, 0));
            office.pass_time(Span::minutes(3)).await;
            office.deliver().await;
        }
        office.resolve(Kind::RotationParked, "b").await;
        office.deliver_later().await;
        assert!(office.backlog().await.pending >= 5);
        office.mailbox.set_down(false);
        office.deliver_all().await;
        office.deliver_later().await;
        let mut subjects = office.subjects();
        let (opened, ended) = ("[rekeyd] CRITICAL b: rotation parked", "[rekeyd] RESOLVED b: rotation parked");
        let place = |wanted: &str| subjects.iter().position(|subject| subject == wanted).unwrap();
        assert!(place(opened) < place(ended), "an answer never overtakes what it answers: {subjects:?}");
        subjects.sort();
        let mut expected: Vec<String> =
            ["a", "b", "c", "d"].iter().map(|name| format!("[rekeyd] CRITICAL {name}: rotation parked")).collect();
        expected.push(ended.to_owned());
        assert_eq!(subjects, expected);
    }
}

on_both_databases! {
    async fn nothing_is_told_of_what_was_rolled_back(db: Db) {
        let office = Office::new(db).await;
        let create = |id: &str| Change::Intend(NewEffect {
            id: id.to_owned(),
            run: None,
            account: "x".to_owned(),
            kind: EffectKind::Create,
            target: "rekeyd/one-name".to_owned(),
            address: None,
        });
        office.commit(&[create("one")]).await.unwrap();
        let alert = Change::Alert(NewAlert::new(Kind::RotationParked, Subject::Rotation("a".to_owned()), "It is parked."));
        office.commit(&[alert, create("two")]).await.unwrap_err();
        assert_eq!(office.backlog().await.pending, 0);
        office.deliver_later().await;
        assert!(office.mailbox.mails().is_empty());
    }
}

#[tokio::test]
async fn a_silent_server_holds_up_one_pass_only_until_the_deadline() {
    let office = Office::hasty(Db::Sqlite).await;
    office.open(Kind::KeyInvalid, "production").await;
    for stage in [Stage::Greeting, Stage::Recipient, Stage::Data, Stage::Message] {
        office.mailbox.fail_next(Mishap::Hang(stage));
        office.pass_time(Span::minutes(16)).await;
        let pass = tokio::time::timeout(Duration::from_secs(30), office.deliver());
        assert_eq!(pass.await.unwrap_or_else(|_| panic!("{stage:?}: no deadline")).failed, 1);
    }
    assert!(office.mailbox.mails().is_empty());
    office.deliver_all().await;
    assert_eq!(office.subjects(), [INVALID]);
}

#[tokio::test]
async fn not_now_is_tried_again_under_the_same_id() {
    let office = Office::new(Db::Sqlite).await;
    office.open(Kind::KeyInvalid, "production").await;
    for stage in [Stage::Greeting, Stage::Recipient, Stage::Data, Stage::Message] {
        office.mailbox.fail_next(Mishap::Refuse(stage, 451));
        office.pass_time(Span::minutes(16)).await;
        assert_eq!(office.deliver().await.failed, 1, "{stage:?}");
    }
    let before = office.engine.store().outbox(9).await.unwrap().remove(0);
    assert_eq!((before.state.as_str(), before.attempts), ("pending", 4));
    assert!(before.error.unwrap().contains("451"));
    assert_eq!(office.deliver().await.failed, 0, "the backoff is not over");
    office.deliver_all().await;
    let mails = office.mailbox.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].header("message-id").unwrap(), format!("<{}>", before.message_id.unwrap()));
}

#[tokio::test]
async fn a_lost_answer_repeats_the_mail_and_its_id() {
    let office = Office::new(Db::Sqlite).await;
    office.open(Kind::KeyInvalid, "production").await;
    office.mailbox.fail_next(Mishap::LoseAnswer);
    office.deliver_later().await;
    office.deliver_all().await;
    let mails = office.mailbox.mails();
    assert_eq!(mails.len(), 2);
    for header in ["message-id", "date", "subject"] {
        assert_eq!(mails[0].header(header), mails[1].header(header), "{header}");
    }
    assert_eq!(mails[0].text(), mails[1].text());
}

on_both_databases! {
    async fn two_processes_tell_it_once(db: Db) {
        let office = Office::new(db).await;
        let others = [office.another().await, office.another().await, office.another().await];
        for rotation in ["a", "b", "c"] {
            office.open(Kind::RotationParked, rotation).await;
            office.pass_time(Span::seconds(31)).await;
            let go_on = CancellationToken::new();
            let (a, b, c, d) = tokio::join!(
                passes::deliver_notices(&office.engine, &go_on),
                passes::deliver_notices(&others[0], &go_on),
                passes::deliver_notices(&others[1], &go_on),
                passes::deliver_notices(&others[2], &go_on),
            );
            let sent: usize = [a, b, c, d].into_iter().map(|report| report.unwrap().sent).sum();
            assert_eq!(sent, 1, "{rotation}");
        }
        assert_eq!(office.mailbox.mails().len(), 3);
    }
}

on_both_databases! {
    async fn alerts_that_open_together_travel_and_end_together(db: Db) {
        let office = Office::new(db).await;
        office.open(Kind::KeyInvalid, "a").await;
        office.open(Kind::RotationParked, "b").await;
        office.open(Kind::KeyHealed, "c").await;
        assert_eq!(office.deliver().await.built, 0, "others may join");
        assert_eq!(office.deliver_later().await.built, 1);
        office.open(Kind::KeyInvalid, "late").await;
        office.deliver_later().await;
        assert_eq!(
            office.subjects(),
            ["[rekeyd] CRITICAL b: rotation parked (+2 more)", "[rekeyd] WARNING late: key invalid"]
        );
        let text = office.mailbox.mails()[0].text();
        for name in ["a", "b", "c"] {
            assert!(text.contains(&format!("It happened to {name}.")), "{text}");
        }
        office.resolve(Kind::KeyInvalid, "a").await;
        office.resolve(Kind::RotationParked, "b").await;
        office.resolve(Kind::KeyHealed, "c").await;
        office.resolve(Kind::KeyInvalid, "late").await;
        office.deliver_later().await;
        let mails = office.mailbox.mails();
        assert_eq!(mails.len(), 4, "{:?}", office.subjects());
        for (end, start) in [("RESOLVED b: rotation parked (+1 more)", 0), ("RESOLVED late", 1)] {
            let mail = mails.iter().find(|mail| mail.subject().contains(end)).unwrap();
            assert_eq!(mail.header("in-reply-to"), mails[start].header("message-id"));
        }
    }
}

on_both_databases! {
    async fn reminder_and_end_belong_to_the_first_mail(db: Db) {
        let office = Office::new(db).await;
        office.open(Kind::KeyInvalid, "production").await;
        office.open(Kind::KeyHealed, "production").await;
        office.deliver_later().await;
        office.pass_time(Span::hours(23)).await;
        assert_eq!(office.deliver_later().await.reminded, 0);
        office.pass_time(Span::hours(1)).await;
        assert_eq!(office.deliver().await.reminded, 1, "news is not repeated");
        office.pass_time(Span::hours(25)).await;
        assert_eq!(office.deliver().await.reminded, 1);
        office.deliver_later().await;
        let open = office.engine.store().alerts(false).await.unwrap();
        let alert = open.iter().find(|row| row.kind == "key_invalid").unwrap();
        let acked = commands::acknowledge(&office.engine, &alert.id).await.unwrap();
        assert_eq!(acked.acked_by.as_deref(), Some("test"));
        assert_eq!(office.engine.store().audit(9).await.unwrap()[0].action, "alert.acknowledged");
        office.pass_time(Span::hours(50)).await;
        assert_eq!(office.deliver_later().await.reminded, 0, "somebody has seen it");
        office.resolve(Kind::KeyInvalid, "production").await;
        office.deliver_later().await;
        let mails = office.mailbox.mails();
        let first = mails[0].header("message-id").unwrap();
        assert_eq!(mails.len(), 4, "{:?}", office.subjects());
        for mail in &mails[1..] {
            assert_eq!(mail.header("in-reply-to").as_ref(), Some(&first));
            assert_eq!(mail.header("references").as_ref(), Some(&first));
            assert_ne!(mail.header("message-id").as_ref(), Some(&first));
        }
        assert!(mails[1].text().contains("Still open"));
        assert_eq!(mails[3].subject(), "[rekeyd] RESOLVED production: key invalid");
        assert!(mails.iter().all(|mail| mail.header("auto-submitted").as_deref() == Some("auto-generated")));
    }
}

on_both_databases! {
    async fn what_was_over_before_it_was_told_is_told_from_its_beginning(db: Db) {
        let office = Office::new(db).await;
        office.open(Kind::KeyInvalid, "production").await;
        office.resolve(Kind::KeyInvalid, "production").await;
        office.open(Kind::StrayKey, "production").await;
        office.resolve(Kind::StrayKey, "production").await;
        office.deliver_all().await;
        office.deliver_later().await;
        let mails = office.mailbox.mails();
        let about = |subject: &str| mails.iter().position(|mail| mail.subject() == subject);
        let began = mails.iter().position(|mail| mail.text().contains("key invalid")).unwrap();
        let ended = about("[rekeyd] RESOLVED production: key invalid").unwrap();
        assert!(began < ended, "{:?}", office.subjects());
        assert_eq!(mails[ended].header("in-reply-to"), mails[began].header("message-id"));
        assert_eq!(mails.len(), 2, "both began in one mail, and information has no end: {:?}", office.subjects());
    }
}

#[tokio::test]
async fn worse_is_told_and_better_is_not() {
    let office = Office::new(Db::Sqlite).await;
    office.open(Kind::KeyInvalid, "production").await;
    office.deliver_later().await;
    let open = office.engine.store().alerts(false).await.unwrap();
    commands::acknowledge(&office.engine, &open[0].id).await.unwrap();
    let mut worse = NewAlert::new(Kind::KeyInvalid, Subject::parse("rotation production"), "Worse.")
        .rotation("production");
    for severity in [Severity::Critical, Severity::Warning, Severity::Critical] {
        worse.severity = severity;
        office.commit(&[Change::Alert(worse.clone())]).await.unwrap();
    }
    let open = office.engine.store().alerts(false).await.unwrap();
    assert_eq!((open[0].severity.as_str(), open[0].acked_at.is_some()), ("critical", false));
    office.deliver_all().await;
    assert_eq!(office.subjects(), [INVALID, "[rekeyd] CRITICAL production: key invalid"]);
    let mails = office.mailbox.mails();
    assert_eq!(mails[1].header("in-reply-to"), mails[0].header("message-id"));
}

#[tokio::test]
async fn routes_pick_the_recipients() {
    let routes = "to = [\"ops@example.com\"]\ndigest = \"\"\n[[email.routes]]\nseverity = \"critical\"\nto = [\"oncall@example.com\"]\n\
                  [[email.routes]]\nseverity = \"warning\"\naccount = \"main\"\nto = [\"main@example.com\"]";
    let routes = format!(
        "{routes}\n[[accounts]]\nname = \"main\"\nprovider = \"openrouter\"\nprovisioning_key = \"file:FOLDER/database-url\"\n"
    );
    let office = Office::with(Db::Sqlite, &routes).await;
    let alert = |kind, account: &str| {
        let mut alert = NewAlert::new(kind, Subject::Account(account.to_owned()), "Something.");
        alert.account = Some(account.to_owned());
        Change::Alert(alert)
    };
    let changes = [
        alert(Kind::AccountFrozen, "main"),
        alert(Kind::AccountFrozen, "other"),
        alert(Kind::CreditsLow, "main"),
        alert(Kind::CreditsLow, "other"),
    ];
    office.commit(&changes).await.unwrap();
    office.deliver_later().await;
    let mut told: Vec<(String, String)> =
        office.mailbox.mails().iter().map(|mail| (mail.to.join(" "), mail.subject())).collect();
    told.sort();
    let expected = [
        ("main@example.com", "[rekeyd] WARNING main: credits low"),
        ("main@example.com oncall@example.com", "[rekeyd] CRITICAL main: account frozen"),
        ("oncall@example.com", "[rekeyd] CRITICAL other: account frozen"),
        ("ops@example.com", "[rekeyd] WARNING other: credits low"),
    ];
    assert_eq!(told, expected.map(|(to, subject)| (to.to_owned(), subject.to_owned())));
}

#[tokio::test]
async fn a_dead_mailbox_keeps_nobody_waiting() {
    let office = Office::with(Db::Sqlite, "to = [\"a@example.com\", \"b@example.com\"]\ndigest = \"\"").await;
    office.open(Kind::KeyInvalid, "production").await;
    // Once in the common envelope, once alone.
    office.mailbox.fail_next(Mishap::Refuse(Stage::Recipient, 550));
    office.mailbox.fail_next(Mishap::Refuse(Stage::Recipient, 550));
    let report = office.deliver_later().await;
    assert_eq!((report.sent, report.failed), (1, 1));
    let rows = office.engine.store().outbox(9).await.unwrap();
    let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
    assert_eq!(states, ["refused", "sent"]);
    assert_eq!(office.engine.store().alerts(false).await.unwrap().len(), 1, "the alert stays");
    office.pass_time(Span::minutes(30)).await;
    assert_eq!(office.deliver().await.failed, 0, "refused is tried again at a long interval");
    office.pass_time(Span::minutes(31)).await;
    assert_eq!(office.deliver().await.sent, 1);
    let mails = office.mailbox.mails();
    assert_eq!(
        (mails[0].to.join(" "), mails[1].to.join(" ")),
        ("b@example.com".to_owned(), "a@example.com".to_owned())
    );
    assert_eq!(mails[0].header("message-id"), mails[1].header("message-id"));
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_when_tls_is_asked_for() {
    for tls in ["starttls", "implicit"] {
        let office = Office::with(Db::Sqlite, &format!("tls = \"{tls}\"\ndigest = \"\"")).await;
        office.open(Kind::KeyInvalid, "production").await;
        assert_eq!(office.deliver_later().await.failed, 1, "{tls}");
        let row = office.engine.store().outbox(9).await.unwrap().remove(0);
        assert_eq!(row.state, "pending", "{tls}: {row:?}");
        assert!(office.mailbox.mails().is_empty(), "{tls}");
    }
}

on_both_databases! {
    async fn the_digest_comes_on_schedule_when_something_is_open(db: Db) {
        // Half an hour away from the machine's own time, which goes on meanwhile.
        let minute = chrono::Utc::now().format("%M").to_string().parse::<u32>().unwrap();
        let office = Office::with(db, &format!("digest = \"0 {} * * * *\"", (minute + 30) % 60)).await;
        office.deliver().await;
        office.pass_time(Span::hours(3)).await;
        assert_eq!(office.deliver().await.built, 0, "nothing is open");
        office.open(Kind::KeyInvalid, "production").await;
        office.deliver_later().await;
        office.pass_time(Span::hours(3)).await;
        assert_eq!(office.deliver().await.built, 1, "missed ones come once");
        assert_eq!(office.deliver().await.built, 0);
        assert_eq!(office.subjects(), [INVALID, "[rekeyd] DIGEST 1 open alert"]);
    }
}

#[tokio::test]
async fn what_happened_before_mail_was_configured_is_not_told() {
    let office = Office::new(Db::Sqlite).await;
    office.open(Kind::KeyInvalid, "production").await;
    let silent = office.another_without_mail().await;
    passes::deliver_notices(&silent, &CancellationToken::new()).await.unwrap();
    assert_eq!(office.backlog().await.pending, 0);
    office.deliver_later().await;
    assert!(office.mailbox.mails().is_empty());
}

/// One mail from the real daemon, killed while the server has the mail and has not answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_sending_it_tells_once_after_the_restart() {
    let world = World::new(Db::Sqlite).await;
    let mailbox = rekeyd::sim::smtp::Mailbox::start().await;
    world.configure_with(
        &email(&mailbox, "group_within = \"0s\"\ndigest = \"\""),
        r#"["github-production", "agent-env"]"#,
    );
    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production", "--leaked", "--wait"]).await.ok();
    mailbox.fail_always(Mishap::Hang(Stage::Message));
    let mut daemon = world.serve();
    let waiting = loop {
        let rows = world.rekeyd(&["alerts", "list", "--outbox", "--json"]).await.ok().json();
        if rows.as_array().unwrap().iter().all(|row| row["state"] == "pending") {
            break rows;
        }
    };
    daemon.kill().await.unwrap();
    let pending = waiting.as_array().unwrap();
    assert!(!pending.is_empty() && mailbox.mails().is_empty(), "{waiting}");
    mailbox.heal();
    let mut daemon = world.serve();
    tokio::time::timeout(Duration::from_mins(1), mailbox.wait_until(|mails| mails.len() == pending.len()))
        .await
        .expect("every message arrives after the restart");
    daemon.kill().await.unwrap();
    for mail in mailbox.mails() {
        let id = mail.header("message-id").unwrap();
        assert_eq!(
            waiting.to_string().matches(id.trim_matches(['<', '>'])).count(),
            1,
            "{id} was made before"
        );
        for secret in world.openrouter.issued_secrets() {
            assert!(!mail.raw.contains(&secret) && !mail.text().contains(&secret), "a mail holds a secret");
        }
    }
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_lists_acknowledges_and_tries_the_mail_server() {
    let world = World::new(Db::Sqlite).await;
    let out = world.rekeyd(&["alerts", "test-email"]).await;
    assert_eq!(out.status, 2, "{out:?}");
    let mailbox = rekeyd::sim::smtp::Mailbox::start().await;
    let text = email(&mailbox, "group_within = \"0s\"\ndigest = \"\"");
    world.configure_with(&text, r#"["github-production", "agent-env"]"#);
    let tried = world.rekeyd(&["alerts", "test-email", "--json"]).await.ok().json();
    assert_eq!(tried[0]["recipient"], "ops@example.com");
    assert!(tried[0]["answer"].as_str().unwrap().contains("250"), "{tried}");
    assert_eq!(mailbox.mails()[0].subject(), "[rekeyd] INFO test mail");
    mailbox.fail_next(Mishap::Refuse(Stage::Recipient, 550));
    let refused = world.rekeyd(&["alerts", "test-email"]).await;
    assert!(refused.status == 1 && refused.stdout.contains("550"), "{refused:?}");

    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production", "--leaked"]).await.ok();
    let all = world.rekeyd(&["alerts", "list", "--all", "--json"]).await.ok().json();
    let leak = all.as_array().unwrap().iter().find(|row| row["kind"] == "leak_detected").unwrap().clone();
    let id = leak["id"].as_str().unwrap();
    let acked = world.rekeyd(&["alerts", "ack", id, "--json"]).await;
    if leak["resolved_at"].is_null() {
        let by = acked.ok().json()["acked_by"].as_str().unwrap().to_owned();
        assert!(by.contains(&nix::unistd::Uid::current().to_string()) && !by.contains("tester"), "{by}");
    } else {
        assert_eq!(acked.status, 2);
    }
    assert_eq!(world.rekeyd(&["alerts", "ack", "nothing"]).await.status, 2);
}

#[tokio::test]
async fn a_webhook_gets_one_object_an_event() {
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    type Calls = std::sync::Arc<std::sync::Mutex<Vec<(String, serde_json::Value)>>>;
    let calls = Calls::default();
    let take = async |State(calls): State<Calls>, headers: HeaderMap, body: String| {
        let mut calls = calls.lock().unwrap();
        let id = headers["idempotency-key"].to_str().unwrap().to_owned();
        calls.push((id, serde_json::from_str(&body).unwrap()));
        // The first call meets a bad moment.
        if calls.len() == 1 { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT }
    };
    let router = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(calls.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let lines = "to = [\"ops@example.com\"]\ndigest = \"\"\n[webhook]\nurl = \"file:FOLDER/webhook-url\"";
    let office = Office::with_webhook(Db::Sqlite, lines, &url).await;
    office.open(Kind::KeyInvalid, "production").await;
    office.resolve(Kind::KeyInvalid, "production").await;
    assert_eq!(office.deliver().await.sent, 1, "a program is told at once");
    office.deliver_all().await;
    let calls = calls.lock().unwrap().clone();
    let events: Vec<&str> = calls.iter().map(|(_, event)| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["opened", "resolved", "opened"]);
    assert_eq!(calls[0].0, calls[2].0, "the same event has the same id");
    assert_eq!(calls[0].1["alert"]["kind"], "key_invalid");
    assert_eq!(office.subjects(), [INVALID, "[rekeyd] RESOLVED production: key invalid"]);
}

fn notice(kind: Kind, severity: Severity, event: Event, subject: &str, detail: &str) -> Notice {
    Notice {
        id: format!("notice of {subject}"),
        alert: "01930000-0000-7000-8000-000000000001".to_owned(),
        event,
        kind,
        severity,
        subject: Subject::parse(subject),
        account: Some("main".to_owned()),
        rotation: subject.strip_prefix("rotation ").map(str::to_owned),
        detail: detail.to_owned(),
        opened_at: Timestamp(1_795_000_000_000),
        at: Timestamp(1_795_000_600_000),
    }
}

fn show(letter: &Letter) -> String {
    format!("{}\n\n{}\n{}", letter.subject, letter.text, letter.html)
}

fn voice() -> LetterContext {
    LetterContext { public_url: "https://rekeyd.example.com".to_owned() }
}

const REFUSED: &str =
    "The current key of rotation production (sk-or-v...1234) was refused twice: 401, user not found.";

#[test]
fn the_mail_of_an_invalid_key() {
    let one = notice(Kind::KeyInvalid, Severity::Critical, Event::Opened, "rotation production", REFUSED);
    insta::assert_snapshot!(show(&rekeyd::notify::letter(&[one], &voice())));
}

#[test]
fn the_mail_of_three_alerts() {
    let three = [
        notice(Kind::KeyHealed, Severity::Info, Event::Opened, "rotation staging", "It was replaced."),
        notice(
            Kind::DestinationFailed,
            Severity::Warning,
            Event::Opened,
            "destination github-production",
            "GitHub answered 403 <no permission>.",
        ),
        notice(Kind::KeyInvalid, Severity::Critical, Event::Opened, "rotation production", REFUSED),
    ];
    insta::assert_snapshot!(show(&rekeyd::notify::letter(&three, &voice())));
}

#[test]
fn the_mail_of_the_end() {
    let one = notice(Kind::KeyInvalid, Severity::Critical, Event::Resolved, "rotation production", REFUSED);
    insta::assert_snapshot!(show(&rekeyd::notify::letter(&[one], &voice())));
}

#[test]
fn the_digest() {
    let open = |severity, subject: &str, acked| Open {
        severity,
        subject: subject.to_owned(),
        title: "key invalid".to_owned(),
        detail: "It was refused.".to_owned(),
        opened_at: "2026-11-21T00:00:00.000Z".to_owned(),
        acked,
    };
    let all = [
        open(Severity::Critical, "rotation production", false),
        open(Severity::Warning, "rotation staging", true),
    ];
    insta::assert_snapshot!(show(&rekeyd::notify::digest(&all, &voice())));
}
