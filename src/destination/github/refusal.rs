//! What GitHub's answers prove, and what to tell people about them.
//!
//! Only GitHub's own form, `{"message": "…", "documentation_url": "…"}`, proves that nothing was done; a page
//! of a proxy with the same status does not. Sources: GitHub REST documentation, "Troubleshooting", "Rate
//! limits", "Best practices" (secondary limits: a 403 or 429 with `retry-after`, or wait at least a minute).

use http::HeaderName;
use serde::Deserialize;

use super::secret_address::Permission;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::net::{Answer, sentence};

/// GitHub's advice when a secondary limit names no time.
const SECONDARY_LIMIT_WAIT: Span = Span::minutes(1);

/// What the reader needs to hear about one kind of call: the next move on each refusal.
#[derive(Debug, Clone)]
pub(super) struct Advice {
    /// On a 401.
    pub(super) unauthorized: String,
    /// On a 403.
    pub(super) forbidden: String,
    /// On a 404.
    pub(super) not_found: String,
}

impl Advice {
    /// For calls that take this permission.
    pub(super) fn of(permission: Permission, not_found: String) -> Self {
        let Permission { fine, classic, .. } = permission;
        let unauthorized = format!(
            "the token is wrong, expired or revoked: make a new one with the {fine}, and put it where `token` points"
        );
        let forbidden = format!("fine-grained token or App: {fine}; classic token: scope `{classic}`");
        Self { unauthorized, forbidden, not_found }
    }

    /// For the login of an App.
    pub(super) fn of_login(app: u64, installation: u64) -> Self {
        Self {
            unauthorized: format!(
                "check that `private_key` belongs to the App {app}, and that this machine's clock is right"
            ),
            forbidden:
                "the App is suspended there: Settings, Applications, Installed GitHub Apps, Configure, \
                        Unsuspend"
                    .to_owned(),
            not_found: format!(
                "check the App's id {app} and its installation's id {installation}, and that it is installed there"
            ),
        }
    }
}

/// GitHub's own error form. Other fields are not needed.
#[derive(Deserialize)]
struct Said {
    message: String,
}

/// The failure that an answer other than 2xx is.
pub(super) fn read(answer: &Answer, advice: &Advice, secrets: &[&Secret]) -> Failure {
    let Ok(Said { message }) = answer.json::<Said>() else { return answer.unclear() };
    let said = sentence(&format!("GitHub answered {}: {message}", answer.status), secrets);
    let (kind, hint) = match answer.status {
        401 => (FailureKind::Unauthorized, Some(advice.unauthorized.clone())),
        403 | 429 if limited(answer, &message) => return rate_limited(answer, said),
        429 => return rate_limited(answer, said),
        403 => (FailureKind::Forbidden, Some(forbidden_hint(answer, &message, advice))),
        404 => (FailureKind::NotFound, Some(advice.not_found.clone())),
        301 | 302 | 307 | 308 => (FailureKind::Refused, Some(moved_hint())),
        408 | 409 => (FailureKind::Unclear, None),
        400..500 => (FailureKind::Refused, None),
        _ => (FailureKind::Unclear, None),
    };
    Failure { hint, ..answer.failure(kind, said) }
}

/// Signs of a rate limit in a 403: the headers, or the words of the secondary limit.
fn limited(answer: &Answer, message: &str) -> bool {
    let message = message.to_lowercase();
    answer.retry_after.is_some()
        || number(answer, "x-ratelimit-remaining") == Some(0)
        || message.contains("rate limit")
        || message.contains("abuse detection")
}

/// How long to wait: `Retry-After`, or until the reset on GitHub's own clock, or GitHub's advice.
fn rate_limited(answer: &Answer, said: String) -> Failure {
    let used_up = number(answer, "x-ratelimit-remaining") == Some(0);
    let reset = number(answer, "x-ratelimit-reset").filter(|_| used_up);
    let until_reset =
        reset.zip(answer.date).map(|(reset, date)| Span(reset.saturating_mul(1000).saturating_sub(date.0)));
    let wait = answer.retry_after.or(until_reset).unwrap_or(SECONDARY_LIMIT_WAIT);
    let wait = wait.clamp(Span::seconds(1), Span::hours(25));
    Failure { retry_after: Some(wait), ..answer.failure(FailureKind::RateLimited, said) }
}

fn forbidden_hint(answer: &Answer, message: &str, advice: &Advice) -> String {
    if answer.headers.contains_key("x-github-sso") {
        return "the organization asks for single sign-on: authorize the token for it in its settings"
            .to_owned();
    }
    if message.contains("archived") {
        return "an archived repository takes no writes: unarchive it, or take it out of the configuration"
            .to_owned();
    }
    let accepted = answer.header(&HeaderName::from_static("x-accepted-github-permissions"));
    let accepted = accepted.filter(|text| text.len() <= 80).map(|text| format!(" (GitHub asks for {text})"));
    format!("{}{}", advice.forbidden, accepted.unwrap_or_default())
}

fn moved_hint() -> String {
    "the repository or organization was renamed or moved: put its new name into the configuration".to_owned()
}

fn number(answer: &Answer, name: &'static str) -> Option<i64> {
    answer.header(&HeaderName::from_static(name))?.trim().parse().ok()
}
