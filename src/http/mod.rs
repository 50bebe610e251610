//! What other programs reach over HTTP.
//!
//! [`router()`] puts the resources together with the limits that hold for all of them; one file a resource:
//! [`health`]. The room knows the engine, never the daemon: who composes brings what a resource asks for as a
//! trait of that resource's file.

mod connections;
mod crowd;
mod health;
mod listener;
mod router;

pub use health::{Readiness, Unready};
pub use listener::{BindError, Listener};
pub use router::router;
