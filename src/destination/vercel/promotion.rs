//! How far a deployment of ours is from serving production, and the step that is left: its promotion.
//!
//! A deployment that is READY does not serve production by itself where the project stages deployments, was rolled
//! back, or releases in steps. It is promoted only when the configuration says so, and only while production is as it
//! was when the build began: whoever shipped or rolled back meanwhile decided something, and a promotion would undo it.
//! Then what serves now counts if it was made after the write, and else is rebuilt.
//!
//! A promotion is a toggle (R3): read, set, read. Vercel may answer before it is done, and says in `lastAliasRequest`
//! how far it is; 409 means that another one is under way, and is a look later.

use http::Method;
use serde_json::{Value, json};

use super::Vercel;
use super::evidence::Deployment;
use super::redeploy::{ATTEMPTS, Project};
use crate::domain::outcome::Failure;
use crate::net::Deadline;

/// Looks until a promotion that was accepted and of which nothing is seen counts as lost.
const LOOKS: u32 = 5;

/// How far production is from running with a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// It does.
    Effective,
    /// Something is under way, or is next.
    Waits,
    /// Somebody else must do something; the text says what.
    Held(String),
}

impl Deployment {
    /// Production is as it was when this was built, and known to be.
    fn may_be_promoted(&self, project: &Project) -> bool {
        let same = self.from.as_deref() == project.production() && self.rollback == project.rollback();
        self.from.is_some() && same
    }

    fn is_staged(&self) -> bool {
        self.state == "READY" && self.stage.as_deref() == Some("STAGED")
    }

    /// A promotion is the next step.
    pub(super) fn is_to_be_promoted(&self) -> bool {
        self.is_staged() && self.from.is_some() && !self.outdated && !self.asked_for && self.asked < ATTEMPTS
    }

    /// How far it is, after a look that showed that production does not run with the write. It is ready a moment before it
    /// serves, so nobody is told to do anything before a second look shows the same.
    pub(super) fn reach(&mut self, project: &Project, promote: bool) -> Reach {
        match self.how_far(project, promote) {
            Reach::Held(_) if !std::mem::replace(&mut self.stands, true) => Reach::Waits,
            reach => reach,
        }
    }

    fn how_far(&mut self, project: &Project, promote: bool) -> Reach {
        if self.state != "READY" {
            return Reach::Waits;
        }
        let id = &self.id;
        match self.stage.as_deref() {
            Some("STAGED") => self.staged(project, promote),
            Some("ROLLING") => Reach::Held(format!(
                "deployment {id} is ready and gets production's traffic in steps; consumers run with the key when that \
                 release is complete: approve its steps at Vercel, or wait for them"
            )),
            Some("PROMOTED") => Reach::Held(format!(
                "deployment {id} has the key and served production, and an older one was put back: promote it or a \
                 newer one at Vercel"
            )),
            _ => Reach::Held(format!(
                "deployment {id} is ready and does not serve production: promote it at Vercel"
            )),
        }
    }

    fn staged(&mut self, project: &Project, promote: bool) -> Reach {
        if self.from.is_some() && !self.may_be_promoted(project) {
            self.outdated = true;
            return Reach::Waits;
        }
        if !promote || self.from.is_none() {
            let id = &self.id;
            return Reach::Held(format!(
                "deployment {id} is ready and staged: promote it at Vercel (Deployments, Promote to Production), or set \
                 promote = true for this destination"
            ));
        }
        self.follow(project);
        if self.asked_for || self.asked < ATTEMPTS {
            return Reach::Waits;
        }
        let id = &self.id;
        Reach::Held(format!(
            "deployment {id} is ready and staged, and Vercel did not promote it {ATTEMPTS} times: promote it there"
        ))
    }

    /// What became of the promotion that was asked for.
    fn follow(&mut self, project: &Project) {
        self.asked_for = match project.promotion_of(&self.id) {
            Some("pending" | "in-progress") => true,
            Some("failed" | "skipped") => false,
            _ => self.asked_for && self.waited < LOOKS,
        };
        self.waited += 1;
    }
}

impl Vercel {
    /// Reads once more, and asks for the promotion unless that has changed anything.
    pub(super) async fn promote(
        &self,
        mut own: Deployment,
        deadline: Deadline,
    ) -> Result<Deployment, Failure> {
        let project = self.project(deadline).await?;
        let shown = self.deployment(&own.id, deadline).await?;
        own.note(shown.ready_state, shown.stage);
        if !(own.is_staged() && own.may_be_promoted(&project)) {
            return Ok(own);
        }
        let url = self.api.url(&["v10", "projects", &project.id, "promote", &own.id], &[]);
        self.api.call(Method::POST, url, Some(&json!({})), &[], deadline).await?;
        own.asked += 1;
        (own.asked_for, own.waited) = (true, 0);
        Ok(own)
    }
}

impl Project {
    /// Which rollback was the last: what it was to, and when. How far it has come does not matter.
    pub(super) fn rollback(&self) -> Value {
        let last = &self.last_rollback_target;
        if last.is_object() { json!([last["toDeploymentId"], last["requestedAt"]]) } else { Value::Null }
    }

    /// How far the last promotion is, if it was of this deployment.
    fn promotion_of(&self, id: &str) -> Option<&str> {
        let last = &self.last_alias_request;
        let of_it = last["type"] == "promote" && last["toDeploymentId"] == id;
        of_it.then(|| last["jobStatus"].as_str()).flatten()
    }
}
