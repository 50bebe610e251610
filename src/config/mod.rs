//! The configuration: from files to settings after which nothing can be wrong (interface.md §1).
//!
//! ```text
//! load ─► document ─► check ─► file ─► settings
//! paths   TOML trees   names    serde   typed values,
//! merged  with lines   types    mirror  contradictions
//! ```
//!
//! - [`mod@load`]: which files are read, and in which order they are merged
//! - `document`: the merged tree, in which every value still knows its file and line
//! - `check`: the tree against the `shape` of the mirror: unknown fields, wrong types, missing fields
//! - [`mod@file`]: the mirror, one struct a table, with every default; the JSON Schema comes from it
//! - [`settings`]: the mirror turned into typed values; all checks that need more than one look
//! - [`show`]: the effective configuration as TOML or JSON, and the JSON Schema
//! - [`TEMPLATE`]: `config/rekeyd.toml`, the annotated default
//!
//! Every stage collects all of its problems before it gives up. No problem ever repeats the value of a
//! field that should hold a secret reference: it may be a pasted secret.

mod check;
mod document;
pub mod file;
pub mod load;
mod nearest;
mod problem;
pub mod settings;
mod shape;
pub mod show;
mod template;
#[cfg(test)]
pub(crate) mod testing;

pub use load::{Loaded, load};
pub use problem::{ConfigError, Problem};
pub use settings::Settings;
pub use show::{Effective, schema_json};
pub use template::TEMPLATE;
