//! The interpreter of the catalog: one test of one key, as an [`Observation`].
//!
//! ```text
//! request ─► one call (a second one only when the first never connected)
//!              ├─ a fault          → unreachable
//!              └─ an answer        → classify: body's code, status, proof of a 200
//!                                      └─ valid, and the row wants a negative control
//!                                           → the same call with a wrong key must fail, once a day, else unverified
//! ```
//!
//! Nothing here can make a key invalid but a rule of its provider (`domain::verdict::rule`).

mod billed;
mod classify;
mod control;

use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::Value;
use url::Url;

pub use classify::classify;
pub use control::Controls;

use super::catalog::{Auth, CatalogRow, Verb};
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::verdict::{Judgement, Observation, Outcome};
use crate::net::{Answer, Deadline, Fault, FaultKind, Http, secret_header};

/// The key to be tested, and where.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The provider's row.
    pub entry: &'a CatalogRow,
    /// Where its API is, when not where the row says: an alias, a proxy, a custom endpoint.
    pub base_url: Option<&'a Url>,
    /// The key.
    pub secret: &'a Secret,
    /// The key's free settings (JSON object): `organization`, `project`, `models_path`, `billed_probe`.
    pub settings: &'a Value,
}

impl Subject<'_> {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A URL below the provider's base. A base without a path takes the place of the row's host only, so that
    /// `http://127.0.0.1:9` stands for the whole of `https://api.openai.com`.
    fn url(&self, path: &str) -> Option<Url> {
        let row = Url::parse(self.entry.base_url).ok();
        let mut base = match (self.base_url, row) {
            (Some(given), Some(mut row)) if given.path() == "/" => {
                row.set_scheme(given.scheme()).ok()?;
                row.set_host(given.host_str()).ok()?;
                row.set_port(given.port()).ok()?;
                row
            }
            (Some(given), _) => given.clone(),
            (None, row) => row?,
        };
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        base.set_query(query);
        base.set_fragment(None);
        base.set_username("").and_then(|()| base.set_password(None)).ok()?;
        base.path_segments_mut().ok()?.pop_if_empty().extend(path.split('/').filter(|part| !part.is_empty()));
        Some(base)
    }

    /// The row's headers and the settings that travel as headers.
    fn headers(&self) -> Result<HeaderMap, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let probe = &self.entry.probe;
        for (name, value) in probe.headers {
            let name = name.parse::<HeaderName>().map_err(|_| "a header of the catalog has no name")?;
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (setting, name) in probe.optional_headers {
            let Some(value) = self.setting(setting) else { continue };
            let value =
                value.parse::<HeaderValue>().map_err(|_| "a setting of the key cannot be a header")?;
            let name = name.parse::<HeaderName>().map_err(|_| "a header of the catalog has no name")?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// The headers with `key` in its place.
    fn headers_with(&self, key: &Secret) -> Result<HeaderMap, &'static str> {
        const NO_HEADER: &str = "the key holds characters that cannot be sent";
        let mut headers = self.headers()?;
        let (name, prefix) = match self.entry.probe.auth {
            Auth::Bearer => (AUTHORIZATION, "Bearer "),
            Auth::Header(name) => (HeaderName::from_static(name), ""),
        };
        let value = secret_header(prefix, key).map_err(|_: Failure| NO_HEADER)?;
        headers.insert(name, value);
        Ok(headers)
    }

    /// The test with `key`: the subject's own, or the wrong one of the negative control.
    fn request(&self, key: &Secret) -> Result<(Method, Url, HeaderMap), &'static str> {
        let probe = &self.entry.probe;
        let path = probe.path_setting.and_then(|setting| self.setting(setting)).unwrap_or(probe.path);
        let url = self.url(path).ok_or("the provider has no usable base URL")?;
        let method = match probe.verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
        };
        Ok((method, url, self.headers_with(key)?))
    }
}

/// Tests one key. Costs nothing unless its settings ask for a billed probe.
pub async fn probe(
    http: &Http,
    controls: &Controls,
    subject: &Subject<'_>,
    deadline: Deadline,
) -> Observation {
    let seen = match ask(http, subject, subject.secret, deadline).await {
        Ok(answer) => classify(subject.entry, &answer, subject.secret),
        Err(seen) => return seen,
    };
    if seen.outcome() != Outcome::Valid {
        return seen;
    }
    let seen = if subject.entry.negative_control {
        control::controlled(http, controls, subject, seen, deadline).await
    } else {
        seen
    };
    match billed::model(subject) {
        Some(model) if seen.outcome() == Outcome::Valid => {
            billed::completed(http, subject, model, seen, deadline).await
        }
        _ => seen,
    }
}

/// One call with `key`, and once more when the first never reached the provider.
async fn ask(
    http: &Http,
    subject: &Subject<'_>,
    key: &Secret,
    deadline: Deadline,
) -> Result<Answer, Observation> {
    let unsendable = |why: &str| Observation::new(Judgement::UNEXPECTED, why);
    let (method, url, headers) = subject.request(key).map_err(unsendable)?;
    let attempt = || {
        let request = http.request(method.clone(), url.clone()).headers(headers.clone());
        http.exchange(request, deadline)
    };
    connected(attempt).await.map_err(|fault| unreached(&fault))
}

/// No retries but this one (providers.md, "Outcomes").
async fn connected<F: Future<Output = Result<Answer, Fault>>>(attempt: impl Fn() -> F) -> F::Output {
    match attempt().await {
        Err(fault) if fault.is_connect() => attempt().await,
        outcome => outcome,
    }
}

/// A fault on our side says nothing of the provider either; one that talks too much can be reached.
fn unreached(fault: &Fault) -> Observation {
    let strange = fault.is_ours() || fault.kind == FaultKind::TooLarge;
    let judgement = if strange { Judgement::UNEXPECTED } else { Judgement::UNREACHABLE };
    let mut seen = Observation::new(judgement, fault.to_string());
    seen.status = fault.status;
    seen.date = fault.date;
    seen.latency_ms = millis(fault.elapsed);
    seen
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
