//! Which deployment serves production: assigned by itself, promoted, rolled back, or rolled out step by step.

use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::cloud::{Cloud, Project};
use super::deployment::{DeploymentRow, ReadyState};
use super::settings::Promotion;
use super::shape;

/// Whether a deployment that is READY has seen production's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substate {
    /// Never.
    Staged,
    /// It is given more and more of it.
    Rolling,
    /// It has, whatever serves production now.
    Promoted,
}

impl Substate {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "STAGED",
            Self::Rolling => "ROLLING",
            Self::Promoted => "PROMOTED",
        }
    }
}

/// Somebody asked for another deployment to serve production.
pub(super) struct AliasRequest {
    from: Option<String>,
    to: String,
    kind: &'static str,
    requested_at: i64,
    status: &'static str,
    /// Reads of the project until it is done.
    reads_left: u32,
}

impl AliasRequest {
    fn is_open(&self) -> bool {
        matches!(self.status, "pending" | "in-progress")
    }

    fn shown(&self) -> Value {
        json!({
            "fromDeploymentId": self.from,
            "toDeploymentId": self.to,
            "type": self.kind,
            "jobStatus": self.status,
            "requestedAt": self.requested_at,
        })
    }
}

impl Project {
    /// `lastAliasRequest` and, where it was asked for, `lastRollbackTarget`.
    pub(super) fn show_requests(&self, call: &Call, shown: &mut Value) {
        shown["autoAssignCustomDomains"] = json!(self.auto_assign);
        shown["lastAliasRequest"] = json!(self.last_request.as_ref().map(AliasRequest::shown));
        if call.param("rollbackInfo") == Some("true") {
            shown["lastRollbackTarget"] = json!(self.last_rollback.as_ref().map(AliasRequest::shown));
        }
    }
}

impl Cloud {
    /// A production deployment got READY: it takes over, unless the project stages deployments or was rolled back.
    pub(super) fn arrive(&mut self, index: usize) {
        let (project_id, id) =
            (self.deployments[index].project_id.clone(), self.deployments[index].id.clone());
        let project = self.known(&project_id);
        if project.rolled_back || !project.auto_assign {
            self.deployments[index].substate = Some(Substate::Staged);
        } else {
            self.take_over(&project_id, &id);
        }
    }

    /// It serves production from now on, or begins to.
    fn take_over(&mut self, project_id: &str, id: &str) {
        let project = self.known(project_id);
        let rolling = project.rolling_release && project.production.is_some();
        if !rolling {
            (project.production, project.rolled_back) = (Some(id.to_owned()), false);
        }
        let row = self.row(id);
        row.substate = Some(if rolling { Substate::Rolling } else { Substate::Promoted });
    }

    fn row(&mut self, id: &str) -> &mut DeploymentRow {
        self.deployments.iter_mut().find(|row| row.id == id).expect("tests name deployments that there are")
    }

    pub(super) fn roll_back(&mut self, project: &str, deployment_id: &str) {
        let request = self.request(project, deployment_id, "rollback", 0);
        let again = self.request(project, deployment_id, "rollback", 0);
        let project = self.known(project);
        (project.production, project.rolled_back) = (Some(deployment_id.to_owned()), true);
        (project.last_request, project.last_rollback) = (Some(request), Some(again));
    }

    fn request(&mut self, project: &str, to: &str, kind: &'static str, reads_left: u32) -> AliasRequest {
        let requested_at = self.now.timestamp_millis();
        let from = self.known(project).production.clone();
        let status = if reads_left == 0 { "succeeded" } else { "in-progress" };
        AliasRequest { from, to: to.to_owned(), kind, requested_at, status, reads_left }
    }

    /// A person promotes a deployment, or completes its rolling release.
    pub(super) fn promote_by_hand(&mut self, project: &str, id: &str) {
        let request = self.request(project, id, "promote", 0);
        let project = self.known(project);
        (project.production, project.rolled_back) = (Some(id.to_owned()), false);
        project.last_request = Some(request);
        self.row(id).substate = Some(Substate::Promoted);
    }

    /// Points production at a READY production deployment; builds nothing. One request at a time.
    pub(super) fn promote(&mut self, call: &Call, project: &str, id: &str) -> Result<Answer, Answer> {
        let index = self.project(call, project)?;
        let row =
            self.deployments.iter().find(|row| row.id == id && row.project_id == self.projects[index].id);
        let row = row.ok_or_else(|| shape::not_found("Deployment"))?;
        if row.state != ReadyState::Ready || row.target.as_deref() != Some("production") {
            return Err(shape::bad_request("only a production deployment that is READY can be promoted."));
        }
        let conflict = |message| Err(shape::error(409, "conflict", message));
        let in_use = |row: &&DeploymentRow| {
            row.project_id == self.projects[index].id && row.substate == Some(Substate::Rolling)
        };
        if self.projects[index].last_request.as_ref().is_some_and(AliasRequest::is_open) {
            return conflict("another promotion or rollback of this project is in progress");
        }
        if self.deployments.iter().any(|row| in_use(&row)) {
            return conflict("a rolling release of this project is in progress");
        }
        if self.projects[index].production.as_deref() == Some(id) {
            return conflict("the deployment is the current production deployment");
        }
        let (reads, project_id) = (self.settings.promotion_reads, self.projects[index].id.clone());
        if self.settings.promotion == Promotion::Swallowed {
            return Ok(Answer::json(202, &json!({})));
        }
        self.projects[index].last_request = Some(self.request(&project_id, id, "promote", reads));
        if reads > 0 {
            return Ok(Answer::json(202, &json!({})));
        }
        self.take_over(&project_id, id);
        Ok(Answer::json(201, &json!({})))
    }

    /// One more read of the project: a promotion that was accepted gets on.
    pub(super) fn get_on(&mut self, index: usize) {
        let fails = self.settings.promotion == Promotion::Fails;
        let project_id = self.projects[index].id.clone();
        let Some(request) = self.projects[index].last_request.as_mut().filter(|request| request.is_open())
        else {
            return;
        };
        request.reads_left -= 1;
        if request.reads_left > 0 {
            return;
        }
        request.status = if fails { "failed" } else { "succeeded" };
        let id = request.to.clone();
        if !fails {
            self.take_over(&project_id, &id);
        }
    }
}
