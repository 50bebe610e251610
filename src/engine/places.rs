//! Destinations by hand: what each of them shows, and the current key once more.

use serde::Serialize;

use super::deliver::blank;
use super::session::Session;
use super::{Engine, EngineError, Rotation};
use crate::destination::{Delivery, Standing};
use crate::domain::alert::Kind;
use crate::domain::rotation::Level;
use crate::domain::rotation::facts::TestResult;
use crate::store::{Change, EffectKind, NewEffect, Role, new_id};

/// What one destination showed.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// It could be written, and nobody else changed it.
    pub ok: bool,
    /// What it holds, as far as it can be told.
    pub standing: String,
    /// Each call that was made, and with which permission; or the failure with its hint.
    pub seen: Vec<String>,
}

impl Engine {
    /// The rotation that publishes to a destination.
    pub fn rotation_of_place(&self, place: &str) -> Option<&Rotation> {
        self.rotations().find(|rotation| rotation.policy.targets.iter().any(|target| target.name == place))
    }

    /// Asks a destination what it shows and what our credentials may do there. Changes nothing.
    pub async fn check_place(&self, name: &str) -> Result<Checked, EngineError> {
        let place = self.place(name)?;
        let (mut ok, mut seen) = match place.adapter.preflight(self.deadline()).await {
            Ok(lines) => (true, lines),
            Err(failure) => {
                let hint = failure.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                (false, vec![format!("{failure}{hint}")])
            }
        };
        let standing = match self.standing_of(name).await? {
            None => "nothing was ever written".to_owned(),
            Some(Ok(standing)) => {
                ok &= matches!(standing, Standing::Confirmed | Standing::Effective | Standing::Unprovable);
                said(&standing)
            }
            Some(Err(why)) => {
                ok = false;
                seen.push(why);
                "could not be looked at".to_owned()
            }
        };
        if let Some(trouble) = self.mirror_trouble(place).await? {
            ok = false;
            seen.push(format!("mirror: {trouble}"));
        }
        Ok(Checked { name: name.to_owned(), ok, standing, seen })
    }

    /// Installs the tables of a destination that is one, or takes over those that are there.
    pub async fn migrate_place(&self, name: &str) -> Result<Vec<String>, EngineError> {
        let place = self.place(name)?;
        let ledger = place.adapter.ledger().ok_or_else(|| {
            EngineError::usage(
                format!("destination {name} is of type {}: there is nothing to migrate", place.kind),
                "only destinations of type postgres have tables",
            )
        })?;
        let did = ledger.migrate(self.deadline()).await;
        did.map_err(|failure| EngineError::outside(format!("{name} could not be migrated"), failure))
    }

    /// What the newest write to this destination looks like now.
    async fn standing_of(&self, name: &str) -> Result<Option<Result<Standing, String>>, EngineError> {
        let place = self.place(name)?;
        let rows = self.parts.store.holdings_at(&place.target.address).await?;
        let Some(newest) = rows.into_iter().find(|row| row.fact.level > Level::Pending) else {
            return Ok(None);
        };
        let Some(key) = self.parts.store.key(&newest.fact.key).await? else { return Ok(None) };
        let Some(secret) = self.open(&key)? else { return Ok(Some(Ok(Standing::Unprovable))) };
        let delivery = Delivery {
            secret,
            rotation: newest.rotation.clone(),
            generation: key.generation.unwrap_or_default(),
            destination: name.to_owned(),
        };
        let look = place.adapter.look(&delivery, &newest.evidence, self.deadline()).await;
        Ok(Some(look.map(|look| look.standing).map_err(|failure| failure.to_string())))
    }
}

fn said(standing: &Standing) -> String {
    match standing {
        Standing::Accepted(why) => format!("accepted: {why}"),
        Standing::Confirmed => "holds the key that was last written".to_owned(),
        Standing::Effective => "holds the key that was last written, and consumers run with it".to_owned(),
        Standing::Drift(how) => format!("changed by somebody else: {how}"),
        Standing::Missing => "empty".to_owned(),
        Standing::Unprovable => "cannot be told".to_owned(),
    }
}

impl Session<'_> {
    /// Writes the current key to a destination whatever it holds, and looks whether it arrived.
    ///
    /// # Errors
    /// Refused while the account is frozen, and for a key that was not just tested valid (R13).
    pub async fn publish_by_hand(&mut self, rotation: &str, name: &str) -> Result<String, EngineError> {
        if let Some(frozen) = self.engine.parts.store.account(&self.identity).await?.and_then(|a| a.frozen) {
            return Err(EngineError::Refused(format!(
                "refused: account {} is frozen: {frozen}",
                self.account.name
            )));
        }
        let generations = self.engine.parts.store.generations(rotation).await?;
        let current = generations.into_iter().find(|key| key.role == Role::Current);
        let key = current.ok_or_else(|| {
            EngineError::usage(
                format!("rotation {rotation} has no current key"),
                "adopt one, or run the first rotation",
            )
        })?;
        let tested = self.test_key(&key, None, None).await?;
        if tested != TestResult::Valid {
            return Err(EngineError::Refused(
                "refused: the current key was not tested valid just now".to_owned(),
            ));
        }
        let secret = self.engine.open(&key)?.ok_or_else(|| {
            EngineError::Refused("refused: nobody has the secret of the current key".to_owned())
        })?;
        let place = self.engine.place(name)?.clone();
        let rows = self.engine.parts.store.holdings_at(&place.target.address).await?;
        let before = rows.into_iter().find(|row| row.fact.key == key.id);
        let before = before.unwrap_or_else(|| blank(&place.target.address, &key.id, name, rotation));
        let generation = key.generation.unwrap_or_default();
        let effect = NewEffect {
            id: new_id(),
            run: None,
            account: self.identity.clone(),
            kind: EffectKind::Publish,
            target: format!("{name} generation {generation}"),
        };
        let mut row = before.clone();
        (row.fact.level, row.fact.checked, row.fact.drift) = (Level::Intended, None, None);
        let deadline = self.deadline_for(&place).await?;
        self.commit(&[
            Change::Intend(effect.clone()),
            Change::Holding { row: Box::new(row.clone()), fresh_write: true },
        ])
        .await?;
        let delivery =
            Delivery { secret, rotation: rotation.to_owned(), generation, destination: name.to_owned() };
        match place.adapter.publish(&delivery, deadline).await {
            Ok(evidence) => {
                row.evidence = evidence.clone();
                row.fact.level = Level::Accepted;
                self.commit(&self.accepted(&effect.id, row.clone(), &key, evidence)).await?;
            }
            Err(failure) => {
                self.commit(&self.not_taken(
                    None,
                    &effect.id,
                    before.fact.level.min(Level::Intended),
                    row,
                    &failure,
                ))
                .await?;
                return Err(EngineError::outside(format!("{name} did not take the key"), failure));
            }
        }
        let mut stored = self.engine.parts.store.holdings_at(&place.target.address).await?;
        let row = if stored.is_empty() { row } else { stored.remove(0) };
        let (row, did, _) = self.look(&place, row, &delivery, rotation, None).await?;
        let subject = format!("destination {name}");
        let mut changes = vec![Change::Holding { row: Box::new(row.clone()), fresh_write: false }];
        if row.fact.level >= Level::Confirmed {
            changes.push(Change::Resolve { kind: Kind::DestinationDrift, subject: subject.clone() });
            changes.push(Change::Resolve { kind: Kind::DestinationFailed, subject });
        }
        self.commit(&changes).await?;
        Ok(did)
    }
}
