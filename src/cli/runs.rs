//! `runs list | show | watch | resume | abort | release`.

use super::Context;
use super::output::{Column, column, or_dash, table};
use super::run_to_end::{Ending, needs_a_person, run_to_end};
use crate::cli::output::say;
use crate::domain::rotation::facts::Request;
use crate::domain::time::Span;
use crate::domain::turn::Class;
use crate::engine::commands::{EffectView, ListedRunView, Progress, RunView, WaitsView};
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
    /// Stop a run while no destination may hold the new key
    Abort {
        /// Id of the run
        id: String,
    },
    /// Say that a destination no longer counts for this run: an optional one, or one that left the configuration
    Release {
        /// Id of the run
        id: String,
        /// Name of the destination, now or when it was written, or its address
        destination: String,
    },
}

/// Between two looks whether the daemon has answered.
const LISTEN: Span = Span(200);

const RUNS: &[Column<ListedRunView>] = &[
    column("id", |run| run.id.clone()),
    column("rotation", |run| run.rotation.clone()),
    column("trigger", |run| run.trigger.to_owned()),
    column("state", |run| run.state.to_owned()),
    column("generation", |run| or_dash(run.generation.as_ref())),
    column("started", |run| run.started_at.clone()),
    column("finished", |run| or_dash(run.finished_at.as_ref())),
];

const EFFECTS: &[Column<EffectView>] = &[
    column("effect", |effect| effect.kind.to_owned()),
    column("target", |effect| effect.target.clone()),
    column("status", |effect| effect.status.to_owned()),
    column("attempt", |effect| effect.attempt.to_string()),
    column("started", |effect| effect.started_at.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List { limit } => {
            context.out.rows(&commands::run_views(&engine, limit).await?, RUNS)?;
            Ok(0)
        }
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
    text.push_str(&waiting(&run.waits));
    text.push_str(&table(EFFECTS, &run.effects));
    text
}

/// What is waited for and what comes next, as `runs show` and `rotations show` say it.
pub(super) fn waiting(view: &WaitsView) -> String {
    let waits = view.said().into_iter().map(|line| format!("waits: {line}\n"));
    waits.chain(view.coming().into_iter().map(|line| format!("next:  {line}\n"))).collect()
}

/// Follows a run to its end; works it where no daemon does.
async fn watch(context: &Context, engine: &Engine, id: &str) -> anyhow::Result<u8> {
    let account = commands::account_of_run(engine, id).await?;
    let ending = run_to_end(engine, &account, id, true).await?;
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
        // As after any wait the run goes on without this command; who waited for its end did not see it.
        Ending::Left(why, waited_for) => {
            context
                .out
                .value(&commands::run_view(engine, id).await?, |run| format!("{}: {why}", run.state))?;
            Ok(u8::from(*waited_for))
        }
        Ending::Interrupted => Ok(1),
    }
}

/// What could not go on because the account froze was refused by a safety rule (R9).
async fn not_frozen(engine: &Engine, id: &str) -> anyhow::Result<()> {
    match commands::frozen_under(engine, id).await? {
        Some(frozen) => Err(frozen.into()),
        None => Ok(()),
    }
}

/// Notes what a person wants, works the run until it was handled, and says what came of it.
pub(super) async fn ask(
    context: &Context,
    engine: &Engine,
    id: &str,
    request: Request,
) -> anyhow::Result<u8> {
    let account = commands::account_of_run(engine, id).await?;
    let ticket = commands::ask_of(engine, id, &request).await?;
    let until = Span(engine.clock().monotonic().0 + Class::Person.patience().0);
    let answer = match heard(engine, id, &ticket, until).await? {
        Some(answer) => answer,
        None => handled(engine, &account, id, &ticket, until).await?,
    };
    if answer.starts_with("refused: ") {
        return Err(EngineError::Refused(answer).into());
    }
    let ending = run_to_end(engine, &account, id, false).await?;
    let stuck = needs_a_person(engine, id).await?;
    if !stuck {
        say!("{answer}");
    }
    finished(context, engine, id, &ending).await.map(|_| u8::from(stuck))
}

/// What the daemon answers; `None` when none is there that works the run.
async fn heard(engine: &Engine, id: &str, ticket: &str, until: Span) -> anyhow::Result<Option<String>> {
    while engine.clock().monotonic() <= until {
        let answer = commands::answer(engine, ticket).await?;
        if answer.is_some() || !commands::is_served(engine, id).await? {
            return Ok(answer);
        }
        engine.clock().sleep(LISTEN).await;
    }
    Ok(Some("noted; the daemon will act on it".to_owned()))
}

/// Works the run until what was asked of it is handled.
async fn handled(
    engine: &Engine,
    account: &str,
    id: &str,
    ticket: &str,
    until: Span,
) -> anyhow::Result<String> {
    let mut session = commands::wait_for_session(engine, account, Class::Person).await?;
    let answer = loop {
        if let Some(answer) = commands::answer(engine, ticket).await? {
            break answer;
        }
        if let Progress::Left(why) = commands::step(&mut session, id).await?.progress {
            break format!("noted; {why}");
        }
        if engine.clock().monotonic() > until {
            break "noted; the daemon will act on it".to_owned();
        }
    };
    session.close().await?;
    Ok(answer)
}
