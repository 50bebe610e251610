//! The accounts themselves, once a pass: is the provisioning key alive and of the right kind, is there a usable
//! regular key, is there credit, is one account entered twice.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::check::{QUEUE, Scope, Which, Why};
use super::session::{Session, identity_of};
use super::{Account, Engine, EngineError, Opened};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Health, Observation, Occasion, Outcome, Reason, Verdict};
use crate::net::Deadline;
use crate::store::{Change, KeyRow, Lease, Role};

/// What is remembered of a provisioning key. Another key in its place begins anew.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Watched {
    hash: String,
    health: Health,
    told: bool,
}

fn memory(account: &Account) -> String {
    format!("account:{}", account.name)
}

impl Engine {
    /// After a scheduled pass or a person's look at everything, all accounts; between passes those whose
    /// provisioning key waits for a second look.
    pub(super) async fn watch_accounts(
        &self,
        lease: &Lease,
        scope: &Scope,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        if scope.which != Which::All {
            return Ok(());
        }
        for account in self.accounts() {
            if stop.is_cancelled() {
                break;
            }
            if scope.why == Why::Again && !self.waits(account, self.clock().now()).await? {
                continue;
            }
            let works = self.watch_provisioning(lease, account, scope.why).await?;
            if works && let Err(error) = self.watch_account(account).await {
                tracing::warn!(account = %account.name, %error, "watch");
            }
        }
        Ok(())
    }

    /// A provisioning key waits for a second look.
    pub(super) async fn account_waits(&self, now: Timestamp) -> Result<bool, EngineError> {
        for account in self.accounts() {
            if self.waits(account, now).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn waits(&self, account: &Account, now: Timestamp) -> Result<bool, EngineError> {
        let watched: Watched = self.parts.store.provider_health(&memory(account)).await?;
        Ok(watched.health.is_due_again(now))
    }

    /// The provider refused the provisioning key in the middle of something: the two looks that make it
    /// believable begin now, not with the next pass.
    pub(super) async fn doubt_provisioning(&self, account: &Account) -> Result<(), EngineError> {
        let watched: Watched = self.parts.store.provider_health(&memory(account)).await?;
        let same = watched.hash == account.provisioning_key.sha256_hex();
        if same && (watched.health.suspicion.is_some() || watched.health.verdict == Verdict::Invalid) {
            return Ok(());
        }
        let lease = self.parts.store.acquire(QUEUE, &self.parts.owner, self.parts.lease).await?;
        let Some(lease) = lease else { return Ok(()) };
        let watched = self.watch_provisioning(&lease, account, Why::Again).await;
        self.parts.store.release(&lease).await?;
        watched.map(drop)
    }

    /// Tests the provisioning key with `GET /key`. True when it is one.
    async fn watch_provisioning(
        &self,
        lease: &Lease,
        account: &Account,
        why: Why,
    ) -> Result<bool, EngineError> {
        let key = &account.provisioning_key;
        let deadline = Deadline::after(self.parts.tests.timeout.to_std());
        let base = Some(&account.base_url);
        let seen = self.parts.tester.test(&account.provider, base, key, &json!({}), deadline).await;
        let mut watched: Watched = self.parts.store.provider_health(&memory(account)).await?;
        let replaced = watched.hash != key.sha256_hex();
        if replaced {
            watched = Watched { hash: key.sha256_hex(), told: watched.told, health: Health::default() };
        }
        let occasion = if why == Why::Schedule { Occasion::Pass } else { Occasion::Extra };
        let now = self.clock().now();
        watched.health = watched.health.observe(&seen, occasion, now, self.parts.confirm_after).health;
        let mut changes = provisioning_alerts(account, &mut watched, &seen, replaced);
        changes.push(Change::ProviderHealth { subject: memory(account), doc: json!(watched) });
        self.parts.store.commit(lease, &changes).await?;
        Ok(is_provisioning(&seen))
    }

    async fn watch_account(&self, account: &Account) -> Result<(), EngineError> {
        let Opened::Ready(mut session) = self.open_session(&account.name).await? else { return Ok(()) };
        let watched = session.watch().await;
        session.close().await?;
        watched
    }
}

/// For a provisioning key this is what a test shows when all is well.
fn is_provisioning(seen: &Observation) -> bool {
    seen.outcome() == Outcome::Restricted && seen.reason() == Some(Reason::WrongKind)
}

fn provisioning_alerts(
    account: &Account,
    watched: &mut Watched,
    seen: &Observation,
    replaced: bool,
) -> Vec<Change> {
    let subject = format!("account {}", account.name);
    let open = |kind, detail: String| {
        let mut alert = NewAlert::new(kind, subject.clone(), detail);
        alert.account = Some(account.name.clone());
        Change::Alert(alert)
    };
    let mut changes = Vec::new();
    if watched.health.verdict == Verdict::Invalid && !watched.told {
        watched.told = true;
        changes.push(open(
            Kind::ProvisioningKeyInvalid,
            format!(
                "The provisioning key of account {} is not accepted by the provider, seen twice: {}. Keys in use go on \
                 working, but nothing can be rotated or healed. Make a new provisioning key in the provider's dashboard \
                 and put it where accounts.provisioning_key points.",
                account.name, seen.detail
            ),
        ));
    }
    if is_provisioning(seen) {
        if watched.told && (replaced || watched.health.good_looks >= 2) {
            watched.told = false;
            changes.push(Change::Resolve { kind: Kind::ProvisioningKeyInvalid, subject: subject.clone() });
        }
        changes.push(Change::Resolve { kind: Kind::WrongKeyKind, subject });
    } else if matches!(seen.outcome(), Outcome::Valid | Outcome::QuotaExhausted) {
        changes.push(open(
            Kind::WrongKeyKind,
            format!(
                "What accounts.provisioning_key of account {} points to is a regular key: it calls models and cannot manage \
                 keys, so nothing can be rotated. Put a provisioning key there.",
                account.name
            ),
        ));
    }
    changes
}

impl Session<'_> {
    async fn watch(&mut self) -> Result<(), EngineError> {
        if self.is_a_stranger().await? {
            return Ok(());
        }
        // A stray may surface long after the run that asked for it (rotation.md, fault 5).
        match self.reconcile(false).await? {
            Ok(()) => {
                self.count_usable().await?;
            }
            Err(failure) => tracing::warn!(account = %self.account.name, %failure, "listing"),
        }
        self.watch_credits().await?;
        self.watch_duplicates().await?;
        self.publish_provisioning().await
    }

    /// R8: the key works, and belongs to somebody else's account than the keys of our rotations: nothing is done there.
    async fn is_a_stranger(&self) -> Result<bool, EngineError> {
        let kind = Kind::ProvisioningKeyInvalid;
        if let Some(reason) = self.stranger().await? {
            let detail = format!(
                "At present {reason}. Keys in use go on working and are tested, but nothing can be rotated or healed meanwhile."
            );
            self.commit(&[Change::Alert(self.account_alert(kind, detail))]).await?;
            return Ok(true);
        }
        let watched: Watched = self.engine.parts.store.provider_health(&memory(self.account)).await?;
        let subject = format!("account {}", self.account.name);
        let told = self.engine.parts.store.open_subjects(kind).await?.contains(&subject);
        // One that was refused is over when it was seen to work twice, see `watch_provisioning`.
        if told && !watched.told {
            self.commit(&[Change::Resolve { kind, subject }]).await?;
        }
        Ok(false)
    }

    /// Why this is not the account that the keys of the entry's rotations are on.
    pub(super) async fn stranger(&self) -> Result<Option<String>, EngineError> {
        for rotation in self.engine.rotations().filter(|rotation| rotation.account == self.account.name) {
            let generations = self.engine.parts.store.generations(&rotation.name).await?;
            if let Some(reason) = self.elsewhere(&generations) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    async fn watch_credits(&mut self) -> Result<(), EngineError> {
        let Some(below) = self.account.credits_alert_below else { return Ok(()) };
        let credits = match self.account_credits().await {
            Ok(credits) => credits,
            // Not every provisioning key may read them.
            Err(EngineError::Outside { .. }) => return Ok(()),
            Err(other) => return Err(other),
        };
        let left = credits.total.0 - credits.used.0;
        let change = if left < below.0 {
            let detail = format!(
                "Account {} has ${:.2} of credit left, less than ${:.2}. Keys stop working when it is gone: top up.",
                self.account.name,
                crate::domain::key::MicroUsd(left).usd(),
                below.usd()
            );
            Change::Alert(self.account_alert(Kind::CreditsLow, detail))
        } else {
            Change::Resolve { kind: Kind::CreditsLow, subject: format!("account {}", self.account.name) }
        };
        self.commit(&[change]).await
    }

    /// Product.md: one provisioning key per account.
    async fn watch_duplicates(&mut self) -> Result<(), EngineError> {
        let mut found = self.other_entries().await?;
        let Some(stored) = self.stored_provisioning_keys().await? else { return Ok(()) };
        found.extend(stored);
        // By identity: the entry that goes must not take the alert's end with it.
        let subject = format!("account {}", self.identity);
        let change = if found.is_empty() {
            Change::Resolve { kind: Kind::DuplicateProvisioningKey, subject }
        } else {
            let detail = format!(
                "Account {} has more than one provisioning key in rekeyd's hands. {} One is enough; each more is one more that \
                 can leak.",
                self.account.name,
                found.join(" ")
            );
            let mut alert = self.account_alert(Kind::DuplicateProvisioningKey, detail);
            alert.subject = subject;
            Change::Alert(alert)
        };
        self.commit(&[change]).await
    }

    /// Other entries of the configuration that are this account.
    async fn other_entries(&self) -> Result<Vec<String>, EngineError> {
        let own = &self.account.name;
        let entries = self.engine.parts.store.entries_of(&self.identity).await?;
        let others = entries.iter().filter(|name| *name != own);
        let others = others.filter_map(|name| self.engine.parts.accounts.get(name));
        let said = others.map(|other| {
            let name = &other.name;
            if other.provisioning_key.sha256_hex() == self.account.provisioning_key.sha256_hex() {
                format!("Entries {own} and {name} of the configuration hold the same key: delete one entry.")
            } else {
                format!(
                    "Entries {own} and {name} of the configuration are one account: move the rotations of one to the other, \
                     delete that entry, and delete its provisioning key in the provider's dashboard."
                )
            }
        });
        Ok(said.collect())
    }

    /// Stored keys that are provisioning keys of this account; `None` when one could not be asked.
    async fn stored_provisioning_keys(&mut self) -> Result<Option<Vec<String>>, EngineError> {
        let mut found = Vec::new();
        let keys = self.engine.parts.store.keys().await?;
        let suspects = keys.into_iter().filter(|row| is_stored_provisioning(row, &self.account.provider));
        for row in suspects {
            let Some(secret) = self.engine.open(&row)? else { continue };
            let deadline = self.deadline().await?;
            let called = self.account.issuer.whoami(&secret, deadline).await;
            let Ok(key) = self.noting(called) else { return Ok(None) };
            if identity_of(self.account, &key).is_ok_and(|identity| identity == self.identity) {
                let number = row.number.unwrap_or_default();
                found.push(format!(
                    "Stored key {} number {number} ({}) is one: delete it with `rekeyd keys delete {} {number}`, and in the \
                     provider's dashboard unless it is the one of this entry.",
                    row.provider, row.mask, row.provider
                ));
            }
        }
        Ok(Some(found))
    }
}

fn is_stored_provisioning(row: &KeyRow, provider: &str) -> bool {
    let wrong = row.health.verdict == Verdict::Restricted && row.health.reason == Some(Reason::WrongKind);
    wrong && row.provider == provider && row.role == Role::Manual
}
