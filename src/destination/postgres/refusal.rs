//! What an error of the server or of the way to it proves, and what to do about it.
//!
//! Until `COMMIT` is sent nothing is done, whatever happens; after it, silence is unclear.

use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::net::{is_distrust, sentence};

/// How far the transaction was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was not asked to commit.
    Before,
    /// It was.
    Commit,
}

/// The connection was not made.
pub(super) fn connecting(error: &sqlx::Error, place: &str, role: &str) -> Failure {
    match error {
        _ if matches!(error, sqlx::Error::Tls(_)) || is_distrust(error) => not_sent(format!("{place} did not prove itself: {}", said(error, None))).hint(
            "name its certificate authority in `[network] ca_file` (Supabase: Project Settings, Database, SSL \
             configuration, download the certificate); the server must offer TLS and its certificate must name the host",
        ),
        sqlx::Error::Io(error) => not_sent(format!("{place} cannot be reached: {error}"))
            .hint("check host, port and firewall; Supabase: a paused project must be restored first"),
        sqlx::Error::PoolTimedOut => not_sent(format!("{place} did not answer before the deadline"))
            .hint("check host, port and firewall"),
        sqlx::Error::Database(answer) => match answer.code().as_deref() {
            Some("28P01") => Failure::new(
                FailureKind::Unauthorized,
                format!("{place} did not accept the password of role {role}"),
            )
            .hint(format!(
                "put the right one into the secret that `url` names; to set a new one in psql: \\password {role}"
            )),
            Some("28000") => Failure::new(
                FailureKind::Unauthorized,
                format!("{place} does not let role {role} in: {}", said(error, None)),
            )
            .hint(format!("ALTER ROLE {} LOGIN; and a line for it in pg_hba.conf", quoted(role))),
            Some("3D000") => {
                Failure::new(FailureKind::Refused, format!("{place}: there is no such database"))
                    .hint("correct the database's name in the URL")
            }
            Some("42501") => Failure::new(
                FailureKind::Unauthorized,
                format!("{place} does not let role {role} connect: {}", said(error, None)),
            )
            .hint(format!("GRANT CONNECT ON DATABASE … TO {}", quoted(role))),
            _ => answered(error, Phase::Before, None),
        },
        _ => not_sent(format!("{place} cannot be spoken with: {}", said(error, None))),
    }
}

/// A statement was not done.
pub(super) fn answered(error: &sqlx::Error, phase: Phase, secret: Option<&Secret>) -> Failure {
    let sqlx::Error::Database(answer) = error else {
        return match phase {
            Phase::Before => {
                not_sent(format!("the database hung up before the commit: {}", said(error, None)))
            }
            Phase::Commit => {
                Failure::new(FailureKind::Unclear, "the database did not say whether it committed")
            }
        };
    };
    let text = said(error, secret);
    let refused = |kind, text: String| Failure::new(kind, text);
    match answer.code().as_deref().unwrap_or_default() {
        "42501" => refused(FailureKind::Forbidden, text),
        "42P01" | "42703" | "3F000" | "42883" => {
            refused(FailureKind::NotFound, format!("the tables are not there as rekeyd needs them: {text}"))
        }
        "25006" => not_sent("the database is read-only").hint(
            "name the primary's address, not a replica's; Supabase: a full disk makes a database read-only, see its dashboard",
        ),
        "55P03" => not_sent("somebody else holds a lock on the table for too long")
            .hint("see SELECT * FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
        "57014" | "25P03" | "25P04" => not_sent("the database did not finish before the deadline"),
        "40001" | "40P01" => not_sent("the database gave way to another transaction"),
        "53300" => not_sent("the database has no free connection")
            .hint("end idle ones, raise max_connections, or name a pooler's address (Supabase: port 6543)"),
        "53100" => not_sent("the database's disk is full").hint("free some space there; the write is repeated"),
        "23502" => refused(FailureKind::Refused, format!("the table has a column that must be given a value: {text}"))
            .hint("ALTER TABLE public.provider_api_keys ALTER COLUMN … SET DEFAULT …, or DROP NOT NULL"),
        code if code.starts_with("08") || code.starts_with("57P") => match phase {
            Phase::Before => not_sent(format!("the database went away: {text}")),
            Phase::Commit => refused(FailureKind::Unclear, format!("the database went away: {text}")),
        },
        _ => refused(FailureKind::Refused, format!("the database refused: {text}")),
    }
}

/// Its own words, without key material and without its `DETAIL`, which repeats whole rows.
fn said(error: &sqlx::Error, secret: Option<&Secret>) -> String {
    let text = match error {
        sqlx::Error::Database(answer) => answer.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no answer before the deadline".to_owned(),
        other => other.to_string(),
    };
    sentence(&text, secret.as_slice())
}

/// Nothing was changed.
pub(super) fn not_sent(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotSent, text)
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
