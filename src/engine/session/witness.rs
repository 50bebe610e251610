//! The account before a kill. A reading that took long is older than the guard allows when it ends: then the target,
//! the keys that may prove a destination, and one usable witness are read by hash, and the guard sees nothing else.

use std::collections::BTreeSet;

use crate::domain::key::RemoteKey;
use crate::domain::outcome::Failure;
use crate::domain::time::Span;
use crate::engine::EngineError;
use crate::engine::session::{Session, keys, listing};
use crate::store::Role;

/// A listing whose reading began so recently is shown to the guard as it is. Half of what it allows: the rest is for
/// what happens until it decides.
const CLOSE: Span = Span::seconds(15);
/// So many keys of others are asked whether they still live, until one does.
const CANDIDATES: usize = 5;

/// Lists the account so that the guard may decide about `target` on what is shown.
pub(crate) async fn list_before_kill(
    session: &mut Session<'_>,
    target: &str,
) -> Result<Result<(), Failure>, EngineError> {
    if let Err(failure) = listing::list(session).await? {
        return Ok(Err(failure));
    }
    if session.listing.as_ref().is_some_and(|listing| session.now().fresh(listing.at, CLOSE)) {
        return Ok(Ok(()));
    }
    look_closely(session, target).await
}

async fn look_closely(session: &mut Session<'_>, target: &str) -> Result<Result<(), Failure>, EngineError> {
    let at = session.now();
    let mut close = BTreeSet::new();
    for hash in concerned(session, target).await? {
        if let Err(failure) = read_again(session, &hash).await? {
            return Ok(Err(failure));
        }
        close.insert(hash);
    }
    for hash in candidates(session, target, &close) {
        if witnesses(session, target).iter().any(|key| close.contains(&key.hash)) {
            break;
        }
        if let Err(failure) = read_again(session, &hash).await? {
            return Ok(Err(failure));
        }
        close.insert(hash);
    }
    if let Some(listing) = &mut session.listing {
        (listing.at, listing.close) = (at, Some(close));
    }
    Ok(Ok(()))
}

/// The target, and the living generations of its rotation: one of them is what its destinations hold now.
async fn concerned(session: &Session<'_>, target: &str) -> Result<Vec<String>, EngineError> {
    let mut hashes = vec![target.to_owned()];
    let rotation = keys::stored_key(session, target).await?.and_then(|row| row.rotation);
    if let Some(rotation) = rotation {
        let generations = session.engine.parts.store.generations(&rotation).await?;
        let living = generations.into_iter().filter(|row| row.role != Role::Dead);
        hashes.extend(living.filter_map(|row| row.hash).filter(|hash| hash != target));
    }
    Ok(hashes)
}

/// Keys of the listing that would be usable without the target.
fn witnesses(session: &Session<'_>, target: &str) -> Vec<RemoteKey> {
    let now = session.now();
    let now = now.theirs.unwrap_or(now.ours);
    let provisioning = session.account.issuer.provisioning_hash();
    let keys = session.listing.iter().flat_map(|listing| listing.but_strays(target));
    keys.filter(|key| key.hash != target && key.hash != provisioning && key.is_live(now)).collect()
}

fn candidates(session: &Session<'_>, target: &str, close: &BTreeSet<String>) -> Vec<String> {
    let others = witnesses(session, target).into_iter().map(|key| key.hash);
    others.filter(|hash| !close.contains(hash)).take(CANDIDATES).collect()
}

/// Puts what the provider says of one key now in the place of its row.
async fn read_again(session: &mut Session<'_>, hash: &str) -> Result<Result<(), Failure>, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.read(hash, deadline).await;
    let seen = match session.noting(called) {
        Ok(seen) => seen,
        Err(failure) => return Ok(Err(failure)),
    };
    if let Some(listing) = &mut session.listing {
        listing.keys.retain(|key| key.hash != hash);
        listing.keys.extend(seen);
    }
    Ok(Ok(()))
}
