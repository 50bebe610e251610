//! Runs: their journals, and the answers that a parked one waits for.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;
use serde_json::Value;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{ROWS, Visit, page};
use crate::domain::role::Permission::{Look, Operate};
use crate::domain::rotation::facts::Request;
use crate::engine::commands::{self, ListedRunView, RUNS, RunView, WayOutView};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let operates = Allow::May(Operate);
    Routes::default()
        .at(Method::GET, "/runs", Allow::May(Look), list)
        .at(Method::GET, "/runs/{id}", Allow::May(Look), show)
        .at(Method::POST, "/runs/{id}/resume", operates, resume)
        .at(Method::GET, "/runs/{id}/rollback", operates, way_back)
        .at(Method::POST, "/runs/{id}/rollback", operates, roll_back)
        .at(Method::GET, "/runs/{id}/abort", operates, way_out)
        .at(Method::POST, "/runs/{id}/abort", operates, abort)
        .at(Method::POST, "/runs/{id}/release", operates, release)
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    runs: Vec<ListedRunView>,
    total: usize,
    state: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: RunView,
    /// Names of its destinations.
    destinations: Vec<String>,
}

impl RunPage {
    fn is_open(&self) -> bool {
        self.run.outcome.is_none()
    }
}

/// What would happen, and what the rules say, before anybody is asked whether it shall.
#[derive(Template)]
#[template(path = "way_out.html")]
struct WayOutPage {
    frame: Frame,
    end: WayOutView,
    /// Back to the previous key; else only a stop.
    back: bool,
}

/// What was seen, in one line: `generation 3, status 204`.
fn evidence(seen: &Value) -> String {
    match seen {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| format!("{} {}", parts::words(name), evidence(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        other => other.to_string(),
    }
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let runs = commands::run_page(visit.engine(), &visit.wanted(&RUNS, ROWS)?).await?;
    let next = runs.next_cursor.as_deref().map(|cursor| visit.following(cursor));
    let state = visit.asked("state").unwrap_or_default();
    page(&RunsPage { frame: visit.frame("Runs"), runs: runs.items, total: runs.total, state, next })
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let run = commands::run_view(visit.engine(), &id).await?;
    let rotation = commands::rotation_view(visit.engine(), &run.rotation).await;
    // A rotation that left the configuration has no destinations any more.
    let destinations = rotation.map(|it| it.destinations.into_iter().map(|it| it.name).collect());
    let frame = visit.frame(format!("Run of {}", run.rotation));
    page(&RunPage { frame, run, destinations: destinations.unwrap_or_default() })
}

async fn resume(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    ask(&visit, id, Request::Resume).await
}

async fn way_back(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let end = commands::way_out_view(visit.engine(), &id, true).await?;
    page(&WayOutPage { frame: visit.frame(format!("Roll back {}", end.rotation)), end, back: true })
}

async fn way_out(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let end = commands::way_out_view(visit.engine(), &id, false).await?;
    page(&WayOutPage { frame: visit.frame(format!("Stop the run of {}", end.rotation)), end, back: false })
}

async fn roll_back(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    ask(&visit, id, Request::Rollback).await
}

async fn abort(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    ask(&visit, id, Request::Abort).await
}

async fn release(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    ask(&visit, id, Request::Release { destination: fields.text("destination").to_owned() }).await
}

/// The daemon works the run, and refuses what cannot be; who asked hears of it if that is soon.
async fn ask(visit: &Visit, id: String, request: Request) -> Result<Response, Problem> {
    let address = format!("/runs/{id}");
    let asked = visit.whole(move |engine| async move {
        let ticket = commands::ask_of(&engine, &id, &request).await?;
        commands::answered_soon(&engine, &id, &ticket).await
    });
    asked.await?;
    Ok(visit.done(&address, "asked"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_reads_as_a_line() {
        assert_eq!(
            evidence(&json!({"key_id": "abc", "status": 204, "error": null})),
            "key id abc, status 204"
        );
        assert_eq!(evidence(&Value::Null), "");
    }
}
