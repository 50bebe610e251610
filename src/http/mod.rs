//! What other programs reach over HTTP.
//!
//! [`router()`] puts the resources together with the limits that hold for all of them; one file a resource, which
//! declares its paths and who may ask for each ([`Routes`], [`Allow`]): [`health`]. Before a handler runs, `auth` finds
//! out who calls; what goes wrong becomes a [`Problem`]. The room knows the engine, never the daemon: who composes
//! brings what a resource asks for as a trait of that resource's file.

mod admission;
mod api;
mod asked;
mod auth;
mod connections;
mod crowd;
mod doc;
mod health;
mod listener;
mod metrics;
mod page;
mod peer;
mod problem;
mod request_id;
mod resources;
mod router;
mod routes;

pub use api::{Api, Engines};
pub use asked::{Asked, Body};
pub use auth::Caller;
pub use doc::{Doc, openapi};
pub use health::{Readiness, Unready};
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use problem::Problem;
pub use request_id::RequestId;
pub use router::{router, routes};
pub use routes::{Allow, Declared, Routes};
