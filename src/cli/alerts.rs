//! `alerts list | ack | test-email`.

use super::Context;
use super::output::{Column, column, or_dash, yes_or_no};
use crate::engine::commands;
use crate::engine::commands::{AlertView, OutboxView, TrialView};

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

const ALERTS: &[Column<AlertView>] = &[
    column("id", |row| row.id.clone()),
    column("severity", |row| row.severity.clone()),
    column("kind", |row| row.kind.clone()),
    column("subject", |row| row.subject.clone()),
    column("opened", |row| row.opened_at.clone()),
    column("over", |row| or_dash(row.resolved_at.as_ref())),
    column("acknowledged", |row| or_dash(row.acked_by.as_ref())),
    column("detail", |row| row.detail.clone()),
];

const OUTBOX: &[Column<OutboxView>] = &[
    column("state", |row| row.state.clone()),
    column("channel", |row| row.channel.clone()),
    column("to", |row| or_dash(row.recipient.as_ref())),
    column("subject", |row| row.subject.clone()),
    column("attempts", |row| row.attempts.to_string()),
    column("sent", |row| or_dash(row.sent_at.as_ref())),
    column("error", |row| or_dash(row.error.as_ref())),
];

const TRIALS: &[Column<TrialView>] = &[
    column("to", |trial| trial.recipient.clone()),
    column("sent", |trial| yes_or_no(trial.sent)),
    column("the server said", |trial| trial.answer.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List { outbox: true, .. } => {
            context.out.rows(&commands::outbox_views(&engine).await?, OUTBOX)?;
        }
        Command::List { all, .. } => {
            context.out.rows(&commands::alert_views(&engine, all).await?, ALERTS)?;
        }
        Command::Ack { id } => {
            let alert = commands::acknowledge(&engine, &id).await?;
            context.out.value(&alert, |row| {
                format!("acknowledged by {}: {} {}", or_dash(row.acked_by.as_ref()), row.subject, row.kind)
            })?;
        }
        Command::TestEmail => {
            let trials = commands::test_email(&engine).await?;
            context.out.rows(&trials, TRIALS)?;
            return Ok(u8::from(trials.iter().any(|trial| !trial.sent)));
        }
    }
    Ok(0)
}
