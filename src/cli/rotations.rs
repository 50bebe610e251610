//! `rotations list | show | plan | run | adopt | rollback | pause | resume`, and `why`.

use super::Context;
use super::accounts::PATIENCE;
use super::output::{Column, column, or_dash, piped, secret, table};
use super::run_to_end::run_to_end;
use super::runs::{ask, finished, waiting};
use crate::cli::output::say;
use crate::domain::rotation::facts::Request;
use crate::domain::secret::Secret;
use crate::engine::commands::{
    Adoption, Leaked, Pause, PlanView, PlannedStep, RotationView, TargetView, WhyView,
};
use crate::engine::{Engine, commands};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// All rotations
    List,
    /// One rotation: current and previous key, destinations, last run
    Show {
        /// Name of the rotation
        name: String,
    },
    /// Every call that a rotation would make, without making one that changes anything
    Plan {
        /// Name of the rotation
        name: String,
    },
    /// Rotate now
    Run {
        /// Name of the rotation
        name: String,
        /// The key is known to strangers: replace it at once, then disable and delete it
        #[arg(long)]
        leaked: bool,
        /// Which generation is leaked; else the current one
        #[arg(long, requires = "leaked")]
        generation: Option<i64>,
        /// Work until the run is over, instead of until the first timed wait
        #[arg(long)]
        wait: bool,
    },
    /// Take the key that production uses into the rotation, without rotating it: the one given, else the one that a
    /// destination shows or that is stored
    Adopt {
        /// Name of the rotation
        name: String,
        /// A key whose secret nobody has: it can be retired, not republished
        #[arg(long, conflicts_with = "secret_stdin")]
        hash: Option<String>,
        /// Read the key from stdin
        #[arg(long)]
        secret_stdin: bool,
    },
    /// Bring the previous key back
    Rollback {
        /// Name of the rotation
        name: String,
    },
    /// Hold new runs and kill steps
    Pause {
        /// Name of the rotation
        name: String,
        /// Hold healing too: a dead key is told, and not replaced
        #[arg(long)]
        healing: bool,
    },
    /// End a pause
    Resume {
        /// Name of the rotation
        name: String,
    },
}

fn state(row: &RotationView) -> String {
    let held = if row.healing_paused { ", healing held" } else { "" };
    format!("{}{held}", row.state)
}

const ROTATIONS: &[Column<RotationView>] = &[
    column("name", |row| row.name.clone()),
    column("account", |row| row.account.clone()),
    column("state", state),
    column("generation", |row| or_dash(row.current.as_ref().and_then(|key| key.generation).as_ref())),
    column("key", |row| or_dash(row.current.as_ref().map(|key| &key.label))),
    column("verdict", |row| or_dash(row.current.as_ref().map(|key| &key.verdict))),
    column("next due", |row| or_dash(row.next_due_at.as_ref())),
    column("last run", |row| or_dash(row.last_run.as_ref().map(|run| &run.outcome))),
];

const TARGETS: &[Column<TargetView>] = &[
    column("destination", |row| row.name.clone()),
    column("", |row| if row.required { "required" } else { "optional" }.to_owned()),
    column("level", |row| row.level.to_owned()),
    column("generation", |row| or_dash(row.generation.as_ref())),
    column("trouble", |row| or_dash(row.drift.as_ref().or(row.error.as_ref()))),
];

/// The calls of a plan, with their place in it.
const STEPS: &[Column<(usize, PlannedStep)>] = &[
    column("", |(place, _)| (place + 1).to_string()),
    column("destination", |(_, step)| or_dash(step.destination.as_ref())),
    column("call", |(_, step)| step.call.clone()),
    column("effect", |(_, step)| step.effect.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => {
            context.out.rows(&commands::rotation_views(&engine).await?, ROTATIONS)?;
            Ok(0)
        }
        Command::Show { name } => {
            context.out.value(&commands::rotation_view(&engine, &name).await?, show)?;
            Ok(0)
        }
        Command::Plan { name } => plan(context, &engine, &name).await,
        Command::Run { name, leaked, generation, wait } => {
            rotate(context, &engine, &name, leaked.then_some(Leaked { generation }), wait).await
        }
        Command::Adopt { name, hash, secret_stdin } => {
            adopt(context, &engine, &name, hash, secret_stdin).await
        }
        Command::Rollback { name } => rollback(context, &engine, &name).await,
        Command::Pause { name, healing } => {
            let held = if healing { Pause::AndHealing } else { Pause::Runs };
            pause(context, &engine, &name, held).await
        }
        Command::Resume { name } => pause(context, &engine, &name, Pause::Over).await,
    }
}

fn show(view: &RotationView) -> String {
    let mut text = format!("rotation {} of account {}: {}\n", view.name, view.account, state(view));
    match &view.current {
        Some(key) => text.push_str(&format!(
            "current   generation {} {} {}, issued {}\n",
            or_dash(key.generation.as_ref()),
            key.label,
            key.verdict,
            key.issued_at
        )),
        None => {
            text.push_str("current   none: adopt the key that production uses, or run the first rotation\n");
        }
    }
    if let Some(key) = &view.previous {
        let generation = or_dash(key.generation.generation.as_ref());
        text.push_str(&format!("previous  generation {generation} {} {}\n", key.generation.label, key.state));
    }
    if let Some(run) = &view.last_run {
        text.push_str(&format!(
            "last run  {} {} at {}\n",
            run.id,
            run.outcome,
            or_dash(run.finished_at.as_ref())
        ));
    }
    text.push_str(&waiting(&view.waits));
    text.push_str(&table(TARGETS, &view.destinations));
    text
}

/// `rekeyd why ROTATION`.
pub(super) async fn why(context: &Context, name: &str) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    context.out.value(&commands::why(&engine, name).await?, said)?;
    Ok(0)
}

fn said(why: &WhyView) -> String {
    let mut text = match &why.run {
        Some(run) => format!("rotation {}: {} (run {run})\n", why.rotation, why.state),
        None => format!("rotation {}: no run is open\n", why.rotation),
    };
    text.push_str("proved:\n");
    for line in &why.proved {
        text.push_str(&format!("  {line}\n"));
    }
    if why.blockers.is_empty() {
        text.push_str("nothing blocks");
        return text;
    }
    text.push_str("blocks:\n");
    text.push_str(&why.blockers.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
    for line in why.waits.coming() {
        text.push_str(&format!("\nnext: {line}"));
    }
    text
}

async fn plan(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    context.out.value(&commands::plan_of(engine, name, PATIENCE).await?, planned)?;
    Ok(0)
}

fn planned(plan: &PlanView) -> String {
    let steps: Vec<(usize, PlannedStep)> = plan.calls.iter().cloned().enumerate().collect();
    let mut text = table(STEPS, &steps);
    for warning in &plan.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

async fn rotate(
    context: &Context,
    engine: &Engine,
    name: &str,
    leaked: Option<Leaked>,
    wait: bool,
) -> anyhow::Result<u8> {
    let account = engine.rotation(name)?.account.clone();
    let run = commands::rotate(engine, name, leaked, PATIENCE).await?;
    say!("run {run}");
    let ending = run_to_end(engine, &account, &run, wait).await?;
    finished(context, engine, &run, &ending).await
}

async fn adopt(
    context: &Context,
    engine: &Engine,
    name: &str,
    hash: Option<String>,
    secret_stdin: bool,
) -> anyhow::Result<u8> {
    engine.rotation(name)?;
    let adoption = match (hash, secret_stdin) {
        (Some(hash), _) => Adoption::Hash(hash),
        (None, true) => Adoption::Secret(secret("The key in use")?),
        (None, false) if !std::io::IsTerminal::is_terminal(&std::io::stdin()) => match piped()?.trim_end() {
            "" => Adoption::Known,
            text => Adoption::Secret(Secret::new(text.to_owned())),
        },
        (None, false) => Adoption::Known,
    };
    context.out.value(&commands::adopt_into(engine, name, adoption, PATIENCE).await?, |key| {
        let generation = or_dash(key.generation.as_ref());
        format!("adopted {} as generation {generation} of {name}; nothing was changed outside", key.label)
    })?;
    Ok(0)
}

async fn rollback(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    let open = commands::run_to_roll_back(engine, name).await?;
    ask(context, engine, &open, Request::Rollback).await
}

async fn pause(context: &Context, engine: &Engine, name: &str, pause: Pause) -> anyhow::Result<u8> {
    let view = commands::pause(engine, name, pause).await?;
    let word = match pause {
        Pause::Over => "resumed",
        Pause::Runs => "paused: no new run, no key is disabled or deleted; a dead key is still replaced",
        Pause::AndHealing => {
            "paused, its healing too: no new run, no key is disabled or deleted, and a dead key stays dead"
        }
    };
    context.out.value(&view, |_| format!("{name} is {word}"))?;
    Ok(0)
}
