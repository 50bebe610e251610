//! Secret-scanning alerts of a repository: what is open, and that one was dealt with.
//!
//! Source: GitHub REST documentation (API version 2022-11-28), "REST API endpoints for secret scanning".

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Auth, Call, header};
use super::refusal::Advice;
use super::secret_address::Permission;
use crate::destination::{Finding, LeakSource};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::net::{Answer, Deadline, Http};

/// Alerts on one page: half of what GitHub allows, since found secrets may be whole key files and a page has to
/// fit into the cap on answers.
const PAGE: usize = 50;
/// No repository has more pages of open alerts than this.
const PAGES: usize = 1000;

/// The alerts of one repository. Has no `Debug`: it holds credentials.
pub struct Scanning {
    api: Api,
    /// `owner/name`
    repository: String,
    advice: Advice,
}

/// An alert as GitHub shows it. Has no `Debug`: it holds what was found.
#[derive(Deserialize)]
struct Shown {
    number: u64,
    secret: Option<String>,
}

impl Scanning {
    /// Makes no call. The names are those of the configuration: checked.
    pub fn new(api_url: &str, owner: &str, name: &str, auth: Auth, http: &Http) -> Result<Self, Failure> {
        let repository = format!("{owner}/{name}");
        let permission = Permission {
            fine: "repository permission \"Secret scanning alerts: read and write\"",
            classic: "repo",
            app: "secret_scanning_alerts",
        };
        let not_found = format!(
            "check the name {repository}, that the token may see that repository, and that secret scanning is \
             turned on there"
        );
        let advice = Advice::of(permission, not_found);
        Ok(Self { api: Api::new(api_url, auth, http)?, repository, advice })
    }

    fn path(&self) -> String {
        format!("/repos/{}/secret-scanning/alerts", self.repository)
    }

    async fn call(
        &self,
        (method, path): (Method, String),
        body: Option<Value>,
        patience: Span,
    ) -> Result<Answer, Failure> {
        let call = Call { method, path, body, advice: &self.advice };
        self.api.call(call, Deadline::after(patience.to_std())).await
    }
}

#[async_trait]
impl LeakSource for Scanning {
    fn place(&self) -> String {
        self.repository.clone()
    }

    async fn open(&self, patience: Span) -> Result<Vec<Finding>, Failure> {
        let mut found = Vec::new();
        let mut query = format!("state=open&per_page={PAGE}");
        for _ in 0..PAGES {
            let path = format!("{}?{query}", self.path());
            let answer = self.call((Method::GET, path), None, patience).await?;
            let (shown, next) = page(&answer)?;
            found.extend(shown);
            match next {
                Some(next) => query = next,
                None => return Ok(found),
            }
        }
        Err(Failure::new(FailureKind::Unclear, format!("the alerts of {} do not end", self.repository)))
    }

    async fn resolve(&self, number: u64, comment: &str, patience: Span) -> Result<(), Failure> {
        let body = json!({ "state": "resolved", "resolution": "revoked", "resolution_comment": comment });
        let path = format!("{}/{number}", self.path());
        self.call((Method::PATCH, path), Some(body), patience).await.map(drop)
    }
}

/// What one page shows, and the query of the next.
pub(super) fn page(answer: &Answer) -> Result<(Vec<Finding>, Option<String>), Failure> {
    let shown: Vec<Shown> = answer.json()?;
    Ok((shown.into_iter().filter_map(finding).collect(), next_page(answer)?))
}

/// A pattern of an organisation's own may match the space around a secret.
fn finding(shown: Shown) -> Option<Finding> {
    let secret = zeroize::Zeroizing::new(shown.secret?);
    Some(Finding { number: shown.number, secret: Secret::new(secret.trim()) })
}

/// The query of the next page. Only that is taken from the link: the token goes nowhere else.
fn next_page(answer: &Answer) -> Result<Option<String>, Failure> {
    let links = header(answer, "link").unwrap_or_default();
    let Some(next) = links.split(',').find(|link| link.contains("rel=\"next\"")) else { return Ok(None) };
    let address = next.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    let url = address.and_then(|(address, _)| Url::parse(address).ok());
    let query = url.and_then(|url| url.query().map(str::to_owned));
    query.map(Some).ok_or_else(|| answer.unclear())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{Act, Wire, client, http};

    const PATIENCE: Span = Span::seconds(10);

    fn leaked(n: u8) -> String {
        format!("sk-or-v1-{}", format!("{n:02x}").repeat(32))
    }

    fn scanning(url: &Url) -> Scanning {
        let token = Auth::Token(Secret::new("ghp_false0false0false0"));
        Scanning::new(url.as_str(), "acme", "app", token, &client()).unwrap()
    }

    fn page_of(link: &str, body: &str) -> Act {
        Act::Say(http(200, &format!("content-type: application/json\r\n{link}"), body))
    }

    #[tokio::test]
    async fn all_pages_are_read_and_the_token_goes_nowhere_else() {
        let elsewhere = Wire::json(200, "[]").await;
        let alert = |number: u8| format!(r#"{{"number":{number},"secret":" {} "}}"#, leaked(number));
        // GitHub's links lead to another path, by the repository's number.
        let link = format!(
            "link: <{0}x?page=1>; rel=\"prev\", <{0}repositories/7/secret-scanning/alerts?state=open&after=Y3Vy>; rel=\"next\"\r\n",
            elsewhere.url
        );
        let acts = vec![
            page_of(&link, &format!("[{}]", alert(2))),
            page_of("", &format!(r#"[{},{{"number":9}}]"#, alert(1))),
        ];
        let wire = Wire::play(acts).await;
        let found = scanning(&wire.url).open(PATIENCE).await.unwrap();
        let numbers: Vec<u64> = found.iter().map(|finding| finding.number).collect();
        assert_eq!(numbers, [2, 1]);
        assert_eq!(found[1].secret, Secret::new(leaked(1)));
        let requests = wire.requests();
        let base = "GET /repos/acme/app/secret-scanning/alerts";
        assert!(requests[0].starts_with(&format!("{base}?state=open&per_page=50 ")), "{}", requests[0]);
        assert!(requests[1].starts_with(&format!("{base}?state=open&after=Y3Vy ")), "{}", requests[1]);
        assert!(elsewhere.requests().is_empty());
        let shown = format!("{found:?}");
        assert!(!shown.contains("0101") && shown.contains("Secret(..)"), "{shown}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_empty_list_and_is_not_quoted() {
        let cut = format!(r#"[{{"number":1,"secret":"{}""#, leaked(1));
        let lost = page_of("link: <nowhere>; rel=\"next\"\r\n", "[]");
        for act in [page_of("", &cut), page_of("", "{}"), lost] {
            let wire = Wire::play(vec![act]).await;
            let failure = scanning(&wire.url).open(PATIENCE).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unclear);
            assert!(!format!("{failure:?}").contains("0101"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_names_the_permission() {
        let body = r#"{"message":"Resource not accessible by personal access token"}"#;
        let wire = Wire::json(403, body).await;
        let failure = scanning(&wire.url).resolve(3, "done", PATIENCE).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Forbidden);
        assert!(failure.hint.unwrap().contains("Secret scanning alerts: read and write"));
        assert!(wire.requests()[0].starts_with("PATCH /repos/acme/app/secret-scanning/alerts/3 "));
    }
}
