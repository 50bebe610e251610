//! How a state, a moment or a sentence looks: the same on every page.

use std::fmt;

use askama::filters::{Html as Escaping, HtmlSafe, escape};

use crate::domain::time::{Span, Timestamp};

/// Text with markup: whatever came from elsewhere in it is escaped.
pub(super) struct Html(String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

impl Html {
    /// What already is markup of ours.
    pub(super) fn of(markup: String) -> Self {
        Self(markup)
    }
}

/// For text between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let Ok(safe) = escape(text, Escaping);
    safe.to_string()
}

/// How good a state is: the class of its colour, and the glyph that says the same without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Warn,
    Bad,
    Off,
}

impl Tone {
    /// Of a state by its word: of rotations, runs, effects, keys, destinations and alerts.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "idle" | "done" | "valid" | "confirmed" | "effective" | "current" | "enabled" | "sent"
            | "added" | "new" => Self::Good,
            "critical" | "invalid" | "frozen" | "parked" | "failed" | "unknown" | "refused" => Self::Bad,
            "warning" | "paused" | "restricted" | "quota_exhausted" | "drift" | "unreachable"
            | "unexpected" | "rate_limited" => Self::Warn,
            "untested" | "unverified" | "placeholder" | "info" | "disabled" | "deleted" | "superseded"
            | "aborted" | "rolled_back" | "over" | "pending" | "dead" | "loose" | "inactive" | "known" => {
                Self::Off
            }
            _ => Self::Busy,
        }
    }

    /// The class of its colour.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Off => "off",
        }
    }

    fn glyph(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Busy => "◐",
            Self::Warn => "▲",
            Self::Bad => "✖",
            Self::Off => "○",
        }
    }
}

/// A state: glyph, word and colour.
pub(super) fn state(word: &str) -> Html {
    let tone = Tone::of(word);
    Html(format!(
        "<span class=\"state {}\"><b aria-hidden=\"true\">{}</b>{}</span>",
        tone.class(),
        tone.glyph(),
        escaped(&word.replace('_', " "))
    ))
}

/// The class of a state's colour alone.
pub(super) fn tone(word: &str) -> &'static str {
    Tone::of(word).class()
}

/// A moment, RFC 3339 UTC: in UTC until the script shows it in the reader's zone; UTC stays in its title.
pub(super) fn time(at: &str) -> Html {
    let Some(moment) = Timestamp::parse_rfc3339(at) else { return Html(escaped(at)) };
    let utc = moment.rfc3339();
    let (date, clock) = utc.split_once('T').unwrap_or((&utc, ""));
    let minute = clock.get(..5).unwrap_or_default();
    Html(format!("<time datetime=\"{utc}\" title=\"{utc}\">{date} {minute} UTC</time>"))
}

/// How long ago, or in how long: `3 min ago`.
pub(super) fn age(at: &str, now: Timestamp) -> String {
    let Some(moment) = Timestamp::parse_rfc3339(at) else { return String::new() };
    let span = now.since(moment);
    if span.0 >= 0 { format!("{} ago", rough(span)) } else { format!("in {}", rough(Span(-span.0))) }
}

fn rough(span: Span) -> String {
    let seconds = span.0 / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A sentence in which commands stand in backticks.
pub(super) fn prose(text: &str) -> Html {
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    Html(parts.collect())
}

/// `key_invalid` as people read it.
pub(super) fn words(word: &str) -> String {
    word.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_text() {
        let evil = "<script>alert(\"1\")</script>'&`<b>`";
        for shown in [state(evil), time(evil), prose(evil)] {
            let shown = shown.to_string();
            assert!(!shown.contains("<script") && !shown.contains("<b>"), "{shown}");
        }
        assert!(!escaped("\" onload='x'").contains(['"', '\'']));
    }

    #[test]
    fn a_state_is_glyph_and_word_and_colour() {
        assert_eq!(
            state("rolled_back").to_string(),
            "<span class=\"state off\"><b aria-hidden=\"true\">○</b>rolled back</span>"
        );
        assert_eq!(Tone::of("never heard of"), Tone::Busy);
    }

    #[test]
    fn a_moment_has_utc_in_its_title() {
        assert_eq!(
            time("2026-12-01T03:04:05Z").to_string(),
            format!(
                "<time datetime=\"{0}\" title=\"{0}\">2026-12-01 03:04 UTC</time>",
                Timestamp::parse_rfc3339("2026-12-01T03:04:05Z").unwrap().rfc3339()
            )
        );
    }

    #[test]
    fn ages_are_rough() {
        let now = Timestamp::parse_rfc3339("2026-12-01T03:00:00Z").unwrap();
        for (at, said) in [
            ("2026-12-01T02:59:55Z", "5 s ago"),
            ("2026-12-01T02:00:01Z", "59 min ago"),
            ("2026-11-30T03:00:00Z", "24 h ago"),
            ("2026-11-01T03:00:00Z", "30 days ago"),
            ("2026-12-01T05:00:00Z", "in 2 h"),
            ("nonsense", ""),
        ] {
            assert_eq!(age(at, now), said);
        }
    }
}
