//! Disable and delete, through the guard: the only callers of the provider's disable and delete.
//!
//! ```text
//! holders  who may hold a key, and what proves that they hold another one
//! kill     one key, for a run or a person · sweep   strays, whose create never was settled
//! ```

mod holders;
pub(crate) mod kill;
pub(crate) mod sweep;
