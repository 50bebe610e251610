//! Publish, read-back, and writers that meet.

use rekeyd::destination::{Destination, Ledger, Standing};
use rekeyd::domain::outcome::FailureKind;
use serde_json::{Value, json};
use sqlx::Executor;

use super::{App, delivery, key, publish, soon, told};

async fn standing(app: &App, secret: &str, generation: i64, evidence: &Value) -> Standing {
    let look = app.destination().look(&delivery(secret, generation), evidence, soon()).await.unwrap();
    look.standing
}

const ROW: &str =
    "SELECT concat_ws('|', key_number, api_key, is_active, priority, status, generation, publish_seq)
    FROM provider_api_keys";

#[tokio::test]
async fn a_key_is_written_to_the_byte_and_proved() {
    let app = App::migrated().await;
    let first = key("first");
    assert_eq!(standing(&app, &first, 1, &Value::Null).await, Standing::Missing);
    let evidence = publish(&app, &first, 1).await;
    assert_eq!(evidence, json!({ "generation": 1, "publish_seq": 1 }));
    assert_eq!(app.ask(ROW).await, Some(format!("1|{first}|t|100|valid|1|1")));
    assert_eq!(standing(&app, &first, 1, &evidence).await, Standing::Confirmed);
    assert_eq!(standing(&app, &first, 1, &Value::Null).await, Standing::Confirmed, "adopted: no evidence");
    let second = key("second");
    assert_eq!(standing(&app, &second, 2, &Value::Null).await, Standing::Unprovable);
    app.sql("UPDATE provider_api_keys SET priority = 70, is_active = false").await;
    publish(&app, &second, 2).await;
    assert_eq!(
        app.ask(ROW).await,
        Some(format!("1|{second}|t|70|valid|2|2")),
        "its priority is the operator's"
    );
    publish(&app, &first, 1).await;
    assert_eq!(
        app.ask(ROW).await,
        Some(format!("1|{first}|t|70|valid|1|3")),
        "an older generation goes back"
    );
}

#[tokio::test]
async fn what_somebody_else_changed_is_drift() {
    let app = App::migrated().await;
    let secret = key("ours");
    let evidence = publish(&app, &secret, 1).await;
    for (change, said) in [
        ("api_key = 'by hand'", "another key"),
        ("api_key = api_key || E'\\n'", "white space"),
        ("is_active = false", "inactive"),
    ] {
        app.sql(&format!("UPDATE provider_api_keys SET {change}")).await;
        let Standing::Drift(how) = standing(&app, &secret, 1, &evidence).await else { panic!("{change}") };
        assert!(how.contains(said), "{how}");
        publish(&app, &secret, 1).await;
        assert_eq!(standing(&app, &secret, 1, &evidence).await, Standing::Confirmed);
    }
    app.sql("UPDATE provider_api_keys SET status = 'invalid'").await;
    assert_eq!(standing(&app, &secret, 1, &evidence).await, Standing::Confirmed, "a verdict is no drift");
    app.sql("DELETE FROM providers").await;
    assert_eq!(standing(&app, &secret, 1, &evidence).await, Standing::Missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_meet_each_writes_once_or_says_that_it_did_not() {
    for there in [false, true] {
        let app = std::sync::Arc::new(App::migrated().await);
        if there {
            publish(&app, &key("before"), 1).await;
        }
        let writers = (0..12).map(|_| {
            let app = std::sync::Arc::clone(&app);
            tokio::spawn(async move {
                let secret = key("meeting");
                (app.destination().publish(&delivery(&secret, 2), soon()).await, secret)
            })
        });
        let mut written = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                (Ok(evidence), secret) => written.push((evidence["publish_seq"].as_i64().unwrap(), secret)),
                (Err(failure), secret) => {
                    assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
                    assert!(told(&failure, &secret).contains("at the same moment"), "{failure:?}");
                }
            }
        }
        written.sort();
        let first = i64::from(there) + 1;
        let numbers: Vec<i64> = written.iter().map(|(number, _)| *number).collect();
        let expected: Vec<i64> = (first..first + i64::try_from(written.len()).unwrap()).collect();
        assert_eq!(numbers, expected, "every write has a number of its own");
        let (last, secret) = written.last().unwrap();
        assert_eq!(app.ask(ROW).await, Some(format!("1|{secret}|t|100|valid|2|{last}")));
    }
}

#[tokio::test]
async fn a_write_that_comes_late_changes_nothing() {
    let app = App::migrated().await;
    let (old, new) = (key("old"), key("new"));
    publish(&app, &old, 1).await;
    let mut late = app.destination().entries(soon()).await.unwrap().remove(0);
    publish(&app, &new, 2).await;
    late.status = "invalid".to_owned();
    let failure = app.destination().put(&late, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent);
    assert_eq!(app.ask(ROW).await, Some(format!("1|{new}|t|100|valid|2|2")));
    late.seq = None;
    app.destination().put(&late, soon()).await.unwrap_err();
    assert_eq!(app.ask(ROW).await, Some(format!("1|{new}|t|100|valid|2|2")));
}

#[tokio::test]
async fn a_lock_of_somebody_elses_ends_at_the_deadline() {
    let app = App::migrated().await;
    let (old, new) = (key("old"), key("new"));
    publish(&app, &old, 1).await;
    let mut other = app.connect().await;
    other.execute("BEGIN; SELECT * FROM provider_api_keys FOR UPDATE").await.unwrap();
    let deadline = rekeyd::net::Deadline::after(std::time::Duration::from_secs(4));
    let failure = app.destination().publish(&delivery(&new, 2), deadline).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'rekeyd'
                   AND datname = current_database() AND state <> 'idle'";
    let mut left = None;
    for _ in 0..600 {
        left = app.ask(waiting).await;
        if left.as_deref() == Some("0") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(left.as_deref(), Some("0"), "the server ends it, although the lock is still held");
    other.execute("COMMIT").await.unwrap();
    assert_eq!(app.ask(ROW).await, Some(format!("1|{old}|t|100|valid|1|1")));
}

#[tokio::test]
async fn a_database_that_changes_the_key_does_not_get_it() {
    let changes = [
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN NEW.api_key = left(NEW.api_key, 10); RETURN NEW; END';
         CREATE TRIGGER cut BEFORE INSERT OR UPDATE ON provider_api_keys FOR EACH ROW EXECUTE FUNCTION cut()",
        "ALTER TABLE provider_api_keys ALTER COLUMN api_key TYPE varchar(12)",
        "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN RAISE EXCEPTION ''% is no key'', NEW.api_key; END';
         CREATE TRIGGER loud BEFORE INSERT OR UPDATE ON provider_api_keys FOR EACH ROW EXECUTE FUNCTION loud()",
        "ALTER TABLE provider_api_keys ADD COLUMN owner text NOT NULL",
    ];
    for change in changes {
        let app = App::migrated().await;
        app.sql(change).await;
        let secret = key("changed");
        let failure = app.destination().publish(&delivery(&secret, 1), soon()).await.expect_err(change);
        assert_eq!(failure.kind, FailureKind::Refused, "{failure:?}");
        told(&failure, &secret);
        assert_eq!(app.everything().await, None, "{change}");
    }
}
