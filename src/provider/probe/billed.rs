//! The billed probe: opt-in per key, because it costs its owner money (providers.md, fact 5). It says which
//! model and at most how many tokens; it runs only after the free test said valid.

use http::Method;
use serde_json::{Value, json};

use super::classify::classify_by;
use super::{Subject, unreached};
use crate::domain::verdict::rule::Sign;
use crate::domain::verdict::{Judgement, Observation, Outcome};
use crate::net::{Deadline, Http};

/// Most tokens it may produce.
pub const MAX_TOKENS: u32 = 1;

/// A completion with a choice in it.
const COMPLETION: Sign = Sign::All(&[Sign::Object("/choices/0"), Sign::Absent("/error")]);

/// The model that the key's settings name: `{"billed_probe": "model"}`.
pub(super) fn model<'a>(subject: &'a Subject<'_>) -> Option<&'a str> {
    subject.entry.chat?;
    subject.setting("billed_probe")
}

/// What a good look is worth once one completion has been tried.
pub(super) async fn completed(
    http: &Http,
    subject: &Subject<'_>,
    model: &str,
    seen: Observation,
    deadline: Deadline,
) -> Observation {
    let title = subject.entry.title;
    let Some(url) = subject.entry.chat.and_then(|path| subject.url(path)) else { return seen };
    let Ok(headers) = subject.headers_with(subject.secret) else { return seen };
    let call = http.request(Method::POST, url).headers(headers).json(&body(model));
    let answer = match http.exchange(call, deadline).await {
        Ok(answer) => answer,
        Err(fault) => return unreached(&fault),
    };
    let billed = classify_by(&COMPLETION, subject.entry, &answer, subject.secret);
    if billed.outcome() != Outcome::Valid {
        return billed;
    }
    seen.judged(
        Judgement::VALID,
        format!("{title} completed {MAX_TOKENS} token with {model}, which is billed"),
    )
}

fn body(model: &str) -> Value {
    json!({"model": model, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": "ok"}]})
}
