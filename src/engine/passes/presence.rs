//! What a daemon says of itself to other processes: that it lives and by which configuration, so that a command line leaves
//! the work to it (R22), and which encryption keys it has. Who lacks the one that seals now is told of (R24).

use crate::crypto::EncryptionKeyId;
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::time::Span;
use crate::engine::session::standing;
use crate::engine::{Engine, EngineError};
use crate::store::Daemon;

/// How often it is said.
pub const EVERY: Span = Span::seconds(5);
/// One that was silent for so long has died, and its encryption keys with it.
const DEAD: Span = Span::minutes(1);
const SUBJECT: Subject = Subject::EncryptionKeys;

/// Says it, and opens or resolves the alert about the keys of all daemons.
pub async fn announce(engine: &Engine) -> Result<(), EngineError> {
    let policies = engine.rotations().map(|rotation| {
        let name = &rotation.name;
        (name.clone(), standing::fingerprint(engine, name))
    });
    let keys: Vec<EncryptionKeyId> = engine.parts.ring.ids().cloned().collect();
    engine.parts.store.announce(&engine.parts.owner, &policies.collect(), &keys).await?;
    tell_stale(engine).await
}

/// It stops: from now on commands work by themselves.
pub async fn take_leave(engine: &Engine) -> Result<(), EngineError> {
    Ok(engine.parts.store.take_leave(&engine.parts.owner).await?)
}

/// True while a daemon that lives works the runs of this rotation as the present configuration says.
pub async fn is_served(engine: &Engine, rotation: &str) -> Result<bool, EngineError> {
    let mine = standing::fingerprint(engine, rotation);
    let daemons = engine.parts.store.daemons(Daemon::SILENT).await?;
    // One that lacks the key that seals leaves the run to whoever has it.
    let sealing = engine.parts.store.sealing_key().await?;
    let can_seal = |daemon: &Daemon| sealing.as_ref().is_none_or(|key| daemon.keys.contains(key));
    Ok(daemons.iter().any(|daemon| daemon.works(rotation, &mine) && can_seal(daemon)))
}

async fn tell_stale(engine: &Engine) -> Result<(), EngineError> {
    let (store, kind) = (&engine.parts.store, Kind::EncryptionKeysStale);
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

async fn stale(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let Some(sealing) = engine.parts.store.sealing_key().await? else { return Ok(Vec::new()) };
    let living = engine.parts.store.daemons(DEAD).await?;
    Ok(living.into_iter().filter(|one| !one.keys.contains(&sealing)).map(|one| one.owner).collect())
}
