//! `runs list | show | watch | resume | abort | release`.

use serde::Serialize;

use super::Context;
use super::drive::{Ending, drive, needs_a_person};
use super::output::{or_dash, table};
use crate::domain::rotation::ASKED;
use crate::domain::rotation::facts::Request;
use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::RunView;
use crate::engine::{Engine, EngineError, commands};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The newest runs
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: i64,
    },
    /// One run with its journal
    Show {
        /// Id of the run
        id: String,
    },
    /// Follow a run to its end
    Watch {
        /// Id of the run
        id: String,
    },
    /// Go on with a parked run; try failed destinations again now
    Resume {
        /// Id of the run
        id: String,
    },
    /// Stop a run before anything is published
    Abort {
        /// Id of the run
        id: String,
    },
    /// Say that a destination no longer counts for this run: an optional one, or one that left the configuration
    Release {
        /// Id of the run
        id: String,
        /// Name of the destination
        destination: String,
    },
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    rotation: String,
    trigger: &'static str,
    state: &'static str,
    generation: Option<i64>,
    started_at: String,
    finished_at: Option<String>,
    error: Option<String>,
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List { limit } => list(context, &engine, limit).await,
        Command::Show { id } => {
            context.out.value(&commands::run_view(&engine, &id).await?, text)?;
            Ok(0)
        }
        Command::Watch { id } => watch(context, &engine, &id).await,
        Command::Resume { id } => ask(context, &engine, &id, Request::Resume).await,
        Command::Abort { id } => ask(context, &engine, &id, Request::Abort).await,
        Command::Release { id, destination } => {
            ask(context, &engine, &id, Request::Release { destination }).await
        }
    }
}

async fn list(context: &Context, engine: &Engine, limit: i64) -> anyhow::Result<u8> {
    let rows: Vec<Row> = engine
        .store()
        .runs(limit)
        .await?
        .into_iter()
        .map(|row| Row {
            id: row.run.id.clone(),
            rotation: row.run.rotation.clone(),
            trigger: row.run.trigger.word(),
            state: row.run.state.word(),
            generation: row.generation,
            started_at: row.started_at.rfc3339(),
            finished_at: row.finished_at.map(Timestamp::rfc3339),
            error: row.error.clone(),
        })
        .collect();
    let headers = ["id", "rotation", "trigger", "state", "generation", "started", "finished"];
    context.out.rows(&rows, &headers, |row| {
        vec![
            row.id.clone(),
            row.rotation.clone(),
            row.trigger.to_owned(),
            row.state.to_owned(),
            or_dash(row.generation.as_ref()),
            row.started_at.clone(),
            or_dash(row.finished_at.as_ref()),
        ]
    })?;
    Ok(0)
}

fn text(run: &RunView) -> String {
    let mut text = format!(
        "run {} of rotation {} ({}): {}\ngeneration {} after {}\n",
        run.id,
        run.rotation,
        run.trigger,
        run.state,
        or_dash(run.generation.as_ref()),
        or_dash(run.previous_generation.as_ref())
    );
    if let Some(error) = &run.error {
        text.push_str(&format!("{error}\n"));
    }
    for blocker in &run.blockers {
        text.push_str(&format!("waits: {blocker}\n"));
    }
    let rows = run.effects.iter().map(|effect| {
        vec![
            effect.kind.to_owned(),
            effect.target.clone(),
            effect.status.to_owned(),
            effect.attempt.to_string(),
            effect.started_at.clone(),
        ]
    });
    text.push_str(&table(&["effect", "target", "status", "attempt", "started"], rows));
    text
}

/// Follows a run to its end; works it where no daemon does.
async fn watch(context: &Context, engine: &Engine, id: &str) -> anyhow::Result<u8> {
    let account = account_of(engine, id).await?;
    let ending = drive(engine, &account, id, true).await?;
    finished(context, engine, id, &ending).await
}

/// Says how it ended; the exit status of `--wait`: 0 for done, 1 otherwise.
pub(super) async fn finished(
    context: &Context,
    engine: &Engine,
    id: &str,
    ending: &Ending,
) -> anyhow::Result<u8> {
    match ending {
        Ending::Finished(state) => {
            context.out.value(&commands::run_view(engine, id).await?, |run| match &run.error {
                Some(error) if *state != "done" => format!("{state}: {error}"),
                _ => (*state).to_owned(),
            })?;
            if *state == "aborted" {
                not_frozen(engine, id).await?;
            }
            Ok(u8::from(*state != "done"))
        }
        Ending::Waiting(until, blockers) => {
            context.out.value(&commands::run_view(engine, id).await?, |run| {
                let mut text = match run.state {
                    "parked" => format!("parked: when it is settled, `rekeyd runs resume {id}`"),
                    state => format!("{state}: the daemon goes on at {}", until.rfc3339()),
                };
                for blocker in blockers {
                    text.push_str(&format!("\n  {blocker}"));
                }
                text
            })?;
            not_frozen(engine, id).await?;
            Ok(u8::from(needs_a_person(engine, id).await?))
        }
        Ending::Interrupted => Ok(1),
    }
}

/// R9: what could not go on because the account froze was refused by a safety rule; not so what a person ended.
async fn not_frozen(engine: &Engine, id: &str) -> anyhow::Result<()> {
    let row = engine.store().run(id).await?;
    let Some(row) = row.filter(|row| row.run.state.reason() != Some(ASKED)) else { return Ok(()) };
    match commands::freeze_of(engine, &row.run.rotation).await? {
        Some(frozen) => Err(frozen.into()),
        None => Ok(()),
    }
}

async fn account_of(engine: &Engine, id: &str) -> anyhow::Result<String> {
    let row = engine.store().run(id).await?;
    let row = row.ok_or_else(|| EngineError::Usage {
        text: format!("there is no run {id}"),
        hint: Some("`rekeyd runs list` shows them".to_owned()),
    })?;
    if let Ok(rotation) = engine.rotation(&row.run.rotation) {
        return Ok(rotation.account.clone());
    }
    // The rotation is gone from the configuration (R14): whoever has its account may work it.
    let entries = engine.store().entries_of(&row.run.account).await?;
    let entry = entries.into_iter().find(|entry| engine.account(entry).is_ok());
    Ok(entry.ok_or_else(|| EngineError::Usage {
        text: format!("the configuration has neither rotation {} nor its account any more", row.run.rotation),
        hint: Some("put the account back to end its runs".to_owned()),
    })?)
}

/// Notes what a person wants, works the run until it was handled, and says what came of it.
pub(super) async fn ask(
    context: &Context,
    engine: &Engine,
    id: &str,
    request: Request,
) -> anyhow::Result<u8> {
    let account = account_of(engine, id).await?;
    let row = engine.store().run(id).await?;
    if let Some(row) = row.filter(|row| !row.is_open) {
        let state = row.run.state.word();
        return Err(EngineError::Usage { text: format!("run {id} is over: {state}"), hint: None }.into());
    }
    let ticket = commands::ask(engine, id, &request).await?;
    let until = engine.clock().monotonic().0 + Span::seconds(60).0;
    let mut session = commands::wait_for_session(engine, &account, Span::seconds(60)).await?;
    let answer = loop {
        if let Some(answer) = engine.store().request_answer(&ticket).await? {
            break answer;
        }
        commands::step(&mut session, id).await?;
        if engine.clock().monotonic().0 > until {
            break "noted; the daemon will act on it".to_owned();
        }
    };
    session.close().await?;
    if answer.starts_with("refused: ") {
        return Err(EngineError::Refused(answer).into());
    }
    let ending = drive(engine, &account, id, false).await?;
    let stuck = needs_a_person(engine, id).await?;
    if !stuck {
        eprintln!("{answer}");
    }
    finished(context, engine, id, &ending).await.map(|_| u8::from(stuck))
}
