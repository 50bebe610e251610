//! A deployment: the variables of the moment it was made, on their way to production.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::cloud::{Cloud, new_id};
use super::promotion::Substate;
use super::settings::Progress;
use super::shape;

/// How far a deployment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyState {
    /// Waits for a builder.
    Queued,
    /// Has one.
    Initializing,
    /// Is built.
    Building,
    /// Serves.
    Ready,
    /// The build failed.
    Error,
    /// A person stopped it.
    Canceled,
    /// The platform did.
    Blocked,
}

impl ReadyState {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Initializing => "INITIALIZING",
            Self::Building => "BUILDING",
            Self::Ready => "READY",
            Self::Error => "ERROR",
            Self::Canceled => "CANCELED",
            Self::Blocked => "BLOCKED",
        }
    }

    /// The state after this one, on the way to `outcome`.
    fn next(self, outcome: Self) -> Self {
        match self {
            Self::Queued => Self::Initializing,
            Self::Initializing => Self::Building,
            Self::Building => outcome,
            settled => settled,
        }
    }
}

/// One deployment.
#[derive(Clone, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its id.
    pub id: String,
    /// Its project's id.
    pub project_id: String,
    /// Its project's name.
    pub name: String,
    /// `production`, or `None` for a preview.
    pub target: Option<String>,
    /// Tags.
    pub meta: BTreeMap<String, String>,
    /// How far it has come.
    pub state: ReadyState,
    /// Milliseconds since 1970; no two are equal.
    pub created_at: i64,
    /// Whether it has seen production's traffic, once it is READY.
    pub substate: Option<Substate>,
    /// The variables of its target when it was made.
    pub env: BTreeMap<String, String>,
    /// Steps it has taken.
    steps: i64,
}

impl std::fmt::Debug for DeploymentRow {
    /// All but the values of the variables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = (&self.id, &self.name, self.state);
        f.debug_struct("DeploymentRow").field("what", &what).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl DeploymentRow {
    /// As it is shown by id; in lists the id is called `uid`, and the state also `state`.
    fn shown(&self, in_list: bool) -> Value {
        let mut shown = json!({
            "name": self.name,
            "url": format!("{}-{}.vercel.app", self.name, &self.id[4..12]),
            "projectId": self.project_id,
            "target": self.target,
            "meta": self.meta,
            "readyState": self.state.as_str(),
            "createdAt": self.created_at,
        });
        if in_list {
            (shown["uid"], shown["state"]) = (json!(self.id), shown["readyState"].clone());
            shown["created"] = json!(self.created_at);
        } else {
            (shown["id"], shown["status"]) = (json!(self.id), shown["readyState"].clone());
        }
        if let Some(substate) = self.substate {
            shown["readySubstate"] = json!(substate.as_str());
        }
        if self.state == ReadyState::Error {
            shown["errorCode"] = json!("BUILD_FAILED");
            shown["errorMessage"] = json!("Command \"npm run build\" exited with 1");
        }
        shown
    }
}

impl Cloud {
    /// A new deployment of a project, QUEUED, with the variables of now; its id.
    pub(super) fn deploy(
        &mut self,
        project_id: &str,
        target: Option<&str>,
        meta: BTreeMap<String, String>,
    ) -> String {
        let after_last = self.deployments.last().map_or(0, |last| last.created_at + 1);
        let created_at = self.now.timestamp_millis().max(after_last);
        let project = self.known(project_id);
        let wanted = target.unwrap_or("preview").to_owned();
        let baked =
            project.envs.iter().filter(|row| row.git_branch.is_none() && row.target.contains(&wanted));
        let row = DeploymentRow {
            id: new_id("dpl_"),
            project_id: project_id.to_owned(),
            name: project.name.clone(),
            target: target.map(str::to_owned),
            meta,
            state: ReadyState::Queued,
            substate: None,
            created_at,
            env: baked.map(|row| (row.key.clone(), row.value.clone())).collect(),
            steps: 0,
        };
        let id = row.id.clone();
        self.deployments.push(row);
        id
    }

    /// Lets deployments that move by the clock catch up with it.
    pub(super) fn catch_up(&mut self) {
        let Progress::Every(step) = self.settings.progress else { return };
        let step = TimeDelta::from_std(step).expect("builds take minutes").num_milliseconds().max(1);
        for index in 0..self.deployments.len() {
            let due = (self.now.timestamp_millis() - self.deployments[index].created_at) / step;
            while self.deployments[index].steps < due.min(3) {
                self.advance(index);
            }
        }
    }

    /// One step; a production deployment that gets READY takes over.
    fn advance(&mut self, index: usize) {
        let outcome = self.settings.outcome;
        let row = &mut self.deployments[index];
        let before = row.state;
        (row.state, row.steps) = (before.next(outcome), row.steps + 1);
        let arrived = before != ReadyState::Ready && row.state == ReadyState::Ready;
        if arrived && row.target.is_some() {
            self.arrive(index);
        }
    }

    pub(super) fn read_project(&mut self, call: &Call, project: &str) -> Result<Answer, Answer> {
        let index = self.project(call, project)?;
        self.get_on(index);
        let project = &self.projects[index];
        let serving = project.production.as_ref();
        let row = serving.and_then(|id| self.deployments.iter().find(|row| row.id == *id));
        let targets = row.map_or_else(|| json!({}), |row| json!({"production": row.shown(false)}));
        let account = project.team_id.as_deref().unwrap_or("user_simulated");
        let mut body =
            json!({"id": project.id, "name": project.name, "accountId": account, "targets": targets});
        project.show_requests(call, &mut body);
        Ok(Answer::json(200, &body))
    }

    /// Builds an earlier deployment again. Without `forceNew=1` that is no new deployment at all.
    pub(super) fn create_deployment(&mut self, call: &Call) -> Result<Answer, Answer> {
        let body = call.json().ok_or_else(|| shape::bad_request("the body is not JSON."))?;
        let missing = |field: &str| shape::bad_request(&format!("missing required property `{field}`."));
        let name = body["name"].as_str().ok_or_else(|| missing("name"))?;
        let source = body["deploymentId"].as_str().ok_or_else(|| missing("deploymentId"))?;
        let source = self.deployment(call, source)?;
        let project_id = self.deployments[source].project_id.clone();
        if self.deployments[source].name != name {
            return Err(shape::bad_request("`name` is not the project of `deploymentId`."));
        }
        let target = match &body["target"] {
            Value::Null => None,
            Value::String(target) if target == "production" => Some("production"),
            _ => return Err(shape::bad_request("`target` should be production or absent.")),
        };
        let meta = read_meta(&body["meta"])?;
        if call.param("forceNew") != Some("1") {
            return Ok(Answer::json(200, &self.deployments[source].shown(false)));
        }
        self.check_cap()?;
        self.deploy(&project_id, target, meta);
        let made = self.deployments.last().expect("pushed just above");
        Ok(Answer::json(200, &made.shown(false)))
    }

    fn check_cap(&self) -> Result<(), Answer> {
        let cap = self.settings.deployments_per_day;
        let since = (self.now - TimeDelta::days(1)).timestamp_millis();
        if self.deployments.iter().filter(|row| row.created_at > since).count() < cap {
            return Ok(());
        }
        let code = "api-deployments-free-per-day";
        let text =
            format!("Resource is limited - try again in 24 hours (more than {cap}, code: \"{code}\").");
        let mut error = shape::rate_limited(&text, (self.now + TimeDelta::days(1)).timestamp());
        error["code"] = json!(code);
        Err(Answer::json(self.settings.cap_status, &json!({"error": error})))
    }

    pub(super) fn read_deployment(&mut self, call: &Call, id: &str) -> Result<Answer, Answer> {
        let index = self.deployment(call, id)?;
        if self.settings.progress == Progress::PerPoll {
            self.advance(index);
        }
        Ok(Answer::json(200, &self.deployments[index].shown(false)))
    }

    /// Newest first; `pagination.next` is the `until` of the next page.
    pub(super) fn list_deployments(&self, call: &Call) -> Result<Answer, Answer> {
        let team = self.scope(call)?;
        let number = |name: &str| call.param(name).and_then(|text| text.parse::<i64>().ok());
        let limit = usize::try_from(number("limit").unwrap_or(20).clamp(1, 100)).expect("clamped");
        let (until, tags) = (number("until"), asked_tags(call));
        let wanted = |row: &&DeploymentRow| {
            let project = self.projects.iter().find(|project| project.id == row.project_id);
            project.is_some_and(|project| project.team_id.as_deref() == team)
                && call.param("projectId").is_none_or(|id| row.project_id == id)
                && call.param("target").is_none_or(|target| row.target.as_deref() == Some(target))
                && call
                    .param("state")
                    .is_none_or(|states| states.split(',').any(|one| one == row.state.as_str()))
                && until.is_none_or(|until| row.created_at < until)
                && tags.iter().all(|(key, value)| row.meta.get(*key).is_some_and(|own| own == *value))
        };
        let found: Vec<&DeploymentRow> = self.deployments.iter().rev().filter(wanted).collect();
        let page = &found[..found.len().min(limit)];
        let next = if found.len() > limit { page.last().map(|row| row.created_at) } else { None };
        let shown: Vec<Value> = page.iter().map(|row| row.shown(true)).collect();
        let pagination = json!({"count": shown.len(), "next": next, "prev": null});
        Ok(Answer::json(200, &json!({"deployments": shown, "pagination": pagination})))
    }

    /// A deployment by its id, within the scope of the call.
    fn deployment(&self, call: &Call, id: &str) -> Result<usize, Answer> {
        let index = self.deployments.iter().position(|row| row.id == id);
        let index = index.ok_or_else(|| shape::not_found("Deployment"))?;
        let project = self.project(call, &self.deployments[index].project_id);
        project.map(|_| index).map_err(|_| shape::not_found("Deployment"))
    }
}

/// `meta-KEY=VALUE` of the query.
fn asked_tags(call: &Call) -> Vec<(&str, &String)> {
    let tag = |pair: &'_ (String, String)| pair.0.starts_with("meta-");
    call.query.iter().filter(|pair| tag(pair)).map(|(name, value)| (&name["meta-".len()..], value)).collect()
}

/// Tags are texts.
fn read_meta(value: &Value) -> Result<BTreeMap<String, String>, Answer> {
    let wrong = || shape::bad_request("`meta` should be an object of strings.");
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(fields) => {
            let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            fields.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}
