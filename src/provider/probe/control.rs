//! The negative control: a 200 proves something only where a wrong key gets none.

use super::{Subject, ask, classify};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Judgement, Observation, Outcome};
use crate::net::{Deadline, Http};

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
    subject: &Subject<'_>,
    seen: Observation,
    deadline: Deadline,
) -> Observation {
    let wrong = wrong_key(subject.secret);
    let answer = match ask(http, subject, &wrong, deadline).await {
        Ok(answer) => answer,
        Err(fault) => return fault,
    };
    let control = classify(subject.entry, &answer, &wrong);
    let title = subject.entry.title;
    let refused = (400..500).contains(&answer.status);
    let (judgement, detail) = match control.outcome() {
        Outcome::Valid => (Judgement::UNVERIFIED, "accepts any key, so nothing is known of this one"),
        Outcome::RateLimited => (Judgement::RATE_LIMITED, "limits the rate of requests with a wrong key"),
        Outcome::Unreachable => (Judgement::UNREACHABLE, "did not answer a request with a wrong key"),
        _ if refused => return seen,
        _ => (Judgement::UNEXPECTED, "gave an answer to a wrong key that proves nothing"),
    };
    let mut weaker = seen.judged(judgement, format!("{title} {detail}"));
    weaker.retry_after = control.retry_after;
    weaker
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
