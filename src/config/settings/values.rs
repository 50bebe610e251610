//! Typed values that more than one section needs, and how their text is read.
//!
//! Errors here say what is wrong with the value and carry the hint; where it stands, the caller adds.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::nearest::nearest;
use crate::domain::postgres_url::{NotPostgres, PostgresUrl};
use crate::domain::secret::Secret;
use crate::domain::time::Span;

/// Why a text is not a value: what is wrong with it, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadValue {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl BadValue {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

const SPAN_HINT: &str = "write one whole number and a unit: \"250ms\", \"90s\", \"15m\", \"24h\" or \"30d\"";
/// The units of a span and their milliseconds, the largest first.
const UNITS: [(&str, i64); 6] =
    [("y", YEAR), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Of 365 days.
const YEAR: i64 = 365 * 86_400_000;
/// A hundred years: longer spans are slips of the hand.
const LONGEST: Span = Span::hours(24 * 36_500);

/// Reads `"90s"`, `"15m"`, `"24h"`, `"30d"`, `"2y"`, `"250ms"`.
pub fn parse_span(text: &str) -> Result<Span, BadValue> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Some(factor), false) = (factor, number.is_empty()) else {
        return Err(BadValue::new(format!("{text:?} is not a duration"), SPAN_HINT));
    };
    number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .map(Span)
        .filter(|span| *span <= LONGEST)
        .ok_or_else(|| BadValue::new(format!("{text:?} is longer than 100 years"), SPAN_HINT))
}

/// Writes a span as the configuration would, in the largest unit that needs no fraction, up to days.
pub fn span_text(span: Span) -> String {
    let fits = UNITS.iter().skip(1).find(|(_, factor)| span.0 % factor == 0 && span.0 != 0);
    let (unit, factor) = fits.unwrap_or(&("s", 1000));
    format!("{}{unit}", span.0 / factor)
}

/// A cron expression of six fields, seconds first, that fires at least once.
#[derive(Debug, Clone, PartialEq)]
pub struct CronExpr {
    text: String,
    cron: Arc<Cron>,
}

impl CronExpr {
    /// Reads six fields; a day of the month and a day of the week are alternatives, as in every cron.
    pub fn parse(text: &str) -> Result<Self, BadValue> {
        const HINT: &str = "six fields: second minute hour day month weekday, such as \"0 30 3 * * Mon\"";
        let fields = text.split_whitespace().count();
        if fields != 6 {
            let message = format!("{text:?} has {fields} fields, a schedule has 6 (seconds first)");
            return Err(BadValue::new(message, HINT));
        }
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| BadValue::new(format!("{text:?} is not a schedule: {error}"), HINT))?;
        // The calendar of six fields repeats every 400 years, so any starting point will do.
        let start = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).single().expect("2000-01-01 exists");
        if cron.find_next_occurrence(&start, true).is_err() {
            let hint = "choose a day that the month has";
            return Err(BadValue::new(format!("{text:?} never comes"), hint));
        }
        Ok(Self { text: text.to_owned(), cron: Arc::new(cron) })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parsed expression; due times come from [`Cron::find_next_occurrence`] in the section's zone.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }
}

/// Reads an IANA zone name.
pub fn parse_zone(text: &str) -> Result<Tz, BadValue> {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    text.parse().map_err(|_| {
        let names = NAMES.get_or_init(|| chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect());
        let hint = match nearest(text, names.iter().copied()) {
            Some(name) => format!("did you mean {name:?}?"),
            None => "write an IANA name, such as \"UTC\" or \"Europe/Berlin\"".to_owned(),
        };
        BadValue::new(format!("{text:?} is not a time zone"), hint)
    })
}

/// True for `localhost`, names below it, and loopback addresses: what never leaves this machine.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

/// The base of an API: an `http` or `https` URL without user, password, query, fragment or trailing slash, so
/// that a path that begins with a slash can be put behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
}

impl BaseUrl {
    /// Reads any `http` or `https` address. What is refused is not repeated: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, BadValue> {
        const HINT: &str = "write it like \"https://host/path\"";
        let mut url = Url::parse(text).map_err(|error| BadValue::new(format!("not a URL: {error}"), HINT))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadValue::new("not an http or https URL", HINT));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadValue::new("a user or password does not belong in this URL", HINT));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadValue::new("a query or fragment does not belong in this URL", HINT));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url })
    }

    /// The same for an address that credentials are sent to: `http` only to a loopback host.
    pub fn parse_secure(text: &str) -> Result<Self, BadValue> {
        let base = Self::parse(text)?;
        let loopback = base.url.host().is_some_and(|host| is_loopback(&host));
        if base.url.scheme() != "https" && !loopback {
            return Err(BadValue::new(
                format!("{base} would take credentials unencrypted"),
                "write https://…; http:// is for loopback hosts only",
            ));
        }
        Ok(base)
    }

    /// The text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The parsed URL; the path of a bare host is `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a URL that is a secret itself (a webhook, a heartbeat): `https`, or `http` to a loopback host.
/// Repeats nothing of it.
pub fn parse_secret_url(secret: &Secret) -> Result<Url, BadValue> {
    const HINT: &str = "write https://…; http:// is for loopback hosts only";
    let url = Url::parse(secret.expose()).map_err(|_| BadValue::new("not a URL", HINT))?;
    let loopback = url.host().is_some_and(|host| is_loopback(&host));
    if url.scheme() == "https" || (url.scheme() == "http" && loopback) {
        return Ok(url);
    }
    Err(BadValue::new("not an https URL", HINT))
}

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL; it may carry a password.
    Postgres(Secret),
}

impl DatabaseAddress {
    /// Reads `sqlite:path` or `postgres://…`. Repeats nothing of it: it may hold a password.
    pub fn parse(secret: &Secret) -> Result<Self, BadValue> {
        const HINT: &str = "write \"sqlite:/var/lib/rekeyd/rekeyd.db\", \"postgres://user@host/database\" or a secret reference";
        let text = secret.expose();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') || path.ends_with('/') || path.contains('?') {
                return Err(BadValue::new("not the path of a SQLite file", HINT));
            }
            // As in any URL, `%20` is a blank.
            let path = percent_decode_str(path).decode_utf8().ok().filter(|path| !path.contains(['?', '\0']));
            let path = path.ok_or_else(|| BadValue::new("not the path of a SQLite file", HINT))?;
            return Ok(Self::Sqlite(PathBuf::from(path.as_ref())));
        }
        match PostgresUrl::parse(text) {
            Ok(_) => Ok(Self::Postgres(secret.clone())),
            Err(NotPostgres::Form) => {
                Err(BadValue::new("neither a database URL nor a secret reference", HINT))
            }
            Err(error) => Err(BadValue::new(error.to_string(), error.hint())),
        }
    }

    /// Our own store: its server must prove itself, unless the configuration says that it need not.
    pub fn must_be_proved(self, insecure_tls: bool) -> Result<Self, BadValue> {
        let proved = match &self {
            Self::Sqlite(_) => true,
            Self::Postgres(url) => PostgresUrl::parse(url.expose()).is_ok_and(|url| url.is_proved()),
        };
        if proved || insecure_tls {
            return Ok(self);
        }
        Err(BadValue::new(
            "sslmode of this URL lets anybody between us and the database read and change what is in it",
            "leave sslmode out, or write sslmode=verify-full; `insecure_tls = true` allows it all the same",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_one_number_and_a_unit() {
        for (text, span) in [
            ("90s", Span::seconds(90)),
            ("15m", Span::minutes(15)),
            ("24h", Span::hours(24)),
            ("30d", Span::hours(720)),
            ("250ms", Span(250)),
            ("0s", Span::ZERO),
            ("36500d", LONGEST),
            ("2y", Span::hours(2 * 365 * 24)),
        ] {
            assert_eq!(parse_span(text), Ok(span));
            assert_eq!(parse_span(&span_text(span)), Ok(span));
        }
        for text in [
            "", "90", "s", "1.5h", "-1s", "+1s", " 1s", "1s ", "1 s", "1h30m", "1S", "1w", "1us", "٣s",
            "36501d",
        ] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn spans_are_written_in_their_largest_whole_unit() {
        for (span, text) in [
            (Span::hours(48), "2d"),
            (Span::hours(25), "25h"),
            (Span::seconds(90), "90s"),
            (Span(1500), "1500ms"),
            (Span::ZERO, "0s"),
        ] {
            assert_eq!(span_text(span), text);
        }
    }

    #[test]
    fn schedules_have_six_fields_and_come() {
        let next = |text: &str| {
            let start = Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
            let expr = CronExpr::parse(text).unwrap();
            assert_eq!(expr.as_str(), text);
            expr.cron().find_next_occurrence(&start, false).unwrap().to_rfc3339()
        };
        assert_eq!(next("0 */15 * * * *"), "2026-11-21T12:15:00+00:00");
        assert_eq!(next("30 0 8 * * Mon"), "2026-11-23T08:00:30+00:00");
        assert_eq!(next("0 0 0 29 2 *"), "2028-02-29T00:00:00+00:00");
        // A day of the month and a day of the week are alternatives.
        assert_eq!(next("0 0 0 1 * Sun"), "2026-11-22T00:00:00+00:00");
        for text in [
            "",
            "* * * * *",
            "0 0 0 1 1 * 2030",
            "@daily",
            "0 0 0 30 2 *",
            "0 0 0 31 4,6,9,11 *",
            "60 * * * * *",
        ] {
            assert!(CronExpr::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bases_take_a_path_behind_them() {
        for (text, base) in [
            ("https://api.github.com", "https://api.github.com"),
            ("https://api.github.com/", "https://api.github.com"),
            ("https://ghe.example.com/api/v3//", "https://ghe.example.com/api/v3"),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x"),
            ("http://[::1]:1", "http://[::1]:1"),
            ("http://LOCALHOST:1", "http://localhost:1"),
            ("http://sim.localhost:1", "http://sim.localhost:1"),
        ] {
            assert_eq!(BaseUrl::parse_secure(text).unwrap().as_str(), base);
        }
        for text in [
            "http://example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
        ] {
            assert!(BaseUrl::parse_secure(text).is_err(), "{text}");
            assert!(BaseUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn fuzz_urls_times_and_schedules() {
        let seeds: [&[u8]; 6] = [
            b"https://user:false@host.example.com:443/a/b?c=d#e",
            b"postgres://user:false@[::1]:5432/app?sslmode=require",
            b"sqlite:/var/lib/x.db",
            b"0 */15 1-5 * 2 Mon-Fri",
            b"36500d",
            b"Europe/Berlin",
        ];
        crate::net::testing::fuzz(&seeds, |text| {
            let text = String::from_utf8_lossy(text);
            let secret = Secret::new(&*text);
            drop((BaseUrl::parse_secure(&text), parse_secret_url(&secret), DatabaseAddress::parse(&secret)));
            drop((parse_span(&text), parse_zone(&text), CronExpr::parse(&text)));
            drop(PostgresUrl::parse(&text).map(|url| (url.shown(), url.is_proved())));
        });
    }

    #[test]
    fn secret_urls_are_not_repeated() {
        let parse = |text: &str| parse_secret_url(&Secret::new(text));
        assert!(parse("https://hooks.example.com/a?token=b").is_ok());
        assert!(parse("http://127.0.0.1:9/a").is_ok());
        for text in ["hunter2", "http://hunter2.example", "ftp://hunter2.example"] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
