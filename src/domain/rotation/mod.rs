//! The rotation protocol as plain data: what a run is, and what may happen to it.
//!
//! [`next()`] decides from a run and the facts what to do; [`apply()`] turns an event into the next run. Both are
//! total and pure; the engine performs what they say. The picture (rotation.md, "States of a run"):
//!
//! ```text
//! Planned ─► Issuing ─► Verifying ─► Publishing ─► Grace ─► Observing ─► Done
//!               │           │            └─────────┬─┴──────────┘
//!               │           └─► Aborting ─► Aborted└─► RollingBack ─► RolledBack
//!               └─ unknown outcome: Recover, then again under a new name
//! any open state ─► Parked (needs a person) · Superseded (by an emergency)
//! ```
//!
//! Reading order: this file (the nouns), [`apply()`] (the events), [`Directive`], [`facts`] (what a decision may look
//! at), then each on top of the one before: agenda, deliver, inherit, retire, [`next()`]. Two stand by themselves: [`Emergency`],
//! what a run inherits that supersedes another, and [`Waiting`], what is remembered of a wait.

mod agenda;
mod apply;
mod deliver;
mod directive;
mod emergency;
pub mod facts;
mod inherit;
mod next;
mod retire;
mod spread;
#[cfg(test)]
pub(crate) mod tests;
mod waiting;
mod way_out;

pub use apply::{Event, IllegalEvent, apply};
pub use directive::{Blocker, Cause, Directive};
pub use emergency::{Emergency, gives_way_to_healing};
pub use next::next;
pub use spread::spread;
pub use waiting::{Moment, Waiting, moments};
pub use way_out::WayOut;

pub use super::key::{Figures, Usage};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::inherit::Inherit;
use super::key::{KeySpec, MicroUsd};
use super::time::{Span, Stamp, Until, backoff};

/// R13: a key may be published only with a valid test at most this old. Also the guard's freshness.
pub const TEST_FRESH: Span = Span::minutes(5);
/// A destination that was looked at within this time counts as looked at *now*.
pub const CHECK_FRESH: Span = Span::minutes(3);
/// After so many creates of unknown outcome an ordinary run asks a person.
pub const MAX_UNCLEAR: u32 = 6;

/// The reason of a run that a person ended.
pub const ASKED: &str = "a person asked for it";

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule said so.
    Schedule,
    /// A person said so.
    Manual,
    /// A generation is known to strangers.
    Leak,
    /// The current key was found dead.
    Heal,
}

impl Trigger {
    /// An emergency waits for nobody: no grace, no quiet, no observing, no breaker, no pause.
    pub fn is_emergency(&self) -> bool {
        matches!(self, Self::Leak | Self::Heal)
    }

    /// The word in the database, in JSON and on the screen.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Leak => "leak",
            Self::Heal => "heal",
        }
    }
}

/// How far a destination is with one key; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing was sent.
    Pending,
    /// A write was intended: from here on the destination *may* hold the key.
    Intended,
    /// The destination took the write.
    Accepted,
    /// The destination proved that it holds the key.
    Confirmed,
    /// Consumers run with it.
    Effective,
}

impl Level {
    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Intended => "intended",
            Self::Accepted => "accepted",
            Self::Confirmed => "confirmed",
            Self::Effective => "effective",
        }
    }

    /// The level of a word that [`Level::word`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Intended, Self::Accepted, Self::Confirmed, Self::Effective]
            .into_iter()
            .find(|level| level.word() == word)
    }
}

/// What happens when somebody else changed a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// It is left alone, and an alert opens.
    Hold,
    /// The key is written again.
    Overwrite,
}

/// One destination as the run knows it (R14: by its address, not by its name).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Name in the configuration.
    pub name: String,
    /// Where the key really goes.
    pub address: String,
    /// A failing required destination blocks the old key's retirement.
    pub required: bool,
    /// The level it must reach.
    pub needs: Level,
    /// What to do when somebody else changed it.
    pub on_drift: OnDrift,
}

/// The snapshot of the policy that a run works by (R14).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Destinations, in the order of the configuration.
    pub targets: Vec<Target>,
    /// Least time between "published everywhere" and disabling the old key.
    pub grace: Span,
    /// The old key's figures must not have moved for this long.
    pub quiet: Span,
    /// Time between disabling and deleting the old key.
    pub observe: Span,
    /// After this long in grace the admins are told that the old key is still used.
    pub max_overlap: Span,
    /// After this long alive, a leaked key is told as critical, and a person may let go of a required destination.
    #[serde(default = "max_exposure")]
    pub max_exposure: Span,
    /// A fresh key may answer 401 for this long.
    pub propagation: Span,
    /// Time between the two listings after a create of unknown outcome.
    pub settle: Span,
    /// Time between the two looks that make "refused" believable.
    pub confirm_after: Span,
    /// What to ask for at the provider; what is open is inherited from the predecessor (R10).
    pub spec: SpecPolicy,
    /// Model for one billed completion, when the policy asks for it.
    pub chat_model: Option<String>,
    /// What a new key takes over from the old one.
    #[serde(default)]
    pub inherit: Inherit,
    /// False where the provider cannot disable a key: it is deleted where others are disabled, and not observed.
    #[serde(default = "yes")]
    pub can_disable: bool,
}

const fn yes() -> bool {
    true
}

/// Whether the new key is named wherever the old one is named by its hash (R23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inheritance {
    /// Not looked at yet, or not done.
    #[default]
    Open,
    /// It is.
    Done,
    /// An emergency went on without it; the watch of the account goes on trying.
    Waived,
}

/// Of runs from before there was such a policy.
const fn max_exposure() -> Span {
    Span::minutes(15)
}

/// What the policy says of new keys; `None` is inherited from the predecessor (R10).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct SpecPolicy {
    /// Spending limit.
    pub limit: Option<MicroUsd>,
    /// `daily`, `weekly`, `monthly`.
    pub limit_reset: Option<String>,
    /// Whether own-vendor-key usage counts against the limit.
    pub include_byok_in_limit: Option<bool>,
    /// Workspace to create keys in.
    pub workspace: Option<String>,
}

impl SpecPolicy {
    /// What to ask for, given what the predecessor is allowed.
    pub fn resolve(&self, predecessor: Option<KeySpec>) -> KeySpec {
        let inherited = predecessor.unwrap_or_default();
        KeySpec {
            limit: self.limit.or(inherited.limit),
            limit_reset: self.limit_reset.clone().or(inherited.limit_reset),
            include_byok_in_limit: self.include_byok_in_limit.unwrap_or(inherited.include_byok_in_limit),
            workspace: self.workspace.clone().or(inherited.workspace),
        }
    }
}

/// A key that this run deals with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRef {
    /// Row in our store.
    pub id: String,
    /// Generation in the rotation.
    pub generation: i64,
    /// Identity at the provider.
    pub hash: String,
    /// False for a key adopted by hash alone: it can be retired, not republished.
    pub has_secret: bool,
}

/// How far a key is on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Enabled; its figures have been the same since `since`.
    Live {
        /// The last figures and since when they stand, `None` before the first look.
        quiet: Option<(Usage, Stamp)>,
    },
    /// The intent to disable it is committed; what came of it is not known yet.
    Disabling,
    /// We disabled it, or tried to, and then enabled it again for a rollback. A disable that was still under
    /// way (`late`) may land yet: then it is ours, and is undone.
    Revived {
        /// A disable of ours was never settled.
        late: bool,
        /// When it was seen enabled again: what was asked of it before proves nothing now (R19). `None` in rows from
        /// before that rule.
        #[serde(default)]
        since: Option<Stamp>,
    },
    /// Disabled; can still be brought back.
    Disabled {
        /// When that was read back.
        since: Stamp,
        /// False when a person did it: then rekeyd never enables it.
        by_us: bool,
    },
    /// The delete intent is committed: the point of no return.
    Deleting,
    /// Gone at the provider, wiped here.
    Dead,
}

/// A key that this run retires.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retiree {
    /// Which key.
    pub key: KeyRef,
    /// No grace, no quiet, no observing.
    pub urgent: bool,
    /// Since when it is known to strangers, for one that is leaked.
    #[serde(default)]
    pub leaked: Option<Stamp>,
    /// How long it stays disabled before it is deleted.
    pub observe: Span,
    /// How far it is.
    pub phase: Phase,
}

impl Retiree {
    /// A key that starts its way out, enabled.
    pub fn new(key: KeyRef, urgent: bool, observe: Span) -> Self {
        let observe = if urgent { Span::ZERO } else { observe };
        Self { key, urgent, leaked: None, observe, phase: Phase::Live { quiet: None } }
    }

    /// True while the provider may still accept it and no disable of ours is proved.
    pub fn is_enabled(&self) -> bool {
        matches!(self.phase, Phase::Live { .. } | Phase::Disabling | Phase::Revived { .. })
    }

    /// True once nothing is left to do for it.
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }
}

/// Where the making of the new key stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Issuing {
    /// Nothing is under way; the next create may go out when the wait is over.
    Ready {
        /// Backoff or the vendor's `Retry-After`.
        #[serde(default)]
        until: Until,
    },
    /// The intent for this name is committed. Found after a crash it means *unknown*.
    Sent {
        /// The unique name at the provider.
        name: String,
    },
    /// The outcome is unknown: list at once, and again after `settle`.
    Recover {
        /// The name to look for.
        name: String,
        /// When the first listing was made.
        looked: Option<Stamp>,
    },
    /// The create was refused with 401 or 403: look twice at the provisioning key before asking a person.
    Doubt {
        /// What the provider said.
        reason: String,
        /// When the provisioning key itself was first found refused.
        refused_since: Option<Stamp>,
    },
}

/// Where a rollback stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollback {
    /// The old key is enabled again and tested.
    Reviving,
    /// The old key goes back to every destination that may hold the new one.
    Republishing,
    /// The new key is retired, once it went quiet (or at once when it does not work).
    Retiring {
        /// When the old key was everywhere again.
        since: Stamp,
    },
}

/// The states of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// No side effects yet.
    Planned,
    /// Making the new key.
    Issuing {
        /// How far that is.
        issuing: Issuing,
    },
    /// Proving the new key with the bytes read back from the store.
    Verifying {
        /// When the key was stored.
        since: Stamp,
    },
    /// Writing it to the destinations.
    Publishing,
    /// Both keys work; waiting for the old one to go quiet.
    Grace {
        /// When every required destination held the new key.
        since: Stamp,
        /// The admins have been told that `max_overlap` is over.
        overlap_told: bool,
    },
    /// The old key is being disabled, watched, and deleted.
    Observing,
    /// The new key never worked, or a person stopped the run before anything was published.
    Aborting {
        /// Why.
        reason: String,
    },
    /// On the way back to the old key.
    RollingBack {
        /// Why.
        reason: String,
        /// How far.
        stage: Rollback,
    },
    /// Needs a person.
    Parked {
        /// The state to go on from.
        from: Box<State>,
        /// Why.
        reason: String,
    },
    /// The new key is everywhere, the old one is gone.
    Done,
    /// Nothing was published; the new key is gone.
    Aborted {
        /// Why.
        reason: String,
    },
    /// The old key is everywhere again, the new one is gone.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// An emergency took over, and inherited the keys.
    Superseded {
        /// The run that took over.
        by: String,
    },
}

impl State {
    /// The word in the database, in JSON and on the screen.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Issuing { .. } => "issuing",
            Self::Verifying { .. } => "verifying",
            Self::Publishing => "publishing",
            Self::Grace { .. } => "grace",
            Self::Observing => "observing",
            Self::Aborting { .. } => "aborting",
            Self::RollingBack { .. } => "rolling_back",
            Self::Parked { .. } => "parked",
            Self::Done => "done",
            Self::Aborted { .. } => "aborted",
            Self::RolledBack { .. } => "rolled_back",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// Done, aborted, rolled back or superseded: nothing will happen any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done | Self::Aborted { .. } | Self::RolledBack { .. } | Self::Superseded { .. })
    }

    /// Why it parked, aborted or rolled back.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Parked { reason, .. }
            | Self::Aborting { reason }
            | Self::Aborted { reason }
            | Self::RollingBack { reason, .. }
            | Self::RolledBack { reason } => Some(reason),
            _ => None,
        }
    }

    /// The state behind `Parked`, or the state itself.
    pub fn underlying(&self) -> &Self {
        match self {
            Self::Parked { from, .. } => from.underlying(),
            other => other,
        }
    }
}

/// One pass of a rotation, from plan to done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// Unique, sorts by time.
    pub id: String,
    /// Name of the rotation.
    pub rotation: String,
    /// Identity of the account (R8).
    pub account: String,
    /// Why it was started.
    pub trigger: Trigger,
    /// The snapshot of the policy.
    pub policy: Policy,
    /// Where it stands.
    pub state: State,
    /// The key that is brought in, once it is stored.
    pub candidate: Option<KeyRef>,
    /// Where a rollback leads to.
    pub predecessor: Option<KeyRef>,
    /// Keys on their way out. While rolling back or aborting, the candidate is the only one.
    pub retirees: Vec<Retiree>,
    /// What the last create asked for.
    pub asked: Option<KeySpec>,
    /// What became of the candidate's inheritance.
    #[serde(default)]
    pub inheritance: Inheritance,
    /// Creates sent or refused so far.
    pub creates: u32,
    /// Those of them whose outcome nobody knew.
    #[serde(default)]
    pub unclear: u32,
    /// New keys in a row that failed their verification.
    #[serde(default)]
    pub failures: u32,
    /// The candidate became the current key: a publish intent for it exists, or there is nowhere to publish.
    pub published: bool,
    /// A person asked for the end while a create was in doubt.
    pub abort_asked: bool,
    /// Grace lasts so much longer, so that the runs of one schedule do not retire their keys all at once (R12).
    #[serde(default)]
    pub spread: Span,
    /// People have been told that a leaked key lives longer than `max_exposure`, and what it waits for.
    #[serde(default)]
    pub exposure_told: bool,
    /// Calls that did not work and are tried again, by [`Directive::call`]. A wait holds up its own call, nothing else
    /// (R18).
    #[serde(default)]
    pub waits: BTreeMap<String, Wait>,
}

/// One call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wait {
    /// Failed attempts in a row.
    pub attempts: u32,
    /// When the next one may be.
    pub until: Until,
    /// What did not work, for people.
    pub reason: String,
    /// The policy names it: the breaker's hour. Nobody else's doing is waited for (R17).
    #[serde(default)]
    pub by_policy: bool,
}

impl Run {
    /// A fresh run. `retirees` are the keys that this run is to retire (the predecessor among them).
    pub fn new(id: String, rotation: String, account: String, trigger: Trigger, policy: Policy) -> Self {
        Self {
            id,
            rotation,
            account,
            trigger,
            policy,
            state: State::Planned,
            candidate: None,
            predecessor: None,
            retirees: Vec::new(),
            asked: None,
            inheritance: Inheritance::Open,
            creates: 0,
            unclear: 0,
            failures: 0,
            published: false,
            abort_asked: false,
            spread: Span::ZERO,
            exposure_told: false,
            waits: BTreeMap::new(),
        }
    }

    /// The least time between "published everywhere" and disabling the old key.
    pub fn grace(&self) -> Span {
        Span(self.policy.grace.0.saturating_add(self.spread.0))
    }

    /// Failed attempts in a row of this call.
    pub fn attempts(&self, call: &str) -> u32 {
        self.waits.get(call).map_or(0, |wait| wait.attempts)
    }

    /// How long an emergency waits before it makes another key: longer after each that failed its verification.
    pub fn pause_between_keys(&self) -> Span {
        backoff(Span::seconds(5), Span::minutes(15), self.failures.saturating_sub(1))
    }

    /// True when the old key may be brought back: it has a secret, is not leaked and its delete is not committed.
    pub fn can_roll_back(&self) -> Result<(), &'static str> {
        let on_its_way = matches!(
            self.state.underlying(),
            State::Publishing | State::Grace { .. } | State::Observing | State::RollingBack { .. }
        );
        if !on_its_way {
            return Err("the run is not at a point that leads back to the previous key");
        }
        let Some(old) = &self.predecessor else { return Err("there is no previous key to go back to") };
        if !old.has_secret {
            return Err("the previous key was adopted by its hash alone: nobody has its secret to republish");
        }
        let Some(retiree) = self.retirees.iter().find(|r| r.key.id == old.id) else { return Ok(()) };
        if retiree.urgent {
            return Err("the previous key is leaked: there is no way back to it");
        }
        match retiree.phase {
            Phase::Deleting | Phase::Dead => Err("the previous key is already being deleted"),
            Phase::Disabled { by_us: false, .. } => Err("a person disabled the previous key"),
            _ => Ok(()),
        }
    }

    /// True in the states that a person may still end as if nothing had been: every old key is as it was. Whether an
    /// address may hold the new one, facts say.
    pub(super) fn is_before_retiring(&self) -> bool {
        match self.state.underlying() {
            State::Planned | State::Issuing { .. } | State::Verifying { .. } | State::Aborting { .. } => true,
            State::Publishing | State::Grace { .. } => {
                self.retirees.iter().all(|r| matches!(r.phase, Phase::Live { .. }))
            }
            _ => false,
        }
    }
}
