//! What the daemon does by itself, one file a row of `daemon::ticker::PASSES`. A pass looks at the store, does what
//! is due and ends.
//!
//! ```text
//! due        which rotation is due, and when it is due next
//! runs       which runs are awake
//! tests      looks at stored keys: what is due, what a person asked for · tester   claims, probes, commits as looks
//!            come · asked   what a person asked for · reschedule   another schedule than before · verdicts   what looks
//!            change, and the mass guard · incident   what is said of a whole provider · heal   a dead current key
//!            starts an emergency · beside   what goes on beside the looks
//! accounts   provisioning keys, credits, duplicates · unreadable   rows that cannot be read, keys that cannot be opened
//!            · behind   tests that come late · egress   nothing gets out
//! leaks      what secret scanning found: an emergency, an alert, or nothing of ours
//! notices/   what happened, told to people
//! mirror/    tables of applications follow the store
//! drift      destinations between rotations
//! stalled    waits that nobody tells of · budgets   calls that nothing came of
//! retention  what is over is forgotten, the history of tests rolled up
//! presence   a daemon says that it lives, by which configuration, and which encryption keys it has
//! ```

pub(crate) mod accounts;
pub(crate) mod asked;
pub(crate) mod behind;
pub(crate) mod beside;
pub(crate) mod budgets;
pub(crate) mod drift;
pub(crate) mod due;
pub(crate) mod egress;
pub(crate) mod heal;
pub(crate) mod incident;
pub(crate) mod leaks;
pub(crate) mod mirror;
pub(crate) mod notices;
pub(crate) mod presence;
pub(crate) mod reschedule;
pub(crate) mod retention;
pub(crate) mod runs;
pub(crate) mod stalled;
pub(crate) mod tester;
pub(crate) mod tests;
pub(crate) mod unreadable;
pub(crate) mod verdicts;

pub use super::testing::endpoint::{Scope, Which, Why};
pub use accounts::watch_tick;
pub use budgets::tell_budgets;
pub use drift::drift_tick;
pub use due::{look_at_schedules, start_due};
pub use leaks::look_for_leaks;
pub use mirror::mirror;
pub use notices::{NoticeReport, deliver_notices};
pub use presence::{EVERY as PRESENCE, announce, take_leave};
pub use retention::forget;
pub use runs::{accounts_awake, runs_awake};
pub use stalled::{note_visit, tell_stalled};
pub use tests::{CheckReport, KeyReport, check_keys, check_tick};
