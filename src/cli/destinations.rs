//! `destinations list | check | publish`.

use super::Context;
use super::accounts::PATIENCE;
use super::output::{Column, column, column_of_lines, or_dash};
use crate::cli::output::say;
use crate::engine::commands::{CheckedView, DestinationView};
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

const DESTINATIONS: &[Column<DestinationView>] = &[
    column("name", |row| row.name.clone()),
    column("type", |row| row.kind.to_owned()),
    column("rotation", |row| or_dash(row.rotation.as_ref())),
    column("level", |row| or_dash(row.level.as_ref())),
    column("generation", |row| or_dash(row.generation.as_ref())),
    column("address", |row| row.address.clone()),
    column("trouble", |row| or_dash(row.drift.as_ref().or(row.error.as_ref()))),
];

const CHECKED: &[Column<CheckedView>] = &[
    column("name", |row| row.name.clone()),
    column("ok", |row| if row.ok { "yes" } else { "NO" }.to_owned()),
    column("standing", |row| row.standing.clone()),
    column_of_lines("seen", |row| row.seen.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => {
            context.out.rows(&commands::destination_views(&engine).await?, DESTINATIONS)?;
            Ok(0)
        }
        Command::Check { name, migrate } => {
            if let Some(name) = name.as_ref().filter(|_| migrate) {
                for line in commands::migrate_destination(&engine, name).await? {
                    say!("{name}: {line}");
                }
            }
            check(context, &engine, name).await
        }
        Command::Publish { name } => publish(context, &engine, &name).await,
    }
}

async fn check(context: &Context, engine: &Engine, name: Option<String>) -> anyhow::Result<u8> {
    let names: Vec<String> = match name {
        Some(name) => vec![commands::any_destination(engine, &name)?.0.target.name.clone()],
        None => commands::all_destinations(engine).map(|(place, _)| place.target.name.clone()).collect(),
    };
    let mut rows = Vec::new();
    let mut healthy = true;
    for name in names {
        let checked = commands::check_destination(engine, &name).await?;
        healthy &= checked.ok;
        rows.push(checked);
    }
    context.out.rows(&rows, CHECKED)?;
    Ok(u8::from(!healthy))
}

async fn publish(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<u8> {
    let published = commands::publish_now(engine, name, PATIENCE).await?;
    context.out.value(&published, |published| published.result.clone())?;
    Ok(0)
}
