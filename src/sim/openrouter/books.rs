//! The books: accounts, their keys, and whose credential is whose.
//!
//! Keys are told apart by the hash of what the caller presents, so that no row holds a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::clock::within;
use super::super::wire::{Answer, Call};
use super::form::NewKey;
use super::rolls::Rolls;
use super::row::{CreatedBy, KeyRow, Stored};
use super::settings::Settings;
use super::shape::{self, TimeForm};

/// Everything there is.
#[derive(Default)]
pub(super) struct Books {
    pub(super) settings: Settings,
    accounts: BTreeMap<String, Account>,
    provisioning: Vec<ProvisioningKey>,
    pub(super) keys: Vec<Stored>,
    pub(super) rolls: Rolls,
    issued: Vec<String>,
}

/// One customer.
pub(super) struct Account {
    pub(super) user_id: String,
    pub(super) organization_id: Option<String>,
    /// The first is the default one.
    pub(super) workspaces: Vec<String>,
    pub(super) total_credits: f64,
    pub(super) total_usage: f64,
}

struct ProvisioningKey {
    account_id: String,
    hash: String,
    label: String,
    revoked: bool,
}

/// What the presented credential turns out to be.
pub(super) enum Caller {
    Provisioning { account_id: String, label: String },
    Regular { index: usize },
}

impl Account {
    pub(super) fn new(account_id: &str) -> Self {
        Self {
            user_id: format!("user_simulated_{account_id}"),
            organization_id: account_id.starts_with("org").then(|| format!("org_simulated_{account_id}")),
            workspaces: vec![uuid::Uuid::new_v4().to_string()],
            total_credits: 1000.0,
            total_usage: 0.0,
        }
    }

    pub(super) fn default_workspace(&self) -> &str {
        &self.workspaces[0]
    }

    pub(super) fn add_workspace(&mut self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.workspaces.push(id.clone());
        id
    }

    pub(super) fn set_credits(&mut self, total: f64, used: f64) {
        (self.total_credits, self.total_usage) = (total, used);
    }
}

impl Books {
    /// The account, made when it is new.
    pub(super) fn account(&mut self, account_id: &str) -> &mut Account {
        self.accounts.entry(account_id.to_owned()).or_insert_with(|| Account::new(account_id))
    }

    pub(super) fn rows(&self) -> Vec<KeyRow> {
        self.keys.iter().map(|key| key.row.clone()).collect()
    }

    pub(super) fn issued_secrets(&self) -> Vec<String> {
        self.issued.clone()
    }

    pub(super) fn new_provisioning_key(&mut self, account_id: &str) -> String {
        self.account(account_id);
        let secret = self.new_secret();
        let (hash, label) = (hash_of(&secret), label_of(&secret));
        let account_id = account_id.to_owned();
        self.provisioning.push(ProvisioningKey { account_id, hash, label, revoked: false });
        secret
    }

    pub(super) fn revoke_provisioning(&mut self, secret: &str) -> bool {
        let hash = hash_of(secret);
        self.provisioning.iter_mut().find(|key| key.hash == hash).map(|key| key.revoked = true).is_some()
    }

    /// `sk-or-v1-` and 64 hex digits, among them a mark that it is false.
    pub(super) fn new_secret(&mut self) -> String {
        let mut digits = hex::encode(rand::random::<[u8; 32]>());
        digits.replace_range(24..40, "000fa15e000fa15e");
        let secret = format!("sk-or-v1-{digits}");
        self.issued.push(secret.clone());
        secret
    }

    pub(super) fn add_key(
        &mut self,
        account_id: &str,
        by: CreatedBy,
        new: NewKey,
        now: DateTime<Utc>,
    ) -> (String, usize) {
        let default = self.account(account_id).default_workspace().to_owned();
        let secret = self.new_secret();
        let row = KeyRow {
            account_id: account_id.to_owned(),
            hash: hash_of(&secret),
            name: new.name,
            label: label_of(&secret),
            workspace_id: new.workspace_id.unwrap_or(default),
            created_by: by,
            created_at: now,
            updated_at: None,
            disabled: false,
            deleted: false,
            limit: new.limit,
            limit_reset: new.limit_reset,
            include_byok_in_limit: new.include_byok_in_limit,
            expires_at: new.expires_at,
            last_used_at: None,
            usage: 0.0,
            usage_daily: 0.0,
            usage_weekly: 0.0,
            usage_monthly: 0.0,
            byok_usage: 0.0,
        };
        self.keys.push(Stored::new(row));
        (secret, self.keys.len() - 1)
    }

    pub(super) fn add_by_hand(
        &mut self,
        account_id: &str,
        name: &str,
        workspace: Option<&str>,
        now: DateTime<Utc>,
    ) -> String {
        let new = NewKey {
            name: name.to_owned(),
            limit: None,
            limit_reset: None,
            include_byok_in_limit: false,
            expires_at: None,
            workspace_id: workspace.map(str::to_owned),
        };
        self.add_key(account_id, CreatedBy::Person, new, now).0
    }

    /// The account of a regular key.
    pub(super) fn owner(&self, index: usize) -> &Account {
        &self.accounts[&self.keys[index].row.account_id]
    }

    /// Who is calling, by the credential alone; the error is the 401.
    pub(super) fn caller(&self, credential: Option<&str>, now: DateTime<Utc>) -> Result<Caller, Answer> {
        let credential = credential.ok_or_else(|| shape::error(401, "No cookie auth credentials found"))?;
        let unknown = || shape::error(401, "User not found.");
        let hash = hash_of(credential);
        if let Some(key) = self.provisioning.iter().find(|key| key.hash == hash && !key.revoked) {
            let (account_id, label) = (key.account_id.clone(), key.label.clone());
            return Ok(Caller::Provisioning { account_id, label });
        }
        let index = self.keys.iter().position(|key| key.row.hash == hash).ok_or_else(unknown)?;
        let key = &self.keys[index];
        let dead = key.is_dead_at_the_edge(self.settings.dead_key_works_for, now);
        if self.settings.knows_no_regular_key {
            return Err(unknown());
        }
        if dead && key.row.deleted || Self::is_fresh(&key.row, self.settings.fresh_key_refused_for, now) {
            return Err(unknown());
        }
        let revived = key.revived_at.is_some_and(|at| within(self.settings.revived_key_refused_for, at, now));
        if dead || revived || key.row.is_expired(now) {
            return Err(shape::error(401, &self.settings.disabled_message));
        }
        Ok(Caller::Regular { index })
    }

    /// Whether a key that was made by API is younger than `span`.
    pub(super) fn is_fresh(row: &KeyRow, span: Duration, now: DateTime<Utc>) -> bool {
        row.created_by == CreatedBy::Api && within(span, row.created_at, now)
    }

    /// The account a provisioning key manages; the error is what others get.
    pub(super) fn manager(&self, call: &Call, now: DateTime<Utc>) -> Result<String, Answer> {
        match self.caller(call.bearer(), now)? {
            Caller::Provisioning { account_id, .. } => Ok(account_id),
            Caller::Regular { .. } => Err(shape::error(401, "Invalid management key")),
        }
    }

    /// A key of this account that is not deleted.
    pub(super) fn find(&self, account_id: &str, hash: &str) -> Result<usize, Answer> {
        let here = |row: &KeyRow| row.account_id == account_id && row.hash == hash && !row.deleted;
        let found = self.keys.iter().position(|key| here(&key.row));
        found.ok_or_else(|| shape::error(404, "API key not found"))
    }

    pub(super) fn shown(&mut self, index: usize, times: TimeForm, now: DateTime<Utc>) -> Value {
        self.keys[index].roll_periods(now);
        let row = self.keys[index].shown(self.settings.usage_lag, now);
        shape::key(&row, &self.owner(index).user_id, times)
    }
}

fn hash_of(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn label_of(secret: &str) -> String {
    format!("{}...{}", &secret[..12], &secret[secret.len() - 3..])
}
