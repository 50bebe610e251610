//! Who can read the keys, and what becomes of tables that were there before.

use rekeyd::destination::{Destination, Ledger};
use rekeyd::domain::outcome::FailureKind;

use super::{App, key, publish, soon};

const FUNCTIONS: [&str; 3] = [
    "SELECT public.get_api_key('openrouter', 1)",
    "SELECT public.get_random_api_key('openrouter')",
    "SELECT public.get_best_api_key('openrouter')",
];
const TABLE: &str = "SELECT api_key FROM public.provider_api_keys";
const DENIED: &str = "42501";

#[tokio::test]
async fn only_service_role_reads_the_keys() {
    let app = App::migrated().await;
    let secret = key("one");
    publish(&app, &secret, 1).await;
    for query in FUNCTIONS.iter().chain([&TABLE]) {
        assert_eq!(app.asked_as("service_role", query).await, Ok(Some(secret.clone())), "{query}");
        for role in ["anon", "authenticated"] {
            assert_eq!(app.asked_as(role, query).await, Err(DENIED.to_owned()), "{role}: {query}");
        }
    }
    let (stranger, _) = app.login("").await;
    for query in FUNCTIONS.iter().chain([&TABLE]) {
        assert_eq!(app.asked_as(&stranger, query).await, Err(DENIED.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn row_level_security_holds_when_somebody_grants_everything_again() {
    let app = App::migrated().await;
    publish(&app, &key("one"), 1).await;
    app.sql(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anon, authenticated",
    )
    .await;
    for role in ["anon", "authenticated"] {
        for query in FUNCTIONS.iter().chain([&TABLE]) {
            assert_eq!(app.asked_as(role, query).await, Ok(None), "{role}: {query}");
        }
        let write = "UPDATE public.provider_api_keys SET api_key = 'x' RETURNING api_key";
        assert_eq!(app.asked_as(role, write).await, Ok(None), "{role}");
    }
}

#[tokio::test]
async fn the_functions_pass_over_dead_keys_and_fall_back_by_priority() {
    let app = App::migrated().await;
    app.sql("INSERT INTO public.providers (provider_name) VALUES ('openrouter'), ('other');
             INSERT INTO public.provider_api_keys (provider_id, key_number, api_key, priority, status, is_active)
             SELECT 1, * FROM (VALUES (1, 'dead', 100, 'invalid', true), (2, 'off', 100, 'valid', false),
                 (3, 'best-b', 90, 'valid', true), (4, 'best-a', 90, 'untested', true), (5, 'backup', 50, 'valid', true)) v")
        .await;
    let ask = async |query: &str| app.asked_as("service_role", query).await.unwrap();
    assert_eq!(ask("SELECT get_api_key('openrouter', 1)").await, None, "an invalid key is not handed out");
    assert_eq!(ask("SELECT get_api_key('openrouter', 2)").await, None, "an inactive key is not handed out");
    assert_eq!(ask("SELECT get_api_key('openrouter', 5)").await.as_deref(), Some("backup"));
    assert_eq!(ask("SELECT get_api_key('other', 5)").await, None);
    assert_eq!(ask("SELECT get_best_api_key('openrouter')").await.as_deref(), Some("best-b"));
    let drawn = "SELECT string_agg(DISTINCT k, ',') FROM (SELECT get_random_api_key('openrouter') AS k
                 FROM generate_series(1, 200)) drawn";
    assert_eq!(ask(drawn).await.as_deref(), Some("best-a,best-b"));
    app.sql("UPDATE public.provider_api_keys SET status = 'invalid' WHERE priority = 90").await;
    for function in ["get_best_api_key", "get_random_api_key"] {
        let answer = ask(&format!("SELECT {function}('openrouter')")).await;
        assert_eq!(answer.as_deref(), Some("backup"), "{function} falls back");
    }
}

/// A database that an application made for itself, open to its visitors in every way that is known.
const LEGACY: &str = "
    CREATE TABLE providers (id serial PRIMARY KEY, provider_name text UNIQUE, created_at timestamptz);
    CREATE TABLE provider_api_keys (id serial PRIMARY KEY, provider_id int REFERENCES providers ON DELETE CASCADE,
        key_number int, api_key text, created_at timestamptz DEFAULT now(), note text, UNIQUE (provider_id, key_number));
    INSERT INTO providers (provider_name) VALUES ('openrouter'), ('groq');
    INSERT INTO provider_api_keys (provider_id, key_number, api_key, note) VALUES
        (1, 1, 'first', 'kept'), (1, 2, E' second \\n', NULL), (2, 1, '', ''), (2, 7, 'third', 'ümlaut');
    ALTER TABLE provider_api_keys ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everybody ON provider_api_keys FOR SELECT TO anon, authenticated USING (true);
    CREATE POLICY shared ON provider_api_keys FOR SELECT TO anon, service_role USING (true);
    CREATE POLICY open ON providers USING (true);
    GRANT ALL ON providers, provider_api_keys TO PUBLIC;
    CREATE FUNCTION get_api_key(p_provider_name text, p_key_number int) RETURNS text LANGUAGE sql SECURITY DEFINER
        AS 'SELECT api_key FROM provider_api_keys LIMIT 1';
    CREATE FUNCTION get_random_api_key(p_provider_name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
        AS 'BEGIN RETURN (SELECT api_key FROM provider_api_keys LIMIT 1); END';";
const LEGACY_ROWS: &str =
    "SELECT string_agg(concat_ws('|', id, provider_id, key_number, api_key, created_at, note), ','
    ORDER BY id) FROM provider_api_keys";

#[tokio::test]
async fn tables_that_were_there_are_taken_over_without_loss_and_closed() {
    let app = App::new().await;
    app.sql(LEGACY).await;
    let before = app.ask(LEGACY_ROWS).await.unwrap();
    let open = app.destination().preflight(soon()).await.unwrap_err();
    assert_eq!(open.hint.as_deref(), Some("rekeyd destinations check app-database --migrate"));
    for round in 1..=2 {
        let did = app.destination().migrate(soon()).await.unwrap();
        assert!(did[0].contains("4 keys were kept"), "{round}: {did:?}");
        assert_eq!(app.ask(LEGACY_ROWS).await.unwrap(), before, "{round}");
    }
    app.destination().preflight(soon()).await.unwrap();
    for role in ["anon", "authenticated"] {
        for query in FUNCTIONS.iter().chain([&TABLE]) {
            assert_eq!(app.asked_as(role, query).await, Err(DENIED.to_owned()), "{role}: {query}");
        }
    }
    let second = app.asked_as("service_role", "SELECT get_api_key('openrouter', 2)").await;
    assert_eq!(second, Ok(Some(" second \n".to_owned())), "not a byte is trimmed");
    let kept = "SELECT string_agg(polname || ':' || (SELECT string_agg(rolname, '+') FROM pg_roles
                WHERE oid = ANY (polroles)), ',') FROM pg_policy WHERE polname IN ('everybody', 'shared')";
    assert_eq!(app.ask(kept).await.as_deref(), Some("shared:service_role"), "others keep their policy");
    let secret = key("new");
    publish(&app, &secret, 1).await;
    assert_eq!(
        app.ask(
            "SELECT note FROM provider_api_keys WHERE api_key <> 'first' AND key_number = 1
                        AND provider_id = 1"
        )
        .await
        .as_deref(),
        Some("kept"),
        "other columns of the row stay"
    );
}

#[tokio::test]
async fn a_take_over_that_cannot_be_changes_nothing_and_says_why() {
    let cases = [
        ("CREATE TABLE provider_api_keys (id serial PRIMARY KEY, provider_id int, key_number int, api_key text);
          CREATE TABLE providers (id serial PRIMARY KEY, provider_name text UNIQUE);
          INSERT INTO provider_api_keys (provider_id, key_number, api_key) VALUES (1, 1, 'a'), (1, 1, 'b')",
         "HAVING count(*) > 1"),
        ("CREATE TABLE provider_api_keys (id serial PRIMARY KEY, provider_id int, key_number int, api_key text);
          CREATE FUNCTION get_api_key(p_provider_name text, p_key_number int) RETURNS TABLE (api_key text)
          LANGUAGE sql AS 'SELECT NULL::text'",
         "DROP FUNCTION"),
    ];
    for (legacy, hint) in cases {
        let app = App::new().await;
        app.sql(legacy).await;
        let failure = app.destination().migrate(soon()).await.unwrap_err();
        assert!(failure.hint.as_deref().is_some_and(|text| text.contains(hint)), "{failure:?}");
        let columns = "SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'provider_api_keys'::regclass
                       AND attnum > 0";
        assert_eq!(app.ask(columns).await.as_deref(), Some("4"), "{hint}");
    }
}

#[tokio::test]
async fn two_migrations_at_once_are_one_after_the_other() {
    let app = App::new().await;
    let destination = app.destination();
    let (one, two) = tokio::join!(destination.migrate(soon()), destination.migrate(soon()));
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn a_key_is_not_put_where_visitors_could_take_it() {
    let ways = [
        "ALTER TABLE provider_api_keys DISABLE ROW LEVEL SECURITY; GRANT SELECT ON provider_api_keys TO anon",
        "GRANT SELECT (api_key) ON provider_api_keys TO authenticated;
         CREATE POLICY p ON provider_api_keys FOR SELECT TO authenticated USING (true)",
        "GRANT SELECT ON provider_api_keys TO PUBLIC; CREATE POLICY p ON provider_api_keys USING (true)",
        "ALTER FUNCTION get_best_api_key(text) SECURITY DEFINER; GRANT EXECUTE ON FUNCTION get_best_api_key(text) TO anon",
    ];
    for way in ways {
        let app = App::migrated().await;
        app.sql(way).await;
        let secret = key("open");
        let failure = app.destination().publish(&super::delivery(&secret, 1), soon()).await.expect_err(way);
        assert_eq!(failure.kind, FailureKind::Forbidden, "{way}: {failure:?}");
        assert!(super::told(&failure, &secret).contains("--migrate"), "{failure:?}");
        let everybody = "PUBLIC can read public.provider_api_keys";
        assert_eq!(failure.message.contains(everybody), way.contains("TO PUBLIC"), "{way}: {failure:?}");
        assert_eq!(app.everything().await, None, "{way}");
        app.destination().migrate(soon()).await.unwrap();
        publish(&app, &secret, 1).await;
    }
}
