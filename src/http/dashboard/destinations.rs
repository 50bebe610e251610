//! Destinations: what they hold, and what is asked of them.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;

use super::frame::Frame;
use super::parts;
use super::visit::{PATIENCE, ROWS, Visit, page};
use crate::domain::role::Permission::{Look, Operate};
use crate::engine::commands::{self, CheckedView, DESTINATIONS, DestinationView};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let operates = Allow::May(Operate);
    Routes::default()
        .at(Method::GET, "/destinations", Allow::May(Look), list)
        .at(Method::GET, "/destinations/{name}/check", operates, check)
        .at(Method::POST, "/destinations/{name}/publish", operates, publish)
}

#[derive(Template)]
#[template(path = "destinations.html")]
struct DestinationsPage {
    frame: Frame,
    destinations: Vec<DestinationView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "destination.html")]
struct DestinationPage {
    frame: Frame,
    checked: CheckedView,
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let found = commands::destination_page(visit.engine(), &visit.wanted(&DESTINATIONS, ROWS)?).await?;
    let next = found.next_cursor.as_deref().map(|cursor| visit.following(cursor));
    page(&DestinationsPage { frame: visit.frame("Destinations"), destinations: found.items, next })
}

/// Asks it what it shows and what our credentials may do there. Changes nothing, so a link may lead here.
async fn check(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let frame = visit.frame(format!("Destination {name}"));
    let checked =
        visit.whole(move |engine| async move { commands::check_destination(&engine, &name).await }).await?;
    page(&DestinationPage { frame, checked })
}

async fn publish(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.whole(move |engine| async move { commands::publish_now(&engine, &name, PATIENCE).await }).await?;
    Ok(visit.done("/destinations", "published"))
}
