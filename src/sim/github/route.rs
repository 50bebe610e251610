//! From a path to what it asks for.

use super::super::wire::Call;
use super::scope::{Scope, Store};

/// One kind of call, with what the path says about it. The labels are in the simulator's header.
pub(super) enum Route {
    PublicKey(Scope),
    ListSecrets(Scope),
    ReadSecret(Scope, String),
    PutSecret(Scope, String),
    DeleteSecret(Scope, String),
    ListSecretRepositories(Scope, String),
    SetSecretRepositories(Scope, String),
    ChangeSecretRepository(Scope, String, u64),
    Dispatch(String),
    ListAlerts { repo: Option<String>, org: Option<String> },
    ReadAlert(String, u64),
    PatchAlert(String, u64),
    AccessToken(u64),
    ReadRepo(String),
    ReadOrg(String),
    ListEnvironments(String),
    ReadUser,
    RateLimit,
    Unknown,
}

impl Route {
    /// What a call asks for, with or without the prefix of GitHub Enterprise Server.
    pub(super) fn of(call: &Call) -> Self {
        let path = call.path();
        let path = path.strip_prefix(&["api", "v3"]).unwrap_or(&path);
        let method = call.method.as_str();
        let found = match path {
            ["repos", owner, name, rest @ ..] => of_repo(method, &format!("{owner}/{name}"), rest),
            ["orgs", org, rest @ ..] => of_org(method, org, rest),
            ["app", "installations", id, "access_tokens"] if method == "POST" => {
                id.parse().ok().map(Self::AccessToken)
            }
            ["user"] if method == "GET" => Some(Self::ReadUser),
            ["rate_limit"] if method == "GET" => Some(Self::RateLimit),
            _ => None,
        };
        found.unwrap_or(Self::Unknown)
    }

    /// The stable label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::PublicKey(_) => "read_public_key",
            Self::ListSecrets(_) => "list_secrets",
            Self::ReadSecret(..) => "read_secret",
            Self::PutSecret(..) => "put_secret",
            Self::DeleteSecret(..) => "delete_secret",
            Self::ListSecretRepositories(..) => "list_secret_repositories",
            Self::SetSecretRepositories(..) => "set_secret_repositories",
            Self::ChangeSecretRepository(..) => "change_secret_repository",
            Self::Dispatch(_) => "dispatch",
            Self::ListAlerts { .. } => "list_alerts",
            Self::ReadAlert(..) => "read_alert",
            Self::PatchAlert(..) => "patch_alert",
            Self::AccessToken(_) => "access_token",
            Self::ReadRepo(_) => "read_repo",
            Self::ReadOrg(_) => "read_org",
            Self::ListEnvironments(_) => "list_environments",
            Self::ReadUser => "read_user",
            Self::RateLimit => "rate_limit",
            Self::Unknown => "unknown",
        }
    }
}

fn of_repo(method: &str, repo: &str, rest: &[&str]) -> Option<Route> {
    match (method, rest) {
        ("GET", []) => Some(Route::ReadRepo(repo.to_owned())),
        ("POST", ["dispatches"]) => Some(Route::Dispatch(repo.to_owned())),
        ("GET", ["environments"]) => Some(Route::ListEnvironments(repo.to_owned())),
        (_, ["environments", environment, "secrets", rest @ ..]) => {
            of_secrets(method, Scope::environment(repo, environment), rest)
        }
        ("GET", ["secret-scanning", "alerts"]) => {
            Some(Route::ListAlerts { repo: Some(repo.to_owned()), org: None })
        }
        ("GET", ["secret-scanning", "alerts", number]) => {
            number.parse().ok().map(|number| Route::ReadAlert(repo.to_owned(), number))
        }
        ("PATCH", ["secret-scanning", "alerts", number]) => {
            number.parse().ok().map(|number| Route::PatchAlert(repo.to_owned(), number))
        }
        (_, [store, "secrets", rest @ ..]) => {
            of_secrets(method, Scope::repo(repo).of(store_of(store)?), rest)
        }
        _ => None,
    }
}

fn of_org(method: &str, org: &str, rest: &[&str]) -> Option<Route> {
    match (method, rest) {
        ("GET", []) => Some(Route::ReadOrg(org.to_owned())),
        ("GET", ["secret-scanning", "alerts"]) => {
            Some(Route::ListAlerts { repo: None, org: Some(org.to_owned()) })
        }
        (_, [store, "secrets", rest @ ..]) => of_secrets(method, Scope::org(org).of(store_of(store)?), rest),
        _ => None,
    }
}

fn of_secrets(method: &str, scope: Scope, rest: &[&str]) -> Option<Route> {
    let is_org = scope.is_org();
    match (method, rest) {
        ("GET", []) => Some(Route::ListSecrets(scope)),
        ("GET", ["public-key"]) => Some(Route::PublicKey(scope)),
        ("GET", [name]) => Some(Route::ReadSecret(scope, (*name).to_owned())),
        ("PUT", [name]) => Some(Route::PutSecret(scope, (*name).to_owned())),
        ("DELETE", [name]) => Some(Route::DeleteSecret(scope, (*name).to_owned())),
        ("GET", [name, "repositories"]) if is_org => {
            Some(Route::ListSecretRepositories(scope, (*name).to_owned()))
        }
        ("PUT", [name, "repositories"]) if is_org => {
            Some(Route::SetSecretRepositories(scope, (*name).to_owned()))
        }
        ("PUT" | "DELETE", [name, "repositories", id]) if is_org => {
            id.parse().ok().map(|id| Route::ChangeSecretRepository(scope, (*name).to_owned(), id))
        }
        _ => None,
    }
}

fn store_of(word: &str) -> Option<Store> {
    match word {
        "actions" => Some(Store::Actions),
        "dependabot" => Some(Store::Dependabot),
        "codespaces" => Some(Store::Codespaces),
        _ => None,
    }
}
