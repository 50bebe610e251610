//! What would become of a run that a person ends: shown before they are asked.

use serde::Serialize;

use crate::domain::rotation::{Phase, Run, State, WayOut};
use crate::engine::commands::runs;
use crate::engine::{Engine, EngineError};

/// The end of a run that a person asks for: what would happen, or why it cannot be.
#[derive(Debug, Serialize)]
pub struct WayOutView {
    /// The run.
    pub run: String,
    /// Its rotation.
    pub rotation: String,
    /// Why the rules refuse it; `None` when they allow it.
    pub refused: Option<String>,
    /// What would be done, in order; empty when it is refused.
    pub steps: Vec<String>,
}

/// What stopping a run, or going `back` to the previous key, would do. Changes nothing.
pub async fn way_out_view(engine: &Engine, id: &str, back: bool) -> Result<WayOutView, EngineError> {
    let row = runs::found(engine, id).await?;
    if !row.is_open {
        let text = format!("run {id} is over: {}", row.run.state.word());
        return Err(EngineError::Conflict { text, hint: None });
    }
    let holders = holders(engine, &row.run).await?;
    let way = row.run.way_out(back, !holders.is_empty());
    Ok(WayOutView {
        run: row.run.id.clone(),
        rotation: row.run.rotation.clone(),
        steps: way.as_ref().map(|way| steps(&row.run, *way, &holders)).unwrap_or_default(),
        refused: way.err(),
    })
}

/// Destinations that may hold the new key.
async fn holders(engine: &Engine, run: &Run) -> Result<Vec<String>, EngineError> {
    let Some(candidate) = &run.candidate else { return Ok(Vec::new()) };
    let rows = engine.store().holdings_of(&candidate.id).await?;
    Ok(rows.into_iter().map(|row| row.fact.destination).collect())
}

/// In words, in order.
fn steps(run: &Run, way: WayOut, holders: &[String]) -> Vec<String> {
    match way {
        WayOut::Stop => stop(run),
        WayOut::Back => back(run, holders),
    }
}

fn stop(run: &Run) -> Vec<String> {
    let new = match (&run.candidate, run.state.underlying()) {
        (Some(key), _) => format!(
            "Generation {}, which no destination holds, is disabled and deleted at the provider, through the guard.",
            key.generation
        ),
        (None, State::Planned) => "No key was issued: nothing is called.".to_owned(),
        (None, _) => {
            "The account is listed: a key that was issued and not stored is disabled and deleted.".to_owned()
        }
    };
    let stays = run.predecessor.as_ref().map(|old| {
        format!(
            "Generation {} stays the current key, wherever it is. Nothing is written anywhere.",
            old.generation
        )
    });
    std::iter::once(new).chain(stays).collect()
}

fn back(run: &Run, holders: &[String]) -> Vec<String> {
    let Some(old) = &run.predecessor else { return Vec::new() };
    let phase = run.retirees.iter().find(|retiree| retiree.key.id == old.id).map(|retiree| &retiree.phase);
    let is_off = matches!(phase, Some(Phase::Disabling | Phase::Disabled { .. }));
    let revived = if is_off { "is enabled again, and tested" } else { "is tested: it must work" };
    let mut steps = vec![format!("Generation {} {revived}.", old.generation)];
    steps.extend(
        holders.iter().map(|place| format!("{place}: generation {} is written, and proved.", old.generation)),
    );
    steps.extend(run.candidate.as_ref().map(|new| {
        let quiet = humantime::format_duration(run.policy.quiet.to_std());
        format!(
            "Generation {} is watched until it was quiet for {quiet}, then disabled and deleted, through the guard.",
            new.generation
        )
    }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rotation::tests::run;

    #[test]
    fn the_way_back_names_every_destination_that_may_hold_the_new_key() {
        let run = run(State::Publishing);
        let steps = steps(&run, WayOut::Back, &["github".to_owned(), "vercel".to_owned()]);
        assert_eq!(steps.len(), 4, "{steps:?}");
        assert!(
            steps[0].starts_with("Generation 1 is tested") && steps[1].starts_with("github: generation 1")
        );
        assert!(steps[3].starts_with("Generation 2 is watched"), "{steps:?}");
    }

    #[test]
    fn who_stops_a_run_is_told_what_becomes_of_its_key() {
        let mut run = run(State::Planned);
        run.candidate = None;
        assert_eq!(stop(&run)[0], "No key was issued: nothing is called.");
        assert!(stop(&run)[1].starts_with("Generation 1 stays"), "{:?}", stop(&run));
    }
}
