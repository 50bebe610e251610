//! Rows of `provider_api_keys`, read and written.

use sqlx::postgres::PgRow;
use sqlx::{Error, Row as _};

use super::link::Link;
use super::refusal::not_sent;
use crate::destination::LedgerEntry;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;

/// A row as it stands.
pub(super) struct Row {
    pub(super) entry: LedgerEntry,
    /// When it was last written, RFC 3339.
    pub(super) written: String,
}

/// Columns that the operator made himself may be of other widths and may be NULL.
const COLUMNS: &str = "SELECT k.key_number::bigint AS number, k.api_key::text AS api_key,
       COALESCE(k.is_active, true) AS is_active, k.priority::bigint AS priority,
       COALESCE(k.status::text, 'untested') AS status, k.generation::bigint AS generation,
       COALESCE(k.publish_seq, 0)::bigint AS seq,
       COALESCE(to_char(k.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'long ago') AS written
     FROM public.provider_api_keys k JOIN public.providers p ON p.id = k.provider_id
     WHERE p.provider_name = $1";

/// One row.
pub(super) async fn read(link: &mut Link, provider: &str, number: i32) -> Result<Option<Row>, Failure> {
    let rows = all(link, provider).await?;
    Ok(rows.into_iter().find(|row| row.entry.number == i64::from(number)))
}

/// Every row of a provider.
pub(super) async fn all(link: &mut Link, provider: &str) -> Result<Vec<Row>, Failure> {
    let statement = sqlx::query(COLUMNS).bind(provider);
    let rows = link.rows(statement, None).await?;
    rows.iter().map(row).collect::<Result<_, Error>>().map_err(|_| unreadable())
}

fn row(row: &PgRow) -> Result<Row, Error> {
    let entry = LedgerEntry {
        number: row.try_get("number")?,
        secret: Secret::new(row.try_get::<Option<String>, _>("api_key")?.unwrap_or_default()),
        is_active: row.try_get("is_active")?,
        priority: row.try_get("priority")?,
        status: row.try_get("status")?,
        generation: row.try_get("generation")?,
        seq: Some(row.try_get("seq")?),
    };
    Ok(Row { entry, written: row.try_get("written")? })
}

/// Writes a row that nobody has written since it was read, reads it back, and answers its new number of writes.
pub(super) async fn write(link: &mut Link, provider: &str, entry: &LedgerEntry) -> Result<i64, Failure> {
    let back = match entry.seq {
        None => insert(link, provider, entry).await?,
        Some(seq) => update(link, provider, entry, seq).await?,
    };
    let Some(back) = back else {
        return Err(not_sent(format!(
            "row {provider}/{} was written by somebody else at the same moment",
            entry.number
        )));
    };
    let held: Option<String> = back.try_get("api_key").map_err(|_| unreadable())?;
    if held.map(Secret::new).as_ref() != Some(&entry.secret) {
        let text = "the database changed the key while it stored it; nothing was written";
        return Err(Failure::new(FailureKind::Refused, text)
            .hint("look for a trigger on public.provider_api_keys, or a column too short: \\d public.provider_api_keys"));
    }
    back.try_get("seq").map_err(|_| unreadable())
}

async fn insert(link: &mut Link, provider: &str, entry: &LedgerEntry) -> Result<Option<PgRow>, Failure> {
    let known = sqlx::query("SELECT 1 FROM public.providers WHERE provider_name = $1").bind(provider);
    if link.row(known, None).await?.is_none() {
        let add = "INSERT INTO public.providers (provider_name, created_at) VALUES ($1, now())
                   ON CONFLICT (provider_name) DO NOTHING";
        link.rows(sqlx::query(add).bind(provider), None).await?;
    }
    let statement = sqlx::query(
        "INSERT INTO public.provider_api_keys (provider_id, key_number, api_key, is_active, priority, status,
           generation, publish_seq, created_at, updated_at)
         SELECT p.id, $2::bigint::int, $3::text, $4::boolean, COALESCE($5::bigint, 100)::int, $6::text, $7::bigint, 1,
           now(), now()
         FROM public.providers p WHERE p.provider_name = $1
         ON CONFLICT (provider_id, key_number) DO NOTHING
         RETURNING api_key::text AS api_key, publish_seq::bigint AS seq",
    );
    link.row(values(statement, provider, entry), Some(&entry.secret)).await
}

async fn update(
    link: &mut Link,
    provider: &str,
    entry: &LedgerEntry,
    seq: i64,
) -> Result<Option<PgRow>, Failure> {
    let statement = sqlx::query(
        "UPDATE public.provider_api_keys k
         SET api_key = $3::text, is_active = $4::boolean, priority = COALESCE($5::bigint, k.priority)::int,
           status = $6::text, generation = $7::bigint, publish_seq = $8::bigint + 1, updated_at = now()
         FROM public.providers p
         WHERE p.id = k.provider_id AND p.provider_name = $1 AND k.key_number = $2::bigint
           AND COALESCE(k.publish_seq, 0) = $8::bigint
         RETURNING k.api_key::text AS api_key, k.publish_seq::bigint AS seq",
    );
    link.row(values(statement, provider, entry).bind(seq), Some(&entry.secret)).await
}

fn values<'q>(
    statement: super::link::Statement<'q>,
    provider: &'q str,
    entry: &'q LedgerEntry,
) -> super::link::Statement<'q> {
    statement
        .bind(provider)
        .bind(entry.number)
        .bind(entry.secret.expose())
        .bind(entry.is_active)
        .bind(entry.priority)
        .bind(&entry.status)
        .bind(entry.generation)
}

fn unreadable() -> Failure {
    Failure::new(
        FailureKind::Refused,
        "a column of public.provider_api_keys has a type that rekeyd cannot read",
    )
    .hint("compare with \\d public.provider_api_keys and the documentation of the destination")
}
