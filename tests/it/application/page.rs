//! `docs/postgres.md`, by its own statements.

use rekeyd::destination::{Destination, Standing};
use rekeyd::domain::outcome::FailureKind;

use super::{App, delivery, destination, key, publish, soon};

const PAGE: &str = include_str!("../../../docs/postgres.md");

/// The page's blocks of SQL: how to read, a role that reads, a role that publishes.
fn blocks() -> [String; 3] {
    let parts = PAGE.split("```sql\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
    parts.collect::<Vec<_>>().try_into().expect("three blocks of SQL")
}

/// Roles belong to the server, which many tests share.
fn renamed(block: &str, role: &str) -> (String, String) {
    let name = format!("{role}_{}", uuid::Uuid::new_v4().simple());
    (block.replace(role, &name), name)
}

#[tokio::test]
async fn a_role_of_the_page_reads_and_does_nothing_else() {
    let app = App::migrated().await;
    let secret = key("read");
    publish(&app, &secret, 1).await;
    let [reads, reader, _] = blocks();
    let queries: Vec<&str> = reads.lines().map(|line| line.split(';').next().unwrap()).collect();
    assert_eq!(queries.len(), 4);
    let (statements, role) = renamed(&reader, "app_reader");
    app.sql(&statements).await;
    for who in [role.as_str(), "service_role"] {
        for (query, numbered_two) in queries.iter().zip([false, true, false, false]) {
            let expected = (!numbered_two).then(|| secret.clone());
            assert_eq!(app.asked_as(who, query).await, Ok(expected), "{who}: {query}");
        }
    }
    for write in ["UPDATE provider_api_keys SET api_key = 'x'", "DELETE FROM providers"] {
        assert_eq!(app.asked_as(&role, write).await, Err("42501".to_owned()), "{write}");
    }
    rekeyd::destination::Ledger::migrate(&app.destination(), soon()).await.unwrap();
    assert_eq!(app.asked_as(&role, queries[0]).await, Ok(Some(secret)), "a migration leaves it its rights");
}

#[tokio::test]
async fn a_role_of_the_page_publishes_and_needs_every_line() {
    let [_, _, publisher] = blocks();
    let lines: Vec<&str> = publisher.lines().collect();
    for left_out in std::iter::once(None).chain((2..lines.len()).map(Some)) {
        let app = App::migrated().await;
        let kept = lines.iter().enumerate().filter(|(at, _)| Some(*at) != left_out);
        let kept: Vec<&str> = kept.map(|(_, line)| *line).collect();
        let (statements, role) = renamed(&kept.join("\n"), "rekeyd_publisher");
        app.sql(&statements).await;
        let destination = destination(&app.url.replace("postgres@", &format!("{role}@")));
        let secret = key("page");
        let preflight = destination.preflight(soon()).await;
        let Some(left_out) = left_out else {
            preflight.unwrap();
            let evidence = destination.publish(&delivery(&secret, 1), soon()).await.unwrap();
            let look = destination.look(&delivery(&secret, 1), &evidence, soon()).await.unwrap();
            assert_eq!(look.standing, Standing::Confirmed);
            let delete = app.asked_as(&role, "DELETE FROM provider_api_keys").await;
            assert_eq!(delete, Err("42501".to_owned()));
            continue;
        };
        let failure = preflight.expect_err(lines[left_out]);
        assert_eq!(failure.kind, FailureKind::Forbidden, "{}: {failure:?}", lines[left_out]);
        app.sql(failure.hint.unwrap().strip_prefix("as the owner of the tables: ").unwrap()).await;
        destination.preflight(soon()).await.unwrap();
    }
}

/// The columns that the page explains are those that a publish changes.
#[tokio::test]
async fn the_page_names_what_a_write_changes() {
    let app = App::migrated().await;
    let columns = "SELECT string_agg(attname, ' ') FROM pg_attribute
        WHERE attrelid = 'provider_api_keys'::regclass AND attnum > 0
          AND attname NOT IN ('id', 'provider_id', 'key_number', 'created_at')";
    let columns = app.ask(columns).await.unwrap();
    let table = PAGE.split("| column |").nth(1).unwrap().split("\n\n").next().unwrap();
    for column in columns.split(' ') {
        assert!(table.contains(&format!("`{column}`")), "{column}");
    }
}
