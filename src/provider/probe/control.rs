//! The negative control: a 200 proves something only where a wrong key gets none.
//!
//! It is asked once a day for an address, whatever the number of keys there, and again when the address changes: wrong keys
//! that come from production's own address earn lockouts (providers.md, fact 1). What it showed is remembered by the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Subject, ask, classify};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::{Judgement, Observation, Outcome};
use crate::net::{Deadline, Http};

/// What a wrong key showed is believed for so long.
const BELIEVED: Duration = Duration::from_hours(24);
/// One that showed nothing is not asked for again before this.
const RESPITE: Duration = Duration::from_hours(1);

/// What wrong keys showed lately, by the address that was asked.
#[derive(Debug, Default)]
pub struct Controls(Mutex<HashMap<String, Arc<Line>>>);

/// Those who look at keys of one address stand in line while one of them asks.
type Line = tokio::sync::Mutex<Option<Control>>;

#[derive(Debug, Clone, Copy)]
struct Control {
    shown: Shown,
    until: Deadline,
}

#[derive(Debug, Clone, Copy)]
enum Shown {
    /// A wrong key is refused there.
    Refused,
    /// A good look is worth no more than this, and why.
    Weaker(Judgement, &'static str, Option<Span>),
    /// Nothing: it was not judged.
    Unknown,
}

impl Shown {
    /// Whether it says something about the address.
    fn is_conclusive(self) -> bool {
        match self {
            Self::Refused => true,
            Self::Weaker(judgement, ..) => judgement == Judgement::UNVERIFIED,
            Self::Unknown => false,
        }
    }
}

impl Controls {
    fn line(&self, address: &str) -> Arc<Line> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(address.to_owned()).or_default())
    }
}

/// What a good look is worth once a wrong key has been tried too.
///
/// | the wrong key gets | then |
/// |---|---|
/// | the same success | `unverified` |
/// | a refusal: 4xx other than 408 and 429 | what was seen stands |
/// | nothing, 408, 429, 5xx | as inconclusive as that |
/// | anything else: a redirect, another 200 | `unexpected` |
pub(super) async fn controlled(
    http: &Http,
    controls: &Controls,
    subject: &Subject<'_>,
    seen: Observation,
    deadline: Deadline,
) -> Observation {
    let Ok((_, url, _)) = subject.request(subject.secret) else { return seen };
    let line = controls.line(url.as_str());
    let Some(mut known) = deadline.bound(line.lock()).await else {
        return seen.judged(Judgement::UNREACHABLE, "the control of its address was not over in time");
    };
    let shown = match *known {
        Some(control) if !control.until.passed() => control.shown,
        before => {
            let answer = asked(http, subject, deadline).await;
            let shown = remembered(&mut known, before, *answer.as_ref().unwrap_or(&Shown::Unknown));
            match (shown, answer) {
                (Shown::Unknown, Err(fault)) => return fault,
                (Shown::Unknown, Ok(shown)) | (shown, _) => shown,
            }
        }
    };
    match shown {
        Shown::Refused => seen,
        Shown::Unknown => seen.judged(
            Judgement::UNVERIFIED,
            format!(
                "{} has not refused a wrong key lately, so nothing is known of this one",
                subject.entry.title
            ),
        ),
        Shown::Weaker(judgement, detail, retry_after) => {
            let mut weaker = seen.judged(judgement, format!("{} {detail}", subject.entry.title));
            weaker.retry_after = retry_after;
            weaker
        }
    }
}

/// Notes what was shown, and answers what is in force. What says nothing leaves in force what was known before: the looks
/// of the next hour are not judged by the vendor's bad moment.
fn remembered(known: &mut Option<Control>, before: Option<Control>, shown: Shown) -> Shown {
    let (shown, span) = match before {
        _ if shown.is_conclusive() => (shown, BELIEVED),
        Some(before) if before.shown.is_conclusive() => (before.shown, RESPITE),
        _ => (Shown::Unknown, RESPITE),
    };
    *known = Some(Control { shown, until: Deadline::after(span) });
    shown
}

/// One request with a wrong key.
async fn asked(http: &Http, subject: &Subject<'_>, deadline: Deadline) -> Result<Shown, Observation> {
    let wrong = wrong_key(subject.secret);
    let answer = ask(http, subject, &wrong, deadline).await?;
    let control = classify(subject.entry, &answer, &wrong);
    let refused = (400..500).contains(&answer.status);
    let (judgement, detail) = match control.outcome() {
        Outcome::Valid => (Judgement::UNVERIFIED, "accepts any key, so nothing is known of this one"),
        Outcome::RateLimited => (Judgement::RATE_LIMITED, "limits the rate of requests with a wrong key"),
        Outcome::Unreachable => (Judgement::UNREACHABLE, "did not answer a request with a wrong key"),
        _ if refused => return Ok(Shown::Refused),
        _ => (Judgement::UNEXPECTED, "gave an answer to a wrong key that proves nothing"),
    };
    Ok(Shown::Weaker(judgement, detail, control.retry_after))
}

/// A key of the same form that is not the key: in its second half digits move by five and letters by
/// thirteen. A gateway that looks at the form only lets it pass, and that is what must be seen.
fn wrong_key(secret: &Secret) -> Secret {
    let text = secret.expose();
    let half = text.chars().count() / 2;
    let moved: String =
        text.chars().enumerate().map(|(at, c)| if at < half { c } else { turned(c) }).collect();
    Secret::new(if moved == text { format!("{moved}0") } else { moved })
}

/// Hexadecimal stays hexadecimal: `a` to `f` move by three among themselves.
fn turned(c: char) -> char {
    let shift = |c: char, first: u8, by: u8, of: u8| char::from((c as u8 - first + by) % of + first);
    match c {
        '0'..='9' => shift(c, b'0', 5, 10),
        'a'..='f' => shift(c, b'a', 3, 6),
        'g'..='z' => shift(c, b'g', 10, 20),
        'A'..='F' => shift(c, b'A', 3, 6),
        'G'..='Z' => shift(c, b'G', 10, 20),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wrong_key_showed_is_believed_until_another_shows_more() {
        let (nothing, any) = (
            Shown::Weaker(Judgement::RATE_LIMITED, "", None),
            Shown::Weaker(Judgement::UNVERIFIED, "", None),
        );
        let after = |before: Option<Shown>, shown| {
            let until = Deadline::after(Duration::ZERO);
            let mut known = None;
            let before = before.map(|shown| Control { shown, until });
            let believed = remembered(&mut known, before, shown);
            let for_a_day = known.is_some_and(|known| known.until.left() > RESPITE);
            (format!("{believed:?}"), for_a_day)
        };
        let said = |shown: Shown| format!("{shown:?}");
        assert_eq!(after(None, Shown::Refused), (said(Shown::Refused), true));
        assert_eq!(after(Some(Shown::Refused), nothing), (said(Shown::Refused), false), "soon again");
        assert_eq!(after(Some(Shown::Refused), any), (said(any), true), "the address changed its ways");
        assert_eq!(
            after(Some(nothing), nothing),
            (said(Shown::Unknown), false),
            "a bad moment judges no key"
        );
        assert_eq!(after(None, nothing), (said(Shown::Unknown), false));
    }

    #[test]
    fn a_wrong_key_has_the_same_form_and_is_another_one() {
        for key in ["pplx-0123456789abcdefXYZ", "sk-or-v1-00ffa9", "x", "", "-----", "äöü"] {
            let wrong = wrong_key(&Secret::new(key));
            assert_ne!(wrong.expose(), key);
            let same_form = |(a, b): (char, char)| {
                a.is_ascii_digit() == b.is_ascii_digit()
                    && a.is_ascii_hexdigit() == b.is_ascii_hexdigit()
                    && a.is_ascii_uppercase() == b.is_ascii_uppercase()
            };
            assert!(key.chars().zip(wrong.expose().chars()).all(same_form), "{key}");
        }
    }
}
