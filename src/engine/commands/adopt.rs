//! Taking a key that production already uses into a rotation, without rotating it.

use serde_json::json;

use crate::crypto::EncryptionKeyId;
use crate::destination::{Delivery, Ledger, Standing};
use crate::domain::key::{KeyKind, RemoteKey};
use crate::domain::rotation::{KeyRef, Level};
use crate::domain::secret::Secret;
use crate::engine::commands::given;
use crate::engine::passes::mirror;
use crate::engine::publish::address;
use crate::engine::session::{Session, keys, listing, test_key};
use crate::engine::{ConfiguredDestination, EngineError, Rotation};
use crate::store::{About, AdoptedKey, Change, HoldingRow, KeyRow, NewKey, Origin, Role, new_id};

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

/// Makes a living key of the account the current generation of a rotation. Nothing outside is changed.
///
/// # Errors
/// Refused for a provisioning key, a key of another rotation (R15), a disabled one, or while a run is open.
pub async fn adopt(session: &mut Session<'_>, name: &str, adoption: Adoption) -> Result<KeyRow, EngineError> {
    let rotation = session.engine.rotation(name)?.clone();
    session.rotation_row(name).await?;
    if let Some(open) = session.engine.parts.store.open_run(name).await? {
        return Err(EngineError::usage(
            format!("a run of rotation {name} is open: {}", open.run.id),
            "adopt before the first run, or when it is over",
        ));
    }
    let failed = listing::list(session).await?;
    failed.map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
    session.not_frozen().await?;
    let (remote, secret) = meant(session, &rotation, adoption).await?;
    may_adopt(session, &remote, secret.as_ref()).await?;
    let stored = keys::stored_key(session, &remote.hash).await?;
    if let Some(owner) = stored.as_ref().and_then(|key| key.rotation.clone()) {
        return adopt_again(session, name, &owner, stored).await;
    }
    reaches_its_mirrors(session, &rotation, stored.as_ref()).await?;
    let generation = session.engine.parts.store.take_generation(&session.lease, name).await?;
    let id = stored.as_ref().map_or_else(new_id, |key| key.id.clone());
    let key = KeyRef { id: id.clone(), generation, hash: remote.hash.clone(), has_secret: secret.is_some() };
    let sealing = session.engine.sealing_key().await?;
    let mut changes = vec![match &stored {
        Some(stored) => taken_row(session, name, &sealing, &key, stored)?,
        None => new_row(session, name, &sealing, &key, &remote, secret.as_ref())?,
    }];
    changes.extend(held_by(session, name, &rotation.policy.targets, &key, secret.as_ref()).await?);
    changes.push(Change::Promote { rotation: name.to_owned(), id: id.clone() });
    changes.push(Change::Adopted { rotation: name.to_owned() });
    changes.push(Change::SpecSeen { rotation: name.to_owned(), spec: remote.spec() });
    changes.push(Change::Audit(session.engine.entry(
        "key.adopted",
        format!("rotation {name}"),
        format!("generation {generation}, {}", remote.label),
    )));
    session.commit(&changes).await?;
    adopted_row(session, &id, secret.is_some()).await
}

/// A table that mirrors this key must get its successor: the guard asks the rotation's destinations only, and
/// the application would be left with a dead key.
async fn reaches_its_mirrors(
    session: &Session<'_>,
    rotation: &Rotation,
    stored: Option<&KeyRow>,
) -> Result<(), EngineError> {
    let Some(stored) = stored else { return Ok(()) };
    for (place, number) in mirror::mirrored_at(session.engine, &stored.id).await? {
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

async fn adopted_row(session: &mut Session<'_>, id: &str, has_secret: bool) -> Result<KeyRow, EngineError> {
    let read =
        |key: Option<KeyRow>| key.ok_or_else(|| EngineError::Refused("the adopted key vanished".to_owned()));
    let row = read(session.engine.parts.store.key(id).await?)?;
    if has_secret {
        test_key::test_key(session, &row, None, None).await?;
    }
    read(session.engine.parts.store.key(id).await?)
}

/// A thaw may ask for an adopt of a key that is this rotation's already.
async fn adopt_again(
    session: &mut Session<'_>,
    name: &str,
    owner: &str,
    stored: Option<KeyRow>,
) -> Result<KeyRow, EngineError> {
    if owner != name {
        return Err(EngineError::Refused(format!("refused: this key belongs to rotation {owner} already")));
    }
    let key = stored.ok_or_else(|| EngineError::Refused("the key vanished".to_owned()))?;
    let entry = session.engine.entry("key.adopted", format!("rotation {name}"), "again, after a thaw");
    session
        .commit(&[
            Change::Promote { rotation: name.to_owned(), id: key.id.clone() },
            Change::Adopted { rotation: name.to_owned() },
            Change::Audit(entry),
        ])
        .await?;
    adopted_row(session, &key.id, key.secret.is_some()).await
}

/// The key at the provider, and its secret where there is one.
async fn meant(
    session: &mut Session<'_>,
    rotation: &Rotation,
    adoption: Adoption,
) -> Result<(RemoteKey, Option<Secret>), EngineError> {
    let in_listing = |session: &Session<'_>, hash: &str| {
        let listing = session.listing.as_ref();
        listing.and_then(|listing| listing.key(hash).cloned())
    };
    match adoption {
        Adoption::Hash(hash) => {
            let remote = in_listing(session, &hash).ok_or_else(|| not_listed(&session.account.name))?;
            let stored = keys::stored_key(session, &hash).await?;
            let secret = stored.as_ref().map(|row| session.engine.open(row)).transpose()?.flatten();
            Ok((remote, secret))
        }
        Adoption::Secret(secret) => {
            match identity(session, &secret).and_then(|hash| in_listing(session, &hash)) {
                Some(remote) => Ok((remote, Some(secret))),
                None => Err(unknown_key(session, &secret).await?),
            }
        }
        Adoption::Known => known(session, rotation).await,
    }
}

/// What the provider calls this key; where only the provider can tell, it is adopted by that word.
fn identity(session: &Session<'_>, secret: &Secret) -> Option<String> {
    session.account.issuer.identity_of(secret)
}

/// Why a key that the listing does not show cannot be adopted. Listings leave provisioning keys out.
async fn unknown_key(session: &mut Session<'_>, secret: &Secret) -> Result<EngineError, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami(secret, deadline).await;
    let kind = session.noting(called).map(|key| key.kind);
    let own = *secret == session.account.provisioning_key;
    Ok(match kind {
        Ok(KeyKind::Provisioning) => given::wrong_kind(),
        _ if own => given::wrong_kind(),
        _ => not_listed(&session.account.name),
    })
}

/// What production reads goes before what is stored, and of that the highest priority.
async fn known(
    session: &mut Session<'_>,
    rotation: &Rotation,
) -> Result<(RemoteKey, Option<Secret>), EngineError> {
    let published = published(session, rotation).await?.into_iter().map(|secret| (i64::MAX, secret));
    let stored = stored(session).await?;
    let mut found: Vec<(i64, RemoteKey, Secret)> = Vec::new();
    for (priority, secret) in published.chain(stored) {
        let Some(hash) = identity(session, &secret) else { continue };
        let listed = session.listing.as_ref().and_then(|listing| listing.key(&hash).cloned());
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
            format!("no stored or readable published key is one of account {}", session.account.name),
            "pipe the key that production uses: `rekeyd rotations adopt NAME --secret-stdin`",
        )
    })
}

/// Keys that a person stored, with their priorities.
async fn stored(session: &Session<'_>) -> Result<Vec<(i64, Secret)>, EngineError> {
    let rows = session.engine.parts.store.living_keys(&session.account.provider).await?;
    let manual = rows.iter().filter(|row| row.role == Role::Manual);
    let open = |row: &KeyRow| Some((row.priority, session.engine.open_or_pass_by(row)?));
    Ok(manual.filter_map(open).collect())
}

/// What the destinations of a rotation hold, where they give it back.
async fn published(session: &mut Session<'_>, rotation: &Rotation) -> Result<Vec<Secret>, EngineError> {
    let mut held = Vec::new();
    for target in &rotation.policy.targets {
        let place = session.engine.destination(&target.name)?.clone();
        let deadline = session.deadline_for(&place).await?;
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

async fn may_adopt(
    session: &mut Session<'_>,
    remote: &RemoteKey,
    secret: Option<&Secret>,
) -> Result<(), EngineError> {
    if remote.hash == session.account.issuer.provisioning_hash() {
        return Err(given::wrong_kind());
    }
    if remote.disabled {
        return Err(EngineError::Refused(format!("refused: {} is disabled at the provider", remote.label)));
    }
    let Some(secret) = secret else { return Ok(()) };
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami(secret, deadline).await;
    let key = session
        .noting(called)
        .map_err(|failure| EngineError::outside("the key could not be tested", failure))?;
    if key.kind == KeyKind::Provisioning {
        return Err(given::wrong_kind());
    }
    Ok(())
}

/// The stored key as a generation, sealed anew for what it is now.
fn taken_row(
    session: &Session<'_>,
    name: &str,
    sealing: &EncryptionKeyId,
    key: &KeyRef,
    stored: &KeyRow,
) -> Result<Change, EngineError> {
    let row = AdoptedKey {
        id: key.id.clone(),
        provider: stored.provider.clone(),
        rotation: name.to_owned(),
        generation: key.generation,
        account: session.identity.clone(),
        hash: key.hash.clone(),
        secret: None,
        api_secret: None,
    };
    Ok(Change::Adopt(Box::new(session.engine.adopted(sealing, stored, row)?)))
}

fn new_row(
    session: &Session<'_>,
    name: &str,
    sealing: &EncryptionKeyId,
    key: &KeyRef,
    remote: &RemoteKey,
    secret: Option<&Secret>,
) -> Result<Change, EngineError> {
    let row = NewKey {
        id: key.id.clone(),
        provider: session.account.provider.clone(),
        name: name.to_owned(),
        priority: 100,
        is_active: true,
        settings: json!({}),
        secret: None,
        api_secret: None,
        fingerprint: secret.map(|secret| session.engine.parts.fingerprints.of(secret)),
        mask: secret.map_or_else(|| "...".to_owned(), Secret::mask),
        hash: Some(remote.hash.clone()),
        account: Some(session.identity.clone()),
        rotation: Some(name.to_owned()),
        generation: Some(key.generation),
        role: Role::Candidate,
        origin: Origin::Adopted,
        issued_name: None,
        numbered: false,
        is_placeholder: false,
        about: About::default(),
    };
    let row = session.engine.with_secrets(sealing, row, secret, None)?;
    Ok(Change::NewKey { provider: keys::provider_row(session), key: Box::new(row) })
}

/// Every destination of the rotation may hold the key; those that show it prove it.
async fn held_by(
    session: &mut Session<'_>,
    name: &str,
    targets: &[crate::domain::rotation::Target],
    key: &KeyRef,
    secret: Option<&Secret>,
) -> Result<Vec<Change>, EngineError> {
    let mut changes = Vec::new();
    for target in targets {
        let place = session.engine.destination(&target.name)?.clone();
        let mut row = address::blank(&target.address, &key.id, &target.name, name);
        row.fact.level = Level::Intended;
        if let Some(secret) = secret {
            look_at_adopted(session, &place, &mut row, secret, key.generation).await?;
        }
        changes.push(Change::Holding { row: Box::new(row), fresh_write: true });
    }
    Ok(changes)
}

async fn look_at_adopted(
    session: &mut Session<'_>,
    place: &ConfiguredDestination,
    row: &mut HoldingRow,
    secret: &Secret,
    generation: i64,
) -> Result<(), EngineError> {
    let delivery = Delivery {
        secret: secret.clone(),
        rotation: row.writer.clone(),
        generation,
        destination: row.fact.destination.clone(),
    };
    let deadline = session.deadline().await?;
    if let Ok(look) = place.adapter.look(&delivery, &row.evidence, deadline).await
        && matches!(look.standing, Standing::Confirmed | Standing::Effective)
    {
        row.fact.level = Level::Confirmed;
        row.fact.checked = Some(session.now());
        row.evidence = look.evidence;
    }
    Ok(())
}

fn not_listed(account: &str) -> EngineError {
    EngineError::usage(
        format!("account {account} has no such key"),
        "`rekeyd accounts keys NAME` lists its keys; a key of another workspace needs that workspace in the account's entry",
    )
}
