//! What a run waits for and what comes next, in the words that `why`, `runs show` and `rotations show` share (R17).

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::rotation::{Cause, Moment, Waiting, moments};
use crate::domain::time::Timestamp;
use crate::engine::{Engine, EngineError};
use crate::store::RunRow;

/// One thing that is waited for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct WaitView {
    pub text: String,
    pub on: Option<String>,
    pub since: String,
    pub until: Option<String>,
}

/// What happens by itself, and not before when.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct MomentView {
    pub what: String,
    pub at: String,
}

/// What an open run waits for, and what comes next; empty without one.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct WaitsView {
    pub waits: Vec<WaitView>,
    pub next: Vec<MomentView>,
}

impl WaitsView {
    /// What is waited for, a line each.
    pub fn said(&self) -> Vec<String> {
        let said = |wait: &WaitView| match &wait.until {
            Some(until) => format!("{} (since {}, until {until})", wait.text, wait.since),
            None => format!("{} (since {})", wait.text, wait.since),
        };
        self.waits.iter().map(said).collect()
    }

    /// What comes next, a line each.
    pub fn coming(&self) -> Vec<String> {
        self.next.iter().map(|moment| format!("{}, at the earliest at {}", moment.what, moment.at)).collect()
    }
}

/// What this run waits for, and what comes next.
pub(super) async fn waits_view(engine: &Engine, run: Option<&RunRow>) -> Result<WaitsView, EngineError> {
    let Some(row) = run.filter(|row| row.is_open) else { return Ok(WaitsView::default()) };
    let now = engine.store().now().await?;
    Ok(WaitsView { waits: row.blockers.iter().map(wait_view).collect(), next: coming(row, now) })
}

fn wait_view(wait: &Waiting) -> WaitView {
    let on = wait.cause.as_ref().map(|cause| match cause {
        Cause::Account => "account".to_owned(),
        Cause::Destination(name) => format!("destination {name}"),
        Cause::Person => "person".to_owned(),
    });
    WaitView {
        text: wait.text.clone(),
        on,
        since: wait.since.rfc3339(),
        until: wait.until.map(|until| until.at.rfc3339()),
    }
}

fn coming(row: &RunRow, now: Timestamp) -> Vec<MomentView> {
    let look = row.wake.left(now).map(|_| Moment { what: "next look".to_owned(), at: row.wake.at });
    let mut coming: Vec<Moment> = moments(&row.run).into_iter().filter(|moment| moment.at > now).collect();
    coming.extend(look);
    coming.sort_by_key(|moment| moment.at);
    coming.into_iter().map(|moment| MomentView { what: moment.what, at: moment.at.rfc3339() }).collect()
}
