//! `destinations list | check | publish`.

use serde_json::{Value, json};

use super::Context;
use super::accounts::PATIENCE;
use crate::engine::{Engine, commands};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The destinations of the configuration and what they hold
    List,
    /// Ask each destination (or one) what it shows and what the credentials may do; changes nothing
    Check {
        /// Only this one
        name: Option<String>,
        /// First install the tables of a PostgreSQL destination, or take over those that are there
        #[arg(long, requires = "name")]
        migrate: bool,
    },
    /// Write the current key to a destination again, whatever it holds, and prove it; a table that mirrors
    /// stored keys gets those too
    Publish {
        /// Name of the destination
        name: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => {
            let rows = rows(&engine).await?;
            context.out.rows(
                &rows,
                &["name", "type", "rotation", "level", "generation", "address", "trouble"],
                |row| {
                    let known = ["name", "type", "rotation", "level", "generation", "address"];
                    let trouble = ["drift", "error"].iter().find(|field| row[**field].is_string());
                    let trouble = trouble.map_or("-".to_owned(), |field| shown(&row[*field]));
                    known.iter().map(|field| shown(&row[*field])).chain([trouble]).collect()
                },
            )?;
            Ok(0)
        }
        Command::Check { name, migrate } => {
            if let Some(name) = name.as_ref().filter(|_| migrate) {
                for line in commands::migrate_place(&engine, name).await? {
                    eprintln!("{name}: {line}");
                }
            }
            check(context, &engine, name).await
        }
        Command::Publish { name } => publish(context, &engine, &name).await,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn rows(engine: &Engine) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (place, account) in commands::all_places(engine) {
        let rotation = commands::rotation_of_place(engine, &place.target.name);
        let view = match rotation {
            Some(rotation) => Some(commands::rotation_view(engine, &rotation.name).await?),
            None => None,
        };
        let destination = view.and_then(|v| v.destinations.into_iter().find(|d| d.name == place.target.name));
        rows.push(json!({
            "name": place.target.name,
            "type": place.kind,
            "rotation": rotation.map(|rotation| rotation.name.clone()),
            "holds": if account.is_some() { "provisioning" } else { "regular" },
            "required": place.target.required,
            "level": destination.as_ref().map(|d| d.level),
            "generation": destination.as_ref().and_then(|d| d.generation),
            "error": destination.as_ref().and_then(|d| d.error.clone()),
            "drift": destination.as_ref().and_then(|d| d.drift.clone()),
            "address": place.target.address,
        }));
    }
    Ok(rows)
}

async fn check(context: &Context, engine: &Engine, name: Option<String>) -> anyhow::Result<u8> {
    let names: Vec<String> = match name {
        Some(name) => vec![commands::any_place(engine, &name)?.0.target.name.clone()],
        None => commands::all_places(engine).map(|(place, _)| place.target.name.clone()).collect(),
    };
    let mut rows = Vec::new();
    let mut healthy = true;
    for name in names {
        let checked = commands::check_place(engine, &name).await?;
        healthy &= checked.ok;
        rows.push(checked);
    }
    context.out.rows(&rows, &["name", "ok", "standing", "seen"], |row| {
        vec![
            row.name.clone(),
            if row.ok { "yes" } else { "NO" }.to_owned(),
            row.standing.clone(),
            row.seen.join("\n"),
        ]
    })?;
    Ok(u8::from(!healthy))
}

async fn publish(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    if let (_, Some(account)) = commands::any_place(engine, name)? {
        let mut session = commands::wait_for_session(engine, &account.name, PATIENCE).await?;
        let outcome = commands::publish_copy_by_hand(&mut session, name).await;
        session.close().await?;
        return said(context, name, &outcome?);
    }
    let mut did = Vec::new();
    if let Some(rotation) = commands::rotation_of_place(engine, name) {
        let mut session = commands::wait_for_session(engine, &rotation.account, PATIENCE).await?;
        let outcome = commands::publish_by_hand(&mut session, &rotation.name, name).await;
        session.close().await?;
        did.push(outcome?);
    }
    if did.is_empty() || commands::mirrors(engine, name) {
        did.push(commands::mirror_by_hand(engine, name, PATIENCE).await?);
    }
    said(context, name, &did.join("; "))
}

fn said(context: &Context, name: &str, did: &str) -> anyhow::Result<u8> {
    context.out.value(&json!({ "destination": name, "result": did }), |_| did.to_owned())?;
    Ok(0)
}
