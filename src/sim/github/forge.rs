//! The world: repositories, organisations, stores of secrets, tokens, Apps, alerts, dispatches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::access::{Permissions, Tokens};
use super::alerts::AlertRow;
use super::app::App;
use super::scope::Scope;
use super::vault::Vault;

/// How the simulator behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A write to a secret is answered as if it had been done, and is not (rotation.md, fault 16).
    pub swallow_writes: bool,
    /// Requests a token may make in an hour.
    pub rate_limit_per_hour: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { swallow_writes: false, rate_limit_per_hour: 5000 }
    }
}

/// An accepted repository dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// `owner/name`.
    pub repo: String,
    /// What the workflow is chosen by.
    pub event_type: String,
    /// What it is told.
    pub client_payload: Value,
}

/// One repository; its names keep their case, and are compared without.
pub(super) struct Repo {
    pub(super) id: u64,
    pub(super) full_name: String,
    pub(super) environments: Vec<String>,
}

impl Repo {
    pub(super) fn is(&self, full_name: &str) -> bool {
        self.full_name.eq_ignore_ascii_case(full_name)
    }

    pub(super) fn owner(&self) -> &str {
        self.full_name.split('/').next().unwrap_or_default()
    }

    pub(super) fn shown(&self) -> Value {
        let name = self.full_name.split('/').nth(1).unwrap_or_default();
        let owner = self.owner();
        json!({"id": self.id, "name": name, "full_name": self.full_name, "private": true,
            "owner": {"login": owner, "id": 1}, "visibility": "private"})
    }
}

/// Everything there is.
#[derive(Default)]
pub(super) struct Forge {
    pub(super) settings: Settings,
    pub(super) tokens: Tokens,
    pub(super) apps: Vec<(App, Permissions)>,
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) alerts: Vec<AlertRow>,
    repos: Vec<Repo>,
    orgs: Vec<String>,
    vaults: BTreeMap<Scope, Vault>,
}

impl Forge {
    pub(super) fn add_repo(&mut self, full_name: &str) -> u64 {
        if let Some(repo) = self.repo(full_name) {
            return repo.id;
        }
        let id = 1_000_001 + u64::try_from(self.repos.len()).expect("a few repositories");
        self.repos.push(Repo { id, full_name: full_name.to_owned(), environments: Vec::new() });
        id
    }

    pub(super) fn add_environment(&mut self, repo: &str, environment: &str) {
        self.add_repo(repo);
        let found = self.repos.iter_mut().find(|one| one.is(repo));
        found.expect("added just above").environments.push(environment.to_owned());
    }

    pub(super) fn add_org(&mut self, name: &str) {
        self.orgs.push(name.to_owned());
    }

    pub(super) fn add_app(&mut self, permissions: Permissions) -> App {
        let number = 500_001 + u64::try_from(self.apps.len()).expect("a few Apps");
        let app = App { app_id: number, installation_id: number + 400_000 };
        self.apps.push((app, permissions));
        app
    }

    pub(super) fn repo(&self, full_name: &str) -> Option<&Repo> {
        self.repos.iter().find(|repo| repo.is(full_name))
    }

    pub(super) fn repo_by_id(&self, id: u64) -> Option<&Repo> {
        self.repos.iter().find(|repo| repo.id == id)
    }

    pub(super) fn has_org(&self, name: &str) -> bool {
        self.orgs.iter().any(|org| org.eq_ignore_ascii_case(name))
    }

    pub(super) fn has_environment(&self, repo: &str, environment: &str) -> bool {
        let named = |one: &String| one.to_lowercase() == environment.to_lowercase();
        self.repo(repo).is_some_and(|repo| repo.environments.iter().any(named))
    }

    /// The store of this scope, made with a key pair when it is first looked at.
    pub(super) fn vault(&mut self, scope: &Scope) -> &mut Vault {
        self.vaults.entry(scope.clone()).or_insert_with(Vault::new)
    }

    pub(super) fn workflow_sees(&mut self, full_name: &str, name: &str) -> Option<String> {
        let (id, owner) = self.repo(full_name).map(|repo| (repo.id, repo.owner().to_owned()))?;
        let own = self.vault(&Scope::repo(full_name)).get(name);
        let shared = self.vault(&Scope::org(&owner)).get(name).filter(|row| {
            row.visibility.as_deref() != Some("selected") || row.selected_repository_ids.contains(&id)
        });
        own.or(shared).map(|row| row.value)
    }

    pub(super) fn alerts_of(&self, repo: &str) -> Vec<AlertRow> {
        self.alerts.iter().filter(|alert| alert.repo.eq_ignore_ascii_case(repo)).cloned().collect()
    }
}
