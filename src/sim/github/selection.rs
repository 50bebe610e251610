//! The repositories that an organisation's *selected* secret is for.

use http::Method;
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::forge::{Forge, Repo};
use super::page::paged;
use super::scope::Scope;
use super::shape;
use super::vault::SecretRow;

impl Forge {
    /// A list of ids, each of a repository there is.
    pub(super) fn read_ids(&self, ids: &Value) -> Result<Vec<u64>, Answer> {
        let wrong = || shape::invalid("selected_repository_ids", "must be a list of repository ids");
        let ids: Option<Vec<u64>> = ids.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect());
        let ids = ids.ok_or_else(wrong)?;
        if ids.iter().all(|id| self.repo_by_id(*id).is_some()) { Ok(ids) } else { Err(wrong()) }
    }

    pub(super) fn list_secret_repositories(
        &mut self,
        call: &Call,
        scope: &Scope,
        name: &str,
    ) -> Result<Answer, Answer> {
        let row = self.vault(scope).get(name).ok_or_else(shape::not_found)?;
        let found = row.selected_repository_ids.iter().filter_map(|id| self.repo_by_id(*id));
        let repos: Vec<Value> = found.map(Repo::shown).collect();
        Ok(paged(call, &repos, |page| json!({"total_count": repos.len(), "repositories": page})))
    }

    pub(super) fn set_secret_repositories(
        &mut self,
        call: &Call,
        scope: &Scope,
        name: &str,
    ) -> Result<Answer, Answer> {
        let body = call.json().unwrap_or_default();
        let ids = self.read_ids(&body["selected_repository_ids"])?;
        self.selected(scope, name)?.selected_repository_ids = ids;
        Ok(Answer::empty(204))
    }

    pub(super) fn change_secret_repository(
        &mut self,
        call: &Call,
        scope: &Scope,
        name: &str,
        id: u64,
    ) -> Result<Answer, Answer> {
        self.repo_by_id(id).ok_or_else(shape::not_found)?;
        let ids = &mut self.selected(scope, name)?.selected_repository_ids;
        ids.retain(|one| *one != id);
        if call.method == Method::PUT {
            ids.push(id);
        }
        Ok(Answer::empty(204))
    }

    /// The secret, if it is for selected repositories.
    fn selected(&mut self, scope: &Scope, name: &str) -> Result<&mut SecretRow, Answer> {
        let row = self.vault(scope).get_mut(name).ok_or_else(shape::not_found)?;
        if row.visibility.as_deref() == Some("selected") {
            Ok(row)
        } else {
            Err(shape::error(409, "Conflict: visibility is not selected"))
        }
    }
}
