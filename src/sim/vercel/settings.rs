//! How builds go, and where the platform says no.

use std::time::Duration;

use super::deployment::ReadyState;

/// How the simulator behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How deployments get on.
    pub progress: Progress,
    /// What a deployment ends as: READY, or ERROR, CANCELED, BLOCKED.
    pub outcome: ReadyState,
    /// Deployments of all projects in 24 hours.
    pub deployments_per_day: usize,
    /// The status of the answer when there were too many (*open*).
    pub cap_status: u16,
    /// Every create of a variable ends in `failed` with this code and message, and 201.
    pub fail_creates: Option<(String, String)>,
    /// A write to a variable is answered as if it had been done, and is not (rotation.md, fault 16).
    pub swallow_writes: bool,
    /// A value that is written over another never reads back as it was sent: something there changes it at once.
    pub alter_writes: bool,
    /// A promotion is done after so many reads of the project (202), or at once (201).
    pub promotion_reads: u32,
    /// What comes of a promotion that is answered with 202.
    pub promotion: Promotion,
    /// A variable with one target shows it as text instead of a list, as older versions did (*open*).
    pub single_target_as_text: bool,
}

/// What comes of a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promotion {
    /// The deployment serves production.
    Done,
    /// It ends in `failed`.
    Fails,
    /// It was taken, and nothing is ever seen of it.
    Swallowed,
}

/// How a deployment gets from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One step each time it is read by its id.
    PerPoll,
    /// One step each time so much has passed.
    Every(Duration),
    /// It stays QUEUED.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            progress: Progress::PerPoll,
            outcome: ReadyState::Ready,
            deployments_per_day: 100,
            cap_status: 402,
            fail_creates: None,
            swallow_writes: false,
            alter_writes: false,
            promotion_reads: 0,
            promotion: Promotion::Done,
            single_target_as_text: false,
        }
    }
}
