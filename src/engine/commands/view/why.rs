//! `rekeyd why`.

use schemars::JsonSchema;
use serde::Serialize;

use super::rotation::{generation_of, state_word};
use super::waits::{WaitsView, waits_view};
use crate::domain::rotation::facts::TestResult;
use crate::engine::commands::runs::freeze_of;
use crate::engine::run::start;
use crate::engine::session::keys;
use crate::engine::{Engine, EngineError};
use crate::store::{HoldingRow, KeyRow, Role};

/// `rekeyd why`.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct WhyView {
    pub rotation: String,
    pub state: &'static str,
    pub run: Option<String>,
    pub proved: Vec<String>,
    pub blockers: Vec<String>,
    #[serde(flatten)]
    pub waits: WaitsView,
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
    let waits = waits_view(engine, open.as_ref()).await?;
    blockers.extend(waits.said());
    if let Some(open) = &open {
        let tried = open.run.waits.values().map(|wait| wait.reason.as_str());
        for reason in tried.chain(open.run.state.reason()) {
            if !blockers.iter().any(|known| known.contains(reason)) {
                blockers.push(reason.to_owned());
            }
        }
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
        waits,
    })
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

fn said_of_key(key: &KeyRow) -> String {
    let tested = match &key.facts.tested {
        Some((TestResult::Valid, at)) => format!("tested valid at {}", at.ours.rfc3339()),
        Some((TestResult::Unauthorized, at)) => format!("refused by the provider at {}", at.ours.rfc3339()),
        Some((
            TestResult::WrongKind { reason }
            | TestResult::Unlike { reason }
            | TestResult::ProbeRefused { reason }
            | TestResult::Inconclusive { reason },
            at,
        )) => {
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
