//! `accounts list | show | keys | thaw`.

use serde::Serialize;
use serde_json::json;

use super::Context;
use super::output::or_dash;
use crate::domain::guard::Kill;
use crate::domain::key::{MicroUsd, RemoteKey};
use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::Session;
use crate::engine::{Engine, EngineError, commands};

/// How long a command waits for another process to let go of the account.
pub(super) const PATIENCE: Span = Span::seconds(60);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The accounts of the configuration
    List,
    /// One account, live: identity, credits, number of keys
    Show {
        /// Name of the account
        name: String,
    },
    /// The keys of an account, live
    Keys {
        /// Name of the account
        name: String,
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// End a freeze, after you found out why it froze
    Thaw {
        /// Name of the account
        name: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeysCommand {
    /// List them
    List,
    /// Issue a key that belongs to no rotation, and store it
    Create {
        /// Spending limit in USD
        #[arg(long)]
        limit: Option<f64>,
    },
    /// Disable a key that rekeyd created; refused for the last one
    Disable {
        /// Its hash
        hash: String,
    },
    /// Enable a key that rekeyd created
    Enable {
        /// Its hash
        hash: String,
    },
    /// Delete a key that rekeyd created; refused for the last one
    Delete {
        /// Its hash
        hash: String,
    },
    /// Set the spending limit in USD; 0 clears it
    Limit {
        /// Its hash
        hash: String,
        /// USD
        usd: f64,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => list(context, &engine).await?,
        Command::Show { name } => {
            with_session(&engine, &name, async |session| show(context, &name, session).await).await?;
        }
        Command::Keys { name, command } => {
            let command = command.unwrap_or(KeysCommand::List);
            with_session(&engine, &name, async |session| keys(context, session, command).await).await?;
        }
        Command::Thaw { name } => thaw(context, &engine, &name).await?,
    }
    Ok(0)
}

/// Opens a session, works, and gives the lease back whatever came of it.
async fn with_session(
    engine: &Engine,
    account: &str,
    work: impl AsyncFnOnce(&mut Session<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut session = commands::wait_for_session(engine, account, PATIENCE).await?;
    let outcome = work(&mut session).await;
    session.close().await?;
    outcome
}

async fn list(context: &Context, engine: &Engine) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for account in engine.accounts() {
        let identity = engine.store().entry_identity(&account.name).await?;
        let known = match &identity {
            Some(identity) => engine.store().account(identity).await?,
            None => None,
        };
        let frozen = known.and_then(|account| account.frozen);
        rows.push(json!({ "name": account.name, "provider": account.provider, "identity": identity, "frozen": frozen }));
    }
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    context.out.rows(&rows, &["name", "provider", "identity", "frozen"], |row| {
        ["name", "provider", "identity", "frozen"].map(|field| text(row, field)).to_vec()
    })
}

async fn show(context: &Context, name: &str, session: &mut Session<'_>) -> anyhow::Result<()> {
    let keys = commands::account_keys(session).await?;
    let credits = commands::account_credits(session).await?;
    let value = json!({
        "name": name,
        "identity": session.identity(),
        "keys": keys.len(),
        "enabled_keys": keys.iter().filter(|key| !key.disabled).count(),
        "credits_total_usd": credits.total.usd(),
        "credits_used_usd": credits.used.usd(),
    });
    context.out.value(&value, |_| {
        format!(
            "account {name} is {}\n{} keys, {} of them enabled\n{:.2} USD of {:.2} USD used",
            session.identity(),
            keys.len(),
            keys.iter().filter(|key| !key.disabled).count(),
            credits.used.usd(),
            credits.total.usd()
        )
    })
}

async fn keys(context: &Context, session: &mut Session<'_>, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::List => {
            let keys = commands::account_keys(session).await?;
            let headers = ["name", "label", "state", "limit", "used", "last used", "hash"];
            let rows: Vec<Row> = keys.iter().map(row).collect();
            context.out.rows(&rows, &headers, cells)
        }
        KeysCommand::Create { limit } => {
            let key = commands::create_by_hand(session, limit.map(MicroUsd::from_usd)).await?;
            let value =
                json!({ "id": key.id, "number": key.number, "masked_key": key.mask, "hash": key.hash });
            context.out.value(&value, |_| {
                format!(
                    "issued {} and stored it as {} number {}",
                    key.mask,
                    key.provider,
                    or_dash(key.number.as_ref())
                )
            })
        }
        KeysCommand::Disable { hash } => {
            commands::kill_by_hand(session, &hash, Kill::Disable).await?;
            done(context, "disabled", &hash)
        }
        KeysCommand::Delete { hash } => {
            if !context
                .out
                .confirm(&format!("Delete the key {hash} at the provider? This cannot be undone."))?
            {
                eprintln!("nothing was deleted");
                return Ok(());
            }
            commands::kill_by_hand(session, &hash, Kill::Delete).await?;
            done(context, "deleted", &hash)
        }
        KeysCommand::Enable { hash } => {
            commands::enable_by_hand(session, &hash).await?;
            done(context, "enabled", &hash)
        }
        KeysCommand::Limit { hash, usd } => {
            let limit = (usd > 0.0).then(|| MicroUsd::from_usd(usd));
            commands::limit_by_hand(session, &hash, limit).await?;
            done(context, "limited", &hash)
        }
    }
}

fn done(context: &Context, what: &str, hash: &str) -> anyhow::Result<()> {
    context.out.value(&json!({ what: hash }), |_| format!("{what} {hash}"))
}

/// A row of `accounts keys`. Money in USD, times RFC 3339 UTC, as everywhere in the interface.
#[derive(Debug, Serialize)]
struct Row {
    hash: String,
    name: String,
    label: String,
    disabled: bool,
    limit: Option<f64>,
    limit_remaining: Option<f64>,
    limit_reset: Option<String>,
    include_byok_in_limit: bool,
    usage: f64,
    byok_usage: f64,
    last_used_at: Option<String>,
    expires_at: Option<String>,
    created_at: Option<String>,
    workspace: Option<String>,
}

fn row(key: &RemoteKey) -> Row {
    Row {
        hash: key.hash.clone(),
        name: key.name.clone(),
        label: key.label.clone(),
        disabled: key.disabled,
        limit: key.limit.map(MicroUsd::usd),
        limit_remaining: key.limit_remaining.map(MicroUsd::usd),
        limit_reset: key.limit_reset.clone(),
        include_byok_in_limit: key.include_byok_in_limit,
        usage: key.usage.usd(),
        byok_usage: key.byok_usage.usd(),
        last_used_at: key.last_used_at.map(Timestamp::rfc3339),
        expires_at: key.expires_at.map(Timestamp::rfc3339),
        created_at: key.created_at.map(Timestamp::rfc3339),
        workspace: key.workspace_id.clone(),
    }
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.name.clone(),
        row.label.clone(),
        if row.disabled { "disabled" } else { "enabled" }.to_owned(),
        row.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}")),
        format!("{:.4}", row.usage),
        row.last_used_at.clone().unwrap_or_else(|| "never".to_owned()),
        row.hash.clone(),
    ]
}

async fn thaw(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<()> {
    let question = "Thaw only after the other copy of the database is stopped for good. Is it?";
    if !context.out.confirm(question)? {
        return Err(EngineError::Refused("still frozen".to_owned()).into());
    }
    with_session(engine, name, async |session| {
        let foreign = commands::thaw(session).await?;
        let names: Vec<&str> = foreign.iter().map(|key| key.name.as_str()).collect();
        context.out.value(&json!({ "thawed": name, "foreign": names }), |_| {
            format!(
                "thawed {name}; {} keys are foreign from now on and will never be touched: {}\n\
                 tell each rotation its current key: rekeyd rotations adopt NAME --secret-stdin",
                names.len(),
                names.join(", ")
            )
        })
    })
    .await
}
