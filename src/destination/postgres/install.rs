//! Installs `migrations/destination/`, or takes over what is there: all files in one transaction, all of them
//! harmless to repeat.

use sqlx::Row;

use super::link::{Link, Server};
use super::refusal::quoted;
use super::rights::CLOSED;
use crate::domain::outcome::{Failure, FailureKind};

const FILES: [(&str, &str); 3] = [
    ("0001_tables.sql", include_str!("../../../migrations/destination/0001_tables.sql")),
    ("0002_functions.sql", include_str!("../../../migrations/destination/0002_functions.sql")),
    ("0003_access.sql", include_str!("../../../migrations/destination/0003_access.sql")),
];

/// Two migrations at once would both make the tables. The number is nobody else's.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(8245931072611)";

/// Runs the files; the caller commits. Answers what became of the keys that were there.
pub(super) async fn run(link: &mut Link, server: &Server) -> Result<Vec<String>, Failure> {
    link.rows(sqlx::query(ONE_AT_A_TIME), None).await?;
    let before = kept(link).await.map_err(|failure| explained("the keys", failure, server))?;
    for (name, text) in FILES {
        link.script(text).await.map_err(|failure| explained(name, failure, server))?;
    }
    let after = kept(link).await?;
    if before.is_some() && before != after {
        let text = "the tables would not hold the same keys afterwards; nothing was changed";
        return Err(Failure::new(FailureKind::Refused, text));
    }
    let did = match before {
        None => "the tables were installed".to_owned(),
        Some((keys, _)) => format!("the tables are as rekeyd needs them; {keys} keys were kept"),
    };
    Ok(vec![did, CLOSED.to_owned()])
}

/// How many keys there are, and a digest of them: proof that a take-over loses nothing.
async fn kept(link: &mut Link) -> Result<Option<(i64, String)>, Failure> {
    let there = sqlx::query("SELECT to_regclass('public.provider_api_keys') IS NOT NULL AS there");
    let there = link.row(there, None).await?.and_then(|row| row.try_get("there").ok());
    if there != Some(true) {
        return Ok(None);
    }
    let digest = sqlx::query(
        "SELECT count(*) AS keys, md5(COALESCE(string_agg(md5(concat_ws('/', provider_id, key_number, api_key)), ''
           ORDER BY provider_id, key_number, api_key), '')) AS digest
         FROM public.provider_api_keys",
    );
    let row = link.row(digest, None).await?;
    Ok(row.and_then(|row| Some((row.try_get("keys").ok()?, row.try_get("digest").ok()?))))
}

/// What stands in the way of a migration, and the statement that clears it.
fn explained(file: &str, failure: Failure, server: &Server) -> Failure {
    let role = quoted(server.role());
    let said = failure.message.clone();
    let named = |before: &str| said.split(before).nth(1).map(|rest| rest.trim().to_owned());
    let hint = if said.contains("must be owner of table") || said.contains("permission denied for table") {
        format!(
            "connect as their owner, or: ALTER TABLE public.providers OWNER TO {role}; ALTER TABLE \
             public.provider_api_keys OWNER TO {role}"
        )
    } else if let Some(function) = named("must be owner of function") {
        format!("connect as its owner, or: ALTER FUNCTION public.{function} OWNER TO {role}")
    } else if said.contains("permission denied for schema public") {
        format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    } else if said.contains("function") && said.contains("existing") || said.contains("cannot change") {
        "DROP FUNCTION the one of this name that is there (\\df public.get_*_key), then repeat; whoever calls it gets text from now on"
            .to_owned()
    } else if said.contains("could not create unique index") {
        "two rows have the same provider and number: SELECT provider_id, key_number FROM public.provider_api_keys GROUP BY 1, 2 HAVING count(*) > 1; delete or renumber one".to_owned()
    } else {
        failure.hint.clone().unwrap_or_else(|| "nothing was changed; mend it and repeat".to_owned())
    };
    let kind = if failure.kind == FailureKind::NotFound { FailureKind::Refused } else { failure.kind };
    Failure { kind, message: format!("{file}: {}", failure.message), ..failure }.hint(hint)
}
