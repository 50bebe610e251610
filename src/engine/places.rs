//! Destinations by hand: what each of them shows, and the current key once more.

use serde::Serialize;

use super::deliver::{blank, with_hint};
use super::session::Session;
use super::{Account, Engine, EngineError, Place, Rotation};
use crate::destination::{Delivery, Standing};
use crate::domain::rotation::Level;
use crate::domain::rotation::facts::TestResult;
use crate::store::{Change, EffectKind, HoldingRow, KeyRow};

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

    /// Every destination that somebody publishes to, those for provisioning keys with their account.
    pub fn all_places(&self) -> impl Iterator<Item = (&Place, Option<&Account>)> {
        let copies = self
            .accounts()
            .flat_map(|account| account.provisioning_places.iter().map(move |place| (place, Some(account))));
        self.places().map(|place| (place, None)).chain(copies)
    }

    /// One of them, or an error that names the nearest.
    pub fn any_place(&self, name: &str) -> Result<(&Place, Option<&Account>), EngineError> {
        let found = self.all_places().find(|(place, _)| place.target.name == name);
        found.ok_or_else(|| {
            EngineError::unknown("destination", name, self.all_places().map(|(place, _)| &place.target.name))
        })
    }

    /// Asks a destination what it shows and what our credentials may do there. Changes nothing.
    pub async fn check_place(&self, name: &str) -> Result<Checked, EngineError> {
        let (place, account) = self.any_place(name)?;
        let (mut ok, mut seen) = match place.adapter.preflight(self.deadline()).await {
            Ok(found) => (true, found.iter().map(ToString::to_string).collect()),
            Err(failure) => (false, vec![with_hint(&failure)]),
        };
        let standing = match account {
            None => self.standing_of(name).await?,
            Some(account) => self.standing_of_copy(account, place).await?,
        };
        let standing = match standing {
            None => "nothing was ever written".to_owned(),
            Some(Ok(standing)) => {
                ok &= matches!(standing, Standing::Confirmed | Standing::Effective | Standing::Unprovable);
                said(&standing)
            }
            Some(Err(why)) => {
                ok = false;
                if !seen.contains(&why) {
                    seen.push(why);
                }
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
        Ok(Some(look.map(|look| look.standing).map_err(|failure| with_hint(&failure))))
    }
}

fn said(standing: &Standing) -> String {
    match standing {
        Standing::Accepted(why) => format!("accepted: {why}"),
        Standing::Confirmed => "holds the key that was last written".to_owned(),
        Standing::Effective => "holds the key that was last written, and consumers run with it".to_owned(),
        Standing::Drift(how) => format!("changed by somebody else: {how}"),
        Standing::Missing => "empty".to_owned(),
        Standing::Unprovable => "cannot be told: no write of rekeyd's is on record".to_owned(),
    }
}

impl Session<'_> {
    /// Writes the current key to a destination whatever it holds, and looks whether it arrived.
    ///
    /// # Errors
    /// Refused while the account is frozen, and for a key that was not just tested valid (R13).
    pub async fn publish_by_hand(&mut self, rotation: &str, name: &str) -> Result<String, EngineError> {
        self.not_frozen().await?;
        let key = self.engine.current(rotation).await?.ok_or_else(|| {
            EngineError::usage(
                format!("rotation {rotation} has no current key"),
                "adopt one, or run the first rotation",
            )
        })?;
        let place = self.engine.place(name)?.clone();
        self.publish_current(rotation, &place, &key).await
    }

    /// The provisioning key for scripts, written again and proved.
    ///
    /// # Errors
    /// Refused while the account is frozen, when it is another account than the keys of the entry's rotations are on,
    /// and unless the key is proved to be a provisioning key.
    pub async fn publish_copy_by_hand(&mut self, name: &str) -> Result<String, EngineError> {
        self.not_frozen().await?;
        let account = self.account;
        let place = account.provisioning_places.iter().find(|place| place.target.name == name);
        let place = place.ok_or_else(|| {
            EngineError::unknown(
                "destination",
                name,
                account.provisioning_places.iter().map(|p| &p.target.name),
            )
        })?;
        if let Some(reason) = self.stranger().await? {
            return Err(EngineError::Refused(format!("refused: {reason}")));
        }
        self.copy_again(place).await
    }

    /// A publish that belongs to no run: a fresh test (R13), intent, write, outcome, a look, and the step after it.
    pub(super) async fn publish_current(
        &mut self,
        rotation: &str,
        place: &Place,
        key: &KeyRow,
    ) -> Result<String, EngineError> {
        if self.test_key(key, None, None).await? != TestResult::Valid {
            return Err(EngineError::Refused(
                "refused: the current key was not tested valid just now".to_owned(),
            ));
        }
        let secret = self.engine.open(key)?.ok_or_else(|| {
            EngineError::Refused("refused: nobody has the secret of the current key".to_owned())
        })?;
        let (name, generation) = (place.target.name.clone(), key.generation.unwrap_or_default());
        let before = self.row_of(place, key, rotation).await?;
        let effect = self.effect_of(None, EffectKind::Publish, &name, generation).await?;
        let mut row = before.clone();
        (row.fact.level, row.fact.checked, row.fact.drift) = (Level::Intended, None, None);
        let deadline = self.deadline_for(place).await?;
        self.commit(&[
            Change::Intend(effect.clone()),
            Change::Holding { row: Box::new(row.clone()), fresh_write: true },
        ])
        .await?;
        let delivery =
            Delivery { secret, rotation: rotation.to_owned(), generation, destination: name.clone() };
        match place.adapter.publish(&delivery, deadline).await {
            Ok(evidence) => self.commit(&self.accepted(&effect.id, row, key, evidence)).await?,
            Err(failure) => {
                let level = before.fact.level.min(Level::Intended);
                self.commit(&self.not_taken(None, &effect.id, level, row, &failure)).await?;
                return Err(EngineError::outside(format!("{name} did not take the key"), failure));
            }
        }
        let row = self.row_of(place, key, rotation).await?;
        let (_, did) = self.look_and_go_on(place, row, &delivery, None).await?;
        Ok(did)
    }

    /// What is known of this key at this place.
    async fn row_of(&self, place: &Place, key: &KeyRow, rotation: &str) -> Result<HoldingRow, EngineError> {
        let address = &place.target.address;
        let rows = self.engine.parts.store.holdings_at(address).await?;
        let found = rows.into_iter().find(|row| row.fact.key == key.id);
        Ok(found.unwrap_or_else(|| blank(address, &key.id, &place.target.name, rotation)))
    }
}
