//! What the program says of itself.

use askama::Template;
use axum::http::Method;
use axum::response::Response;

use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::Permission;
use crate::engine::commands::{OutboxView, SystemView, outbox_views, system_view};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().at(Method::GET, "/system", Allow::May(Permission::System), show)
}

/// Lines of the outbox that are shown.
const LINES: usize = 50;

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage {
    frame: Frame,
    system: SystemView,
    outbox: Vec<OutboxView>,
}

async fn show(visit: Visit) -> Result<Response, Problem> {
    let system = system_view(visit.engine()).await?;
    let mut outbox = outbox_views(visit.engine()).await?;
    outbox.truncate(LINES);
    page(&SystemPage { frame: visit.frame("System"), system, outbox })
}
