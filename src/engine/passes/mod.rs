//! What the daemon does by itself, one file a row of `daemon::ticker::PASSES`. A pass looks at the store, does what
//! is due and ends.
//!
//! ```text
//! due        which rotation is due, and when it is due next
//! runs       which runs are awake
//! tests      whether stored keys are to be looked at · pass   a pass over them: select, probe, commit as looks come
//!            · share   one provider's part of it, and the mass guard · incident   many bad at once · accounts
//!            provisioning keys, credits, duplicates · heal   a dead current key starts an emergency · beside   what
//!            goes on beside the looks · unreadable   rows that cannot be read, keys that cannot be opened
//! leaks      what secret scanning found: an emergency, an alert, or nothing of ours
//! notices/   what happened, told to people
//! mirror/    tables of applications follow the store
//! drift      destinations between rotations
//! stalled    waits that nobody tells of · budgets   calls that nothing came of
//! presence   a daemon says that it lives, by which configuration, and which encryption keys it has
//! ```

pub(crate) mod accounts;
pub(crate) mod beside;
pub(crate) mod budgets;
pub(crate) mod drift;
pub(crate) mod due;
pub(crate) mod heal;
pub(crate) mod incident;
pub(crate) mod leaks;
pub(crate) mod mirror;
pub(crate) mod notices;
pub(crate) mod pass;
pub(crate) mod presence;
pub(crate) mod runs;
pub(crate) mod share;
pub(crate) mod stalled;
pub(crate) mod tests;
pub(crate) mod unreadable;

pub use super::testing::endpoint::{Scope, Which, Why};
pub use budgets::tell_budgets;
pub use drift::drift_tick;
pub use due::{look_at_schedules, start_due};
pub use leaks::look_for_leaks;
pub use mirror::mirror;
pub use notices::{NoticeReport, deliver_notices};
pub use presence::{EVERY as PRESENCE, announce, take_leave};
pub use runs::{accounts_awake, runs_awake};
pub use stalled::{note_visit, tell_stalled};
pub use tests::{CheckReport, KeyReport, check_keys, check_tick};
