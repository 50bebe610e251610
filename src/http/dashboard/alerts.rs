//! Alerts: what needs a person, and who has seen it.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::listing::{Given, Page};
use crate::domain::role::Permission::{Look, Operate};
use crate::engine::commands::{self, ALERTS, AlertDetailView, AlertView, OutboxView};
use crate::engine::{Engine, EngineError};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/alerts", Allow::May(Look), list)
        .at(Method::POST, "/alerts/ack", Allow::May(Operate), acknowledge)
        .at(Method::GET, "/alerts/{id}", Allow::May(Look), show)
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    alerts: Page<AlertView>,
    /// What it was narrowed by, to be filled in again.
    q: String,
    severity: String,
    /// Those that are over too.
    all: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct AlertPage {
    frame: Frame,
    alert: AlertView,
    told: Vec<OutboxView>,
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let mut wanted = visit.wanted(&ALERTS, 100)?;
    let all = visit.asked("open").as_deref() == Some("false");
    // Without a word of it the open ones are shown; `open=false` asks for those that are over.
    wanted.filters.entry("open").or_insert(Given::Flag(true));
    let alerts = commands::alert_page(visit.engine(), &wanted).await?;
    let next = alerts.next_cursor.as_deref().map(|cursor| visit.following(cursor));
    page(&AlertsPage {
        frame: visit.frame("Alerts"),
        alerts,
        q: visit.asked("q").unwrap_or_default(),
        severity: visit.asked("severity").unwrap_or_default(),
        all,
        next,
    })
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let AlertDetailView { alert, told } = commands::alert_detail(visit.engine(), &id).await?;
    page(&AlertPage { frame: visit.frame(parts::words(&alert.kind)), alert, told })
}

/// One, or all that were shown. Whoever was first does not stop the others.
async fn acknowledge(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let ids: Vec<String> = fields.text("ids").split_whitespace().map(str::to_owned).collect();
    visit.whole(move |engine| async move { acknowledge_all(&engine, &ids).await }).await?;
    Ok(visit.done("/alerts", "acknowledged"))
}

async fn acknowledge_all(engine: &Engine, ids: &[String]) -> Result<(), EngineError> {
    for id in ids {
        match commands::acknowledge(engine, id).await {
            Ok(_) | Err(EngineError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
