//! `rotations list | show | plan | run | adopt | rollback | pause | resume`, and `why`.

use serde_json::json;

use super::Context;
use super::accounts::PATIENCE;
use super::drive::drive;
use super::output::{or_dash, piped, secret, table};
use super::runs::{ask, finished};
use crate::domain::rotation::Trigger;
use crate::domain::rotation::facts::Request;
use crate::domain::secret::Secret;
use crate::engine::commands::{Adoption, PlanView, RotationView, Start, WhyView};
use crate::engine::{Engine, EngineError, commands};

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
    },
    /// End a pause
    Resume {
        /// Name of the rotation
        name: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => list(context, &engine).await,
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
        Command::Pause { name } => pause(context, &engine, &name, true).await,
        Command::Resume { name } => pause(context, &engine, &name, false).await,
    }
}

async fn list(context: &Context, engine: &Engine) -> anyhow::Result<u8> {
    let mut rows = Vec::new();
    for rotation in engine.rotations() {
        rows.push(commands::rotation_view(engine, &rotation.name).await?);
    }
    let headers = ["name", "account", "state", "generation", "key", "verdict", "next due", "last run"];
    context.out.rows(&rows, &headers, |row| {
        let current = row.current.as_ref();
        vec![
            row.name.clone(),
            row.account.clone(),
            row.state.to_owned(),
            or_dash(current.and_then(|key| key.generation).as_ref()),
            or_dash(current.map(|key| &key.label)),
            or_dash(current.map(|key| &key.verdict)),
            or_dash(row.next_due_at.as_ref()),
            or_dash(row.last_run.as_ref().map(|run| run.outcome.to_owned()).as_ref()),
        ]
    })?;
    Ok(0)
}

fn show(view: &RotationView) -> String {
    let mut text = format!("rotation {} of account {}: {}\n", view.name, view.account, view.state);
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
    let rows = view.destinations.iter().map(|destination| {
        let trouble = destination.drift.clone().or_else(|| destination.error.clone());
        vec![
            destination.name.clone(),
            if destination.required { "required" } else { "optional" }.to_owned(),
            destination.level.to_owned(),
            or_dash(destination.generation.as_ref()),
            or_dash(trouble.as_ref()),
        ]
    });
    text.push_str(&table(&["destination", "", "level", "generation", "trouble"], rows));
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
    text
}

async fn plan(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    let account = engine.rotation(name)?.account.clone();
    let mut session = commands::wait_for_session(engine, &account, PATIENCE).await?;
    let plan = commands::plan(&mut session, name).await;
    session.close().await?;
    context.out.value(&plan?, planned)?;
    Ok(0)
}

fn planned(plan: &PlanView) -> String {
    let rows = plan.calls.iter().enumerate().map(|(i, step)| {
        let place = step.destination.clone().unwrap_or_else(|| "-".to_owned());
        vec![(i + 1).to_string(), place, step.planned.call.clone(), step.planned.effect.clone()]
    });
    let mut text = table(&["", "destination", "call", "effect"], rows);
    for warning in &plan.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

/// A key that strangers know.
struct Leaked {
    /// Which one; else the current.
    generation: Option<i64>,
}

async fn rotate(
    context: &Context,
    engine: &Engine,
    name: &str,
    leaked: Option<Leaked>,
    wait: bool,
) -> anyhow::Result<u8> {
    let account = engine.rotation(name)?.account.clone();
    if leaked.is_none()
        && let Some(open) = engine.store().open_run(name).await?
    {
        eprintln!("error: a run of rotation {name} is open: {}", open.run.id);
        eprintln!("hint: follow it with `rekeyd runs watch {}`", open.run.id);
        return Ok(1);
    }
    let mut session = commands::wait_for_session(engine, &account, PATIENCE).await?;
    let started = match leaked {
        Some(leak) => {
            commands::start_emergency(&mut session, Trigger::Leak, name, leak.generation, "a person says so")
                .await
        }
        None => commands::start_run(&mut session, name, Start::Manual).await,
    };
    session.close().await?;
    let run = started?;
    eprintln!("run {}", run.id);
    let ending = drive(engine, &account, &run.id, wait).await?;
    finished(context, engine, &run.id, &ending).await
}

async fn adopt(
    context: &Context,
    engine: &Engine,
    name: &str,
    hash: Option<String>,
    secret_stdin: bool,
) -> anyhow::Result<u8> {
    let account = engine.rotation(name)?.account.clone();
    let adoption = match (hash, secret_stdin) {
        (Some(hash), _) => Adoption::Hash(hash),
        (None, true) => Adoption::Secret(secret("The key in use")?),
        (None, false) if !std::io::IsTerminal::is_terminal(&std::io::stdin()) => match piped()?.trim_end() {
            "" => Adoption::Known,
            text => Adoption::Secret(Secret::new(text.to_owned())),
        },
        (None, false) => Adoption::Known,
    };
    let mut session = commands::wait_for_session(engine, &account, PATIENCE).await?;
    let adopted = commands::adopt(&mut session, name, adoption).await;
    session.close().await?;
    let key = adopted?;
    let value =
        json!({ "rotation": name, "generation": key.generation, "key_id": key.id, "label": key.mask });
    context.out.value(&value, |_| {
        format!(
            "adopted {} as generation {} of {name}; nothing was changed outside",
            key.mask,
            or_dash(key.generation.as_ref())
        )
    })?;
    Ok(0)
}

async fn rollback(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    engine.rotation(name)?;
    let open = engine.store().open_run(name).await?.ok_or_else(|| EngineError::Usage {
        text: format!("no run of rotation {name} is open: its previous key is gone"),
        hint: Some(format!("`rekeyd rotations run {name}` issues a new one")),
    })?;
    ask(context, engine, &open.run.id, Request::Rollback).await
}

async fn pause(context: &Context, engine: &Engine, name: &str, paused: bool) -> anyhow::Result<u8> {
    commands::pause(engine, name, paused).await?;
    let word = if paused { "paused: no new run, no key is disabled or deleted" } else { "resumed" };
    context.out.value(&json!({ "rotation": name, "paused": paused }), |_| format!("{name} is {word}"))?;
    Ok(0)
}
