//! Where log lines go. Fields stay fields in the journal and in JSON.
//!
//! What we log is identifiers and states; secrets have no `Display` (`domain::secret`), so that a line cannot hold one by
//! mistake. Other people's crates log what they like: the mail library whole conversations with the password in
//! them, the PostgreSQL driver lines of `.pgpass`. So of them only what is listed here is heard, whatever the setting says.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{MakeExt, RecordFields};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FormatFields, Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::DaemonError;
use crate::config::settings::{Log, LogFormat};
use crate::domain::plain;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Journal,
    Json,
    Text { colours: bool },
}

/// Whose lines are heard, and down to which level. The rest has nothing to say that ours do not, or says too much:
/// PostgreSQL's notices repeat what a trigger raises, which may be a key.
const HEARD: [(&str, LevelFilter); 3] = [
    ("rekeyd", LevelFilter::TRACE),
    ("sqlx::pool", LevelFilter::WARN),
    ("tokio_cron_scheduler", LevelFilter::WARN),
];

/// Starts logging: to the journal when systemd runs us, else to stderr.
pub fn log(settings: &Log) -> Result<(), DaemonError> {
    let filter = filter(&settings.filter)?;
    let form = form(settings.format, std::env::var("JOURNAL_STREAM").ok().as_deref(), stderr_stream());
    let registry = tracing_subscriber::registry().with(filter).with(heard());
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
            Err(_) => {
                registry.with(stderr.with_ansi(false).without_time().fmt_fields(PlainFields)).try_init()
            }
        },
        Form::Json => {
            let stderr =
                stderr.json().flatten_event(true).map_writer(|writer| Plain { writer, form: plain::json });
            registry.with(stderr).try_init()
        }
        Form::Text { colours } => registry.with(stderr.with_ansi(colours).fmt_fields(PlainFields)).try_init(),
    };
    started.map_err(|error: TryInitError| DaemonError::Log(error.to_string()))
}

/// What `[log] filter` asks for.
fn filter(setting: &str) -> Result<EnvFilter, DaemonError> {
    Ok(EnvFilter::try_new(setting)?)
}

/// Nobody else's lines than those of [`HEARD`].
fn heard() -> Targets {
    Targets::new().with_default(LevelFilter::OFF).with_targets(HEARD)
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

/// The fields of a line of text, so that no name of somebody else's moves the cursor or begins a line of its own.
struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let form = debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| {
            let value = format!("{value:?}");
            match field.name() {
                "message" => write!(writer, "{}", plain::line(&value)),
                name => write!(writer, "{name}={}", plain::line(&value)),
            }
        });
        form.delimited(" ").format_fields(writer, fields)
    }
}

/// Writes each line in a form without control characters.
struct Plain<W> {
    writer: W,
    form: fn(&str) -> Cow<'_, str>,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Plain<W> {
    type Writer = Plain<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Plain { writer: self.writer.make_writer(), form: self.form }
    }
}

impl<W: Write> Write for Plain<W> {
    /// A layer writes a whole line at once.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.writer.write_all((self.form)(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_other_crates_only_what_is_listed_is_heard() {
        let registry =
            tracing_subscriber::registry().with(filter("trace,lettre=trace").unwrap()).with(heard());
        tracing::subscriber::with_default(registry, || {
            assert!(tracing::enabled!(target: "rekeyd::engine", tracing::Level::TRACE));
            assert!(tracing::enabled!(target: "sqlx::pool::acquire", tracing::Level::WARN));
            assert!(!tracing::enabled!(target: "sqlx::pool::acquire", tracing::Level::INFO));
            assert!(!tracing::enabled!(target: "sqlx::postgres::notice", tracing::Level::ERROR));
            assert!(!tracing::enabled!(target: "sqlx_postgres::options::pgpass", tracing::Level::ERROR));
            assert!(!tracing::enabled!(target: "lettre::transport::smtp", tracing::Level::ERROR));
        });
    }

    /// What a name of somebody else's does to a line of each form.
    #[test]
    fn nobody_writes_control_characters_into_the_log() {
        #[derive(Clone, Default)]
        struct Page(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Page {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let text = {
            let page = page.clone();
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .fmt_fields(PlainFields)
                .with_writer(move || page.clone())
        };
        let json = {
            let page = page.clone();
            let layer = tracing_subscriber::fmt::layer().json().with_writer(move || page.clone());
            layer.map_writer(|writer| Plain { writer, form: plain::json })
        };
        let name = "a\u{1b}]0;x\u{7}\r\nb\u{202e}c\u{9b}d";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(text).with(json), || {
            tracing::info!(name, shown = %name, debugged = ?name, "a key that is not ours");
        });
        let page = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(page.lines().count(), 2, "{page:?}");
        assert!(page.matches("u202e").count() + page.matches("u{202e}").count() == 6, "{page}");
        assert!(!page.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{page:?}");
        let json: serde_json::Value = serde_json::from_str(page.lines().nth(1).unwrap()).unwrap();
        assert_eq!(json["fields"]["shown"], name);
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
