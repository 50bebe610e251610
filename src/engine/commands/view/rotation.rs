//! `rotations list | show`.

use schemars::JsonSchema;
use serde::Serialize;

use super::waits::{WaitsView, waits_view};
use crate::domain::rotation::{Level, Phase, State};
use crate::domain::time::Timestamp;
use crate::engine::commands::runs::freeze_of;
use crate::engine::{Engine, EngineError};
use crate::store::{HoldingRow, KeyRow, Role, RunRow};

/// One rotation: a row of `rotations list`, and `rotations show`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct RotationView {
    pub name: String,
    pub account: String,
    pub state: &'static str,
    pub healing_paused: bool,
    pub current: Option<GenerationView>,
    pub previous: Option<PreviousView>,
    pub next_due_at: Option<String>,
    pub last_run: Option<LastRunView>,
    pub destinations: Vec<TargetView>,
    #[serde(flatten)]
    pub waits: WaitsView,
}

/// The current generation.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct GenerationView {
    pub generation: Option<i64>,
    pub key_id: String,
    pub hash: Option<String>,
    pub label: String,
    pub issued_at: String,
    pub verdict: String,
    pub tested_at: Option<String>,
}

/// The generation before it, with its state.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct PreviousView {
    #[serde(flatten)]
    pub generation: GenerationView,
    pub state: String,
}

/// How the last run ended.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct LastRunView {
    pub id: String,
    pub outcome: &'static str,
    pub finished_at: Option<String>,
}

/// One destination of a rotation.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct TargetView {
    pub name: String,
    pub required: bool,
    pub level: &'static str,
    pub generation: Option<i64>,
    pub error: Option<String>,
    pub drift: Option<String>,
    /// When it was last looked at.
    pub checked_at: Option<String>,
}

fn generation_view(key: &KeyRow) -> GenerationView {
    GenerationView {
        generation: key.generation,
        key_id: key.id.clone(),
        hash: key.hash.clone(),
        label: key.mask.clone(),
        issued_at: key.created_at.rfc3339(),
        verdict: key.verdict.clone(),
        tested_at: key.facts.tested.as_ref().map(|(_, at)| at.ours.rfc3339()),
    }
}

/// Every rotation of the configuration as it stands.
pub async fn rotation_views(engine: &Engine) -> Result<Vec<RotationView>, EngineError> {
    let mut views = Vec::new();
    for rotation in engine.rotations() {
        views.push(rotation_view(engine, &rotation.name).await?);
    }
    Ok(views)
}

/// One rotation as it stands.
pub async fn rotation_view(engine: &Engine, name: &str) -> Result<RotationView, EngineError> {
    let rotation = engine.rotation(name)?;
    let store = engine.store();
    let row = store.rotation(name).await?;
    let generations = store.generations(name).await?;
    let current = generations.iter().find(|key| key.role == Role::Current);
    let previous = previous(&generations, current);
    let open = store.open_run(name).await?;
    let holdings = store.holdings(name).await?;
    Ok(RotationView {
        name: name.to_owned(),
        account: rotation.account.clone(),
        state: state_word(engine, name, open.as_ref()).await?,
        waits: waits_view(engine, open.as_ref()).await?,
        current: current.map(generation_view),
        previous: previous.map(|key| PreviousView {
            generation: generation_view(key),
            state: previous_state(key, open.as_ref()),
        }),
        healing_paused: row.as_ref().is_some_and(|row| row.healing_paused),
        next_due_at: row.and_then(|row| row.next_due_at).map(Timestamp::rfc3339),
        last_run: store.last_run(name).await?.map(|row| LastRunView {
            id: row.run.id.clone(),
            outcome: row.run.state.word(),
            finished_at: row.finished_at.map(Timestamp::rfc3339),
        }),
        destinations: rotation
            .policy
            .targets
            .iter()
            .map(|target| {
                let newest = holdings.iter().find(|row| row.fact.address == target.address);
                target_view(&target.name, target.required, newest, &generations)
            })
            .collect(),
    })
}

/// Frozen, parked, running, paused or idle, in this order.
pub(super) async fn state_word(
    engine: &Engine,
    name: &str,
    open: Option<&RunRow>,
) -> Result<&'static str, EngineError> {
    let row = engine.store().rotation(name).await?;
    if freeze_of(engine, name).await?.is_some() {
        return Ok("frozen");
    }
    Ok(match open.map(|open| &open.run.state) {
        Some(State::Parked { .. }) => "parked",
        Some(_) => "running",
        None if row.is_some_and(|row| row.paused) => "paused",
        None => "idle",
    })
}

/// The one before the current; while a rollback is under way, the one that is on its way out again.
fn previous<'k>(generations: &'k [KeyRow], current: Option<&KeyRow>) -> Option<&'k KeyRow> {
    let before = |key: &&KeyRow| key.generation < current.and_then(|current| current.generation);
    let retiring = generations.iter().find(|key| key.role == Role::Retiring);
    retiring.or_else(|| generations.iter().filter(|key| key.role != Role::Current).find(before))
}

fn previous_state(key: &KeyRow, open: Option<&RunRow>) -> String {
    let retiree = open.and_then(|open| open.run.retirees.iter().find(|retiree| retiree.key.id == key.id));
    match (key.role, retiree.map(|retiree| &retiree.phase)) {
        (Role::Dead, _) => "deleted",
        (_, Some(Phase::Disabled { .. })) => "disabled",
        (_, Some(Phase::Disabling)) => "disabling",
        (_, Some(Phase::Deleting)) => "deleting",
        (role, _) => role.word(),
    }
    .to_owned()
}

pub(super) fn generation_of(row: &HoldingRow, generations: &[KeyRow]) -> Option<i64> {
    generations.iter().find(|key| key.id == row.fact.key).and_then(|key| key.generation)
}

fn target_view(
    name: &str,
    required: bool,
    newest: Option<&HoldingRow>,
    generations: &[KeyRow],
) -> TargetView {
    // "intended" is a write in doubt; to the outside that is still pending.
    let level = match newest.map(|row| row.fact.level) {
        None | Some(Level::Pending | Level::Intended) => "pending",
        Some(level) => level.word(),
    };
    TargetView {
        name: name.to_owned(),
        required,
        level,
        generation: newest.and_then(|row| generation_of(row, generations)),
        error: newest.and_then(|row| row.fact.error.clone()),
        drift: newest.and_then(|row| row.fact.drift.clone()),
        checked_at: newest.and_then(|row| row.fact.checked).map(|at| at.ours.rfc3339()),
    }
}

/// `rotations adopt`: the key that was taken in.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct AdoptedView {
    pub generation: Option<i64>,
    pub key_id: String,
    pub label: String,
    pub rotation: String,
}

/// `rotations pause | resume`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PausedView {
    pub paused: bool,
    pub healing_paused: bool,
    pub rotation: String,
}

/// A key that was taken into a rotation.
pub fn adopted_view(rotation: &str, key: KeyRow) -> AdoptedView {
    AdoptedView { generation: key.generation, key_id: key.id, label: key.mask, rotation: rotation.to_owned() }
}
