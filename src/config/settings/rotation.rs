//! `[[rotations]]`

use chrono::{NaiveTime, Weekday};
use chrono_tz::Tz;

use super::values::CronExpr;
use crate::domain::key::MicroUsd;
use crate::domain::name::Name;
use crate::domain::time::Span;

pub use crate::config::file::{LimitReset, OnInvalid, Probe};

/// `[[rotations]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Its name, unique among rotations.
    pub name: Name,
    /// An existing account.
    pub account: Name,
    /// When a run is due.
    pub schedule: Schedule,
    /// The zone of a cron schedule and of the window.
    pub timezone: Tz,
    /// When a run should start; a preference.
    pub window: Option<Window>,
    /// A key never gets older than this, window or not.
    pub max_age: Span,
    /// A run starts up to this much later than it is due.
    pub jitter: Span,
    /// Existing destinations that hold regular keys, each named once, in no other rotation.
    pub destinations: Vec<Name>,
    /// Least time between publishing and disabling.
    pub grace: Span,
    /// The old key must not have been used for this long.
    pub quiet: Span,
    /// Time between disabling and deleting.
    pub observe: Span,
    /// An alert opens when both keys are alive for longer than this; at least `grace`.
    pub max_overlap: Span,
    /// How long a new key may answer 401.
    pub propagation: Span,
    /// Wait before the second listing after a creation of unknown outcome.
    pub settle: Span,
    /// What to do when the current key is dead.
    pub on_invalid: OnInvalid,
    /// Least time between two healing runs.
    pub heal_cooldown: Span,
    /// How a new key is proved.
    pub probe: Probe,
    /// Limits of new keys.
    pub key: KeyPolicy,
}

/// When runs are due.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// `schedule`: at these times.
    Cron {
        /// In the rotation's zone.
        expr: CronExpr,
    },
    /// `every`: this long after the last key was issued.
    Every(Span),
}

/// A maintenance window in the rotation's zone. When `end` is before `start` it ends on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// First minute, wall clock.
    pub start: NaiveTime,
    /// First minute after it, wall clock; never equal to `start`.
    pub end: NaiveTime,
    /// Days on which it starts, Monday first; at least one.
    pub days: Vec<Weekday>,
}

/// What a successor is issued with; `None` is inherited from its predecessor (R10).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPolicy {
    /// Spending limit.
    pub limit: Option<MicroUsd>,
    /// How often the limit starts anew.
    pub limit_reset: Option<LimitReset>,
    /// Whether own-vendor-key usage counts against the limit.
    pub include_byok_in_limit: Option<bool>,
}
