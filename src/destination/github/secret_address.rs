//! Where a secret lives at GitHub: paths, address, and the permission that each place asks for.
//!
//! Source: GitHub REST documentation (API version 2022-11-28), "Actions secrets", "Dependabot secrets",
//! "Codespaces secrets", and "Permissions required for fine-grained personal access tokens".

use url::Url;

use crate::domain::outcome::{Failure, FailureKind};

/// Which of GitHub's secret stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// Workflows.
    Actions,
    /// Dependabot's own jobs.
    Dependabot,
    /// Development machines.
    Codespaces,
}

/// Which repositories see an organisation's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Every repository.
    All,
    /// Private and internal ones.
    Private,
    /// A list.
    Selected,
}

/// Who holds the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One repository.
    Repository {
        /// User or organisation.
        owner: String,
        /// Name without owner.
        repo: String,
    },
    /// One deployment environment of a repository; Actions only.
    Environment {
        /// User or organisation.
        owner: String,
        /// Name without owner.
        repo: String,
        /// Name of the environment.
        environment: String,
    },
    /// An organisation.
    Organization {
        /// Its login.
        organization: String,
        /// Who sees it; `None` keeps what is there (see `sharing`).
        visibility: Option<Visibility>,
        /// Names of repositories that must see it, besides those that do already.
        repositories: Vec<String>,
    },
}

/// A checked scope, store and name.
#[derive(Debug, Clone)]
pub(super) struct SecretAddress {
    pub(super) scope: Scope,
    pub(super) store: Store,
    pub(super) secret: String,
}

/// What a token must be allowed to do, in the words of GitHub's settings pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permission {
    /// For fine-grained tokens and Apps.
    pub(super) fine: &'static str,
    /// The scope of a classic token.
    pub(super) classic: &'static str,
    /// Its name in the permissions of an App's installation.
    pub(super) app: &'static str,
}

impl Store {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Dependabot => "dependabot",
            Self::Codespaces => "codespaces",
        }
    }
}

impl Visibility {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Private => "private",
            Self::Selected => "selected",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::All, Self::Private, Self::Selected].into_iter().find(|known| known.name() == text)
    }
}

impl SecretAddress {
    /// Refuses names that GitHub refuses, and characters that would change a path. The secret's name is
    /// stored in upper case, as GitHub does.
    pub(super) fn new(scope: Scope, store: Store, secret: &str) -> Result<Self, Failure> {
        check_secret(secret)?;
        match &scope {
            Scope::Repository { owner, repo } => check_names(&[owner, repo])?,
            Scope::Environment { owner, repo, environment } => {
                check_names(&[owner, repo])?;
                if store != Store::Actions {
                    return Err(wrong("only the store `actions` has secrets of environments"));
                }
                if environment.is_empty()
                    || environment.len() > 255
                    || environment.chars().any(char::is_control)
                {
                    return Err(wrong("the name of the environment is empty or has control characters"));
                }
            }
            Scope::Organization { organization, visibility, repositories } => {
                check_names(&[organization])?;
                check_names(&repositories.iter().collect::<Vec<_>>())?;
                if !repositories.is_empty() && !matches!(visibility, None | Some(Visibility::Selected)) {
                    return Err(wrong("`repositories` says nothing unless visibility is \"selected\""));
                }
            }
        }
        Ok(Self { scope, store, secret: secret.to_ascii_uppercase() })
    }

    /// `/repos/acme/app/actions/secrets`, without a slash at the end.
    pub(super) fn secrets(&self) -> String {
        match &self.scope {
            Scope::Repository { owner, repo } => {
                format!("/repos/{owner}/{repo}/{}/secrets", self.store.name())
            }
            Scope::Environment { owner, repo, environment } => {
                format!("/repos/{owner}/{repo}/environments/{}/secrets", segment(environment))
            }
            Scope::Organization { organization, .. } => {
                format!("/orgs/{organization}/{}/secrets", self.store.name())
            }
        }
    }

    pub(super) fn secret_path(&self) -> String {
        format!("{}/{}", self.secrets(), self.secret)
    }

    pub(super) fn public_key_path(&self) -> String {
        format!("{}/public-key", self.secrets())
    }

    pub(super) fn repositories_path(&self) -> String {
        format!("{}/repositories", self.secret_path())
    }

    /// Owner and name of the repository, where there is one.
    pub(super) fn repository(&self) -> Option<(&str, &str)> {
        match &self.scope {
            Scope::Repository { owner, repo } | Scope::Environment { owner, repo, .. } => Some((owner, repo)),
            Scope::Organization { .. } => None,
        }
    }

    /// `repos/acme/app/actions/OPENROUTER_API_KEY`: GitHub compares owners, repositories and environments
    /// without regard to case.
    pub(super) fn address(&self) -> String {
        let path = match &self.scope {
            Scope::Repository { owner, repo } => format!("repos/{owner}/{repo}/{}", self.store.name()),
            Scope::Environment { owner, repo, environment } => {
                format!("repos/{owner}/{repo}/environments/{}", segment(environment))
            }
            Scope::Organization { organization, .. } => format!("orgs/{organization}/{}", self.store.name()),
        };
        format!("{}/{}", path.to_lowercase(), self.secret)
    }

    /// What writing here takes.
    pub(super) fn permission(&self) -> Permission {
        let (fine, classic, app) = match (&self.scope, self.store) {
            (Scope::Repository { .. }, Store::Actions) => {
                ("repository permission \"Secrets: read and write\"", "repo", "secrets")
            }
            (Scope::Repository { .. }, Store::Dependabot) => {
                ("repository permission \"Dependabot secrets: read and write\"", "repo", "dependabot_secrets")
            }
            (Scope::Repository { .. }, Store::Codespaces) => {
                ("repository permission \"Codespaces secrets: read and write\"", "repo", "codespaces_secrets")
            }
            (Scope::Environment { .. }, _) => {
                ("repository permission \"Environments: read and write\"", "repo", "environments")
            }
            (Scope::Organization { .. }, Store::Actions) => {
                ("organization permission \"Secrets: read and write\"", "admin:org", "organization_secrets")
            }
            (Scope::Organization { .. }, Store::Dependabot) => (
                "organization permission \"Organization dependabot secrets: read and write\"",
                "admin:org",
                "organization_dependabot_secrets",
            ),
            (Scope::Organization { .. }, Store::Codespaces) => (
                "organization permission \"Organization codespaces secrets: read and write\"",
                "admin:org",
                "organization_codespaces_secrets",
            ),
        };
        Permission { fine, classic, app }
    }

    /// What a 404 can mean here.
    pub(super) fn not_found_hint(&self) -> String {
        match &self.scope {
            Scope::Repository { owner, repo } => {
                format!("check the name {owner}/{repo}, and that the token may see that repository")
            }
            Scope::Environment { owner, repo, environment } => format!(
                "check that {owner}/{repo} has an environment {environment}, and that the token may see it"
            ),
            Scope::Organization { organization, .. } => format!(
                "check the name {organization}, and that the token may manage secrets of that organization"
            ),
        }
    }
}

/// Letters, digits and `_`, not starting with a digit or `GITHUB_`.
fn check_secret(name: &str) -> Result<(), Failure> {
    let upper = name.to_ascii_uppercase();
    let letters = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if letters && !upper.starts_with(|c: char| c.is_ascii_digit()) && !upper.starts_with("GITHUB_") {
        return Ok(());
    }
    Err(wrong(format!("`{name}` cannot be the name of a secret"))
        .hint("use letters, digits and `_`; not a digit first, not GITHUB_"))
}

fn check_names(names: &[&String]) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = |name: &str| !name.is_empty() && name.chars().all(allowed) && name != "." && name != "..";
    match names.iter().find(|name| !good(name)) {
        Some(bad) => {
            Err(wrong(format!("`{bad}` is not the name of a GitHub user, organization or repository")))
        }
        None => Ok(()),
    }
}

fn wrong(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotSent, text)
}

/// A name as one percent-encoded segment of a path.
fn segment(name: &str) -> String {
    let mut url = Url::parse("https://github.invalid/").expect("a constant URL");
    url.path_segments_mut().expect("https has a path").pop_if_empty().push(name);
    url.path()[1..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Scope {
        Scope::Repository { owner: "Acme".into(), repo: "App.js".into() }
    }

    fn environment(name: &str) -> Scope {
        Scope::Environment { owner: "Acme".into(), repo: "app".into(), environment: name.into() }
    }

    fn organization() -> Scope {
        Scope::Organization { organization: "Acme".into(), visibility: None, repositories: vec![] }
    }

    #[test]
    fn every_place_has_its_path_and_address() {
        let rows = [
            (
                repository(),
                Store::Actions,
                "/repos/Acme/App.js/actions/secrets/K_1",
                "repos/acme/app.js/actions/K_1",
            ),
            (
                repository(),
                Store::Dependabot,
                "/repos/Acme/App.js/dependabot/secrets/K_1",
                "repos/acme/app.js/dependabot/K_1",
            ),
            (
                repository(),
                Store::Codespaces,
                "/repos/Acme/App.js/codespaces/secrets/K_1",
                "repos/acme/app.js/codespaces/K_1",
            ),
            (
                environment("Prod/EU 1%?"),
                Store::Actions,
                "/repos/Acme/app/environments/Prod%2FEU%201%25%3F/secrets/K_1",
                "repos/acme/app/environments/prod%2feu%201%25%3f/K_1",
            ),
            (organization(), Store::Actions, "/orgs/Acme/actions/secrets/K_1", "orgs/acme/actions/K_1"),
            (
                organization(),
                Store::Codespaces,
                "/orgs/Acme/codespaces/secrets/K_1",
                "orgs/acme/codespaces/K_1",
            ),
        ];
        for (scope, store, path, address) in rows {
            let place = SecretAddress::new(scope, store, "k_1").unwrap();
            assert_eq!((place.secret_path().as_str(), place.address().as_str()), (path, address));
            assert_eq!(place.public_key_path(), path.replace("K_1", "public-key"));
        }
    }

    #[test]
    fn names_that_github_refuses_are_refused_here() {
        for name in ["", "1A", "GITHUB_TOKEN", "github_x", "A-B", "A B", "É"] {
            assert!(SecretAddress::new(repository(), Store::Actions, name).is_err(), "{name}");
        }
        for name in ["", "..", "a/b", "a b", "a?b"] {
            let scope = Scope::Repository { owner: "acme".into(), repo: name.into() };
            assert!(SecretAddress::new(scope, Store::Actions, "A").is_err(), "{name}");
        }
        assert!(SecretAddress::new(environment("p"), Store::Dependabot, "A").is_err());
        let all = Scope::Organization {
            organization: "acme".into(),
            visibility: Some(Visibility::All),
            repositories: vec!["app".into()],
        };
        assert!(SecretAddress::new(all, Store::Actions, "A").is_err());
    }
}
