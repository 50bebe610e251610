//! The encryption keys of the configuration, proved against a database before anything else is done with it.

use anyhow::Context;

use super::{Misconfigured, resolve};
use crate::config::Settings;
use crate::crypto::{Fingerprinter, KeyNames, Purpose, Ring, SecretRef, Use};
use crate::domain::time::Timestamp;
use crate::engine::{Engine, RingSealer, commands};
use crate::store::{SealedText, Sealer, Store, new_id};

/// The key of the fingerprints, sealed.
const FINGERPRINTS: &str = "sealed:fingerprints";

/// The encryption keys of the configuration.
pub fn ring(settings: &Settings) -> anyhow::Result<Ring> {
    let keys = resolve(&settings.encryption.keys, "[encryption] keys")?;
    Ring::parse(&keys).map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        Misconfigured { text: format!("[encryption] keys: {error}"), hint }.into()
    })
}

/// Facts that are made once per database, and the proof that our encryption keys open what is in it. Wrong keys, or a
/// list without the one that seals now, are refused here, before anything is read or written with them. A database from
/// before secrets were bound to their rows is taken over, once.
pub(super) async fn prove(
    store: &Store,
    ring: &Ring,
    source: &SecretRef,
) -> anyhow::Result<(KeyNames, Fingerprinter)> {
    let sealed_since = names_sealed_since(store).await?;
    let instance = store.fact_once("instance", &new_id().replace('-', "")[20..]).await?;
    if store.sealing_key().await?.is_none() {
        take_over(store, ring, source).await?;
    }
    let stored = store.fact(FINGERPRINTS).await?.unwrap_or_default();
    let key = ring.open(&stored, &fingerprints()).map_err(|_| none_opens(source))?;
    let sealing =
        store.sealing_key().await?.context("this database does not say which encryption key seals")?;
    if !ring.ids().any(|id| *id == sealing) {
        return Err(wrong_keys("the newest key is missing from the list", source));
    }
    let sealer = RingSealer { ring, sealing };
    let open =
        |text: &SealedText| ring.open(&text.token, &text.purpose()).ok().map(|list| list.expose().to_owned());
    store.take_over_late(&sealer, open).await?;
    Ok((KeyNames::new(&instance, &key, sealed_since), Fingerprinter::new(&key)))
}

fn fingerprints() -> Purpose<'static> {
    Purpose::of(Use::Fact, FINGERPRINTS)
}

/// The first epoch: of a new database, or of one from before there were any. Our keys must open it.
async fn take_over(store: &Store, ring: &Ring, source: &SecretRef) -> anyhow::Result<()> {
    let sealer = RingSealer { ring, sealing: ring.first().clone() };
    if let Some(before) = store.fact(FINGERPRINTS).await? {
        ring.take_over(&sealer.sealing, &before, &fingerprints()).map_err(|_| none_opens(source))?;
    }
    let new = sealer.seal(&fingerprints(), Fingerprinter::generate().expose());
    store.take_over(&sealer, (FINGERPRINTS, &new)).await?;
    Ok(())
}

fn none_opens(source: &SecretRef) -> anyhow::Error {
    wrong_keys("none of the keys opens what this database holds", source)
}

fn wrong_keys(what: &str, source: &SecretRef) -> anyhow::Error {
    Misconfigured::new(
        format!("[encryption] keys: {what}; nothing was changed"),
        format!("put the key that this database was made with where [encryption] keys points: {source}"),
    )
    .into()
}

/// Since when every key of this database has a sealed name (R6): for ever, or since a program that seals first
/// opened it.
async fn names_sealed_since(store: &Store) -> anyhow::Result<Timestamp> {
    let now = if store.fact("instance").await?.is_some() { store.now().await? } else { Timestamp(0) };
    let since = store.fact_once("names_sealed_since", &now.0.to_string()).await?;
    Ok(Timestamp(since.parse().context("this database does not say since when its names are sealed")?))
}

/// The daemon's start opens every secret: those that do not open are named, and the rest is worked with. Refuses when
/// none of the keys that are kept opens.
pub(super) async fn prove_every_row(engine: &Engine, source: &SecretRef) -> anyhow::Result<()> {
    let proof = commands::prove_secrets(engine).await?;
    for (what, error) in &proof.unreadable {
        tracing::error!(what, %error, "a secret cannot be opened");
    }
    if proof.no_key_opens {
        return Err(none_opens(source));
    }
    Ok(())
}
