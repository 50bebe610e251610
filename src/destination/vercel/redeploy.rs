//! Rebuilding production, so that it runs with the new value: a change reaches only deployments made after it.
//!
//! What is rebuilt is the deployment that serves production now (`targets.production.id` of the project; after
//! an instant rollback that is not the newest one). The new one carries a tag in its metadata,
//! `rekeyd_run = ROTATION-GENERATION-TIME OF THE WRITE`, and is looked for by it first, so that a lost answer
//! does not build twice. A build that failed is tried again under another tag, [`ATTEMPTS`] times before a person must
//! look and as often again after that.
//!
//! A build that is READY may be staged: `promotion` says what is left then.
//!
//! *Effective* is what serves production, whoever deployed it: READY, and ours or made well after the write.

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Vercel;
use super::evidence::{Deployment, Evidence};
use super::promotion::Reach;
use crate::destination::{Delivery, Rollout};
use crate::domain::outcome::{Failure, FailureKind};
use crate::net::{Answer, Deadline};

/// Builds of one write before a person must look.
pub(super) const ATTEMPTS: u32 = 3;
/// Somebody else's deployment counts when it was made this long after the write: it may have read its
/// variables a moment after it was made.
const MARGIN_MS: i64 = 5000;
/// The tag's name in the metadata of a deployment.
const TAG: &str = "rekeyd_run";

/// The tags that say how production was when the build began.
const FROM: &str = "rekeyd_from";
const ROLLBACK: &str = "rekeyd_rollback";

/// What Vercel shows of a deployment.
#[derive(Debug)]
pub(super) struct Shown {
    id: String,
    pub(super) ready_state: Option<String>,
    pub(super) stage: Option<String>,
    created_at: Option<i64>,
    from: Option<String>,
    rollback: Value,
}

impl Shown {
    /// Listings name fields otherwise than the single answer (`uid`, `state`, `created`), and often both ways.
    fn read(row: &Value) -> Option<Self> {
        let text = |names: [&str; 2]| names.iter().find_map(|name| row[*name].as_str()).map(str::to_owned);
        Some(Self {
            id: text(["uid", "id"])?,
            ready_state: text(["readyState", "state"]),
            stage: row["readySubstate"].as_str().map(str::to_owned),
            from: row["meta"][FROM].as_str().map(str::to_owned),
            rollback: row["meta"][ROLLBACK].as_str().and_then(|text| text.parse().ok()).unwrap_or_default(),
            created_at: row["createdAt"].as_i64().or_else(|| row["created"].as_i64()),
        })
    }

    pub(super) fn of(answer: &Answer) -> Result<Self, Failure> {
        answer.value().as_ref().and_then(Self::read).ok_or_else(|| answer.unclear())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default)]
    targets: Value,
    #[serde(default)]
    pub(super) last_rollback_target: Value,
    #[serde(default)]
    pub(super) last_alias_request: Value,
}

impl Project {
    pub(super) fn production(&self) -> Option<&str> {
        self.targets["production"]["id"].as_str()
    }
}

impl Vercel {
    pub(super) async fn project(&self, deadline: Deadline) -> Result<Project, Failure> {
        let url = self.api.url(&["v9", "projects", &self.spec.project], &[("rollbackInfo", "true")]);
        self.api.get(url, deadline).await?.json()
    }

    pub(super) async fn deployment(&self, id: &str, deadline: Deadline) -> Result<Shown, Failure> {
        let url = self.api.url(&["v13", "deployments", id], &[]);
        Shown::of(&self.api.get(url, deadline).await?)
    }

    /// How far production is from running with the write of `evidence`; notes how our own deployment is doing.
    pub(super) async fn reach(&self, evidence: &mut Evidence, deadline: Deadline) -> Result<Reach, Failure> {
        let Some(proved_at) = evidence.proved_at() else { return Ok(Reach::Waits) };
        let project = self.project(deadline).await?;
        if let Some(serving) = project.production() {
            let shown = self.deployment(serving, deadline).await?;
            let ours = evidence.deployment.as_ref().is_some_and(|own| own.id == shown.id);
            let later = shown.created_at.is_some_and(|at| at > proved_at + MARGIN_MS);
            if shown.ready_state.as_deref() == Some("READY") && (ours || later) {
                if let Some(own) = evidence.deployment.as_mut().filter(|_| ours) {
                    "READY".clone_into(&mut own.state);
                    own.stands = false;
                }
                return Ok(Reach::Effective);
            }
        }
        let Some(own) = &mut evidence.deployment else { return Ok(Reach::Waits) };
        let shown = self.deployment(&own.id, deadline).await?;
        own.note(shown.ready_state, shown.stage);
        Ok(own.reach(&project, self.spec.promote))
    }

    /// The deployment that carries `tag`, if there is one. Newer accounts have the listing under v7.
    async fn tagged(
        &self,
        tag: &str,
        project: &str,
        since: i64,
        deadline: Deadline,
    ) -> Result<Option<Shown>, Failure> {
        let since = (since - 60_000).to_string();
        let query = [("projectId", project), ("target", "production"), ("since", &since), ("limit", "100")];
        let older = self.api.get(self.api.url(&["v6", "deployments"], &query), deadline).await;
        let answer = match older {
            Err(failure) if matches!(failure.status, Some(404 | 410)) => {
                self.api.get(self.api.url(&["v7", "deployments"], &query), deadline).await?
            }
            answer => answer?,
        };
        let listing: Value = answer.json()?;
        let rows = listing["deployments"].as_array().ok_or_else(|| answer.unclear())?;
        let found = rows.iter().find(|row| row["meta"][TAG] == tag);
        found.map(|row| Shown::read(row).ok_or_else(|| answer.unclear())).transpose()
    }

    async fn build(&self, tag: &str, project: &Project, deadline: Deadline) -> Result<Shown, Failure> {
        let Some(serving) = project.production() else {
            let text = format!("the project {} has no production deployment to rebuild", project.name);
            return Err(
                Failure::new(FailureKind::Refused, text).hint("deploy it once, or set redeploy = false")
            );
        };
        let body = json!({
            "name": project.name,
            "deploymentId": serving,
            "target": "production",
            "meta": { TAG: tag, FROM: serving, ROLLBACK: project.rollback().to_string() },
        });
        let url = self.api.url(&["v13", "deployments"], &[("forceNew", "1")]);
        let made = Shown::of(&self.api.call(Method::POST, url, Some(&body), &[], deadline).await?)?;
        Ok(Shown { from: Some(serving.to_owned()), rollback: project.rollback(), ..made })
    }
}

/// A build as it was just answered or found.
fn started(shown: Shown, tag: String, attempt: u32) -> Deployment {
    Deployment {
        id: shown.id,
        tag,
        attempt,
        state: shown.ready_state.unwrap_or_else(|| "QUEUED".to_owned()),
        given_up: false,
        stage: shown.stage,
        from: shown.from,
        rollback: shown.rollback,
        stands: false,
        outdated: false,
        asked: 0,
        asked_for: false,
        waited: 0,
    }
}

impl Vercel {
    fn is_promotable(&self, own: &Deployment) -> bool {
        self.spec.promote && own.is_to_be_promoted()
    }

    /// Something is to be done about it.
    fn is_open(&self, own: &Deployment) -> bool {
        own.failed() || own.outdated || self.is_promotable(own)
    }
}

#[async_trait]
impl Rollout for Vercel {
    fn required(&self) -> bool {
        true
    }

    fn due(&self, evidence: &Value) -> bool {
        let open = |kept: Evidence| {
            kept.proved_at().is_some() && kept.deployment.is_none_or(|own| self.is_open(&own))
        };
        self.spec.redeploy && Evidence::deserialize(evidence).is_ok_and(open)
    }

    async fn start(
        &self,
        delivery: &Delivery,
        evidence: &Value,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        let unproved = || Failure::new(FailureKind::NotSent, "there is no proved write to deploy");
        let mut kept = Evidence::deserialize(evidence).map_err(|_| unproved())?;
        let proved_at = kept.proved_at().ok_or_else(unproved)?;
        let attempt = match &kept.deployment {
            None => 1,
            Some(own) if self.is_promotable(own) => {
                kept.deployment = Some(self.promote(own.clone(), deadline).await?);
                return Ok(json!(kept));
            }
            Some(own) if !self.is_open(own) => return Ok(evidence.clone()),
            Some(own) if !own.outdated && own.attempt.is_multiple_of(ATTEMPTS) && !own.given_up => {
                let text = format!(
                    "{ATTEMPTS} deployments ended without being ready, the last, {}, in {}",
                    own.id, own.state
                );
                return Err(Failure::new(FailureKind::Refused, text)
                    .hint("read its log at Vercel, and mend what keeps it from being built"));
            }
            Some(own) => own.attempt + 1,
        };
        let tag = format!("{}-{}-{proved_at}-{attempt}", delivery.rotation, delivery.generation);
        let project = self.project(deadline).await?;
        let shown = match self.tagged(&tag, &project.id, proved_at, deadline).await? {
            Some(shown) => shown,
            None => self.build(&tag, &project, deadline).await?,
        };
        kept.deployment = Some(started(shown, tag, attempt));
        Ok(json!(kept))
    }

    fn given_up(&self, evidence: Value) -> Value {
        let Ok(mut kept) = Evidence::deserialize(&evidence) else { return evidence };
        if let Some(own) = &mut kept.deployment {
            own.given_up = true;
        }
        json!(kept)
    }
}
