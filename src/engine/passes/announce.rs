//! What a daemon says of itself to other processes: that it lives, and which encryption keys it has. Who lacks the one
//! that seals now is told of (R24).

use crate::crypto::EncryptionKeyId;
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::engine::{Engine, EngineError};

const SUBJECT: Subject = Subject::EncryptionKeys;

/// Says it, and opens or resolves the alert about all processes.
pub async fn announce(engine: &Engine) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let keys: Vec<EncryptionKeyId> = engine.parts.ring.ids().cloned().collect();
    store.announce(&engine.parts.owner, &keys).await?;
    let kind = Kind::EncryptionKeysStale;
    let stale = stale(engine).await?;
    let told = store.open_subjects(kind).await?.contains(&SUBJECT);
    match (stale.is_empty(), told) {
        (false, false) => {
            let detail = format!(
                "{} lack(s) the encryption key that seals now, and issues no key: what it asked for it could not store. \
                 Put the newest key first in its list, then `systemctl reload rekeyd` there.",
                stale.join(", ")
            );
            let entry = engine.entry("encryption.stale", &SUBJECT, stale.join(", "));
            Ok(store.raise(&NewAlert::new(kind, SUBJECT, detail), &entry).await?)
        }
        (true, true) => {
            Ok(store.resolve(kind, &SUBJECT, &engine.entry("encryption.fresh", &SUBJECT, "")).await?)
        }
        _ => Ok(()),
    }
}

/// The daemon stops: nobody waits for it.
pub async fn withdraw(engine: &Engine) -> Result<(), EngineError> {
    Ok(engine.parts.store.withdraw(&engine.parts.owner).await?)
}

async fn stale(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let Some(sealing) = engine.parts.store.sealing_key().await? else { return Ok(Vec::new()) };
    let living = engine.parts.store.processes().await?;
    Ok(living.into_iter().filter(|one| !one.keys.contains(&sealing)).map(|one| one.owner).collect())
}
