//! `alerts list | ack | test-email`.

use super::Context;
use super::output::or_dash;
use crate::engine::commands;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Open alerts
    List {
        /// Show what was told to whom instead, and what still waits
        #[arg(long, conflicts_with = "all")]
        outbox: bool,
        /// Show what is over too
        #[arg(long)]
        all: bool,
    },
    /// Say that you have seen an alert: no more reminders
    Ack {
        /// Its id
        id: String,
    },
    /// Send a test mail now to everybody who may get one
    TestEmail,
}

/// Lines of the outbox that are shown.
const LINES: i64 = 200;

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List { outbox: true, .. } => {
            let rows = engine.store().outbox(LINES).await?;
            context.out.rows(
                &rows,
                &["state", "channel", "to", "subject", "attempts", "sent", "error"],
                |row| {
                    vec![
                        row.state.clone(),
                        row.channel.clone(),
                        or_dash(row.recipient.as_ref()),
                        row.subject.clone(),
                        row.attempts.to_string(),
                        or_dash(row.sent_at.as_ref()),
                        or_dash(row.error.as_ref()),
                    ]
                },
            )?;
        }
        Command::List { all, .. } => {
            let rows = engine.store().alerts(all).await?;
            context.out.rows(
                &rows,
                &["id", "severity", "kind", "subject", "opened", "over", "acknowledged", "detail"],
                |row| {
                    vec![
                        row.id.clone(),
                        row.severity.clone(),
                        row.kind.clone(),
                        row.subject.clone(),
                        row.opened_at.clone(),
                        or_dash(row.resolved_at.as_ref()),
                        or_dash(row.acked_by.as_ref()),
                        row.detail.clone(),
                    ]
                },
            )?;
        }
        Command::Ack { id } => {
            let row = commands::acknowledge(&engine, &id).await?;
            context.out.value(&row, |row| {
                format!("acknowledged by {}: {} {}", or_dash(row.acked_by.as_ref()), row.subject, row.kind)
            })?;
        }
        Command::TestEmail => {
            let trials = commands::test_email(&engine).await?;
            context.out.rows(&trials, &["to", "sent", "the server said"], |trial| {
                let sent = if trial.sent { "yes" } else { "no" };
                vec![trial.recipient.clone(), sent.to_owned(), trial.answer.clone()]
            })?;
            return Ok(u8::from(trials.iter().any(|trial| !trial.sent)));
        }
    }
    Ok(0)
}
