//! A run, one directive at a time.
//!
//! ```text
//! start     new runs: manual, scheduled, emergency
//! verify    a test of the run's key · issue   the plan, the create and its outcome
//! perform   each directive: one look or one call
//! step      load → facts → next → perform → commit
//! ```

pub(crate) mod issue;
pub(crate) mod perform;
pub(crate) mod start;
pub(crate) mod step;
pub(crate) mod verify;
