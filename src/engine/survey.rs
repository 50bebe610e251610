//! One look at the whole account: what lives there, what is ours, what should not be there.

use std::collections::BTreeSet;

use super::EngineError;
use super::session::Session;
use crate::domain::alert::Kind;
use crate::domain::key::RemoteKey;
use crate::domain::outcome::Failure;
use crate::domain::time::Stamp;
use crate::store::{Change, KeyRow, Role};

/// A complete listing of the account.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// When it was complete.
    pub(crate) at: Stamp,
    /// Every key.
    pub(crate) keys: Vec<RemoteKey>,
    /// Keys that we asked for and never stored: journalled name, no generation.
    pub(crate) strays: Vec<RemoteKey>,
    /// Strays that could not be removed although another key works.
    pub(crate) strays_left: usize,
}

impl Listing {
    pub(crate) fn key(&self, hash: &str) -> Option<&RemoteKey> {
        self.keys.iter().find(|key| key.hash == hash)
    }

    /// The keys that somebody may work with, and `target`. A stray is enabled, but its secret is gone: it must
    /// never be the key that "remains".
    pub(crate) fn but_strays(&self, target: &str) -> Vec<RemoteKey> {
        let stray = |key: &RemoteKey| self.strays.iter().any(|stray| stray.hash == key.hash);
        self.keys.iter().filter(|key| key.hash == target || !stray(key)).cloned().collect()
    }
}

/// Nobody has a stray's secret. One that was used belongs to another copy of this database (R9): the journal was
/// copied while that create was in doubt.
pub(super) fn was_used(key: &RemoteKey) -> bool {
    key.last_used_at.is_some() || key.usage.0 > 0 || key.byok_usage.0 > 0
}

impl Session<'_> {
    /// The beginning of every name that this database gives out (R6).
    pub(crate) fn prefix(&self) -> String {
        format!("rekeyd/{}/", self.engine.parts.instance)
    }

    /// Lists the account, freezes it when it shows keys of this instance that the journal does not know (R9),
    /// and finds strays. Removes nothing.
    pub(crate) async fn list(&mut self) -> Result<Result<(), Failure>, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.list(deadline).await;
        let keys = match self.noting(called) {
            Ok(keys) => keys,
            Err(failure) => return Ok(Err(failure)),
        };
        let store = &self.engine.parts.store;
        // Read after the listing: a key that is listed was journalled before it was made.
        let journalled: BTreeSet<String> = store.created_names().await?.into_iter().collect();
        let rows = store.keys().await?;
        self.note_specs(&rows, &keys).await?;
        let stored: BTreeSet<String> = rows.into_iter().filter_map(|key| key.hash).collect();
        let foreign = store.foreign_hashes(&self.identity).await?;
        let prefix = self.prefix();
        let ours_by_name = |key: &&RemoteKey| key.name.starts_with(&prefix) && !stored.contains(&key.hash);
        let (strays, unknown): (Vec<&RemoteKey>, Vec<&RemoteKey>) = keys
            .iter()
            .filter(ours_by_name)
            .filter(|key| !foreign.contains(&key.hash))
            .partition(|key| journalled.contains(&key.name) && !was_used(key));
        if !unknown.is_empty() {
            let names = unknown.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
            self.freeze(&names).await?;
        }
        let strays: Vec<RemoteKey> = strays.into_iter().cloned().collect();
        let strays_left = strays.len();
        self.listing = Some(Listing { at: self.now(), strays, keys, strays_left });
        Ok(Ok(()))
    }

    /// Remembers what current keys are allowed, for the day when one is gone and a successor must inherit it (R10).
    async fn note_specs(&self, rows: &[KeyRow], listed: &[RemoteKey]) -> Result<(), EngineError> {
        let mine = rows.iter().filter(|row| row.role == Role::Current);
        let mine = mine.filter(|row| row.account.as_deref() == Some(&self.identity));
        let mut changes = Vec::new();
        for row in mine {
            let shown = listed.iter().find(|key| row.hash.as_deref() == Some(&key.hash));
            let (Some(rotation), Some(shown)) = (&row.rotation, shown) else { continue };
            let known = self.engine.parts.store.rotation(rotation).await?.and_then(|row| row.spec);
            if known.as_ref() != Some(&shown.spec()) {
                changes.push(Change::SpecSeen { rotation: rotation.clone(), spec: shown.spec() });
            }
        }
        if changes.is_empty() { Ok(()) } else { self.commit(&changes).await }
    }

    async fn freeze(&self, names: &str) -> Result<(), EngineError> {
        if self.engine.parts.store.freeze_of(&self.identity).await?.is_some() {
            return Ok(());
        }
        let reason = format!(
            "the provider shows keys of this instance that the journal does not know ({names}): this database was \
             restored, failed over or cloned"
        );
        let alert = self.account_alert(
            Kind::AccountFrozen,
            format!(
                "{reason}. Nothing is created, published, disabled or deleted; tests go on. Find out which copy of the \
                 database is the real one, stop the other, then run `rekeyd accounts thaw {}`.",
                self.account.name
            ),
        );
        let entry =
            self.engine.entry("account.frozen", format!("account {}", self.account.name), reason.clone());
        self.commit(&[
            Change::Freeze { account: self.identity.clone(), reason },
            Change::Alert(alert),
            Change::Audit(entry),
        ])
        .await
    }

    /// Lists, then removes every stray that the guard lets go. Strays have no time limit. `urgent`: an emergency
    /// waits for it, and the breaker does not hold an emergency.
    pub(crate) async fn reconcile(&mut self, urgent: bool) -> Result<Result<(), Failure>, EngineError> {
        if let Err(failure) = self.list().await? {
            return Ok(Err(failure));
        }
        let strays = self.listing.as_ref().map(|listing| listing.strays.clone()).unwrap_or_default();
        let mut left = 0;
        for stray in &strays {
            if !self.remove_stray(stray, urgent).await? {
                left += 1;
            }
        }
        if let Some(listing) = &mut self.listing {
            listing.strays_left = left;
        }
        Ok(Ok(()))
    }

    /// Usable keys in the last listing, and an alert when there are none.
    pub(crate) async fn count_usable(&self) -> Result<usize, EngineError> {
        let Some(listing) = &self.listing else { return Ok(0) };
        let now = self.now();
        let provisioning = self.account.issuer.provisioning_hash();
        let known = listing.but_strays("");
        let usable = known
            .iter()
            .filter(|key| key.hash != provisioning && key.is_live(now.theirs.unwrap_or(now.ours)));
        let usable = usable.count();
        let subject = format!("account {}", self.account.name);
        // An account that no key of ours ever lived on has nobody who could miss one.
        let keys = self.engine.parts.store.keys().await?;
        let depended_on = keys.iter().any(|key| key.account.as_deref() == Some(&self.identity));
        if usable == 0 && !depended_on {
            return Ok(0);
        }
        if usable == 0 {
            let detail = format!(
                "No usable regular key is left on account {}. Production that depends on it is dark.",
                self.account.name
            );
            self.commit(&[Change::Alert(self.account_alert(Kind::AccountWithoutKeys, detail))]).await?;
        } else {
            let mut over = vec![Change::Resolve { kind: Kind::AccountWithoutKeys, subject: subject.clone() }];
            if usable > 1 {
                over.push(Change::Resolve { kind: Kind::LastKeyRefused, subject });
            }
            self.commit(&over).await?;
        }
        Ok(usable)
    }

    /// Our stored key behind a hash, if any.
    pub(crate) async fn stored_key(&self, hash: &str) -> Result<Option<KeyRow>, EngineError> {
        let keys = self.engine.parts.store.keys().await?;
        let mut same =
            keys.into_iter().filter(|key| key.hash.as_deref() == Some(hash) && key.role != Role::Dead);
        // A key that a person stored names no account; the hash is that of its secret, so it is this one.
        let mine = |key: &KeyRow| match key.account.as_deref() {
            Some(account) => account == self.identity,
            None => key.provider == self.account.provider,
        };
        Ok(same.find(mine))
    }
}
