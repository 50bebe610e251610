//! Reads one answer by its provider's row. Pure.

use serde_json::Value;

use super::millis;
use crate::domain::secret::{Secret, redact};
use crate::domain::time::Timestamp;
use crate::domain::verdict::rule::{Seen, Sign, judge};
use crate::domain::verdict::{Judgement, Observation, Outcome};
use crate::net::{Answer, sentence};
use crate::provider::catalog::CatalogRow;

/// Where providers put the code of a failure, the most telling first.
const CODES: [&str; 10] = [
    "/error/details/0/reason",
    "/error/code",
    "/detail/status",
    "/detail/code",
    "/error/metadata/limit_source",
    "/error/type",
    "/error/status",
    "/code",
    "/type",
    "/error",
];

/// Where providers put the text of a failure.
const TEXTS: [&str; 8] = [
    "/error/message",
    "/detail/message",
    "/message",
    "/detail",
    "/error",
    "/title",
    "/errors/0/message",
    "/errors/0",
];

/// What the answer to a provider's test shows of the key it was asked with. Every text is redacted and
/// bounded.
pub fn classify(entry: &CatalogRow, answer: &Answer, key: &Secret) -> Observation {
    classify_by(&entry.proof, entry, answer, key)
}

/// The same for a call with another proof than the test's.
pub(super) fn classify_by(proof: &Sign, entry: &CatalogRow, answer: &Answer, key: &Secret) -> Observation {
    let seen = Seen::read(answer.status, &answer.body);
    let judgement = judge(entry.rules, proof, &seen);
    let body = seen.body.as_ref();
    let mut observation = Observation::new(judgement, detail(entry, judgement, answer.status, body, key));
    observation.status = Some(answer.status);
    observation.provider_code = body.filter(|_| answer.status != 200).and_then(|body| code(body, key));
    observation.latency_ms = millis(answer.elapsed);
    observation.retry_after = answer.retry_after;
    observation.date = answer.date;
    observation.expires_at = body.and_then(|body| expiry(entry, body));
    observation
}

fn expiry(entry: &CatalogRow, body: &Value) -> Option<Timestamp> {
    body.pointer(entry.expires?).and_then(Value::as_str).and_then(Timestamp::parse_rfc3339)
}

/// The first text that is a plain word and not (a part of) the key.
fn code(body: &Value, key: &Secret) -> Option<String> {
    let plain = |text: &&str| {
        let is_word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        !text.is_empty() && text.len() <= 64 && is_word && redact(text, &[key]) == **text
    };
    CODES.iter().filter_map(|at| body.pointer(at)?.as_str()).find(plain).map(str::to_owned)
}

fn detail(
    entry: &CatalogRow,
    judgement: Judgement,
    status: u16,
    body: Option<&Value>,
    key: &Secret,
) -> String {
    let title = entry.title;
    let words = body.and_then(|body| TEXTS.iter().find_map(|at| body.pointer(at)?.as_str()));
    match (judgement.outcome(), words) {
        (Outcome::Valid, _) => format!("{title} accepts the key"),
        (outcome, _) if status == 200 => plain_detail(title, outcome, body.is_some()),
        (_, Some(words)) => sentence(&format!("{title} answered {status}: {words}"), &[key]),
        (_, None) if body.is_some() => format!("{title} answered {status}"),
        (_, None) => format!("{title} answered {status} with a body that is not JSON"),
    }
}

/// For a 200 that is no proof.
fn plain_detail(title: &str, outcome: Outcome, is_json: bool) -> String {
    match outcome {
        Outcome::Restricted => format!("{title} knows the key, and it may not be used for this"),
        Outcome::QuotaExhausted => format!("{title} knows the key, and it has nothing left to spend"),
        Outcome::Invalid => format!("{title} says that the key is not valid"),
        _ if is_json => format!("{title} answered 200 without the proof that the key was looked at"),
        _ => format!("{title} answered 200 with a body that is not JSON"),
    }
}
