//! The resources of the API: one file each, which declares its paths, who may ask for them, and what they take and answer.
//! Each calls `engine::commands` and answers with the view that the command line prints.

mod accounts;
mod alerts;
mod audit;
mod credentials;
mod destinations;
mod docs;
mod events;
mod keys;
mod new_keys;
mod providers;
mod rotations;
mod runs;
mod system;

use super::routes::Routes;
use crate::domain::time::Span;

/// How long a request waits for an account that another works on.
const PATIENCE: Span = Span::seconds(20);

/// All of them.
pub(super) fn routes() -> Routes {
    rotations::routes()
        .and(runs::routes())
        .and(events::routes())
        .and(destinations::routes())
        .and(accounts::routes())
        .and(alerts::routes())
        .and(audit::routes())
        .and(keys::routes())
        .and(new_keys::routes())
        .and(providers::routes())
        .and(credentials::routes())
        .and(system::routes())
        .and(docs::routes())
}
