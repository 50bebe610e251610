//! What a provisioning key may do: list, create, read, change and delete regular keys.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::books::{Books, Caller};
use super::form::{Change, NewKey};
use super::row::{CreatedBy, KeyRow, Stored};
use super::settings::ListingShift;
use super::shape::{self, TimeForm};

impl Books {
    pub(super) fn create_key(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = match self.caller(call.bearer(), now)? {
            Caller::Provisioning { account_id, .. } => account_id,
            Caller::Regular { .. } if self.settings.create_by_regular_key == 403 => {
                return Err(shape::error(403, "Only management keys can perform this operation"));
            }
            Caller::Regular { .. } => return Err(shape::error(401, "Invalid management key")),
        };
        let new = NewKey::read(call)?;
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(shape::error(400, "expires_at must be in the future"));
        }
        let workspaces = &self.account(&account_id).workspaces;
        if new.workspace_id.as_ref().is_some_and(|id| !workspaces.contains(id)) {
            return Err(shape::error(404, "Workspace not found"));
        }
        let (secret, index) = self.add_key(&account_id, CreatedBy::Api, new, now);
        let data = self.shown(index, TimeForm::Offset, now);
        Ok(Answer::json(201, &json!({"data": data, "key": secret})))
    }

    pub(super) fn list_keys(&mut self, call: &Call, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = self.manager(call, now)?;
        let offset = call.param("offset").unwrap_or("0").parse::<usize>();
        let offset = offset.map_err(|_| shape::error(400, "offset must be a whole number"))?;
        let mut found: Vec<usize> =
            (0..self.keys.len()).filter(|&at| self.is_listed(at, &account_id, call, now)).collect();
        // Newest first; the order of creation settles a tie.
        found.sort_by_key(|&index| Reverse((self.keys[index].row.created_at, index)));
        let page: Vec<usize> = found.iter().skip(offset).take(self.settings.page_size).copied().collect();
        let data: Vec<Value> = page.iter().map(|&index| self.shown(index, TimeForm::Offset, now)).collect();
        if offset == 0 && found.len() > page.len() {
            self.shift_listing(&account_id, now);
        }
        Ok(Answer::json(200, &json!({"data": data})))
    }

    fn is_listed(&self, index: usize, account_id: &str, call: &Call, now: DateTime<Utc>) -> bool {
        let row = &self.keys[index].row;
        let workspace = call.param("workspace_id").unwrap_or(self.owner(index).default_workspace());
        let asked_for = |name| call.param(name) == Some("true");
        row.account_id == account_id
            && row.workspace_id == workspace
            && !row.deleted
            && (!row.disabled || asked_for("include_disabled"))
            && (!row.is_expired(now) || asked_for("include_expired"))
            && !Self::is_fresh(row, self.settings.listing_lag, now)
    }

    /// Somebody changes the list while it is being read.
    fn shift_listing(&mut self, account_id: &str, now: DateTime<Utc>) {
        if self.settings.listing_shifts.is_empty() {
            return;
        }
        match self.settings.listing_shifts.remove(0) {
            ListingShift::Appears => {
                self.add_by_hand(account_id, "made between two pages", None, now);
            }
            ListingShift::Vanishes => {
                let by_hand = |row: &KeyRow| row.created_by == CreatedBy::Person && !row.deleted;
                let ours = |key: &&mut Stored| key.row.account_id == account_id && by_hand(&key.row);
                if let Some(newest) = self.keys.iter_mut().rev().find(ours) {
                    newest.change(now, |row| row.deleted = true);
                }
            }
        }
    }

    pub(super) fn read_key(&mut self, call: &Call, hash: &str, now: DateTime<Utc>) -> Result<Answer, Answer> {
        let account_id = self.manager(call, now)?;
        if self.settings.knows_no_regular_key {
            return Err(shape::error(404, "API key not found"));
        }
        let index = self.find(&account_id, hash)?;
        Ok(Answer::json(200, &json!({"data": self.shown(index, TimeForm::Zulu, now)})))
    }

    pub(super) fn patch_key(
        &mut self,
        call: &Call,
        hash: &str,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        let account_id = self.manager(call, now)?;
        let index = self.find(&account_id, hash)?;
        let change = Change::read(call)?;
        self.keys[index].change(now, |row| {
            row.name = change.name.unwrap_or_else(|| row.name.clone());
            row.disabled = change.disabled.unwrap_or(row.disabled);
            row.limit = change.limit.or(row.limit);
            row.limit_reset = change.limit_reset.or(row.limit_reset.take());
            row.include_byok_in_limit = change.include_byok_in_limit.unwrap_or(row.include_byok_in_limit);
            row.updated_at = Some(now);
        });
        Ok(Answer::json(200, &json!({"data": self.shown(index, TimeForm::Zulu, now)})))
    }

    pub(super) fn delete_key(
        &mut self,
        call: &Call,
        hash: &str,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        let account_id = self.manager(call, now)?;
        let index = self.find(&account_id, hash)?;
        self.keys[index].change(now, |row| row.deleted = true);
        Ok(Answer::json(200, &json!({"deleted": true})))
    }
}
