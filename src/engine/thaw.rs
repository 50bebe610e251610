//! A person looked at a frozen account (R9): counters rise above every name seen, the unknown keys are foreign
//! for ever, open runs end, and each rotation wants an adopt before its next run.

use std::collections::BTreeMap;

use super::EngineError;
use super::session::Session;
use super::step::run_change;
use super::survey::was_used;
use crate::domain::alert::Kind;
use crate::domain::key::RemoteKey;
use crate::domain::rotation::{Event, apply};
use crate::store::Change;

impl Session<'_> {
    /// Ends the freeze. Answers the keys that are foreign from now on.
    pub async fn thaw(&mut self) -> Result<Vec<RemoteKey>, EngineError> {
        let frozen = self.engine.parts.store.freeze_of(&self.identity).await?;
        if frozen.is_none() {
            return Err(EngineError::Usage {
                text: format!("account {} is not frozen", self.account.name),
                hint: None,
            });
        }
        let listed = self.list().await?;
        listed.map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        let foreign = self.unknown_keys().await?;
        let counters = self.generations_seen();
        let mut changes = self.end_open_runs().await?;
        changes.push(Change::Thaw { account: self.identity.clone(), foreign: foreign.clone(), counters });
        let subject = format!("account {}", self.account.name);
        changes.push(Change::Resolve { kind: Kind::AccountFrozen, subject: subject.clone() });
        changes.push(Change::Audit(self.engine.entry(
            "account.thawed",
            subject,
            format!("{} foreign keys", foreign.len()),
        )));
        self.commit(&changes).await?;
        Ok(foreign)
    }

    async fn unknown_keys(&self) -> Result<Vec<RemoteKey>, EngineError> {
        let journalled = self.engine.parts.store.created_names().await?;
        let stored: Vec<String> =
            self.engine.parts.store.keys().await?.into_iter().filter_map(|key| key.hash).collect();
        let prefix = self.prefix();
        let keys = self.listing.iter().flat_map(|listing| &listing.keys);
        let unknown = keys.filter(|key| {
            let stray = journalled.contains(&key.name) && !was_used(key);
            key.name.starts_with(&prefix) && !stray && !stored.contains(&key.hash)
        });
        Ok(unknown.cloned().collect())
    }

    /// The highest generation that any name of this instance shows, by rotation.
    fn generations_seen(&self) -> Vec<(String, i64)> {
        let prefix = self.prefix();
        let mut highest: BTreeMap<String, i64> = BTreeMap::new();
        for key in self.listing.iter().flat_map(|listing| &listing.keys) {
            let Some((rotation, rest)) = key.name.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            let Some(generation) = rest.split('-').next().and_then(|n| n.parse::<i64>().ok()) else {
                continue;
            };
            let entry = highest.entry(rotation.to_owned()).or_default();
            *entry = (*entry).max(generation);
        }
        highest.into_iter().collect()
    }

    /// The runs of a restored database are memories of another time: they end without touching anything.
    async fn end_open_runs(&mut self) -> Result<Vec<Change>, EngineError> {
        let mut changes = Vec::new();
        for row in self.engine.parts.store.open_runs().await? {
            if row.run.account != self.identity {
                continue;
            }
            self.engine.parts.store.claim_run(&self.lease, &row.run.id).await?;
            let event = Event::Superseded { by: "thaw".to_owned() };
            let after = apply(&row.run, &event)?;
            changes.push(run_change(&after, Some("ended by a thaw".to_owned())));
            changes.extend(self.consequences(&row.run, &event, &after));
            changes.extend(self.closing(&row.run.id).await?);
        }
        Ok(changes)
    }
}
