//! The name of a store of secrets.

use super::access::{Level, Permissions};

/// What reads the secrets of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// Workflows.
    Actions,
    /// Dependabot.
    Dependabot,
    /// Codespaces.
    Codespaces,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Repo(String),
    Environment { repo: String, environment: String },
    Org(String),
}

/// One store of secrets: where, and for whom. Names of owners, repositories and environments know no case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    pub(super) store: Store,
    pub(super) place: Owner,
}

impl Scope {
    /// The Actions secrets of a repository, `owner/name`.
    pub fn repo(full_name: &str) -> Self {
        Self { store: Store::Actions, place: Owner::Repo(full_name.to_lowercase()) }
    }

    /// The secrets of an environment of a repository.
    pub fn environment(repo: &str, environment: &str) -> Self {
        let (repo, environment) = (repo.to_lowercase(), environment.to_lowercase());
        Self { store: Store::Actions, place: Owner::Environment { repo, environment } }
    }

    /// The Actions secrets of an organisation.
    pub fn org(name: &str) -> Self {
        Self { store: Store::Actions, place: Owner::Org(name.to_lowercase()) }
    }

    /// The same place's store for another reader; an environment has only the one.
    #[must_use]
    pub fn of(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// The same place's Dependabot secrets.
    #[must_use]
    pub fn dependabot(self) -> Self {
        self.of(Store::Dependabot)
    }

    /// The same place's Codespaces secrets.
    #[must_use]
    pub fn codespaces(self) -> Self {
        self.of(Store::Codespaces)
    }

    /// What the token must be allowed here.
    pub(super) fn level(&self, permissions: &Permissions) -> Level {
        match (&self.place, self.store) {
            (Owner::Environment { .. }, _) => permissions.environments,
            (Owner::Repo(_), Store::Actions) => permissions.secrets,
            (Owner::Repo(_), Store::Dependabot) => permissions.dependabot_secrets,
            (Owner::Repo(_), Store::Codespaces) => permissions.codespaces_secrets,
            (Owner::Org(_), Store::Actions) => permissions.organization_secrets,
            (Owner::Org(_), Store::Dependabot) => permissions.organization_dependabot_secrets,
            (Owner::Org(_), Store::Codespaces) => permissions.organization_codespaces_secrets,
        }
    }

    /// Whether the store is an organisation's.
    pub(super) fn is_org(&self) -> bool {
        matches!(self.place, Owner::Org(_))
    }
}
