//! What a decision may look at: plain values that the engine gathered before it asked [`super::next()`], and the
//! questions that every stage of a run asks of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Level, Retiree, Run, Usage};
use crate::domain::inherit::Roll;
use crate::domain::time::{Span, Stamp, Timestamp, Until};

/// What the last test of one of our keys showed (verifying; R13).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "test")]
pub enum TestResult {
    /// The provider accepted it, it is a regular key, and it is as it was asked for.
    Valid,
    /// The provider answered 401 in its own form.
    Unauthorized,
    /// It is no regular key, or not the one that it should be.
    WrongKind {
        /// In one sentence.
        reason: String,
    },
    /// It works, but its limit or period is not what was asked for.
    Unlike {
        /// In one sentence.
        reason: String,
    },
    /// The key itself works; the provider refuses the billed completion that the policy wants to see.
    ProbeRefused {
        /// In one sentence.
        reason: String,
    },
    /// Nothing was learned.
    Inconclusive {
        /// In one sentence.
        reason: String,
    },
}

/// One of our keys as the store and the last test know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyFacts {
    /// The last test and when it was made.
    pub tested: Option<(TestResult, Stamp)>,
    /// Since when tests answered 401 without a valid one in between.
    pub refused_since: Option<Stamp>,
}

impl KeyFacts {
    /// Valid on a test that is at most [`super::TEST_FRESH`] old.
    pub fn valid_now(&self, now: Stamp) -> bool {
        matches!(&self.tested, Some((TestResult::Valid, at)) if now.fresh(*at, super::TEST_FRESH))
    }

    /// Refused by two looks at least `confirm_after` apart (wire-facts.md: a lone 401 can be a passing fault).
    pub fn refused(&self, confirm_after: Span) -> bool {
        match (&self.tested, self.refused_since) {
            (Some((TestResult::Unauthorized, at)), Some(since)) => at.passed(since, confirm_after),
            _ => false,
        }
    }
}

/// A key at the provider, as `GET /keys/{hash}` last showed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remote {
    /// 404.
    Gone,
    /// Disabled by somebody.
    Disabled,
    /// Enabled, and so much used.
    Enabled(Usage),
}

/// What is known about one key on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteFacts {
    /// Identity at the provider.
    pub hash: String,
    /// What it showed.
    pub remote: Remote,
    /// When.
    pub at: Stamp,
}

/// One destination and one key: what was sent, what was proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holding {
    /// Where.
    pub address: String,
    /// The destination's name when it was written.
    pub destination: String,
    /// Which key (row id).
    pub key: String,
    /// How far.
    pub level: Level,
    /// When the level was last proved.
    pub checked: Option<Stamp>,
    /// How somebody else changed the address since our last write there, whichever key that was.
    pub drift: Option<String>,
    /// The last failure, until it succeeds.
    pub error: Option<String>,
    /// The failure needs a person.
    pub permanent: bool,
    /// Attempts so far.
    pub attempts: u32,
    /// Nothing is sent there, nor looked at, before this is over.
    pub until: Until,
    /// So long a write of this key whose outcome nobody knows may still land (R19).
    pub landing: Until,
}

impl Holding {
    /// Nothing was sent to `address` of `key` (row id) yet.
    pub fn pending(
        address: impl Into<String>,
        destination: impl Into<String>,
        key: impl Into<String>,
    ) -> Self {
        Self {
            address: address.into(),
            destination: destination.into(),
            key: key.into(),
            level: Level::Pending,
            checked: None,
            drift: None,
            error: None,
            permanent: false,
            attempts: 0,
            until: Until::OVER,
            landing: Until::OVER,
        }
    }

    /// True when the key was, or may have been, written there.
    pub fn may_hold(&self) -> bool {
        self.level > Level::Pending
    }
}

/// What the rows of one rotation, newest write of an address first, still prove: once another key was (perhaps)
/// written to an address, an older key there is no longer *proved*, it only *may* be held.
pub fn proved_now(newest_first: impl IntoIterator<Item = Holding>) -> Vec<Holding> {
    let mut written = BTreeSet::new();
    let mut all: Vec<Holding> = newest_first.into_iter().collect();
    for row in &mut all {
        if row.level == Level::Pending {
            continue;
        }
        if !written.insert(row.address.clone()) {
            row.level = Level::Intended;
            row.checked = None;
        }
    }
    all
}

/// What a person asked of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Stop before anything is published.
    Abort,
    /// Back to the old key.
    Rollback,
    /// Go on from where it parked; try failed destinations again now.
    Resume,
    /// This destination no longer counts for the keys on their way out.
    Release {
        /// Its name in the configuration, now or when it was written, or its address.
        destination: String,
    },
}

/// Everything [`super::next()`] may look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The present moment on both clocks.
    pub now: Stamp,
    /// The present moment on the database's clock, which all waits are on (R18).
    pub clock: Timestamp,
    /// The account is frozen (R9).
    pub frozen: bool,
    /// A person holds new runs and kill steps.
    pub paused: bool,
    /// Why a person must look before anything else: another account behind the entry (R8), a destination or
    /// the rotation dropped from the configuration (R14).
    pub detached: Option<String>,
    /// Destinations of the run's snapshot that the configuration no longer has there, or no longer requires.
    pub dropped: Vec<String>,
    /// The oldest open request of a person, with its number in the store.
    pub request: Option<(String, Request)>,
    /// Strays of this listing that still live although another key works; `None` before the first listing of
    /// this session. No new key is made while there are any.
    pub strays: Option<usize>,
    /// The new key.
    pub candidate: KeyFacts,
    /// The old key.
    pub predecessor: KeyFacts,
    /// A disable of the old key was sent and never answered: it may still land.
    pub disable_in_doubt: bool,
    /// Keys at the provider that were read.
    pub remote: Vec<RemoteFacts>,
    /// What named the old key and not the new one (R23), and when that was looked at.
    pub lacking: Option<(Vec<Roll>, Stamp)>,
    /// All that was sent to any destination for the keys of this run.
    pub holdings: Vec<Holding>,
    /// Generations (row ids) that somebody was given.
    pub handed_out: BTreeSet<String>,
}

impl Facts {
    /// What is known of `key` at `address`.
    pub fn holding(&self, address: &str, key: &str) -> Option<&Holding> {
        self.holdings.iter().find(|h| h.address == address && h.key == key)
    }

    /// What the provider last said about `hash`.
    pub fn remote(&self, hash: &str) -> Option<&RemoteFacts> {
        self.remote.iter().find(|r| r.hash == hash)
    }

    /// How long until `span` has passed since `at` on the slower clock; at least a moment, at most until the next look.
    pub(super) fn remaining(&self, at: Stamp, span: Span) -> Span {
        let left = self.left(at, span).unwrap_or(span);
        Span(left.0.clamp(200, Span::minutes(10).0))
    }

    /// How long until `span` has passed since `at` on the slower clock; nobody knows while the provider's is unknown.
    pub(super) fn left(&self, at: Stamp, span: Span) -> Option<Span> {
        let elapsed = self.now.elapsed_since(at)?.max(Span::ZERO);
        Some(Span(span.0 - elapsed.0).max(Span::ZERO))
    }

    /// True when a leaked key of the run has been usable for longer than the policy bears.
    pub(super) fn is_exposed(&self, run: &Run) -> bool {
        let usable = run.retirees.iter().filter(|retiree| retiree.is_enabled());
        usable
            .filter_map(|retiree| retiree.leaked)
            .any(|since| self.now.passed(since, run.policy.max_exposure))
    }

    /// True when `known` was tested within `interval`.
    pub(super) fn is_tested(&self, known: &KeyFacts, interval: Span) -> bool {
        known.tested.as_ref().is_some_and(|(_, at)| self.now.fresh(*at, interval))
    }

    /// How long this key stays disabled before it is deleted. One that somebody was given is observed, also when no
    /// destination ever had it.
    pub(super) fn observe(&self, run: &Run, retiree: &Retiree) -> Span {
        let is_given = !retiree.urgent && self.handed_out.contains(&retiree.key.id);
        if is_given { retiree.observe.max(run.policy.observe) } else { retiree.observe }
    }

    /// True while an address may hold the new key, whoever wrote it there.
    pub(super) fn candidate_may_be_held(&self, run: &Run) -> bool {
        let candidate = run.candidate.as_ref();
        candidate.is_some_and(|key| self.holdings.iter().any(|h| h.key == key.id && h.may_hold()))
    }
}
