//! The guard: the one function that every path which disables or deletes a provider key must pass.
//!
//! rotation.md, "The guard". It is called inside the transaction that commits the intent, on the facts of
//! that transaction and a listing of the live account. There is no override.

#[cfg(test)]
mod tests;

use super::key::RemoteKey;
use super::rotation::{CHECK_FRESH, TEST_FRESH};
use super::time::{Span, Stamp, Timestamp, Until};

/// A listing older than this proves nothing any more.
pub const SNAPSHOT_FRESH: Span = Span::seconds(30);

/// What is to be done to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kill {
    /// Reversible.
    Disable,
    /// The point of no return.
    Delete,
}

impl Kill {
    /// The word in the journal and in sentences.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }
}

/// What a destination that may have received the target shows now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Its name.
    pub destination: String,
    /// The present configuration requires it.
    pub required: bool,
    /// A person said that it no longer counts (`runs release`).
    pub released: bool,
    /// So long a write of the target there whose outcome nobody knows may still land (R19).
    pub landing: Until,
    /// The other key of the rotation that it proves to hold: hash, when that was looked at, and the last
    /// valid test of that key. `None` when it proves none.
    pub now_holds: Option<Proof>,
}

/// A destination's proof that it holds another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proof {
    /// Hash of the key that it holds.
    pub hash: String,
    /// When the destination was last looked at.
    pub checked: Stamp,
    /// When that key was last tested valid.
    pub valid: Option<Stamp>,
}

/// Everything the guard looks at.
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The account's name, for the sentence.
    pub account: &'a str,
    /// Hash of the key to disable or delete.
    pub target: &'a str,
    /// What is to be done.
    pub kill: Kill,
    /// An emergency: the breaker does not hold it.
    pub urgent: bool,
    /// It is known to strangers: it waits for nobody but the destinations that the present configuration requires.
    pub leaked: bool,
    /// The present moment on both clocks.
    pub now: Stamp,
    /// The present moment on the database's clock, which waits are on (R18).
    pub clock: Timestamp,
    /// When the listing was complete.
    pub listed: Stamp,
    /// The listing: every key of the account.
    pub keys: &'a [RemoteKey],
    /// Hash of the provisioning key: never usable, never a target.
    pub provisioning_hash: &'a str,
    /// Hashes with a disable or delete that may still land.
    pub open_kills: &'a [String],
    /// Hashes with one that can no longer land, and of which nobody could see what came: never usable, and in nobody's way.
    pub in_doubt: &'a [String],
    /// Destinations that may have received the target.
    pub holders: &'a [Holder],
    /// Created by this instance, or adopted by an admin (I9).
    pub ours: bool,
    /// The account is frozen (R9).
    pub frozen: bool,
    /// Destructive acts on this account within the last hour, the target's own aside.
    pub recent_kills: u32,
    /// How many are allowed (R12).
    pub max_kills: u32,
}

/// Why the guard does not let a key go. The text is what people read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum Refusal {
    #[error(
        "refused: {label} ({name}) is the last regular key of account {account} that works; there is no override"
    )]
    LastRegularKey { label: String, name: String, account: String },
    #[error("refused: destination {destination} does not prove that it holds another working key")]
    StillHeld { destination: String },
    #[error(
        "refused: nobody knows what became of a write of this key to destination {destination}: it may still land within {} s",
        left.0 / 1000 + 1
    )]
    MayLand { destination: String, left: Span },
    #[error("refused: another disable or delete is under way on this account")]
    OtherKill,
    #[error("refused: rekeyd did not create this key and nobody adopted it")]
    NotOurs,
    #[error("refused: this is the account's provisioning key")]
    Provisioning,
    #[error("refused: the account is frozen")]
    Frozen,
    #[error(
        "refused: our clock and the provider's differ by more than 5 minutes, or the provider's is not known"
    )]
    Clocks,
    #[error(
        "refused: {recent} keys of this account were disabled or deleted within an hour (max_deletes_per_hour)"
    )]
    Breaker { recent: u32 },
    #[error("refused: the listing of the account is too old")]
    StaleListing,
}

impl Refusal {
    /// A short word for JSON, metrics and alerts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::LastRegularKey { .. } => "last_regular_key",
            Self::StillHeld { .. } => "still_held",
            Self::MayLand { .. } => "may_land",
            Self::OtherKill => "other_kill_open",
            Self::NotOurs => "not_ours",
            Self::Provisioning => "provisioning_key",
            Self::Frozen => "frozen",
            Self::Clocks => "clock_skew",
            Self::Breaker { .. } => "breaker",
            Self::StaleListing => "stale_listing",
        }
    }
}

/// How many keys of an account of this size may be disabled or deleted within an hour (R12): so many as the
/// configuration says, or 2 % of them if that is more.
pub fn max_kills(max_deletes_per_hour: u32, keys: usize) -> u32 {
    max_deletes_per_hour.max(u32::try_from(keys / 50).unwrap_or(u32::MAX))
}

/// Lets the target go, or says why not.
pub fn permit(case: &Case<'_>) -> Result<(), Refusal> {
    if case.frozen {
        return Err(Refusal::Frozen);
    }
    if case.target == case.provisioning_hash {
        return Err(Refusal::Provisioning);
    }
    if !case.ours {
        return Err(Refusal::NotOurs);
    }
    if !case.now.clocks_agree() {
        return Err(Refusal::Clocks);
    }
    if !case.now.fresh(case.listed, SNAPSHOT_FRESH) {
        return Err(Refusal::StaleListing);
    }
    last_regular_key(case)?;
    still_held(case)?;
    if case.open_kills.iter().any(|hash| hash != case.target) {
        return Err(Refusal::OtherKill);
    }
    if !case.urgent && case.recent_kills >= case.max_kills {
        return Err(Refusal::Breaker { recent: case.recent_kills });
    }
    Ok(())
}

/// True for a regular key that would still work without the target.
pub fn is_usable(case: &Case<'_>, key: &RemoteKey) -> bool {
    let now = case.now.theirs.unwrap_or(case.now.ours);
    key.hash != case.target
        && key.hash != case.provisioning_hash
        && key.is_live(now)
        && !case.open_kills.contains(&key.hash)
        && !case.in_doubt.contains(&key.hash)
}

/// Condition 1: at least one usable key remains.
fn last_regular_key(case: &Case<'_>) -> Result<(), Refusal> {
    if case.keys.iter().any(|key| is_usable(case, key)) {
        return Ok(());
    }
    let target = case.keys.iter().find(|key| key.hash == case.target);
    Err(Refusal::LastRegularKey {
        label: target.map_or_else(|| "this key".to_owned(), |key| key.label.clone()),
        name: target.map_or_else(String::new, |key| key.name.clone()),
        account: case.account.to_owned(),
    })
}

/// Condition 2: nobody holds the target: each destination that may have received it proves another key that
/// is usable and was tested valid at most 5 minutes ago. A leaked key is held by those alone that are required now.
fn still_held(case: &Case<'_>) -> Result<(), Refusal> {
    let counts = |holder: &&Holder| !holder.released && (holder.required || !case.leaked);
    for holder in case.holders.iter().filter(counts) {
        let destination = holder.destination.clone();
        if let Some(left) = holder.landing.left(case.clock) {
            return Err(Refusal::MayLand { destination, left });
        }
        if !proves_another(case, holder) {
            return Err(Refusal::StillHeld { destination });
        }
    }
    Ok(())
}

/// A look from before the end of a write of the target says nothing about the time after it (R19).
fn proves_another(case: &Case<'_>, holder: &Holder) -> bool {
    let (Some(proof), Some(over)) = (&holder.now_holds, holder.landing.over_for(case.clock)) else {
        return false;
    };
    let usable = case.keys.iter().any(|key| key.hash == proof.hash && is_usable(case, key));
    let checked = case.now.fresh(proof.checked, CHECK_FRESH.min(over));
    usable && checked && proof.valid.is_some_and(|at| case.now.fresh(at, TEST_FRESH))
}
