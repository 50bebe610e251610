//! Disable and delete, through the guard: the only callers of the provider's disable and delete.
//!
//! ```text
//! kill     one key, for a run or a person · sweep   strays, whose create never was settled
//! ```

pub(crate) mod kill;
pub(crate) mod sweep;
