//! The world: teams, projects with their variables, deployments, tokens.

use chrono::{DateTime, Utc};

use super::super::wire::{Answer, Call};
use super::deployment::{DeploymentRow, ReadyState};
use super::env::EnvRow;
use super::promotion::AliasRequest;
use super::settings::Settings;
use super::shape;

/// One project.
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    /// Its team; the personal account's when `None`.
    pub(super) team_id: Option<String>,
    pub(super) envs: Vec<EnvRow>,
    /// The deployment that serves production.
    pub(super) production: Option<String>,
    /// Production was rolled back: new deployments no longer take over.
    pub(super) rolled_back: bool,
    /// A deployment that gets READY takes over by itself; else it is staged.
    pub(super) auto_assign: bool,
    /// What takes over does so step by step.
    pub(super) rolling_release: bool,
    pub(super) last_request: Option<AliasRequest>,
    pub(super) last_rollback: Option<AliasRequest>,
}

impl Project {
    pub(super) fn is(&self, id_or_name: &str) -> bool {
        self.id == id_or_name || self.name == id_or_name
    }
}

struct Team {
    id: String,
    slug: String,
}

struct Token {
    text: String,
    /// The only team it sees; everything when `None`.
    team_id: Option<String>,
    revoked: bool,
}

/// Everything there is, at one instant.
#[derive(Default)]
pub(super) struct Cloud {
    pub(super) settings: Settings,
    /// By the simulator's clock, set at each visit.
    pub(super) now: DateTime<Utc>,
    pub(super) projects: Vec<Project>,
    pub(super) deployments: Vec<DeploymentRow>,
    teams: Vec<Team>,
    tokens: Vec<Token>,
}

impl Cloud {
    pub(super) fn add_team(&mut self, slug: &str) -> String {
        let id = new_id("team_");
        self.teams.push(Team { id: id.clone(), slug: slug.to_owned() });
        id
    }

    pub(super) fn add_project(&mut self, name: &str, team_id: Option<&str>) -> String {
        let id = new_id("prj_");
        self.projects.push(Project {
            id: id.clone(),
            name: name.to_owned(),
            team_id: team_id.map(str::to_owned),
            envs: Vec::new(),
            production: None,
            rolled_back: false,
            auto_assign: true,
            rolling_release: false,
            last_request: None,
            last_rollback: None,
        });
        self.deploy_by_hand(&id);
        id
    }

    pub(super) fn new_token(&mut self, team_id: Option<&str>) -> String {
        let text = new_id("vcp_simulated_");
        self.tokens.push(Token { text: text.clone(), team_id: team_id.map(str::to_owned), revoked: false });
        text
    }

    pub(super) fn revoke_token(&mut self, text: &str) -> bool {
        self.tokens.iter_mut().find(|token| token.text == text).map(|token| token.revoked = true).is_some()
    }

    pub(super) fn issued_tokens(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }

    pub(super) fn envs(&self, project: &str) -> Vec<EnvRow> {
        self.projects.iter().find(|one| one.is(project)).map(|one| one.envs.clone()).unwrap_or_default()
    }

    pub(super) fn production(&self, project: &str) -> Option<String> {
        self.projects.iter().find(|one| one.is(project)).and_then(|one| one.production.clone())
    }

    pub(super) fn deployments_of(&self, project: &str) -> Vec<DeploymentRow> {
        let found = self.projects.iter().find(|one| one.is(project));
        let ours = |row: &&DeploymentRow| found.is_some_and(|project| row.project_id == project.id);
        self.deployments.iter().filter(ours).cloned().collect()
    }

    /// A project that the test names.
    pub(super) fn known(&mut self, project: &str) -> &mut Project {
        self.projects.iter_mut().find(|one| one.is(project)).expect("tests name projects they have added")
    }

    pub(super) fn set_by_hand(
        &mut self,
        project: &str,
        key: &str,
        targets: &[&str],
        kind: &str,
        value: &str,
    ) {
        let now = self.now.timestamp_millis();
        let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
        let envs = &mut self.known(project).envs;
        match envs.iter_mut().find(|row| row.key == key && row.target == targets) {
            Some(row) => row.write(value, now),
            None => envs.push(EnvRow::new(key, value, kind, targets, now)),
        }
    }

    pub(super) fn delete_by_hand(&mut self, project: &str, key: &str) {
        self.known(project).envs.retain(|row| row.key != key);
    }

    pub(super) fn deploy_by_hand(&mut self, project: &str) -> String {
        let project_id = self.known(project).id.clone();
        let id = self.deploy(&project_id, Some("production"), std::collections::BTreeMap::new());
        let row = self.deployments.last_mut().expect("pushed just above");
        row.state = ReadyState::Ready;
        self.arrive(self.deployments.len() - 1);
        id
    }

    /// Refuses a credential that is none, or that does not see the team the call names.
    pub(super) fn admit(&self, call: &Call) -> Result<(), Answer> {
        let forbidden = |message: &str| shape::error(403, "forbidden", message);
        let bearer =
            call.bearer().ok_or_else(|| forbidden("The request is missing an authentication token"))?;
        let live = self.tokens.iter().find(|token| token.text == bearer && !token.revoked);
        let token = live.ok_or_else(|| forbidden("Not authorized"))?;
        let team = self.scope(call)?;
        if token.team_id.is_some() && token.team_id.as_deref() != team {
            return Err(forbidden("Not authorized: the token has no access to this scope"));
        }
        Ok(())
    }

    /// The team that the call is about, by id or slug.
    pub(super) fn scope(&self, call: &Call) -> Result<Option<&str>, Answer> {
        let (id, slug) = (call.param("teamId"), call.param("slug"));
        if id.is_none() && slug.is_none() {
            return Ok(None);
        }
        let named =
            |team: &&Team| id.is_none_or(|id| team.id == id) && slug.is_none_or(|slug| team.slug == slug);
        let found = self.teams.iter().find(named);
        found
            .map(|team| Some(team.id.as_str()))
            .ok_or_else(|| shape::error(403, "forbidden", "Not authorized"))
    }

    /// The project of this id or name, within the scope of the call.
    pub(super) fn project(&self, call: &Call, id_or_name: &str) -> Result<usize, Answer> {
        let team = self.scope(call)?;
        let here = |one: &Project| one.is(id_or_name) && one.team_id.as_deref() == team;
        self.projects.iter().position(here).ok_or_else(|| shape::not_found("Project"))
    }
}

/// A prefix, and letters enough to be unique.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", hex::encode(rand::random::<[u8; 12]>()))
}
