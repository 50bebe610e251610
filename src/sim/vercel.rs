//! A simulator of Vercel: environment variables, and the deployments they are baked into.
//!
//! | label | call |
//! |---|---|
//! | `list_envs` | `GET /v8…v10/projects/{id}/env?decrypt=true` |
//! | `create_env` | `POST /v9…v10/projects/{id}/env?upsert=true` |
//! | `read_env` | `GET /v1/projects/{id}/env/{envId}` |
//! | `patch_env` | `PATCH /v9/projects/{id}/env/{envId}` |
//! | `delete_env` | `DELETE /v9/projects/{id}/env/{envId}` |
//! | `read_project` | `GET /v9/projects/{id}?rollbackInfo=true` |
//! | `promote` | `POST /v10/projects/{id}/promote/{deploymentId}` |
//! | `create_deployment` | `POST /v13/deployments?forceNew=1` |
//! | `read_deployment` | `GET /v13/deployments/{id}` |
//! | `list_deployments` | `GET /v6…v7/deployments?projectId=&target=&state=&meta-KEY=VALUE&until=&limit=` |
//! | `read_user` | `GET /v2/user` |
//! | `unknown` | anything else |
//!
//! Every call names its team by `teamId` or `slug`; without, it is about the personal account, where a team's
//! projects are 404. A project is named by its id or its name.
//!
//! ```text
//! QUEUED ─► INITIALIZING ─► BUILDING ─► READY ─► PROMOTED: serves production, or has
//!                                   │        └─► ROLLING: gets there step by step, where the project does so
//!                                   │        └─► STAGED: rolled back, or no domains are assigned by themselves
//!                                   └─► ERROR, CANCELED, BLOCKED
//! ```
//!
//! A deployment keeps the variables as they were when it was made: a change reaches only later ones.
//!
//! Where to read: `env` is a variable and the calls on it, `deployment` a deployment and its calls, `promotion` what
//! serves production, `cloud` the world, `desk` who may ask and what for.

mod cloud;
mod deployment;
mod desk;
mod env;
mod promotion;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::json;

pub use self::deployment::{DeploymentRow, ReadyState};
pub use self::env::EnvRow;
pub use self::promotion::Substate;
pub use self::settings::{Progress, Promotion, Settings};

use self::desk::Desk;
use super::clock::Clock;
use super::fault::{Act, Script};
use super::world::{RequestLog, Server};

/// A running simulator of Vercel. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Vercel {
    desk: Arc<Desk>,
    server: Arc<Server>,
}

/// 429 `rate_limited`, over until this time (seconds since 1970).
pub fn rate_limited(reset: i64) -> Act {
    Act::body(429, json!({"error": shape::rate_limited("The rate limit of 6 exceeded.", reset)}))
}

impl Vercel {
    /// Starts one with a script of its own.
    pub async fn start() -> Self {
        Self::start_with(Script::default()).await
    }

    /// Starts one that shares `script`, and the numbering of requests, with other simulators.
    pub async fn start_with(script: Script) -> Self {
        let clock = Arc::new(Clock::default());
        let desk = Arc::new(Desk::new(Arc::clone(&clock)));
        let server = Server::start(Arc::<Desk>::clone(&desk), clock, script).await;
        Self { desk, server: Arc::new(server) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn api_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Stops serving; the world stays inspectable.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Adds a team; its id.
    pub fn add_team(&self, slug: &str) -> String {
        self.desk.visit().add_team(slug)
    }

    /// Adds a project of the personal account, with a production deployment that is READY; its id.
    pub fn add_project(&self, name: &str) -> String {
        self.desk.visit().add_project(name, None)
    }

    /// Adds a project of a team, with a production deployment that is READY; its id.
    pub fn add_project_of(&self, team_id: &str, name: &str) -> String {
        self.desk.visit().add_project(name, Some(team_id))
    }

    /// A new token that sees everything.
    pub fn new_token(&self) -> String {
        self.desk.visit().new_token(None)
    }

    /// A new token that sees only one team.
    pub fn new_token_for(&self, team_id: &str) -> String {
        self.desk.visit().new_token(Some(team_id))
    }

    /// A person revokes a token.
    pub fn revoke_token(&self, token: &str) -> bool {
        self.desk.visit().revoke_token(token)
    }

    /// Every token this simulator ever made.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.desk.visit().issued_tokens()
    }

    /// The plaintext of a variable for one target, whatever its type, by project id or name.
    pub fn value(&self, project: &str, key: &str, target: &str) -> Option<String> {
        let here = |row: &EnvRow| row.key == key && row.target.iter().any(|one| one == target);
        self.envs(project).into_iter().find(here).map(|row| row.value)
    }

    /// The variables of a project.
    pub fn envs(&self, project: &str) -> Vec<EnvRow> {
        self.desk.visit().envs(project)
    }

    /// A person makes or changes a variable for exactly these targets; `kind` is its type, such as `encrypted`.
    /// `updatedAt` moves.
    pub fn set_by_hand(&self, project: &str, key: &str, targets: &[&str], kind: &str, value: &str) {
        self.desk.visit().set_by_hand(project, key, targets, kind, value);
    }

    /// A person deletes the variables of this name.
    pub fn delete_by_hand(&self, project: &str, key: &str) {
        self.desk.visit().delete_by_hand(project, key);
    }

    /// A person deploys to production: READY at once, with the variables of now; its id.
    pub fn deploy_by_hand(&self, project: &str) -> String {
        self.desk.visit().deploy_by_hand(project)
    }

    /// A person rolls production back to this deployment. Later ones do not serve production by themselves.
    pub fn roll_back(&self, project: &str, deployment_id: &str) {
        self.desk.visit().roll_back(project, deployment_id);
    }

    /// Deployments of the project that get READY from now on serve production by themselves, or are staged.
    pub fn assign_domains(&self, project: &str, by_itself: bool) {
        self.desk.visit().known(project).auto_assign = by_itself;
    }

    /// What is to serve production from now on gets there step by step.
    pub fn release_in_steps(&self, project: &str, in_steps: bool) {
        self.desk.visit().known(project).rolling_release = in_steps;
    }

    /// A person promotes a deployment, or completes its release in steps.
    pub fn promote_by_hand(&self, project: &str, deployment_id: &str) {
        self.desk.visit().promote_by_hand(project, deployment_id);
    }

    /// The deployments of a project, oldest first.
    pub fn deployments(&self, project: &str) -> Vec<DeploymentRow> {
        self.desk.visit().deployments_of(project)
    }

    /// The id of the deployment that serves production.
    pub fn production(&self, project: &str) -> Option<String> {
        self.desk.visit().production(project)
    }

    /// What the code that serves production reads: the value baked into its deployment.
    pub fn production_sees(&self, project: &str, key: &str) -> Option<String> {
        let serving = self.production(project)?;
        let deployment = self.deployments(project).into_iter().find(|row| row.id == serving)?;
        deployment.env.get(key).cloned()
    }

    /// Puts the simulator's clock, its `Date` header and its timestamps this far ahead of real time.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.server.set_clock_offset(seconds);
    }

    /// Changes the settings.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.desk.visit().settings);
    }

    /// Everything that was asked so far, in order of arrival.
    pub fn requests(&self) -> Vec<RequestLog> {
        self.server.requests()
    }

    /// Waits until `enough` holds of everything that was asked.
    pub async fn wait_until(&self, enough: impl FnMut(&[RequestLog]) -> bool) {
        self.server.wait_until(enough).await;
    }

    /// The script of mishaps.
    pub fn faults(&self) -> &Script {
        self.server.faults()
    }
}
