//! What is there, what we may, and what others must not: answered with the statement that mends it.

use sqlx::{Error, Row};

use super::link::{Link, Server};
use crate::destination::Remark;
use crate::domain::outcome::{Failure, FailureKind};

/// Columns that we read or write.
const NEEDED: [(&str, &[&str]); 2] = [
    ("providers", &["id", "provider_name", "created_at"]),
    (
        "provider_api_keys",
        &[
            "id",
            "provider_id",
            "key_number",
            "api_key",
            "created_at",
            "is_active",
            "priority",
            "status",
            "generation",
            "publish_seq",
            "updated_at",
        ],
    ),
];

/// What is true once [`outsiders`] found nobody.
pub(super) const CLOSED: &str = "neither PUBLIC nor anon nor authenticated can read the keys";

/// The server takes writes. Answers how it was reached, and what a person should know of it.
pub(super) async fn server(link: &mut Link, server: &Server) -> Result<Vec<Remark>, Failure> {
    let facts = link
        .row(
            sqlx::query(
                "SELECT current_user::text AS role, current_setting('transaction_read_only') = 'on' AS frozen,
                   current_setting('log_statement') IN ('mod', 'all') AS logs",
            ),
            None,
        )
        .await?;
    let facts = facts.ok_or_else(unanswered)?;
    let read = || -> Result<(String, bool, bool), Error> {
        Ok((facts.try_get("role")?, facts.try_get("frozen")?, facts.try_get("logs")?))
    };
    let (role, frozen, logs) = read().map_err(|_| unanswered())?;
    if frozen {
        return Err(Failure::new(FailureKind::NotSent, "the database is read-only").hint(
            "name the primary's address, not a replica's; Supabase: a full disk makes a database read-only, see its dashboard",
        ));
    }
    let mut seen = vec![Remark::plain(format!("{} as {role}, {}", server.address(), server.protection()))];
    if logs {
        let text = "log_statement writes keys into the server's log, set it to none or ddl";
        seen.push(Remark::warning(text));
    }
    Ok(seen)
}

/// Tables and columns are there.
pub(super) async fn shape(link: &mut Link, migrate: &str) -> Result<(), Failure> {
    // By the catalogue: a name that is looked up in a schema that we may not use is an error of its own.
    let statement = sqlx::query(
        "SELECT c.relname::text || '.' || a.attname::text AS name
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'public' AND c.relname IN ('providers', 'provider_api_keys')
           AND a.attnum > 0 AND NOT a.attisdropped",
    );
    let rows = link.rows(statement, None).await?;
    let there: Vec<String> = rows.iter().filter_map(|row| row.try_get("name").ok()).collect();
    let needed =
        NEEDED.iter().flat_map(|(table, columns)| columns.iter().map(move |c| format!("{table}.{c}")));
    let missing: Vec<String> = needed.filter(|name| !there.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = if there.is_empty() { "the tables".to_owned() } else { missing.join(", ") };
    Err(Failure::new(FailureKind::NotFound, format!("the database has not {what}")).hint(migrate))
}

/// Each right that a publish needs, whether we have it, and the statement that gives it. A row is policed by
/// row-level security when `row_security_active` says so; then only a policy for us lets us see it.
const RIGHTS: &str = "
    WITH me AS (SELECT current_user AS role),
    tables AS (
        SELECT c.oid, format('public.%I', c.relname) AS name, c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relname IN ('providers', 'provider_api_keys')),
    needs (relname, privilege) AS (VALUES ('providers', 'SELECT'), ('providers', 'INSERT'),
        ('provider_api_keys', 'SELECT'), ('provider_api_keys', 'INSERT'), ('provider_api_keys', 'UPDATE'))
    SELECT has_schema_privilege('public', 'USAGE') AS given,
           format('GRANT USAGE ON SCHEMA public TO %I', role) AS statement FROM me
    UNION ALL
    SELECT has_table_privilege(t.oid, n.privilege), format('GRANT %s ON TABLE %s TO %I', n.privilege, t.name, role)
    FROM tables t JOIN needs n USING (relname), me
    UNION ALL
    SELECT has_sequence_privilege(s.oid, 'USAGE'),
           format('GRANT USAGE ON SEQUENCE %I.%I TO %I', sn.nspname, s.relname, role)
    FROM tables t JOIN pg_depend d ON d.refobjid = t.oid AND d.deptype = 'a'
        JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace, me
    UNION ALL
    SELECT NOT row_security_active(t.oid) OR EXISTS (
               SELECT FROM pg_policy p, unnest(p.polroles) AS granted (role)
               WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd = '*'
                 AND (granted.role = 0 OR pg_has_role(granted.role, 'MEMBER'))),
           format('CREATE POLICY rekeyd ON %s FOR ALL TO %I USING (true) WITH CHECK (true)', t.name, role)
    FROM tables t, me";

/// We may write. Answers that, or fails with every statement that is missing.
pub(super) async fn own(link: &mut Link) -> Result<Option<String>, Failure> {
    let rows = link.rows(sqlx::query(RIGHTS), None).await?;
    let read = |row: &sqlx::postgres::PgRow| Ok((row.try_get("given")?, row.try_get("statement")?));
    let rights: Vec<(bool, String)> =
        rows.iter().map(read).collect::<Result<_, Error>>().map_err(|_| unanswered())?;
    let missing: Vec<String> = rights.into_iter().filter(|(given, _)| !given).map(|(_, s)| s).collect();
    if missing.is_empty() {
        return Ok(Some("its rights are enough to publish".to_owned()));
    }
    let text = format!("{} rights are missing to publish", missing.len());
    Err(Failure::new(FailureKind::Forbidden, text)
        .hint(format!("as the owner of the tables: {};", missing.join("; "))))
}

/// Ways for the roles of an application's visitors, or for every role, to read the keys: a table that they may select
/// from and that shows them rows, or a function of ours that reads as its owner. `PUBLIC` is role 0.
const WAYS: &str = "
    WITH outsiders AS (
        SELECT oid, rolname::text AS rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
        UNION ALL SELECT 0, 'PUBLIC')
    SELECT o.rolname || ' can read public.' || c.relname AS way
    FROM outsiders o, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = 'provider_api_keys'
      AND has_any_column_privilege(o.oid, c.oid, 'SELECT')
      AND (NOT c.relrowsecurity OR EXISTS (
          SELECT FROM pg_policy p, unnest(p.polroles) AS granted (role)
          WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
            AND (granted.role = 0 OR (o.oid <> 0 AND pg_has_role(o.oid, granted.role, 'MEMBER')))))
    UNION ALL
    SELECT o.rolname || ' can call public.' || f.proname || ', which reads as its owner'
    FROM outsiders o, pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE n.nspname = 'public' AND f.proname IN ('get_api_key', 'get_random_api_key', 'get_best_api_key')
      AND f.prosecdef AND has_function_privilege(o.oid, f.oid, 'EXECUTE')";

/// Nobody outside can read what we write: a key is not put where visitors could take it.
pub(super) async fn outsiders(link: &mut Link, hint: &str) -> Result<(), Failure> {
    let rows = link.rows(sqlx::query(WAYS), None).await?;
    let ways: Vec<String> = rows.iter().filter_map(|row| row.try_get("way").ok()).collect();
    if ways.is_empty() {
        return Ok(());
    }
    let text = format!("the keys would be open to more than the application: {}", ways.join(", "));
    Err(Failure::new(FailureKind::Forbidden, text).hint(hint))
}

fn unanswered() -> Failure {
    Failure::new(FailureKind::Refused, "the database did not answer a question about itself")
}
