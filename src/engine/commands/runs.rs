//! A run as a person follows it: how it stands, whose it is, what they want of it.

use crate::domain::rotation::facts::Request;
use crate::domain::rotation::{ASKED, Rollback, State};
use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::view::{RunView, run_view};
use crate::engine::passes::presence;
use crate::engine::{Engine, EngineError};
use crate::store::RunRow;

/// A person who asks waits so many times so long for what comes of it.
const LOOKS: usize = 25;
const BETWEEN_LOOKS: Span = Span(200);

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// The word of its state.
    pub state: &'static str,
    /// False once terminal.
    pub is_open: bool,
    /// It waits for a time that is a matter of hours: the daemon's.
    pub is_timed: bool,
    /// It goes on only after somebody looked: it is parked, or its account is frozen.
    pub needs_a_person: bool,
    /// Nothing is to be done before this moment.
    pub wake_at: Timestamp,
    /// What it waits for, one sentence each.
    pub blockers: Vec<String>,
}

/// How a run stands; `None` where there is no such run.
pub async fn run_status(engine: &Engine, id: &str) -> Result<Option<RunStatus>, EngineError> {
    let Some(row) = engine.store().run(id).await? else { return Ok(None) };
    let parked = matches!(row.run.state, State::Parked { .. });
    Ok(Some(RunStatus {
        state: row.run.state.word(),
        is_open: row.is_open,
        is_timed: is_timed(&row.run.state),
        needs_a_person: row.is_open && (parked || freeze_of(engine, &row.run.rotation).await?.is_some()),
        wake_at: row.wake.at,
        blockers: row.blockers.into_iter().map(|blocker| blocker.text).collect(),
    }))
}

fn is_timed(state: &State) -> bool {
    let retiring = matches!(state, State::RollingBack { stage: Rollback::Retiring { .. }, .. });
    retiring || matches!(state, State::Grace { .. } | State::Observing)
}

/// The open run of a rotation.
pub async fn open_run_of(engine: &Engine, rotation: &str) -> Result<Option<String>, EngineError> {
    Ok(engine.store().open_run(rotation).await?.map(|row| row.run.id))
}

/// The account that may work a run.
pub async fn account_of_run(engine: &Engine, id: &str) -> Result<String, EngineError> {
    let row = found(engine, id).await?;
    if let Ok(rotation) = engine.rotation(&row.run.rotation) {
        return Ok(rotation.account.clone());
    }
    // The rotation is gone from the configuration (R14): whoever has its account may work it.
    let entries = engine.store().entries_of(&row.run.account).await?;
    let entry = entries.into_iter().find(|entry| engine.account(entry).is_ok());
    entry.ok_or_else(|| {
        EngineError::usage(
            format!("the configuration has neither rotation {} nor its account any more", row.run.rotation),
            "put the account back to end its runs",
        )
    })
}

/// True while a daemon works this run as the present configuration says: then a command only watches it.
pub async fn is_served(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    let Some(row) = engine.store().run(id).await? else { return Ok(false) };
    presence::is_served(engine, &row.run.rotation).await
}

/// The run with this id, or an error that says how to find it.
pub(super) async fn found(engine: &Engine, id: &str) -> Result<RunRow, EngineError> {
    engine.store().run(id).await?.ok_or_else(|| {
        EngineError::not_there(format!("there is no run {id}"), "`rekeyd runs list` shows them")
    })
}

/// Why a run could not go on, where a safety rule refused it because the account froze (R9); not so what a person
/// ended.
pub async fn frozen_under(engine: &Engine, id: &str) -> Result<Option<EngineError>, EngineError> {
    let row = engine.store().run(id).await?;
    let Some(row) = row.filter(|row| row.run.state.reason() != Some(ASKED)) else { return Ok(None) };
    freeze_of(engine, &row.run.rotation).await
}

/// Why nothing may be changed on the account of a rotation; `None` while it is not frozen (R9).
pub(super) async fn freeze_of(engine: &Engine, name: &str) -> Result<Option<EngineError>, EngineError> {
    let Some(identity) = engine.store().rotation(name).await?.and_then(|row| row.account) else {
        return Ok(None);
    };
    let frozen = engine.store().freeze_of(&identity).await?;
    let account = engine.rotation(name).map_or(identity, |rotation| rotation.account.clone());
    Ok(frozen.map(|reason| EngineError::Frozen { account, reason }))
}

/// Notes what a person wants of a run. Answers a ticket: [`answer`] tells what came of it once the run was worked.
pub async fn ask(engine: &Engine, run: &str, request: &Request) -> Result<String, EngineError> {
    let detail = serde_json::to_string(request).unwrap_or_default();
    let entry = engine.entry("run.asked", format!("run {run}"), detail);
    Ok(engine.parts.store.ask(run, request, &engine.actor.name, &entry).await?)
}

/// What came of what was asked; `None` until the run was worked.
pub async fn answer(engine: &Engine, ticket: &str) -> Result<Option<String>, EngineError> {
    Ok(engine.store().request_answer(ticket).await?)
}

/// Waits a moment for what comes of what was asked, and shows the run; a daemon that is slower acts on it later.
///
/// # Errors
/// Refused when a rule says no to it.
pub async fn answered_soon(engine: &Engine, id: &str, ticket: &str) -> Result<RunView, EngineError> {
    for _ in 0..LOOKS {
        match answer(engine, ticket).await? {
            Some(answer) if answer.starts_with("refused: ") => return Err(EngineError::Refused(answer)),
            Some(_) => break,
            None => engine.clock().sleep(BETWEEN_LOOKS).await,
        }
    }
    run_view(engine, id).await
}
