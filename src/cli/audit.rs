//! `audit list | export`.

use super::Context;
use super::output::{Column, column, json_line, or_dash};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::engine::commands::{AuditFilter, AuditView, audit_page};

/// Rows of a list, and rows that an export reads at once.
const PAGE: i64 = 100;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The newest rows as a table
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = PAGE, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// All rows as JSON, one a line, the newest first
    Export {
        #[command(flatten)]
        which: Which,
    },
}

/// Which rows.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// By whom, as the list shows it
    #[arg(long)]
    actor: Option<String>,
    /// What was done, as the list shows it
    #[arg(long)]
    action: Option<String>,
    /// On what, as the list shows it
    #[arg(long)]
    subject: Option<String>,
    /// At or after this moment, like 2026-12-01T03:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

impl Which {
    fn filter(self, limit: i64) -> AuditFilter {
        let Self { actor, action, subject, since, until } = self;
        AuditFilter { actor, action, subject, since, until, before: None, limit }
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "write it like 2026-12-01T03:00:00Z".to_owned())
}

const AUDIT: &[Column<AuditView>] = &[
    column("at", |row| row.at.clone()),
    column("actor", |row| row.actor.clone()),
    column("via", |row| row.via.clone()),
    column("address", |row| or_dash(row.address.as_ref())),
    column("action", |row| row.action.clone()),
    column("subject", |row| row.subject.clone()),
    column("outcome", |row| row.outcome.clone()),
    column("detail", |row| row.detail.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List { which, limit } => {
            let (rows, _) = audit_page(&engine, &which.filter(limit)).await?;
            context.out.rows(&rows, AUDIT)?;
        }
        Command::Export { which } => export(&engine, which.filter(1000)).await?,
    }
    Ok(0)
}

/// A page at a time, so that a trail of years fits into memory.
async fn export(engine: &Engine, filter: AuditFilter) -> anyhow::Result<()> {
    let mut next = Some(filter);
    while let Some(filter) = next {
        let (rows, after) = audit_page(engine, &filter).await?;
        for row in &rows {
            json_line(row)?;
        }
        next = after;
    }
    Ok(())
}
