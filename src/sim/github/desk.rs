//! The desk where calls are answered: what every call must bring, then the call itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::clock::Clock;
use super::super::wire::{Answer, Call};
use super::super::world::Vendor;
use super::access::{Allowance, Level, Permissions};
use super::forge::Forge;
use super::route::Route;
use super::scope::{Owner, Scope};
use super::shape;

/// Versions of the API there are.
const API_VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

/// The simulated vendor.
pub(super) struct Desk {
    clock: Arc<Clock>,
    forge: Mutex<Forge>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, forge: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Forge> {
        self.forge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn edit_by_hand(&self, scope: &Scope, name: &str, value: &str) {
        self.lock().vault(scope).put_by_hand(name, value, scope.is_org(), self.clock.now());
    }

    pub(super) fn add_alert(&self, repo: &str, secret_type: &str, secret: &str) -> u64 {
        self.lock().add_alert(repo, secret_type, secret, self.clock.now())
    }
}

impl Vendor for Desk {
    fn label(&self, call: &Call) -> &'static str {
        Route::of(call).label()
    }

    fn answer(&self, call: &Call) -> Answer {
        let (mut forge, now) = (self.lock(), self.clock.now());
        let route = Route::of(call);
        let answer = match check_headers(call) {
            Err(refusal) => refusal,
            Ok(()) => match &route {
                Route::AccessToken(id) => forge.access_token(call, *id, now).unwrap_or_else(|no| no),
                route => forge.answer_with_token(call, route, now),
            },
        };
        answer.header("x-github-request-id", format!("SIM:{:016X}", rand::random::<u64>()))
    }

    fn error_body(&self, status: u16) -> Value {
        shape::passing_error(status)
    }
}

/// What every call must bring, whoever makes it.
fn check_headers(call: &Call) -> Result<(), Answer> {
    if call.header("user-agent").is_none_or(str::is_empty) {
        let text = "\r\nRequest forbidden by administrative rules. Please make sure your request has a \
                    User-Agent header. Check https://developer.github.com for other possible causes.\r\n";
        return Err(Answer::of(403, "text/html", text));
    }
    match call.header("x-github-api-version") {
        Some(version) if !API_VERSIONS.contains(&version) => {
            Err(shape::error(400, &format!("{version} is not a supported API version")))
        }
        _ => Ok(()),
    }
}

impl Forge {
    fn answer_with_token(&mut self, call: &Call, route: &Route, now: DateTime<Utc>) -> Answer {
        let Some(token) = call.bearer() else { return shape::error(401, "Requires authentication") };
        if self.tokens.find(token, now).is_none() {
            return shape::error(401, "Bad credentials");
        }
        let limit = self.settings.rate_limit_per_hour;
        let allowance = self.tokens.charge(token, limit, now).expect("the token was found");
        let answer = if allowance.used > allowance.limit {
            shape::error(403, "API rate limit exceeded for user ID 1.")
        } else {
            self.admit(token, route, now)
                .and_then(|()| self.perform(call, route, allowance, now))
                .unwrap_or_else(|refusal| refusal)
        };
        shape::with_allowance(answer, allowance)
    }

    /// Whether the token sees what the route names (404), and may do what it asks (403).
    fn admit(&self, token: &str, route: &Route, now: DateTime<Utc>) -> Result<(), Answer> {
        let token = self.tokens.find(token, now).ok_or_else(shape::not_found)?;
        let permissions = &token.permissions;
        let (repo, org) = place_of(route);
        let sees_repo = |name: &str| {
            let owner = name.split('/').next().unwrap_or_default();
            self.repo(name).is_some()
                && (token.sees(&name.to_lowercase()) || token.sees(&owner.to_lowercase()))
        };
        let sees_org = |name: &str| self.has_org(name) && token.sees(&name.to_lowercase());
        if !repo.is_none_or(sees_repo) || !org.is_none_or(sees_org) {
            return Err(shape::not_found());
        }
        let (has, needs) = demand_of(route, permissions);
        token.demand(has, needs)?;
        if let Some(Owner::Environment { repo, environment }) = scope_of(route).map(|scope| &scope.place)
            && !self.has_environment(repo, environment)
        {
            return Err(shape::not_found());
        }
        let is_person = !token.is_installation();
        if matches!(route, Route::ReadUser) && !is_person {
            token.demand(Level::None, Level::Read)
        } else {
            Ok(())
        }
    }

    fn perform(
        &mut self,
        call: &Call,
        route: &Route,
        allowance: Allowance,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        match route {
            Route::PublicKey(scope) => Ok(Answer::json(200, &self.vault(scope).public_key())),
            Route::ListSecrets(scope) => Ok(self.list_secrets(call, scope)),
            Route::ReadSecret(scope, name) => self.read_secret(call, scope, name),
            Route::PutSecret(scope, name) => self.put_secret(call, scope, name, now),
            Route::DeleteSecret(scope, name) => self.delete_secret(scope, name),
            Route::ListSecretRepositories(scope, name) => self.list_secret_repositories(call, scope, name),
            Route::SetSecretRepositories(scope, name) => self.set_secret_repositories(call, scope, name),
            Route::ChangeSecretRepository(scope, name, id) => {
                self.change_secret_repository(call, scope, name, *id)
            }
            Route::Dispatch(repo) => self.dispatch(call, repo),
            Route::ListAlerts { repo, org } => Ok(self.list_alerts(call, repo.as_deref(), org.as_deref())),
            Route::ReadAlert(repo, number) => self.read_alert(repo, *number),
            Route::PatchAlert(repo, number) => self.patch_alert(call, repo, *number),
            Route::ReadRepo(name) => {
                Ok(Answer::json(200, &self.repo(name).ok_or_else(shape::not_found)?.shown()))
            }
            Route::ReadOrg(name) => Ok(Answer::json(200, &json!({"login": name, "id": 2}))),
            Route::ListEnvironments(name) => Ok(self.list_environments(name)),
            Route::ReadUser => Ok(Answer::json(200, &json!({"login": "simulated-user", "id": 1}))),
            Route::RateLimit => {
                let left = allowance.limit.saturating_sub(allowance.used);
                let core = json!({"limit": allowance.limit, "used": allowance.used, "remaining": left,
                    "reset": allowance.reset.timestamp()});
                Ok(Answer::json(200, &json!({"resources": {"core": core}, "rate": core})))
            }
            Route::AccessToken(_) | Route::Unknown => Err(shape::not_found()),
        }
    }

    fn list_environments(&self, repo: &str) -> Answer {
        let names = self.repo(repo).map(|repo| repo.environments.clone()).unwrap_or_default();
        let shown: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        Answer::json(200, &json!({"total_count": shown.len(), "environments": shown}))
    }
}

/// The repository and the organisation that a route names.
fn place_of(route: &Route) -> (Option<&str>, Option<&str>) {
    match route {
        Route::Dispatch(repo)
        | Route::ReadAlert(repo, _)
        | Route::PatchAlert(repo, _)
        | Route::ReadRepo(repo)
        | Route::ListEnvironments(repo) => (Some(repo), None),
        Route::ReadOrg(org) => (None, Some(org)),
        Route::ListAlerts { repo, org } => (repo.as_deref(), org.as_deref()),
        _ => match scope_of(route).map(|scope| &scope.place) {
            Some(Owner::Repo(repo) | Owner::Environment { repo, .. }) => (Some(repo), None),
            Some(Owner::Org(org)) => (None, Some(org)),
            None => (None, None),
        },
    }
}

/// The store of secrets that a route names.
fn scope_of(route: &Route) -> Option<&Scope> {
    match route {
        Route::PublicKey(scope)
        | Route::ListSecrets(scope)
        | Route::ReadSecret(scope, _)
        | Route::PutSecret(scope, _)
        | Route::DeleteSecret(scope, _)
        | Route::ListSecretRepositories(scope, _)
        | Route::SetSecretRepositories(scope, _)
        | Route::ChangeSecretRepository(scope, ..) => Some(scope),
        _ => None,
    }
}

/// The level the token has for a route, and the level it needs.
fn demand_of(route: &Route, permissions: &Permissions) -> (Level, Level) {
    let writes = matches!(
        route,
        Route::PutSecret(..)
            | Route::DeleteSecret(..)
            | Route::SetSecretRepositories(..)
            | Route::ChangeSecretRepository(..)
            | Route::PatchAlert(..)
            | Route::Dispatch(_)
    );
    let needs = if writes { Level::Write } else { Level::Read };
    match route {
        Route::Dispatch(_) => (permissions.contents, needs),
        Route::ListAlerts { .. } | Route::ReadAlert(..) | Route::PatchAlert(..) => {
            (permissions.secret_scanning_alerts, needs)
        }
        _ => scope_of(route).map_or((Level::Read, Level::Read), |scope| (scope.level(permissions), needs)),
    }
}
