//! Calls to Vercel, and what its answers that are not 2xx prove.
//!
//! Vercel's own form is `{"error": {"code": "…", "message": "…"}}`; only that proves that nothing was done. A
//! token that is not accepted is a 403, mostly with `invalidToken`, not a 401. Sources: Vercel REST documentation,
//! "Errors", "Rate limits" (`limit.reset`: seconds since 1970), and wire-facts.md.

use http::Method;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::net::{Answer, Deadline, Http, secret_header, sentence};

/// When a rate limit names no time.
const UNSAID_WAIT: Span = Span::minutes(1);

/// The client of one destination.
pub(super) struct Api {
    base: Url,
    team: Option<String>,
    token: Secret,
    http: Http,
}

#[derive(Deserialize)]
struct Refusal {
    error: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    invalid_token: bool,
    limit: Option<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    reset: Option<i64>,
}

impl Api {
    pub(super) fn new(
        api_url: &str,
        team: Option<String>,
        token: Secret,
        http: &Http,
    ) -> Result<Self, Failure> {
        let base = Url::parse(api_url).ok();
        let usable =
            |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
        let unusable = || Failure::new(FailureKind::NotSent, "`api_url` is not an http:// or https:// URL");
        let base = base.filter(usable).ok_or_else(unusable)?;
        Ok(Self { base, team, token, http: http.clone() })
    }

    pub(super) fn host(&self) -> String {
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.base.host_str().unwrap_or_default())
    }

    /// The URL of a call: path segments, then query; the team is added to every one.
    pub(super) fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let team = self
            .team
            .as_deref()
            .map(|team| (if team.starts_with("team_") { "teamId" } else { "slug" }, team));
        if team.is_some() || !query.is_empty() {
            url.query_pairs_mut().extend_pairs(team).extend_pairs(query);
        }
        url
    }

    pub(super) async fn get(&self, url: Url, deadline: Deadline) -> Result<Answer, Failure> {
        self.call(Method::GET, url, None, &[], deadline).await
    }

    /// One call; anything but a 2xx is a failure. `secrets` are masked in what Vercel says.
    pub(super) async fn call(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        secrets: &[&Secret],
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let mut request = self.http.request(method, url);
        request = request.header(AUTHORIZATION, secret_header("Bearer ", &self.token)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.http.send(request, deadline).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        let known: Vec<&Secret> = secrets.iter().copied().chain([&self.token]).collect();
        Err(self.refusal(&answer, &known))
    }

    pub(super) fn refusal(&self, answer: &Answer, secrets: &[&Secret]) -> Failure {
        let Ok(Refusal { error }) = answer.json::<Refusal>() else { return answer.unclear() };
        let text = format!("Vercel answered {} ({}): {}", answer.status, error.code, error.message);
        let said = sentence(&text, secrets);
        // The cap on deployments a day comes with a limit too, and not always as a 429.
        let has_limit = error.limit.as_ref().is_some_and(|limit| limit.reset.is_some());
        if answer.status == 429 || error.code == "rate_limited" || has_limit {
            return rate_limited(answer, &error, said);
        }
        let (kind, hint) = match answer.status {
            401 => (FailureKind::Unauthorized, Some(TOKEN_HINT)),
            403 if error.invalid_token => (FailureKind::Unauthorized, Some(TOKEN_HINT)),
            403 => (FailureKind::Forbidden, Some(self.forbidden_hint())),
            404 => (FailureKind::NotFound, Some(self.missing_hint())),
            408 | 409 => (FailureKind::Unclear, None),
            400..500 => (FailureKind::Refused, in_the_way(&error.code)),
            _ => (FailureKind::Unclear, None),
        };
        Failure { hint: hint.map(str::to_owned), ..answer.failure(kind, said) }
    }

    fn forbidden_hint(&self) -> &'static str {
        if self.team.is_some() {
            "the token may be revoked; else its scope must include this team, and its owner must be Owner or Member \
             there, or Project Administrator of this project"
        } else {
            "the token may be revoked; else, when the project belongs to a team, name it in `team`, and the \
             token's scope must include it"
        }
    }

    fn missing_hint(&self) -> &'static str {
        if self.team.is_some() {
            "check `project` and `team`"
        } else {
            "check `project`; when it belongs to a team, name that in `team`"
        }
    }
}

const TOKEN_HINT: &str = "the token is wrong, expired or revoked: make a new one (Account Settings, Tokens) whose scope \
                          has the project, and put it where `token` points";

/// The next move when somebody else's entry keeps ours from being made.
pub(super) fn in_the_way(code: &str) -> Option<&'static str> {
    let conflict = matches!(code, "ENV_CONFLICT" | "ENV_ALREADY_EXISTS");
    conflict.then_some(
        "another entry of this name has the target, perhaps for a branch or from an integration: look at the project's \
         Settings, Environment Variables, and rename or delete that one",
    )
}

/// `Retry-After`, or until the reset on Vercel's own clock (in seconds; some limits give milliseconds).
fn rate_limited(answer: &Answer, error: &Said, said: String) -> Failure {
    let reset = error.limit.as_ref().and_then(|limit| limit.reset);
    let reset = reset.map(|at| if at > 100_000_000_000 { at } else { at.saturating_mul(1000) });
    let until = reset.zip(answer.date).map(|(at, date)| Span(at.saturating_sub(date.0)));
    let wait = answer.retry_after.or(until).unwrap_or(UNSAID_WAIT);
    let wait = wait.clamp(Span::seconds(1), Span::hours(25));
    Failure { retry_after: Some(wait), ..answer.failure(FailureKind::RateLimited, said) }
}

/// The code of a refusal that was made into `failure`, e.g. `ENV_CONFLICT`.
pub(super) fn has_code(failure: &Failure, code: &str) -> bool {
    failure.message.contains(&format!(" ({code}): "))
}
