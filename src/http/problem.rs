//! What went wrong, as RFC 9457 says: `application/problem+json`.
//!
//! A resource answers with a [`Problem`]; [`finish`] writes it out once the request's id is known, and makes a problem of
//! every other failure as well: what the router and the extractors say by a bare status.

use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::limit::Allowance;
use crate::domain::secret::redact;
use crate::engine::EngineError;
use crate::store::StoreError;

/// Where the page of the documentation is that explains the codes.
const PAGE: &str = "/api/docs#";
/// Seconds after which a database that is away may be asked for again.
const AWAY_RETRY_SECONDS: u32 = 5;
/// The same where too many wait.
const CROWDED_RETRY_SECONDS: u32 = 3;

/// Every code, and what it means: the anchors of the page that explains them.
pub(super) const CODES: &[(&str, &str)] = &[
    (
        "bad_parameter",
        "400: the query has a parameter that this path does not understand, or a value that it does not take.",
    ),
    ("bad_request", "400: the request cannot be read, or asks for what cannot be."),
    (
        "masked_value",
        "400: where a key belongs stands the mask of one, as lists show it: send the key itself.",
    ),
    ("key_refused", "400: the provider does not accept this key; nothing was stored."),
    ("unauthenticated", "401: send a token or log in; what was sent is unknown, over or revoked."),
    ("forbidden", "403: who asks may not, by their role, or because another site may have sent the request."),
    ("not_found", "404: nothing has that name here."),
    ("no_usable_key", "404: there is no key that may be handed out; the detail says where was looked."),
    ("method_not_allowed", "405: the header Allow says which methods the path has."),
    ("too_slow", "408: the request did not come whole in time."),
    ("refused_by_rule", "409: a safety rule says no; the detail says which, and what would help."),
    ("frozen", "409: nothing may be changed on this account until a person looked."),
    ("conflict", "409: it contradicts what is there already."),
    ("last_admin", "409: nobody would be left who may everything."),
    (
        "busy",
        "409 or 503: another works on this account, or too many requests are being answered: try again.",
    ),
    ("too_large", "413: the body is larger than this path takes."),
    ("media_type", "415: send Content-Type: application/json."),
    ("malformed", "422: the body is not what this path takes."),
    ("too_many_requests", "429: asked for too often; Retry-After says when to ask again."),
    ("refused", "4xx: the request was refused."),
    ("internal", "500: something went wrong here; the log names it by the request_id."),
    ("provider_failed", "502: a provider or destination answered with a failure."),
    ("database_away", "503: the database cannot be used now; Retry-After says when to try again."),
    ("slow", "503: it took too long; what was begun goes on."),
    ("unavailable", "503: this cannot be answered now."),
];

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProblemBody<'p> {
    /// A page that explains the code.
    r#type: String,
    title: &'p str,
    status: u16,
    /// A word for programs.
    code: &'p str,
    /// A sentence that says what to do next.
    detail: &'p str,
    /// The log names the request by it.
    request_id: &'p str,
}

impl Problem {
    /// A problem of this kind; `detail` is a sentence that says what to do next.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), headers: Vec::new() }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 401: nobody knows who calls.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer realm=\"rekeyd\"");
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).with(WWW_AUTHENTICATE, challenge)
    }

    /// 403: the caller is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 400: a parameter of the query is not understood.
    pub fn bad_parameter(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", redact(detail, &[]))
    }

    /// 422: the body is not what the path takes.
    pub fn malformed(detail: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", redact(detail, &[]))
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with(RETRY_AFTER, retry_seconds.into())
    }

    /// 429: asked for too often.
    pub fn limited(allowance: Allowance, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail);
        let problem = problem.with(RETRY_AFTER, allowance.seconds().into());
        rate_limit(&allowance).into_iter().fold(problem, |problem, (name, value)| problem.with(name, value))
    }

    /// Whether a role or a safety rule said no.
    pub(super) fn is_refusal(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
            || matches!(self.code, "refused_by_rule" | "frozen" | "last_admin")
    }

    /// In words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The last that can be said of a failure that only has a status.
    fn of(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing here; /api/docs lists every path"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this path has other methods: see the header Allow")
            }
            StatusCode::REQUEST_TIMEOUT => ("too_slow", "the request did not come whole in time"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is larger than this path takes"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("media_type", "send the header Content-Type: application/json")
            }
            StatusCode::BAD_REQUEST => ("bad_request", "the request cannot be read"),
            StatusCode::UNPROCESSABLE_ENTITY => ("malformed", "the body is not what this path takes"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "this cannot be answered now; try again"),
            _ if status.is_client_error() => ("refused", "the request was refused"),
            _ => ("internal", "something went wrong here; the log names it by the request_id"),
        };
        Self::new(status, code, detail)
    }

    fn render(&self, request_id: &str, base: &str) -> Response {
        let body = ProblemBody {
            r#type: format!("{base}{PAGE}{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
        };
        let json = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (self.status, json).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers.iter().cloned());
        response
    }
}

impl From<StatusCode> for Problem {
    fn from(status: StatusCode) -> Self {
        Self::of(status)
    }
}

/// The headers by which a client learns what is left of a limit, as the IETF's draft of `RateLimit` writes them.
pub fn rate_limit(allowance: &Allowance) -> [(HeaderName, HeaderValue); 2] {
    let Allowance { limit, left, .. } = allowance;
    let policy = format!("{:?};q={};w={}", limit.name, limit.most, limit.window.0 / 1000);
    let now = format!("{:?};r={left};t={}", limit.name, allowance.seconds());
    let value = |text: String| HeaderValue::try_from(text).expect("names of limits are plain");
    [
        (HeaderName::from_static("ratelimit-policy"), value(policy)),
        (HeaderName::from_static("ratelimit"), value(now)),
    ]
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes a problem out. `base` is the public URL without a slash at its end.
pub(super) fn finish(mut response: Response, request_id: &str, base: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return carrying(problem.render(request_id, base), &response);
    }
    let status = response.status();
    let media = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    // A page has said it in its own way.
    let is_said = media.is_some_and(|it| it.ends_with(b"json") || it.starts_with(b"text/html"));
    if is_said || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    carrying(Problem::of(status).render(request_id, base), &response)
}

/// Headers that layers added stay: `Allow` of a 405, limits of a 429.
fn carrying(mut rendered: Response, from: &Response) -> Response {
    for (name, value) in from.headers() {
        if name != CONTENT_TYPE && name != axum::http::header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    rendered
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::Limited(allowance) => return Self::limited(*allowance, error.to_string()),
            EngineError::Unknown { allowance } => {
                let problem = Self::unauthenticated(error.to_string());
                return rate_limit(allowance)
                    .into_iter()
                    .fold(problem, |it, (name, value)| it.with(name, value));
            }
            EngineError::Crowded => {
                return Self::unavailable("busy", format!("{error}: try again"), CROWDED_RETRY_SECONDS);
            }
            EngineError::Store(StoreError::LastAdmin) => (StatusCode::CONFLICT, "last_admin"),
            EngineError::Refused(_) | EngineError::Guard(_) => (StatusCode::CONFLICT, "refused_by_rule"),
            EngineError::Frozen { .. } => (StatusCode::CONFLICT, "frozen"),
            EngineError::Conflict { .. } | EngineError::Taken { .. } => (StatusCode::CONFLICT, "conflict"),
            EngineError::NotAccepted(_) => (StatusCode::BAD_REQUEST, "key_refused"),
            EngineError::Busy(_) => (StatusCode::CONFLICT, "busy"),
            EngineError::Usage { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            EngineError::NoSuch { .. } | EngineError::Absent { .. } => (StatusCode::NOT_FOUND, "not_found"),
            EngineError::Outside { .. } => (StatusCode::BAD_GATEWAY, "provider_failed"),
            EngineError::Store(
                StoreError::Busy | StoreError::Away(_) | StoreError::Full | StoreError::ReadOnly,
            ) => {
                tracing::warn!(%error, "a request could not be served");
                return Self::unavailable(
                    "database_away",
                    "the database cannot be used now",
                    AWAY_RETRY_SECONDS,
                );
            }
            EngineError::Store(_) | EngineError::Crypto(_) | EngineError::Illegal(_) => {
                tracing::error!(%error, "a request failed");
                return Self::of(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        let detail = match error.hint() {
            Some(hint) => format!("{error}. {hint}"),
            None => error.to_string(),
        };
        Self::new(status, code, redact(&detail, &[]))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    async fn read(response: Response) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn a_problem_says_what_where_and_by_which_request() {
        let response = Problem::unauthenticated("log in first").into_response();
        let response = finish(response, "r-1", "https://ops.example.com/rekeyd");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"rekeyd\"");
        let expected = json!({
            "type": "https://ops.example.com/rekeyd/api/docs#unauthenticated", "title": "Unauthorized",
            "status": 401, "code": "unauthenticated", "detail": "log in first", "request_id": "r-1"
        });
        assert_eq!(read(response).await, expected);
    }

    #[tokio::test]
    async fn a_bare_status_becomes_a_problem_and_keeps_its_headers() {
        let bare = (StatusCode::METHOD_NOT_ALLOWED, [("allow", "GET")], "no").into_response();
        let response = finish(bare, "r-1", "http://x");
        assert_eq!(response.headers()["allow"], "GET");
        assert_eq!(read(response).await["code"], "method_not_allowed");
    }

    #[tokio::test]
    async fn what_is_json_already_or_well_is_left_alone() {
        let unready =
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "unready"}))).into_response();
        assert_eq!(read(finish(unready, "r-1", "http://x")).await, json!({"status": "unready"}));
        let well = "ready".into_response();
        assert_eq!(finish(well, "r-1", "http://x").status(), StatusCode::OK);
    }

    #[test]
    fn a_limit_is_told() {
        use crate::domain::limit::Limit;
        use crate::domain::time::Span;
        let allowance = Allowance { limit: Limit::TESTS, left: 7, resets_in: Span(40_200) };
        let told = rate_limit(&allowance).map(|(_, value)| value.to_str().unwrap().to_owned());
        assert_eq!(told, ["\"tests\";q=10;w=60", "\"tests\";r=7;t=41"]);
        let problem = Problem::limited(allowance, "too often");
        assert!(problem.headers.iter().any(|(name, value)| name == RETRY_AFTER && value == "41"));
    }

    #[test]
    fn nothing_of_the_inside_is_said() {
        let problem = Problem::from(EngineError::Store(StoreError::Corrupt("keys")));
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.detail.contains("keys"), "{problem:?}");
    }
}
