//! An answer that came back whole, and what its headers say about time.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};
use http::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::fault::{Fault, FaultKind};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::plain;
use crate::domain::secret::{Secret, redact};
use crate::domain::time::{Span, Timestamp};

/// No vendor's answer is larger than this; what is, is not read.
pub const BODY_CAP: usize = 1024 * 1024;
/// Longest text of a vendor that is shown to people, in characters.
const SENTENCE_CAP: usize = 300;
/// So much of a vendor's text is looked at; what a key cut in two at its end leaves is cut off again.
const READ_CAP: usize = 8192;
/// Nobody waits longer than this because a header said so (rotation.md, R18).
const RETRY_AFTER_CAP: Span = Span::hours(25);

/// Status and headers, read before the body.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) date: Option<Timestamp>,
    headers: HeaderMap,
}

impl Head {
    pub(super) fn of(response: &reqwest::Response) -> Self {
        Self::new(response.status().as_u16(), response.headers().clone())
    }

    pub(super) fn new(status: u16, headers: HeaderMap) -> Self {
        let date = text_of(&headers, &DATE).and_then(parse_date);
        Self { status, date, headers }
    }

    /// The fault that ended the call after it.
    pub(super) fn before(&self, fault: Fault) -> Fault {
        Fault { status: Some(self.status), date: self.date, ..fault }
    }
}

/// A whole answer. `Debug` shows neither headers nor body: a body may hold a fresh key.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The vendor's clock: the `Date` header (RFC 7231), whole seconds.
    pub date: Option<Timestamp>,
    /// How long the vendor asks us to wait, at most a day; a date counts from the answer's own `Date`.
    pub retry_after: Option<Span>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, at most [`BODY_CAP`] bytes, wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
    /// Host and port that answered.
    pub host: String,
    /// Time from the first step of the call to the last byte of the body.
    pub elapsed: Duration,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Answer");
        shown.field("host", &self.host).field("status", &self.status).field("bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn new(head: Head, host: String, body: Zeroizing<Vec<u8>>, elapsed: Duration) -> Self {
        let Head { status, date, headers } = head;
        let retry_after = text_of(&headers, &RETRY_AFTER).and_then(|text| parse_retry_after(text, date));
        Self { status, date, retry_after, headers, body, host, elapsed }
    }

    /// True for 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as text; `None` when it is absent or not printable ASCII.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        text_of(&self.headers, name)
    }

    /// The body as JSON of any shape; `None` when it is something else.
    pub fn value(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as `T`, or the `Unclear` failure of an answer that cannot be read. The parser's own text is
    /// left out: it quotes the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| self.unclear())
    }

    /// A failure with this answer's status, date and `Retry-After`. The message must be redacted already.
    pub fn failure(&self, kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            status: Some(self.status),
            retry_after: self.retry_after,
            date: self.date,
            ..Failure::new(kind, message)
        }
    }

    /// The failure of an answer that proves nothing: says host, status and form, never the body.
    pub fn unclear(&self) -> Failure {
        let text = format!("{}: unexpected answer, status {} with {}", self.host, self.status, self.form());
        self.failure(FailureKind::Unclear, text)
    }

    /// The body's media type in words.
    fn form(&self) -> String {
        let is_type = |text: &&str| {
            text.len() <= 40 && text.chars().all(|c| c.is_ascii_lowercase() || "/+-.".contains(c))
        };
        let media_type = text_of(&self.headers, &CONTENT_TYPE).and_then(|text| text.split(';').next());
        match media_type.map(str::trim).filter(is_type) {
            _ if self.body.is_empty() => "an empty body".to_owned(),
            Some(media_type) => format!("a body of type {media_type}"),
            None => "a body of unknown type".to_owned(),
        }
    }
}

/// A vendor's own words for people: keys redacted, control characters gone, at most 300 characters, all of them plain.
pub fn sentence(text: &str, secrets: &[&Secret]) -> String {
    let start: String = text.chars().take(READ_CAP).collect();
    let clean: String =
        redact(&start, secrets).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = plain::line(clean.trim());
    if clean.chars().count() <= SENTENCE_CAP {
        return clean.into_owned();
    }
    clean.chars().take(SENTENCE_CAP - 1).chain(['…']).collect()
}

/// Reads the body up to the cap.
pub(super) async fn read_body(response: &mut reqwest::Response) -> Result<Zeroizing<Vec<u8>>, FaultKind> {
    let announced = response.content_length().unwrap_or(0);
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > BODY_CAP {
        return Err(FaultKind::TooLarge);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(chunk) = response.chunk().await.map_err(body_fault)? {
        if body.len() + chunk.len() > BODY_CAP {
            return Err(FaultKind::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A body that fails after its head came was cut off, whatever the layer calls it.
fn body_fault(error: reqwest::Error) -> FaultKind {
    match FaultKind::of(error) {
        FaultKind::Other => FaultKind::Reset,
        kind => kind,
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An HTTP date in any of the three forms of RFC 7231, section 7.1.1.1.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc2822(text) {
        return Some(Timestamp(at.timestamp_millis()));
    }
    let naive = OBSOLETE.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(Timestamp(naive.and_utc().timestamp_millis()))
}

/// Seconds, whole or not, or a date relative to the answer's own `Date`. Never negative, at most an hour.
pub(super) fn parse_retry_after(text: &str, date: Option<Timestamp>) -> Option<Span> {
    let span = match text.trim().parse::<f64>() {
        Ok(seconds) if seconds.is_nan() => return None,
        Ok(seconds) => seconds_up(seconds),
        Err(_) => parse_date(text)?.since(date?),
    };
    Some(span.clamp(Span::ZERO, RETRY_AFTER_CAP))
}

/// Rounded up to the millisecond: waiting a little longer is polite, a little shorter is not.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and the caller clamps")]
fn seconds_up(seconds: f64) -> Span {
    Span((seconds * 1000.0).ceil() as i64)
}
