//! GitHub secrets: of a repository, an environment or an organisation; for Actions, Dependabot or Codespaces.
//!
//! Map: this file says what a publish, a look and a dispatch are; `place` knows paths and permissions;
//! `proof` decides what counts as proof; `put` makes one write; `sharing` keeps an organisation's list of repositories; `seal`
//! encrypts; `api` makes the calls; `refusal` reads the answers that are not 2xx; `preflight` asks whether a
//! write could work. `scanning` is about leaks, not about secrets that are held.
//!
//! A publish: `GET` the secret (what is there now), `GET` the public key (its `Date` starts the proof), seal,
//! `PUT`. A 422 may be a public key that changed in between (fault 13): once more with a fresh one.

mod api;
mod preflight;
mod proof;
mod put;
mod refusal;
mod scanning;
mod seal;
mod secret_address;
mod sharing;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::api::Auth;
use self::api::{Api, Call};
use self::proof::Evidence;
use self::refusal::Advice;
pub use self::scanning::Scanning;
use self::secret_address::{Permission, SecretAddress};
pub use self::secret_address::{Scope, Store, Visibility};
use super::{Delivery, Destination, Look, PlannedCall, Remark, Rollout, Survey};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::time::{Span, Timestamp};
use crate::net::{Deadline, Http};

/// What a GitHub destination is made from.
#[derive(Debug, Clone)]
pub struct GithubSpec {
    /// Who holds the secret.
    pub scope: Scope,
    /// Which store of theirs.
    pub store: Store,
    /// Name of the secret; GitHub stores it in upper case.
    pub secret: String,
    /// `https://api.github.com`, or the API of an Enterprise Server (`https://HOST/api/v3`).
    pub api_url: String,
    /// Event type of a `repository_dispatch` after a proved write; repositories and environments only.
    pub dispatch: Option<String>,
    /// How to log in.
    pub auth: Auth,
}

/// A GitHub destination. Has no `Debug`: it holds credentials.
pub struct Github {
    place: SecretAddress,
    api: Api,
    dispatch: Option<String>,
    advice: Advice,
}

/// What GitHub shows of a secret.
#[derive(Debug, Deserialize)]
struct Current {
    created_at: String,
    updated_at: String,
    visibility: Option<String>,
}

#[derive(Deserialize)]
struct PublicKey {
    key_id: String,
    key: String,
}

impl Current {
    fn visibility(&self) -> Option<Visibility> {
        self.visibility.as_deref().and_then(Visibility::parse)
    }
}

impl Github {
    /// Checks the names; makes no call.
    pub fn new(spec: GithubSpec, http: &Http) -> Result<Self, Failure> {
        let GithubSpec { scope, store, secret, api_url, dispatch, auth } = spec;
        let place = SecretAddress::new(scope, store, &secret)?;
        if let Some(event) = &dispatch {
            check_dispatch(event, &place)?;
        }
        let advice = Advice::of(place.permission(), place.not_found_hint());
        Ok(Self { api: Api::new(&api_url, auth, http)?, place, dispatch, advice })
    }

    /// The secret as it is now; `None` when GitHub says that there is none.
    async fn current(&self, deadline: Deadline) -> Result<Option<Current>, Failure> {
        match self.get(self.place.secret_path(), &self.advice, deadline).await {
            Ok(answer) => Ok(Some(answer.json()?)),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The calls of a publish; `write` says what the write does.
    fn calls(&self, write: String) -> Vec<PlannedCall> {
        let call = |method: &str, path: &str, effect: String| PlannedCall {
            call: format!("{method} {}", self.url(path)),
            effect,
        };
        let secret = &self.place.secret;
        let mut calls =
            vec![call("GET", &self.place.secret_path(), format!("reads when {secret} was last changed"))];
        if let Scope::Organization { organization, repositories, .. } = &self.place.scope {
            let path = self.place.repositories_path();
            calls.push(call(
                "GET",
                &path,
                "reads which repositories see it, when they are selected".to_owned(),
            ));
            for name in repositories {
                let path = format!("/repos/{organization}/{name}");
                calls.push(call("GET", &path, "reads the repository's id".to_owned()));
            }
        }
        let path = self.place.public_key_path();
        calls.push(call("GET", &path, "fetches the key to encrypt for".to_owned()));
        calls.push(call("PUT", &self.place.secret_path(), write));
        calls.push(call("GET", &self.place.secret_path(), "proves the write by its time".to_owned()));
        if let (Some(event), Some((owner, repo))) = (&self.dispatch, self.place.repository()) {
            let path = format!("/repos/{owner}/{repo}/dispatches");
            calls.push(call("POST", &path, format!("starts the workflows that wait for `{event}`")));
        }
        calls
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api.base)
    }
}

#[async_trait]
impl Destination for Github {
    fn address(&self) -> String {
        format!("github:{}/{}", self.api.place(), self.place.address())
    }

    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        self.check(deadline).await
    }

    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        let current = self.current(deadline).await?;
        let sharing = self.sharing(current.as_ref(), deadline).await?;
        let before = current.map(|current| current.updated_at);
        let (answer, key_date) = self.put(delivery, before.as_deref(), sharing.as_ref(), deadline).await?;
        let evidence = Evidence {
            generation: delivery.generation,
            key_date: key_date.rfc3339(),
            put_date: answer.date.map(Timestamp::rfc3339),
            before,
            updated_at: None,
            dispatched: false,
        };
        Ok(json!(evidence))
    }

    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure> {
        let Some(current) = self.current(deadline).await? else {
            // A 404 may also mean that the token no longer sees the place: this tells the two apart.
            self.public_key(deadline).await?;
            let standing = proof::absent(delivery.generation, Evidence::deserialize(evidence).ok().as_ref());
            return Ok(Look { standing, evidence: evidence.clone() });
        };
        let kept = Evidence::deserialize(evidence).ok();
        let (standing, kept) = proof::judge(delivery.generation, kept, &current.updated_at);
        Ok(Look { standing, evidence: kept.map_or(Value::Null, |kept| json!(kept)) })
    }

    /// The write says what it replaces.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        let seen = self.check(deadline).await?;
        let replaces = self.replaces(self.current(deadline).await?.as_ref());
        Ok(Survey::new(self.calls(replaces), seen))
    }

    fn plan(&self) -> Vec<PlannedCall> {
        self.calls(format!("replaces {}, or creates it; what sees it now still does", self.place.secret))
    }

    /// The first write to an organisation looks every configured repository up.
    fn patience(&self) -> Option<Span> {
        let Scope::Organization { repositories, .. } = &self.place.scope else { return None };
        let each = Span::seconds(1).0 * i64::try_from(repositories.len()).ok()?;
        (!repositories.is_empty()).then_some(Span(Span::seconds(20).0 + each))
    }

    fn rollout(&self) -> Option<&dyn Rollout> {
        self.dispatch.as_ref().map(|_| self as &dyn Rollout)
    }
}

#[async_trait]
impl Rollout for Github {
    fn required(&self) -> bool {
        false
    }

    fn due(&self, evidence: &Value) -> bool {
        let proved = |kept: Evidence| kept.updated_at.is_some() && !kept.dispatched;
        self.dispatch.is_some() && Evidence::deserialize(evidence).is_ok_and(proved)
    }

    /// GitHub cannot be asked which events it has had: after a lost answer a second one may start the
    /// workflows again, which a workflow that only reads the secret anew does not mind.
    async fn start(
        &self,
        delivery: &Delivery,
        evidence: &Value,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        let (Some(event), Some((owner, repo))) = (&self.dispatch, self.place.repository()) else {
            return Ok(evidence.clone());
        };
        let payload = json!({
            "rotation": delivery.rotation,
            "generation": delivery.generation,
            "secret": self.place.secret,
        });
        let permission = Permission {
            fine: "repository permission \"Contents: read and write\"",
            classic: "repo",
            app: "contents",
        };
        let advice = Advice::of(permission, self.advice.not_found.clone());
        let path = format!("/repos/{owner}/{repo}/dispatches");
        let body = Some(json!({ "event_type": event, "client_payload": payload }));
        self.api.call(Call { method: Method::POST, path, body, advice: &advice }, deadline).await?;
        let mut evidence = evidence.clone();
        evidence["dispatched"] = json!(true);
        Ok(evidence)
    }
}

fn check_dispatch(event: &str, place: &SecretAddress) -> Result<(), Failure> {
    let refuse = |text: &str| Err(Failure::new(FailureKind::NotSent, text));
    if place.repository().is_none() {
        return refuse("`dispatch` needs a repository: an organization has no workflows to start");
    }
    if event.is_empty() || event.chars().count() > 100 {
        return refuse("`dispatch` must have 1 to 100 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
