//! `runs list | show`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::waits::{WaitsView, waits_view};
use crate::domain::time::Timestamp;
use crate::engine::commands::runs;
use crate::engine::{Engine, EngineError};
use crate::store::{EffectRow, RunRow};

/// A row of `runs list`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are those of RunView")]
pub struct ListedRunView {
    pub id: String,
    pub rotation: String,
    pub trigger: &'static str,
    pub state: &'static str,
    pub generation: Option<i64>,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub error: Option<String>,
}

/// `runs show --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct RunView {
    pub id: String,
    pub rotation: String,
    pub trigger: &'static str,
    pub state: &'static str,
    pub generation: Option<i64>,
    pub previous_generation: Option<i64>,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub outcome: Option<&'static str>,
    pub error: Option<String>,
    pub effects: Vec<EffectView>,
    pub blockers: Vec<String>,
    #[serde(flatten)]
    pub waits: WaitsView,
}

/// One journalled call.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct EffectView {
    pub kind: &'static str,
    pub target: String,
    pub status: &'static str,
    pub attempt: i64,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub evidence: Value,
}

/// A row of the list of runs.
pub fn listed_run_view(row: RunRow) -> ListedRunView {
    ListedRunView {
        trigger: row.run.trigger.word(),
        state: row.run.state.word(),
        id: row.run.id,
        rotation: row.run.rotation,
        generation: row.generation,
        started_at: row.started_at.rfc3339(),
        finished_at: row.finished_at.map(Timestamp::rfc3339),
        error: row.error,
    }
}

fn effect_view(effect: EffectRow) -> EffectView {
    EffectView {
        kind: effect.kind.word(),
        target: effect.target,
        status: effect.status.word(),
        attempt: effect.attempt,
        started_at: effect.started_at.rfc3339(),
        finished_at: effect.finished_at.map(Timestamp::rfc3339),
        evidence: effect.evidence,
    }
}

/// The newest runs, at most so many.
pub async fn run_views(engine: &Engine, limit: i64) -> Result<Vec<ListedRunView>, EngineError> {
    Ok(engine.store().runs(limit).await?.into_iter().map(listed_run_view).collect())
}

/// One run with its journal.
pub async fn run_view(engine: &Engine, id: &str) -> Result<RunView, EngineError> {
    let row = runs::found(engine, id).await?;
    let effects = engine.store().effects(id).await?;
    let waits = waits_view(engine, Some(&row)).await?;
    Ok(RunView {
        id: row.run.id.clone(),
        rotation: row.run.rotation.clone(),
        trigger: row.run.trigger.word(),
        state: row.run.state.word(),
        generation: row.generation,
        previous_generation: row.previous_generation,
        started_at: row.started_at.rfc3339(),
        finished_at: row.finished_at.map(Timestamp::rfc3339),
        outcome: (!row.is_open).then(|| row.run.state.word()),
        error: row.error.clone().or_else(|| row.run.state.reason().map(str::to_owned)),
        effects: effects.into_iter().map(effect_view).collect(),
        blockers: waits.said(),
        waits,
    })
}
