//! What other programs reach over HTTP.
//!
//! [`router()`] puts the resources together with the limits that hold for all of them; one file a resource, which
//! declares its paths and who may ask for each ([`Routes`], [`Allow`]): [`health`], `login`, `users`, `sessions`, `tokens`; what people read is in `dashboard`. Before a handler runs, `auth` finds
//! out who calls; what goes wrong becomes a [`Problem`]. The room knows the engine, never the daemon: who composes
//! brings what a resource asks for as a trait of that resource's file.

mod admission;
mod api;
mod asked;
mod auth;
mod body;
mod connections;
mod crowd;
mod dashboard;
mod doc;
mod events;
mod health;
mod listener;
mod login;
mod metrics;
mod once;
mod page;
mod peer;
mod problem;
mod request_id;
mod resources;
mod router;
mod routes;
mod sessions;
mod tokens;
mod users;

pub use api::{Api, Engines};
pub use asked::Asked;
pub use auth::{Caller, Origin};
pub use body::{Body, Hidden};
pub use doc::{Doc, openapi};
pub use health::{Readiness, Unready};
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub use problem::{Problem, rate_limit};
pub use request_id::RequestId;
pub use router::{pages, router, routes};
pub use routes::{Allow, Declared, Routes};
