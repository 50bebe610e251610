//! Taking a key that production already uses into a rotation, without rotating it.

use serde_json::json;

use super::deliver::blank;
use super::given::wrong_kind;
use super::session::Session;
use super::{EngineError, Place, Rotation};
use crate::destination::{Delivery, Ledger, Standing};
use crate::domain::key::{KeyKind, RemoteKey};
use crate::domain::rotation::{KeyRef, Level};
use crate::domain::secret::Secret;
use crate::store::{Change, HoldingRow, KeyRow, NewKey, Origin, Role, new_id};

/// Which key is meant.
#[derive(Debug)]
pub enum Adoption {
    /// The stored or published key that the account's listing knows.
    Known,
    /// The key itself.
    Secret(Secret),
    /// A key whose secret nobody has: it can be retired, not republished.
    Hash(String),
}

impl Session<'_> {
    /// Makes a living key of the account the current generation of a rotation. Nothing outside is changed.
    ///
    /// # Errors
    /// Refused for a provisioning key, a key of another rotation (R15), a disabled one, or while a run is open.
    pub async fn adopt(&mut self, name: &str, adoption: Adoption) -> Result<KeyRow, EngineError> {
        let rotation = self.engine.rotation(name)?.clone();
        self.rotation_row(name).await?;
        if let Some(open) = self.engine.parts.store.open_run(name).await? {
            return Err(EngineError::usage(
                format!("a run of rotation {name} is open: {}", open.run.id),
                "adopt before the first run, or when it is over",
            ));
        }
        let failed = self.list().await?;
        failed.map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        self.not_frozen().await?;
        let (remote, secret) = self.meant(&rotation, adoption).await?;
        self.may_adopt(&remote, secret.as_ref()).await?;
        let stored = self.stored_key(&remote.hash).await?;
        if let Some(owner) = stored.as_ref().and_then(|key| key.rotation.clone()) {
            return self.adopt_again(name, &owner, stored).await;
        }
        self.reaches_its_mirrors(&rotation, stored.as_ref()).await?;
        let generation = self.engine.parts.store.take_generation(&self.lease, name).await?;
        let id = stored.as_ref().map_or_else(new_id, |key| key.id.clone());
        let key =
            KeyRef { id: id.clone(), generation, hash: remote.hash.clone(), has_secret: secret.is_some() };
        let mut changes = vec![match &stored {
            Some(_) => Change::Adopt {
                id: id.clone(),
                rotation: name.to_owned(),
                generation,
                account: self.identity.clone(),
                hash: remote.hash.clone(),
            },
            None => self.new_row(name, &key, &remote, secret.as_ref()),
        }];
        changes.extend(self.held_by(name, &rotation.policy.targets, &key, secret.as_ref()).await?);
        changes.push(Change::Promote { rotation: name.to_owned(), id: id.clone() });
        changes.push(Change::Adopted { rotation: name.to_owned() });
        changes.push(Change::SpecSeen { rotation: name.to_owned(), spec: remote.spec() });
        changes.push(Change::Audit(self.engine.entry(
            "key.adopted",
            format!("rotation {name}"),
            format!("generation {generation}, {}", remote.label),
        )));
        self.commit(&changes).await?;
        self.adopted_row(&id, secret.is_some()).await
    }

    /// A table that mirrors this key must get its successor: the guard asks the rotation's destinations only, and
    /// the application would be left with a dead key.
    async fn reaches_its_mirrors(
        &self,
        rotation: &Rotation,
        stored: Option<&KeyRow>,
    ) -> Result<(), EngineError> {
        let Some(fingerprint) = stored.and_then(|row| row.fingerprint.as_ref()) else { return Ok(()) };
        for (place, number) in self.engine.mirrored_at(fingerprint).await? {
            let name = &place.target.name;
            let target = rotation.policy.targets.iter().any(|target| target.address == place.target.address);
            let own = place.adapter.ledger().map(Ledger::own_number);
            if !target || own != Some(number) {
                return Err(EngineError::Refused(format!(
                    "refused: destination {name} mirrors this key under number {number}, and rotation {} does not publish \
                     there: the application would be left with a dead key. Add {name} to its destinations, with \
                     key_number = {number}",
                    rotation.name
                )));
            }
        }
        Ok(())
    }

    async fn adopted_row(&mut self, id: &str, has_secret: bool) -> Result<KeyRow, EngineError> {
        let read = |key: Option<KeyRow>| {
            key.ok_or_else(|| EngineError::Refused("the adopted key vanished".to_owned()))
        };
        let row = read(self.engine.parts.store.key(id).await?)?;
        if has_secret {
            self.test_key(&row, None, None).await?;
        }
        read(self.engine.parts.store.key(id).await?)
    }

    /// A thaw may ask for an adopt of a key that is this rotation's already.
    async fn adopt_again(
        &mut self,
        name: &str,
        owner: &str,
        stored: Option<KeyRow>,
    ) -> Result<KeyRow, EngineError> {
        if owner != name {
            return Err(EngineError::Refused(format!(
                "refused: this key belongs to rotation {owner} already"
            )));
        }
        let key = stored.ok_or_else(|| EngineError::Refused("the key vanished".to_owned()))?;
        let entry = self.engine.entry("key.adopted", format!("rotation {name}"), "again, after a thaw");
        self.commit(&[
            Change::Promote { rotation: name.to_owned(), id: key.id.clone() },
            Change::Adopted { rotation: name.to_owned() },
            Change::Audit(entry),
        ])
        .await?;
        self.adopted_row(&key.id, key.secret.is_some()).await
    }

    /// The key at the provider, and its secret where there is one.
    async fn meant(
        &mut self,
        rotation: &Rotation,
        adoption: Adoption,
    ) -> Result<(RemoteKey, Option<Secret>), EngineError> {
        let in_listing = |session: &Self, hash: &str| {
            let listing = session.listing.as_ref();
            listing.and_then(|listing| listing.key(hash).cloned())
        };
        match adoption {
            Adoption::Hash(hash) => {
                let remote = in_listing(self, &hash).ok_or_else(|| not_listed(&self.account.name))?;
                let stored = self.stored_key(&hash).await?;
                let secret = stored.as_ref().map(|row| self.engine.open(row)).transpose()?.flatten();
                Ok((remote, secret))
            }
            Adoption::Secret(secret) => match in_listing(self, &secret.sha256_hex()) {
                Some(remote) => Ok((remote, Some(secret))),
                None => Err(self.unknown_key(&secret).await?),
            },
            Adoption::Known => self.known(rotation).await,
        }
    }

    /// Why a key that the listing does not show cannot be adopted. Listings leave provisioning keys out.
    async fn unknown_key(&mut self, secret: &Secret) -> Result<EngineError, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.whoami(secret, deadline).await;
        let kind = self.noting(called).map(|key| key.kind);
        let own = secret.sha256_hex() == self.account.issuer.provisioning_hash();
        Ok(match kind {
            Ok(KeyKind::Provisioning) => wrong_kind(),
            _ if own => wrong_kind(),
            _ => not_listed(&self.account.name),
        })
    }

    /// What production reads goes before what is stored, and of that the highest priority.
    async fn known(&mut self, rotation: &Rotation) -> Result<(RemoteKey, Option<Secret>), EngineError> {
        let published = self.published(rotation).await?.into_iter().map(|secret| (i64::MAX, secret));
        let stored = self.stored().await?;
        let mut found: Vec<(i64, RemoteKey, Secret)> = Vec::new();
        for (priority, secret) in published.chain(stored) {
            let hash = secret.sha256_hex();
            let listed = self.listing.as_ref().and_then(|listing| listing.key(&hash).cloned());
            let known = found.iter().any(|(_, remote, _)| remote.hash == hash);
            found.extend(listed.filter(|_| !known).map(|remote| (priority, remote, secret)));
        }
        found.sort_by_key(|(priority, ..)| -priority);
        let best = found.first().map(|(priority, ..)| *priority);
        let several = found.iter().filter(|(priority, ..)| Some(*priority) == best).count() > 1;
        if several {
            return Err(EngineError::usage(
                "several keys of this account could be meant",
                "say which one with --hash or --secret-stdin",
            ));
        }
        let first = found.into_iter().next();
        first.map(|(_, remote, secret)| (remote, Some(secret))).ok_or_else(|| {
            EngineError::usage(
                format!("no stored or readable published key is one of account {}", self.account.name),
                "pipe the key that production uses: `rekeyd rotations adopt NAME --secret-stdin`",
            )
        })
    }

    /// Keys that a person stored, with their priorities.
    async fn stored(&self) -> Result<Vec<(i64, Secret)>, EngineError> {
        let rows = self.engine.parts.store.keys().await?;
        let manual =
            rows.iter().filter(|row| row.provider == self.account.provider && row.role == Role::Manual);
        let open = |row: &KeyRow| Ok(self.engine.open(row)?.map(|secret| (row.priority, secret)));
        manual.filter_map(|row| open(row).transpose()).collect()
    }

    /// What the destinations of a rotation hold, where they give it back.
    async fn published(&mut self, rotation: &Rotation) -> Result<Vec<Secret>, EngineError> {
        let mut held = Vec::new();
        for target in &rotation.policy.targets {
            let place = self.engine.place(&target.name)?.clone();
            let deadline = self.deadline_for(&place).await?;
            let read = match place.adapter.ledger() {
                Some(ledger) => ledger.entries(deadline).await.map(|rows| {
                    let own = rows.into_iter().find(|row| row.number == ledger.own_number());
                    own.map(|row| row.secret)
                }),
                None => place.adapter.held(deadline).await,
            };
            let what = || format!("destination {} could not be read", target.name);
            held.extend(read.map_err(|failure| EngineError::outside(what(), failure))?);
        }
        Ok(held)
    }

    async fn may_adopt(&mut self, remote: &RemoteKey, secret: Option<&Secret>) -> Result<(), EngineError> {
        if remote.hash == self.account.issuer.provisioning_hash() {
            return Err(wrong_kind());
        }
        if remote.disabled {
            return Err(EngineError::Refused(format!(
                "refused: {} is disabled at the provider",
                remote.label
            )));
        }
        let Some(secret) = secret else { return Ok(()) };
        let deadline = self.deadline().await?;
        let called = self.account.issuer.whoami(secret, deadline).await;
        let key = self
            .noting(called)
            .map_err(|failure| EngineError::outside("the key could not be tested", failure))?;
        if key.kind == KeyKind::Provisioning {
            return Err(wrong_kind());
        }
        Ok(())
    }

    fn new_row(&self, name: &str, key: &KeyRef, remote: &RemoteKey, secret: Option<&Secret>) -> Change {
        let row = NewKey {
            id: key.id.clone(),
            provider: self.account.provider.clone(),
            name: name.to_owned(),
            priority: 100,
            is_active: true,
            settings: json!({}),
            secret: secret.map(|secret| self.engine.parts.ring.seal(secret).as_str().to_owned()),
            api_secret: None,
            fingerprint: secret.map(|secret| self.engine.parts.fingerprints.of(secret)),
            mask: secret.map_or_else(|| "...".to_owned(), Secret::mask),
            hash: Some(remote.hash.clone()),
            account: Some(self.identity.clone()),
            rotation: Some(name.to_owned()),
            generation: Some(key.generation),
            role: Role::Candidate,
            origin: Origin::Adopted,
            issued_name: None,
            numbered: false,
        };
        Change::NewKey { provider: self.provider_row(), key: Box::new(row) }
    }

    /// Every destination of the rotation may hold the key; those that show it prove it.
    async fn held_by(
        &mut self,
        name: &str,
        targets: &[crate::domain::rotation::Target],
        key: &KeyRef,
        secret: Option<&Secret>,
    ) -> Result<Vec<Change>, EngineError> {
        let mut changes = Vec::new();
        for target in targets {
            let place = self.engine.place(&target.name)?.clone();
            let mut row = blank(&target.address, &key.id, &target.name, name);
            row.fact.level = Level::Intended;
            if let Some(secret) = secret {
                self.look_at_adopted(&place, &mut row, secret, key.generation).await?;
            }
            changes.push(Change::Holding { row: Box::new(row), fresh_write: true });
        }
        Ok(changes)
    }

    async fn look_at_adopted(
        &mut self,
        place: &Place,
        row: &mut HoldingRow,
        secret: &Secret,
        generation: i64,
    ) -> Result<(), EngineError> {
        let delivery = Delivery {
            secret: secret.clone(),
            rotation: row.rotation.clone(),
            generation,
            destination: row.destination.clone(),
        };
        let deadline = self.deadline().await?;
        if let Ok(look) = place.adapter.look(&delivery, &row.evidence, deadline).await
            && matches!(look.standing, Standing::Confirmed | Standing::Effective)
        {
            row.fact.level = Level::Confirmed;
            row.fact.checked = Some(self.now());
            row.evidence = look.evidence;
        }
        Ok(())
    }
}

fn not_listed(account: &str) -> EngineError {
    EngineError::usage(
        format!("account {account} has no such key"),
        "`rekeyd accounts keys NAME` lists its keys; a key of another workspace needs that workspace in the account's entry",
    )
}
