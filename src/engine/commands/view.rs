//! What people and programs see of rotations and runs. Shapes: interface.md §2.

use serde::Serialize;
use serde_json::Value;

use crate::destination::PlannedCall;
use crate::domain::rotation::facts::TestResult;
use crate::domain::rotation::{Level, Phase, State};
use crate::domain::time::Timestamp;
use crate::engine::run::start;
use crate::engine::session::keys;
use crate::engine::{Engine, EngineError};
use crate::store::{EffectRow, HoldingRow, KeyRow, Role, RunRow};

/// `rotations show --json`.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the shape is interface.md §2")]
pub struct RotationView {
    pub name: String,
    pub account: String,
    pub state: &'static str,
    pub current: Option<GenerationView>,
    pub previous: Option<PreviousView>,
    pub next_due_at: Option<String>,
    pub last_run: Option<LastRunView>,
    pub destinations: Vec<DestinationView>,
}

/// The current generation.
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct PreviousView {
    #[serde(flatten)]
    pub generation: GenerationView,
    pub state: String,
}

/// How the last run ended.
#[derive(Debug, Serialize)]
pub struct LastRunView {
    pub id: String,
    pub outcome: &'static str,
    pub finished_at: Option<String>,
}

/// One destination of a rotation.
#[derive(Debug, Serialize)]
pub struct DestinationView {
    pub name: String,
    pub required: bool,
    pub level: &'static str,
    pub generation: Option<i64>,
    pub error: Option<String>,
    pub drift: Option<String>,
}

/// `runs show --json`.
#[derive(Debug, Serialize)]
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
}

/// One journalled call.
#[derive(Debug, Serialize)]
pub struct EffectView {
    pub kind: &'static str,
    pub target: String,
    pub status: &'static str,
    pub attempt: i64,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub evidence: Value,
}

/// `rekeyd why`.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct WhyView {
    pub rotation: String,
    pub state: &'static str,
    pub run: Option<String>,
    pub proved: Vec<String>,
    pub blockers: Vec<String>,
}

/// `rotations plan`.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct PlanView {
    pub rotation: String,
    pub calls: Vec<PlannedStep>,
    pub warnings: Vec<String>,
}

/// One call of a plan, and at which destination; without one it is a call to the account's provider.
#[derive(Debug, Serialize)]
pub struct PlannedStep {
    /// Name of the destination.
    pub destination: Option<String>,
    /// The call and what it does.
    #[serde(flatten)]
    pub planned: PlannedCall,
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
        current: current.map(generation_view),
        previous: previous.map(|key| PreviousView {
            generation: generation_view(key),
            state: previous_state(key, open.as_ref()),
        }),
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
                destination_view(&target.name, target.required, newest, &generations)
            })
            .collect(),
    })
}

/// Frozen, parked, running, paused or idle, in this order.
async fn state_word(engine: &Engine, name: &str, open: Option<&RunRow>) -> Result<&'static str, EngineError> {
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

/// Why nothing may be changed on the account of a rotation; `None` while it is not frozen (R9).
pub async fn freeze_of(engine: &Engine, name: &str) -> Result<Option<EngineError>, EngineError> {
    let Some(identity) = engine.store().rotation(name).await?.and_then(|row| row.account) else {
        return Ok(None);
    };
    let frozen = engine.store().freeze_of(&identity).await?;
    let account = engine.rotation(name).map_or(identity, |rotation| rotation.account.clone());
    Ok(frozen.map(|reason| EngineError::Frozen { account, reason }))
}

/// What keeps a rotation from a new run, apart from an open one.
async fn holds(engine: &Engine, name: &str) -> Result<Vec<String>, EngineError> {
    let row = engine.store().rotation(name).await?;
    let paused = row.as_ref().filter(|row| row.paused).map(start::paused);
    let unsure = row.as_ref().and_then(|row| keys::wants_adopt(row).err());
    let holds = [freeze_of(engine, name).await?, paused, unsure].into_iter().flatten();
    let said = |why: EngineError| {
        let text = why.to_string();
        let reason = text.trim_start_matches("refused: ");
        why.hint().map_or_else(|| reason.to_owned(), |hint| format!("{reason} ({hint})"))
    };
    Ok(holds.map(said).collect())
}

/// One run with its journal.
pub async fn run_view(engine: &Engine, id: &str) -> Result<RunView, EngineError> {
    let row = engine.store().run(id).await?.ok_or_else(|| {
        EngineError::usage(format!("there is no run {id}"), "`rekeyd runs list` shows them")
    })?;
    let effects = engine.store().effects(id).await?;
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
        blockers: row.blockers,
    })
}

/// What is proved, and what still blocks the old key.
pub async fn why(engine: &Engine, name: &str) -> Result<WhyView, EngineError> {
    let rotation = engine.rotation(name)?;
    let generations = engine.store().generations(name).await?;
    let holdings = engine.store().holdings(name).await?;
    let open = engine.store().open_run(name).await?;
    let mut proved: Vec<String> =
        generations.iter().filter(|key| key.role != Role::Dead).map(said_of_key).collect();
    for target in &rotation.policy.targets {
        let newest = holdings.iter().find(|row| row.fact.address == target.address);
        proved.push(said_of_destination(&target.name, target.required, newest, &generations));
    }
    let mut blockers = holds(engine, name).await?;
    blockers.extend(open.iter().flat_map(|open| open.blockers.clone()));
    if let Some(open) = &open {
        blockers.extend(open.run.patience.reason.clone().filter(|reason| !blockers.contains(reason)));
        blockers.extend(
            open.run
                .state
                .reason()
                .map(str::to_owned)
                .filter(|reason| !blockers.iter().any(|known| known.contains(reason.as_str()))),
        );
    }
    Ok(WhyView {
        rotation: name.to_owned(),
        state: match &open {
            Some(open) => open.run.state.word(),
            None => state_word(engine, name, None).await?,
        },
        run: open.map(|open| open.run.id),
        proved,
        blockers,
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

fn generation_of(row: &HoldingRow, generations: &[KeyRow]) -> Option<i64> {
    generations.iter().find(|key| key.id == row.fact.key).and_then(|key| key.generation)
}

fn destination_view(
    name: &str,
    required: bool,
    newest: Option<&HoldingRow>,
    generations: &[KeyRow],
) -> DestinationView {
    // "intended" is a write in doubt; to the outside that is still pending.
    let level = match newest.map(|row| row.fact.level) {
        None | Some(Level::Pending | Level::Intended) => "pending",
        Some(level) => level.word(),
    };
    DestinationView {
        name: name.to_owned(),
        required,
        level,
        generation: newest.and_then(|row| generation_of(row, generations)),
        error: newest.and_then(|row| row.fact.error.clone()),
        drift: newest.and_then(|row| row.fact.drift.clone()),
    }
}

fn said_of_key(key: &KeyRow) -> String {
    let tested = match &key.facts.tested {
        Some((TestResult::Valid, at)) => format!("tested valid at {}", at.ours.rfc3339()),
        Some((TestResult::Unauthorized, at)) => format!("refused by the provider at {}", at.ours.rfc3339()),
        Some((TestResult::Unlike { reason } | TestResult::Inconclusive { reason }, at)) => {
            format!("{reason}, at {}", at.ours.rfc3339())
        }
        None => "not tested".to_owned(),
    };
    format!(
        "generation {} ({}) is {}: {tested}",
        key.generation.unwrap_or_default(),
        key.mask,
        key.role.word()
    )
}

fn said_of_destination(
    name: &str,
    required: bool,
    newest: Option<&HoldingRow>,
    generations: &[KeyRow],
) -> String {
    let must = if required { "required" } else { "optional" };
    let Some(row) = newest else {
        return format!("{name} ({must}): nothing was ever written by this rotation");
    };
    let generation = generation_of(row, generations).unwrap_or_default();
    let mut text = format!("{name} ({must}): generation {generation} {}", row.fact.level.word());
    if let Some(at) = row.fact.checked {
        text = format!("{text}, looked at {}", at.ours.rfc3339());
    }
    for trouble in [&row.fact.drift, &row.fact.error].into_iter().flatten() {
        text = format!("{text}; {trouble}");
    }
    text
}
