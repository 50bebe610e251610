//! Where log lines go. Fields stay fields in the journal and in JSON.
//!
//! What is logged is identifiers and states; secrets have no `Display` (`domain::secret`), so that a line cannot
//! hold one by mistake.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::DaemonError;
use crate::config::settings::{Log, LogFormat};

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Journal,
    Json,
    Text { colours: bool },
}

/// Starts logging: to the journal when systemd runs us, else to stderr.
pub fn log(settings: &Log) -> Result<(), DaemonError> {
    let filter = filter(&settings.filter)?;
    let form = form(settings.format, std::env::var("JOURNAL_STREAM").ok().as_deref(), stderr_stream());
    let registry = tracing_subscriber::registry().with(filter);
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match form {
        Form::Journal => match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal
                    .with_syslog_identifier("rekeyd".to_owned())
                    .with_field_prefix(Some("REKEYD".to_owned()));
                registry.with(journal).try_init()
            }
            // A sandbox may hide the journal's socket; stderr ends up in the journal too, without fields.
            Err(_) => registry.with(stderr.with_ansi(false).without_time()).try_init(),
        },
        Form::Json => registry.with(stderr.json().flatten_event(true)).try_init(),
        Form::Text { colours } => registry.with(stderr.with_ansi(colours)).try_init(),
    };
    started.map_err(|error: TryInitError| DaemonError::Log(error.to_string()))
}

/// The ticker's own lines say nothing that ours do not, and PostgreSQL's notices (a table that is there already)
/// nothing at all unless the setting asks for them by name.
fn filter(setting: &str) -> Result<EnvFilter, DaemonError> {
    let filter = EnvFilter::try_new(format!("sqlx::postgres::notice=warn,{setting}"))?;
    Ok(filter.add_directive("tokio_cron_scheduler=warn".parse()?))
}

/// `$JOURNAL_STREAM` names the device and inode of the stream that systemd connected; a redirected stderr is another.
fn form(format: LogFormat, journal_stream: Option<&str>, stderr: Option<String>) -> Form {
    let text = Form::Text { colours: std::io::stderr().is_terminal() };
    match format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => text,
        LogFormat::Auto => match (journal_stream, stderr) {
            (Some(stream), Some(ours)) if stream == ours => Form::Journal,
            _ => text,
        },
    }
}

fn stderr_stream() -> Option<String> {
    let meta = std::fs::metadata("/proc/self/fd/2").ok()?;
    Some(format!("{}:{}", meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows_notices(setting: &str) -> bool {
        let registry = tracing_subscriber::registry().with(filter(setting).unwrap());
        tracing::subscriber::with_default(
            registry,
            || tracing::enabled!(target: "sqlx::postgres::notice", tracing::Level::INFO),
        )
    }

    #[test]
    fn notices_of_postgresql_are_shown_only_when_asked_for() {
        assert!(!shows_notices("info"));
        assert!(!shows_notices("debug"));
        assert!(shows_notices("info,sqlx::postgres::notice=info"));
    }

    #[test]
    fn the_journal_only_when_systemd_reads_our_stderr() {
        let ours = || Some("8:12".to_owned());
        assert_eq!(form(LogFormat::Auto, Some("8:12"), ours()), Form::Journal);
        assert!(matches!(form(LogFormat::Auto, Some("8:13"), ours()), Form::Text { .. }));
        assert!(matches!(form(LogFormat::Auto, None, ours()), Form::Text { .. }));
        assert_eq!(form(LogFormat::Json, Some("8:12"), ours()), Form::Json);
        assert!(matches!(form(LogFormat::Text, Some("8:12"), ours()), Form::Text { .. }));
    }
}
