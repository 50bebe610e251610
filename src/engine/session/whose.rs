//! Whose a listed key is that the store has no row of: its name says so, and the journal (R6, R9).

use crate::domain::key::{Figures, RemoteKey};
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::store::Created;

/// Listed keys that the store has no row of, although their names begin as ours do.
#[derive(Debug, Default)]
pub(crate) struct WithoutRow {
    /// Their creates were never settled as done: their secrets are gone.
    pub(crate) strays: Vec<RemoteKey>,
    /// This database or a copy of it gave their names, and the journal does not know that; or it does, and somebody
    /// uses a key whose secret we never had.
    pub(crate) unknown: Vec<RemoteKey>,
    /// Whoever may name keys at the provider gave them their names.
    pub(crate) strangers: Vec<RemoteKey>,
}

impl WithoutRow {
    /// Whether the account holds more of ours than the store has.
    pub(crate) fn any_of_ours(&self) -> bool {
        !(self.strays.is_empty() && self.unknown.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any_of_ours() && self.strangers.is_empty()
    }
}

/// Whose the listed keys are that begin as ours do and have no row; those that a person declared foreign are left out.
/// Asked after the listing: what is listed was journalled before it was made. Hashes are asked for last: a create is
/// settled together with its row.
pub(crate) async fn without_row(
    session: &Session<'_>,
    listed: &[RemoteKey],
) -> Result<WithoutRow, EngineError> {
    let store = &session.engine.parts.store;
    let prefix = session.names().prefix();
    let alike: Vec<&RemoteKey> = listed.iter().filter(|key| key.name.starts_with(prefix)).collect();
    let names: Vec<String> = alike.iter().map(|key| key.name.clone()).collect();
    let hashes: Vec<String> = alike.iter().map(|key| key.hash.clone()).collect();
    let journalled = store.journalled(&names).await?;
    let foreign = store.foreign_keys(&session.identity).await?;
    let stored = store.known_hashes(&hashes).await?;
    let is_foreign = |key: &RemoteKey| foreign.iter().any(|(hash, _)| *hash == key.hash);
    // No two keys of ours have one name: a second one has it from the first.
    let is_copy = |key: &RemoteKey| foreign.iter().any(|(_, name)| *name == key.name);
    let mut found = WithoutRow::default();
    for key in alike.into_iter().filter(|key| !stored.contains(&key.hash) && !is_foreign(key)) {
        let list = match journalled.get(&key.name) {
            // A person took it out of the store; it goes on living, and is nobody's concern.
            Some(Created::Done(Some(hash))) if *hash == key.hash => continue,
            Some(Created::Never) if is_second(session, key).await? => &mut found.strangers,
            Some(Created::Never) if was_used(key) => &mut found.unknown,
            Some(Created::Never) => &mut found.strays,
            None if session.names().gave(key) && !is_copy(key) => &mut found.unknown,
            Some(Created::Done(_)) | None => &mut found.strangers,
        };
        list.push(key.clone());
    }
    Ok(found)
}

/// Where the store remembers which key a stray of this name was, once it was removed.
pub(crate) fn removed(name: &str) -> String {
    format!("stray:{name}")
}

/// A create is sent once: a key with the name of a stray that was removed is another one, and somebody else's.
async fn is_second(session: &Session<'_>, key: &RemoteKey) -> Result<bool, EngineError> {
    let first: Option<String> = session.engine.parts.store.memory_or_anew(&removed(&key.name)).await?;
    Ok(first.is_some_and(|hash| hash != key.hash))
}

/// Nobody has a stray's secret. One that was used belongs to another copy of this database (R9): the journal was
/// copied while that create was in doubt.
fn was_used(key: &RemoteKey) -> bool {
    key.usage.figures().is_some_and(Figures::is_used)
}
