//! Rotations. The page of one answers at a glance: is it everywhere, when does it end, may I go to bed.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{PATIENCE, ROWS, Visit, page};
use crate::domain::listing::{Given, Page};
use crate::domain::role::Permission::{Look, Operate};
use crate::engine::commands::{
    self, Glance, Leaked, ListedRunView, Pause, PlanView, ROTATIONS, RUNS, RotationView, WhyView, glance,
};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

/// Runs that the page of a rotation shows.
const RUNS_SHOWN: usize = 10;

pub(super) fn routes() -> Routes {
    let operates = Allow::May(Operate);
    Routes::default()
        .at(Method::GET, "/rotations", Allow::May(Look), list)
        .at(Method::GET, "/rotations/{name}", Allow::May(Look), show)
        .at(Method::GET, "/rotations/{name}/plan", operates, plan)
        .at(Method::GET, "/rotations/{name}/leaked", operates, leaked)
        .at(Method::POST, "/rotations/{name}/run", operates, run)
        .at(Method::POST, "/rotations/{name}/pause", operates, pause)
        .at(Method::POST, "/rotations/{name}/resume", operates, resume)
}

#[derive(Template)]
#[template(path = "rotations.html")]
struct RotationsPage {
    frame: Frame,
    rotations: Page<RotationView>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "rotation.html")]
struct RotationPage {
    frame: Frame,
    rotation: RotationView,
    glance: Glance,
    why: WhyView,
    stages: Vec<Stage>,
    runs: Vec<ListedRunView>,
}

impl RotationPage {
    /// What is in the way apart from waits, which have their moments.
    fn other_blockers(&self) -> Vec<&String> {
        let waits = self.why.waits.said();
        self.why.blockers.iter().filter(|blocker| !waits.contains(blocker)).collect()
    }
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    frame: Frame,
    plan: PlanView,
    /// The key is known to strangers.
    is_leaked: bool,
    generation: Option<i64>,
}

/// A state of the way from plan to done.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    word: &'static str,
    /// `past`, `now` or `ahead`.
    place: &'static str,
}

/// The way of a run that nothing turns aside (rotation.md, "States of a run").
const WAY: [&str; 7] = ["planned", "issuing", "verifying", "publishing", "grace", "observing", "done"];

/// Where on its way a run is; nothing for one that left it.
fn stages(state: &str) -> Vec<Stage> {
    let Some(here) = WAY.iter().position(|word| *word == state) else { return Vec::new() };
    let place = |n: usize| match n.cmp(&here) {
        std::cmp::Ordering::Less => "past",
        std::cmp::Ordering::Equal => "now",
        std::cmp::Ordering::Greater => "ahead",
    };
    WAY.iter().enumerate().map(|(n, word)| Stage { word, place: place(n) }).collect()
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let rotations = commands::rotation_page(visit.engine(), &visit.wanted(&ROTATIONS, ROWS)?).await?;
    let next = rotations.next_cursor.as_deref().map(|cursor| visit.following(cursor));
    page(&RotationsPage { frame: visit.frame("Rotations"), rotations, next })
}

async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let engine = visit.engine();
    let rotation = commands::rotation_view(engine, &name).await?;
    let why = commands::why(engine, &name).await?;
    let mut wanted = RUNS.everything();
    wanted.limit = Some(RUNS_SHOWN);
    wanted.filters.insert("rotation", Given::Text(name.clone()));
    let runs = commands::run_page(engine, &wanted).await?.items;
    let stages = if why.run.is_some() { stages(why.state) } else { Vec::new() };
    page(&RotationPage { frame: visit.frame(name), glance: glance(&rotation), rotation, why, stages, runs })
}

/// What a run would do, and what the guard says, before anybody is asked whether it shall.
async fn plan(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    planned(&visit, name, false).await
}

/// The same for a key that strangers know.
async fn leaked(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    planned(&visit, name, true).await
}

async fn planned(visit: &Visit, name: String, is_leaked: bool) -> Result<Response, Problem> {
    let generation =
        commands::rotation_view(visit.engine(), &name).await?.current.and_then(|key| key.generation);
    let title = if is_leaked { format!("Leaked: {name}") } else { format!("Plan: {name}") };
    let plan =
        visit.whole(move |engine| async move { commands::plan_of(&engine, &name, PATIENCE).await }).await?;
    page(&PlanPage { frame: visit.frame(title), plan, is_leaked, generation })
}

async fn run(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let generation = fields.text("generation").parse().ok();
    let leaked = fields.is_ticked("leaked").then_some(Leaked { generation });
    let id = visit
        .whole(move |engine| async move { commands::rotate(&engine, &name, leaked, PATIENCE).await })
        .await?;
    Ok(visit.done(&format!("/runs/{id}"), "started"))
}

async fn pause(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let pause = if fields.is_ticked("healing") { Pause::AndHealing } else { Pause::Runs };
    set_pause(&visit, name, pause, "paused").await
}

async fn resume(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    set_pause(&visit, name, Pause::Over, "resumed").await
}

async fn set_pause(visit: &Visit, name: String, pause: Pause, what: &str) -> Result<Response, Problem> {
    let address = format!("/rotations/{name}");
    visit.whole(move |engine| async move { commands::pause(&engine, &name, pause).await }).await?;
    Ok(visit.done(&address, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_on_its_way() {
        let places = |state| stages(state).iter().map(|stage| stage.place).collect::<Vec<_>>();
        assert_eq!(places("planned")[..2], ["now", "ahead"]);
        assert_eq!(places("grace"), ["past", "past", "past", "past", "now", "ahead", "ahead"]);
        assert_eq!(places("rolling_back"), Vec::<&str>::new());
    }
}
