//! Calls to GitHub: octocrab over the one HTTP client, one deadline a call, tokens.
//!
//! octocrab's own retries are not compiled in, its clock is not trusted with the life of a token (GitHub's
//! `Date` is), and its typed errors are not used: they lose whether a message came in GitHub's own form. The
//! client is never printed: its `Debug` can show credentials.

use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt, Limited};
use octocrab::models::AppId;
use octocrab::service::middleware::base_uri::BaseUriLayer;
use octocrab::service::middleware::extra_headers::ExtraHeadersLayer;
use octocrab::service::middleware::reqwest_connector::ReqwestConnector;
use octocrab::{AuthState, Octocrab, OctocrabBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, OnceCell};
use url::Url;
use zeroize::Zeroizing;

use super::refusal::{self, Advice};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::net::{Answer, BODY_CAP, Carried, Deadline, FaultKind, Http, carry};

/// An installation token is replaced this long before GitHub would refuse it.
const TOKEN_MARGIN: Span = Span::minutes(5);

/// How to log in at GitHub.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A fine-grained or classic token.
    Token(Secret),
    /// A GitHub App, as one of its installations.
    App {
        /// The App's id.
        id: u64,
        /// The installation's id.
        installation: u64,
        /// RSA private key, PEM.
        private_key: Secret,
    },
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path below `api_url`, with its query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) advice: &'a Advice,
}

/// The client of one destination.
pub(super) struct Api {
    /// Without a slash at the end.
    pub(super) base: String,
    pub(super) host: String,
    http: Http,
    auth: Auth,
    /// Built at the first call: octocrab starts a task, so it needs the runtime.
    crab: OnceCell<Octocrab>,
    installation: Mutex<Option<Installation>>,
}

/// An installation's token and what it may do.
#[derive(Clone)]
pub(super) struct Installation {
    token: Secret,
    fresh_until: Deadline,
    pub(super) permissions: Map<String, Value>,
}

#[derive(Deserialize)]
struct InstallationAnswer {
    token: String,
    expires_at: Option<String>,
    #[serde(default)]
    permissions: Map<String, Value>,
}

impl Api {
    pub(super) fn new(api_url: &str, auth: Auth, http: &Http) -> Result<Self, Failure> {
        let base = api_url.trim_end_matches('/').to_owned();
        let url =
            Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| not_sent("`api_url` is not an http:// or https:// URL"))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", url.host_str().unwrap_or_default());
        Ok(Self {
            base,
            host,
            http: http.clone(),
            auth,
            crab: OnceCell::new(),
            installation: Mutex::default(),
        })
    }

    /// The part of the address that says which GitHub: host and, for Enterprise Server, its API path.
    pub(super) fn place(&self) -> String {
        let rest = self.base.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"));
        format!("{}{path}", self.host)
    }

    /// One call; anything but a 2xx is a failure. A 401 on an installation's token is tried once more with a
    /// fresh one: it may have been revoked early, and a 401 proves that nothing was done.
    pub(super) async fn call(&self, call: Call<'_>, deadline: Deadline) -> Result<Answer, Failure> {
        let token = self.token(deadline).await?;
        let mut answer = self.send(&call, &token, deadline).await?;
        if answer.status == 401 && matches!(self.auth, Auth::App { .. }) {
            self.forget(&token).await;
            answer = self.send(&call, &self.token(deadline).await?, deadline).await?;
        }
        if answer.is_success() { Ok(answer) } else { Err(refusal::read(&answer, call.advice, &[&token])) }
    }

    /// What the installation may do; `None` for a token, which GitHub does not describe.
    pub(super) async fn permissions(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        match &self.auth {
            Auth::Token(_) => Ok(None),
            Auth::App { .. } => self.installation(deadline).await.map(|found| Some(found.permissions)),
        }
    }

    async fn token(&self, deadline: Deadline) -> Result<Secret, Failure> {
        match &self.auth {
            Auth::Token(token) => Ok(token.clone()),
            Auth::App { .. } => self.installation(deadline).await.map(|found| found.token),
        }
    }

    async fn forget(&self, token: &Secret) {
        let mut kept = self.installation.lock().await;
        if kept.as_ref().is_some_and(|found| found.token == *token) {
            *kept = None;
        }
    }

    async fn installation(&self, deadline: Deadline) -> Result<Installation, Failure> {
        let mut kept = self.installation.lock().await;
        if let Some(found) = kept.as_ref().filter(|found| !found.fresh_until.passed()) {
            return Ok(found.clone());
        }
        let found = self.new_installation(deadline).await?;
        *kept = Some(found.clone());
        Ok(found)
    }

    /// `POST /app/installations/{id}/access_tokens` with a signed token of the App itself.
    async fn new_installation(&self, deadline: Deadline) -> Result<Installation, Failure> {
        let Auth::App { id, installation, private_key } = &self.auth else {
            return Err(not_sent("only an App has installations"));
        };
        let app = app_token(*id, private_key)?;
        let advice = Advice::of_login(*id, *installation);
        let path = format!("/app/installations/{installation}/access_tokens");
        let call = Call { method: Method::POST, path, body: Some(json!({})), advice: &advice };
        let answer = self.send(&call, &app, deadline).await?;
        if !answer.is_success() {
            return Err(refusal::read(&answer, &advice, &[&app, private_key]));
        }
        let given: InstallationAnswer = answer.json()?;
        let expires = given.expires_at.as_deref().and_then(Timestamp::parse_rfc3339);
        let life = expires.zip(answer.date).map_or(Span::ZERO, |(end, now)| end.since(now));
        let fresh = Span(life.0 - TOKEN_MARGIN.0).to_std();
        Ok(Installation {
            token: Secret::new(given.token),
            fresh_until: Deadline::after(fresh),
            permissions: given.permissions,
        })
    }

    async fn send(&self, call: &Call<'_>, token: &Secret, deadline: Deadline) -> Result<Answer, Failure> {
        let crab = self.crab.get_or_try_init(|| async { self.build() }).await?;
        carry(&self.host, exchange(crab, call, token), deadline).await
    }

    /// What `build_with_reqwest` makes, without its own `User-Agent` (ours is the transport's) and without
    /// its log lines (a failure is logged once, by whoever handles it).
    fn build(&self) -> Result<Octocrab, Failure> {
        let base: Uri =
            self.base.parse().map_err(|_| not_sent("`api_url` is not a URL that can be called"))?;
        let accept = (ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let built = OctocrabBuilder::new_empty()
            .with_service(ReqwestConnector::new(self.http.client().clone()))
            .with_layer(&ExtraHeadersLayer::new(Arc::new(vec![accept])))
            .with_layer(&BaseUriLayer::new(base))
            .with_auth(AuthState::None)
            .build();
        Ok(built.unwrap_or_else(|never| match never {}))
    }
}

/// Sends the request and reads its answer whole. octocrab adds the API version, and the token as a header
/// that no log prints.
async fn exchange(crab: &Octocrab, call: &Call<'_>, token: &Secret) -> Carried {
    let bad_request = |_| FaultKind::BadRequest;
    let crab = crab.user_access_token(token.expose().to_owned()).map_err(bad_request)?;
    let request = http::Request::builder().method(call.method.clone()).uri(&call.path);
    let request = crab.build_request(request, call.body.as_ref()).map_err(bad_request)?;
    let response = crab.execute(request).await.map_err(|error| FaultKind::within(&error))?;
    let (head, body) = response.into_parts();
    let whole = Limited::new(body, BODY_CAP).collect().await.map_err(|error| cut(error.as_ref()))?;
    Ok((head.status.as_u16(), head.headers, Zeroizing::new(whole.to_bytes().to_vec())))
}

/// Why a body did not come whole.
fn cut(error: &(dyn std::error::Error + Send + Sync + 'static)) -> FaultKind {
    if error.is::<http_body_util::LengthLimitError>() { FaultKind::TooLarge } else { FaultKind::Reset }
}

/// The App's own signed token, good for nine minutes. Signed with this machine's clock, by octocrab.
fn app_token(id: u64, private_key: &Secret) -> Result<Secret, Failure> {
    let unusable = || {
        not_sent("the App's private key is not an RSA key in PEM form")
            .hint("put the .pem file that GitHub gave for the App where `private_key` points")
    };
    let key = octocrab::auth::EncodingKey::from_rsa_pem(private_key.expose().as_bytes());
    let key = key.map_err(|_| unusable())?;
    let token = octocrab::auth::create_jwt(AppId(id), &key).map_err(|_| unusable())?;
    Ok(Secret::new(token))
}

/// A header as text.
pub(super) fn header<'a>(answer: &'a Answer, name: &'static str) -> Option<&'a str> {
    answer.header(&HeaderName::from_static(name))
}

fn not_sent(text: &str) -> Failure {
    Failure::new(FailureKind::NotSent, text)
}
