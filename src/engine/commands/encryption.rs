//! Another encryption key for all that is stored, while daemons go on (R24), and the proof that everything opens.

use super::view::ReencryptedView;
use crate::crypto::CryptoError;
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError, RingSealer};
use crate::store::{Begun, Daemon, Retired, SealedText, Sealer};

/// Between two looks whether a create has ended.
const LOOK: Span = Span::seconds(1);
/// So many rows are named; the others are counted.
const NAMED: usize = 5;

/// Makes the first key of our list the sealing one, seals everything with it, proves that everything opens with it alone,
/// and retires the others. It may be broken off at any moment and run again.
///
/// # Errors
/// Refused while a living process does not have the key; failed when something does not open: then no key is retired.
pub async fn reencrypt(engine: &Engine) -> Result<ReencryptedView, EngineError> {
    let (store, ring) = (&engine.parts.store, &engine.parts.ring);
    let sealing = ring.first().clone();
    if store.sealing_key().await?.as_ref() != Some(&sealing) {
        let entry = engine.entry("encryption.epoch", "store", format!("key {sealing} seals"));
        if let Begun::Lacking(processes) = store.begin_epoch(&sealing, &entry).await? {
            return Err(lacking(&processes));
        }
    }
    let sealer = RingSealer { ring, sealing };
    let mut resealed = 0;
    loop {
        let done = store.reseal(&sealer).await?;
        resealed += done.changed;
        if !done.unreadable.is_empty() {
            return Err(unreadable(done.unreadable.iter().map(|(text, _)| text), resealed));
        }
        let entry = engine.entry("encryption.resealed", "store", format!("key {}", sealer.sealing()));
        let longest = Span(engine.parts.lease.0 + engine.parts.call_timeout.0);
        match store.retire_epochs(&sealer, longest, &entry).await? {
            Retired::Keys(retired) => return Ok(ReencryptedView { resealed, retired }),
            // Stored while we sealed, with a key that was in force: once more.
            Retired::Left(_) => {}
            Retired::CreateUnderWay => engine.clock().sleep(LOOK).await,
        }
    }
}

fn lacking(daemons: &[Daemon]) -> EngineError {
    let names: Vec<&str> = daemons.iter().map(|daemon| daemon.owner.as_str()).collect();
    EngineError::Usage {
        text: format!(
            "nothing was changed: {} living process(es) do not have the first key of this list yet: {}",
            names.len(),
            names.join(", ")
        ),
        hint: Some(
            "put the key first in the list of every process and reload each; one that was killed is forgotten after a \
             minute"
                .to_owned(),
        ),
    }
}

fn unreadable<'a>(texts: impl Iterator<Item = &'a SealedText>, resealed: u64) -> EngineError {
    let names: Vec<String> = texts.map(SealedText::describe).collect();
    let more = names.len().saturating_sub(NAMED);
    let first = names[..names.len() - more].join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    EngineError::Absent {
        text: format!(
            "{resealed} secrets were sealed anew, and these do not open: {first}{more}; no key is retired"
        ),
        hint: Some(
            "give the key that sealed them back to the end of the list, or delete them; then run it again"
                .to_owned(),
        ),
    }
}

/// How many secrets there are, and which of them do not open.
#[derive(Debug)]
pub struct Proof {
    /// True when keys are kept, and not one of them opens.
    pub no_key_opens: bool,
    /// Which do not open, and why.
    pub unreadable: Vec<(String, CryptoError)>,
}

/// Opens everything that is sealed.
pub async fn prove_secrets(engine: &Engine) -> Result<Proof, EngineError> {
    let store = &engine.parts.store;
    let (mut unreadable, mut keys, mut after) = (Vec::new(), 0, String::new());
    while let Some((texts, last)) = store.sealed_keys(&after).await? {
        keys += texts.len();
        unreadable.extend(closed(engine, &texts));
        after = last;
    }
    let no_key_opens = keys > 0 && unreadable.len() == keys;
    unreadable.extend(closed(engine, &store.sealed_others().await?));
    Ok(Proof { no_key_opens, unreadable })
}

/// Those that do not open, and why.
fn closed(engine: &Engine, texts: &[SealedText]) -> Vec<(String, CryptoError)> {
    let open = |text: &SealedText| engine.parts.ring.open(&text.token, &text.purpose()).err();
    texts.iter().filter_map(|text| Some((text.describe(), open(text)?))).collect()
}
