//! What names keys by their hash: guardrails and their assignments, own credentials and who may use them.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::books::Books;
use super::form::{self, Given};
use super::shape;

/// A guardrail, and whose it is.
struct Guardrail {
    id: String,
    account_id: String,
}

/// A credential of a customer's own at a vendor.
struct Credential {
    id: String,
    account_id: String,
    workspace_id: String,
    /// `None`: every key of the workspace.
    keys: Option<Vec<String>>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Rolls {
    guardrails: Vec<Guardrail>,
    /// Key and guardrail; a key has one at most.
    assignments: Vec<(String, String)>,
    credentials: Vec<Credential>,
}

impl Rolls {
    pub(super) fn new_guardrail(&mut self, account_id: &str) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.guardrails.push(Guardrail { id: id.clone(), account_id: account_id.to_owned() });
        id
    }

    pub(super) fn assign(&mut self, hash: &str, guardrail: Option<&str>) {
        self.assignments.retain(|(key, _)| key != hash);
        self.assignments.extend(guardrail.map(|id| (hash.to_owned(), id.to_owned())));
    }

    pub(super) fn guardrail_of(&self, hash: &str) -> Option<String> {
        self.assignments.iter().find(|(key, _)| key == hash).map(|(_, id)| id.clone())
    }

    pub(super) fn byok_keys(&self, id: &str) -> Option<Vec<String>> {
        self.credentials.iter().find(|one| one.id == id).and_then(|one| one.keys.clone())
    }

    pub(super) fn edit_byok(&mut self, id: &str, change: impl FnOnce(&mut Option<Vec<String>>)) {
        if let Some(one) = self.credentials.iter_mut().find(|one| one.id == id) {
            change(&mut one.keys);
        }
    }
}

impl Books {
    pub(super) fn new_byok(&mut self, account_id: &str, keys: Option<&[String]>) -> String {
        let (id, account_id) = (uuid::Uuid::new_v4().to_string(), account_id.to_owned());
        let workspace_id = self.account(&account_id).default_workspace().to_owned();
        let keys = keys.map(<[String]>::to_vec);
        self.rolls.credentials.push(Credential { id: id.clone(), account_id, workspace_id, keys });
        id
    }

    /// The account behind a call about guardrails or credentials, unless it has none of them.
    fn keeper(&self, call: &Call, refused: Option<u16>, now: DateTime<Utc>) -> Result<String, Answer> {
        let account_id = self.manager(call, now)?;
        match refused {
            Some(403) => Err(shape::error(403, "Guardrails are not available on your plan")),
            Some(status) => Err(shape::error(status, "Not Found")),
            None => Ok(account_id),
        }
    }

    /// One page, and how many there are in all.
    fn counted(&mut self, call: &Call, rows: Vec<Value>) -> Result<Answer, Answer> {
        let number = |name: &str, default: usize| {
            let given = call.param(name).map_or(Ok(default), str::parse::<usize>);
            given.map_err(|_| shape::error(400, "Invalid request parameters"))
        };
        let (offset, limit) = (number("offset", 0)?, number("limit", 50)?);
        if !(1..=100).contains(&limit) {
            return Err(shape::error(400, "Invalid request parameters"));
        }
        let total = rows.len();
        let mut page: Vec<Value> =
            rows.into_iter().skip(offset).take(limit.min(self.settings.page_size)).collect();
        if self.settings.short_pages > 0 && page.pop().is_some() {
            self.settings.short_pages -= 1;
        }
        Ok(Answer::json(200, &json!({"data": page, "total_count": total})))
    }

    pub(super) fn list_assignments(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = self.keeper(call, self.settings.guardrails_refused, now)?;
        let shown = |(hash, guardrail): &(String, String)| {
            let row = &self.keys.iter().find(|key| key.row.hash == *hash)?.row;
            // Whether an assignment outlives its key is *open*: here nobody but memory knows it then.
            (row.account_id == account_id && !row.deleted).then(|| {
                json!({
                    "id": uuid::Uuid::new_v4().to_string(), "key_hash": hash, "guardrail_id": guardrail, "key_name": row.name,
                    "key_label": row.label, "assigned_by": null, "created_at": "2026-11-01T00:00:00Z",
                })
            })
        };
        let rows = self.rolls.assignments.iter().filter_map(shown).collect();
        self.counted(call, rows)
    }

    /// A key may hold one guardrail: assigning takes it away from any other.
    pub(super) fn assign_keys(
        &mut self,
        call: &Call,
        guardrail: &str,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        let account_id = self.keeper(call, self.settings.guardrails_refused, now)?;
        let known =
            self.rolls.guardrails.iter().any(|one| one.id == guardrail && one.account_id == account_id);
        if !known {
            return Err(shape::error(404, "Guardrail not found"));
        }
        let hashes = form::key_hashes(call)?;
        self.all_known(&account_id, &hashes)?;
        for hash in &hashes {
            self.rolls.assign(hash, Some(guardrail));
        }
        Ok(Answer::json(200, &json!({"assigned_count": hashes.len()})))
    }

    pub(super) fn list_byok(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = self.keeper(call, self.settings.byok_refused, now)?;
        let default = self.account(&account_id).default_workspace().to_owned();
        let workspace = call.param("workspace_id").unwrap_or(&default);
        let here = |one: &&Credential| one.account_id == account_id && one.workspace_id == workspace;
        let rows = self.rolls.credentials.iter().filter(here).map(credential).collect();
        self.counted(call, rows)
    }

    /// The list is replaced as a whole; null lets every key in; a hash that is no key of the account is refused.
    pub(super) fn patch_byok(&mut self, call: &Call, id: &str, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = self.keeper(call, self.settings.byok_refused, now)?;
        let mine = |one: &Credential| one.id == id && one.account_id == account_id;
        let at = self.rolls.credentials.iter().position(mine);
        let at = at.ok_or_else(|| shape::error(404, "BYOK key not found"))?;
        let given = form::allowed_keys(call)?;
        if let Given::Value(hashes) = &given {
            self.all_known(&account_id, hashes)?;
        }
        let before = self.rolls.credentials[at].keys.clone();
        let after = given.or(before.clone());
        if self.settings.lost_byok_changes > 0 {
            self.settings.lost_byok_changes -= 1;
        } else {
            self.rolls.credentials[at].keys = after;
        }
        let answer = Answer::json(200, &json!({"data": credential(&self.rolls.credentials[at])}));
        if let Some(other) = self.settings.byok_editors.pop() {
            let mut list = before.unwrap_or_default();
            list.push(other);
            self.rolls.credentials[at].keys = Some(list);
        }
        Ok(answer)
    }

    fn all_known(&self, account_id: &str, hashes: &[String]) -> Result<(), Answer> {
        if hashes.iter().all(|hash| self.find(account_id, hash).is_ok()) {
            return Ok(());
        }
        Err(shape::error(400, "One or more API key hashes do not belong to your account"))
    }
}

fn credential(one: &Credential) -> Value {
    json!({
        "id": one.id, "provider": "openai", "workspace_id": one.workspace_id, "label": "sk-...AbCd", "name": null,
        "disabled": false, "is_fallback": false, "allowed_models": null, "allowed_user_ids": null,
        "allowed_api_key_hashes": one.keys, "sort_order": 0, "created_at": "2026-11-01T00:00:00Z",
    })
}
