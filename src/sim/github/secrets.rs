//! Calls on one secret: read, list, put, delete. A PUT really opens the sealed box.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::forge::Forge;
use super::page::paged;
use super::scope::Scope;
use super::{shape, text};

impl Forge {
    pub(super) fn list_secrets(&mut self, call: &Call, scope: &Scope) -> Answer {
        let rows: Vec<Value> = self.vault(scope).rows().map(super::vault::SecretRow::shown).collect();
        paged(call, &rows, |page| json!({"total_count": rows.len(), "secrets": page}))
    }

    pub(super) fn read_secret(&mut self, call: &Call, scope: &Scope, name: &str) -> Result<Answer, Answer> {
        let row = self.vault(scope).get(name).ok_or_else(shape::not_found)?;
        let mut shown = row.shown();
        if row.visibility.as_deref() == Some("selected") {
            let (host, path) = (call.header("host").unwrap_or_default(), &call.target);
            shown["selected_repositories_url"] = json!(format!("http://{host}{path}/repositories"));
        }
        Ok(Answer::json(200, &shown))
    }

    pub(super) fn put_secret(
        &mut self,
        call: &Call,
        scope: &Scope,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        validate_name(name)?;
        let body = call.json().ok_or_else(|| shape::error(400, "Problems parsing JSON"))?;
        let field = |name| text(&body, name).ok_or_else(|| shape::invalid(name, "is required"));
        let (sealed, key_id) = (field("encrypted_value")?, field("key_id")?);
        let opening = if scope.is_org() { Some(self.read_opening(&body)?) } else { None };
        let swallow = self.settings.swallow_writes;
        let vault = self.vault(scope);
        let value = vault.open(key_id, sealed).map_err(|(field, message)| shape::invalid(field, message))?;
        if swallow {
            return Ok(put_answer(vault.get(name).is_none()));
        }
        let (row, is_new) = vault.put(name, value, now);
        if let Some((visibility, selected)) = opening {
            (row.visibility, row.selected_repository_ids) = (Some(visibility), selected);
        }
        Ok(put_answer(is_new))
    }

    /// Who an organisation's secret is for. *selected* without a list is nobody: not an error.
    fn read_opening(&self, body: &Value) -> Result<(String, Vec<u64>), Answer> {
        let visibility = text(body, "visibility").unwrap_or_default();
        if !matches!(visibility, "all" | "private" | "selected") {
            return Err(shape::invalid("visibility", "must be one of all, private, selected"));
        }
        let ids = match body.get("selected_repository_ids") {
            None => Vec::new(),
            Some(ids) => self.read_ids(ids)?,
        };
        if visibility != "selected" && !ids.is_empty() {
            return Err(shape::invalid("selected_repository_ids", "needs visibility selected"));
        }
        Ok((visibility.to_owned(), ids))
    }

    pub(super) fn delete_secret(&mut self, scope: &Scope, name: &str) -> Result<Answer, Answer> {
        if self.settings.swallow_writes {
            return Ok(Answer::empty(204));
        }
        if self.vault(scope).remove(name) { Ok(Answer::empty(204)) } else { Err(shape::not_found()) }
    }
}

fn put_answer(is_new: bool) -> Answer {
    if is_new { Answer::json(201, &json!({})) } else { Answer::empty(204) }
}

/// Letters, digits and `_`; no digit first; not the vendor's own prefix.
fn validate_name(name: &str) -> Result<(), Answer> {
    let plain = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if !plain || name.is_empty() {
        return Err(shape::invalid("name", "Secret names can only contain alphanumeric characters and _"));
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(shape::invalid("name", "Secret names must not start with a number"));
    }
    if name.to_uppercase().starts_with("GITHUB_") {
        return Err(shape::invalid("name", "Secret names must not start with GITHUB_"));
    }
    Ok(())
}
