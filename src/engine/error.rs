//! What can go wrong in a flow, and which exit status it is for a person.

use crate::crypto::CryptoError;
use crate::domain::guard::Refusal;
use crate::domain::limit::Allowance;
use crate::domain::outcome::Failure;
use crate::domain::rotation::IllegalEvent;
use crate::store::StoreError;

/// Why a flow stopped. `Display` is a whole sentence; [`EngineError::hint`] is the reader's next move.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A safety rule says no.
    #[error("{0}")]
    Refused(String),
    /// Nothing may be created, published or destroyed on this account until a person looked (R9).
    #[error("refused: account {account} is frozen: {reason}")]
    Frozen {
        /// Name of its entry in the configuration.
        account: String,
        /// Why it froze.
        reason: String,
    },
    /// The guard says no.
    #[error(transparent)]
    Guard(#[from] Refusal),
    /// Something was asked for that is not there or not possible.
    #[error("{text}")]
    Usage {
        /// What.
        text: String,
        /// The next move.
        hint: Option<String>,
    },
    /// Nothing has that name.
    #[error("{text}")]
    NoSuch {
        /// What is not there.
        text: String,
        /// The next move.
        hint: Option<String>,
    },
    /// What was asked for is not there, or something else is under way in its place, so that nothing was done.
    #[error("{text}")]
    Absent {
        /// What, and that nothing was done.
        text: String,
        /// The next move.
        hint: Option<String>,
    },
    /// It contradicts what is there already.
    #[error("{text}")]
    Conflict {
        /// What is there.
        text: String,
        /// The next move.
        hint: Option<String>,
    },
    /// What somebody wanted to add is there already.
    #[error("{text}")]
    Taken {
        /// What is there.
        text: String,
        /// The next move.
        hint: Option<String>,
    },
    /// The provider does not accept a key that somebody gave.
    #[error("the provider does not accept this key: {0}")]
    NotAccepted(String),
    /// Asked for too often.
    #[error("too often: {} times a minute are allowed", .0.limit.most)]
    Limited(Allowance),
    /// So many wait for the same that nobody more is let in.
    #[error("too many people log in at this moment")]
    Crowded,
    /// Nobody knows who this is: a password that is wrong, an account that is disabled, or none.
    #[error("the e-mail address or the password is wrong")]
    Unknown {
        /// What is left of the limit on guesses.
        allowance: Allowance,
    },
    /// Another process works on this account.
    #[error("another rekeyd process is working on account {0}")]
    Busy(String),
    /// The outside answered with a failure.
    #[error("{what}: {failure}")]
    Outside {
        /// What was tried.
        what: String,
        /// What came of it.
        failure: Failure,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The encryption key.
    #[error("{0}")]
    Crypto(CryptoError),
    /// A bug: the engine made an event that does not belong to the state.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
}

/// The name that is most like this one.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
}

impl EngineError {
    /// Something that is not in the configuration.
    pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Self {
        let known: Vec<&String> = known.collect();
        let hint = nearest(name, known.iter().map(|name| name.as_str())).map(|nearest| match known.len() {
            1 => format!("there is one: {nearest}"),
            n => format!("there are {n}; the nearest name is {nearest}"),
        });
        Self::NoSuch { text: format!("there is no {what} {name:?} in the configuration"), hint }
    }

    /// Something that is not in the store.
    pub(crate) fn not_there(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NoSuch { text: text.into(), hint: Some(hint.into()) }
    }

    /// Something that cannot be done, and what can.
    pub(crate) fn usage(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { text: text.into(), hint: Some(hint.into()) }
    }

    /// A failed call with what was tried.
    pub(crate) fn outside(what: impl Into<String>, failure: Failure) -> Self {
        Self::Outside { what: what.into(), failure }
    }

    /// True for what ends one key's, rotation's, destination's or account's step; false when nothing can go on (R21).
    pub(crate) fn concerns_one(&self) -> bool {
        !matches!(self, Self::Store(error) if !matches!(error, StoreError::Corrupt(_)))
    }

    /// The reader's next move.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. }
            | Self::NoSuch { hint, .. }
            | Self::Absent { hint, .. }
            | Self::Taken { hint, .. }
            | Self::Conflict { hint, .. } => hint.clone(),
            Self::NotAccepted(_) => {
                Some("check that it was copied whole; --no-test (force in the API) stores it all the same".to_owned())
            }
            Self::Outside { failure, .. } => failure.hint.clone(),
            Self::Crypto(error) => error.hint().map(str::to_owned),
            Self::Crowded => Some("try again in a few seconds".to_owned()),
            Self::Limited(allowance) => Some(format!("try again in {} s", allowance.seconds())),
            Self::Store(StoreError::LastAdmin) => Some("make another admin first: `rekeyd users add`".to_owned()),
            Self::Busy(_) => Some("it goes on by itself; look with `rekeyd runs list`".to_owned()),
            Self::Frozen { account, .. } => {
                Some(format!("read the alert, then `rekeyd accounts thaw {account}`"))
            }
            Self::Guard(Refusal::LastRegularKey { .. }) => {
                Some("issue another key first: `rekeyd rotations run NAME`".to_owned())
            }
            Self::Guard(Refusal::StillHeld { .. }) => {
                Some("see `rekeyd why ROTATION`; a destination that is gone for good: `rekeyd runs release ID DESTINATION`. A key that \
                      belongs to no rotation: take it out of the table that hands it out".to_owned())
            }
            Self::Guard(Refusal::Frozen) => Some("read the alert, then `rekeyd accounts thaw NAME`".to_owned()),
            Self::Guard(Refusal::NotOurs) => {
                Some("adopt it into a rotation first, or delete it in the provider's dashboard".to_owned())
            }
            _ => None,
        }
    }

    /// Exit status for people and scripts: 1 failed, 2 usage, 3 refused by a safety rule (interface.md §2).
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Frozen { .. } | Self::Guard(_) | Self::Store(StoreError::LastAdmin) => 3,
            Self::Usage { .. }
            | Self::NoSuch { .. }
            | Self::Taken { .. }
            | Self::Crypto(_)
            | Self::Store(StoreError::Address(_) | StoreError::File { .. }) => 2,
            _ => 1,
        }
    }
}
