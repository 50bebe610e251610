//! `accounts list | show | keys | thaw`.

use super::Context;
use super::output::{Column, column, or_dash};
use crate::cli::output::say;
use crate::domain::key::MicroUsd;
use crate::domain::time::Span;
use crate::domain::turn::Class;
use crate::engine::commands::{HandledKeyView, Handling, IssuedKeyView, ListedAccountView, RemoteKeyView};
use crate::engine::{Engine, EngineError, commands};

/// How long a command waits for another process to let go of the account.
pub(super) const PATIENCE: Span = Class::Person.patience();

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

const ACCOUNTS: &[Column<ListedAccountView>] = &[
    column("name", |account| account.name.clone()),
    column("provider", |account| account.provider.clone()),
    column("identity", |account| or_dash(account.identity.as_ref())),
    column("frozen", |account| or_dash(account.frozen.as_ref())),
];

const KEYS: &[Column<RemoteKeyView>] = &[
    column("name", |key| key.name.clone()),
    column("label", |key| key.label.clone()),
    column("state", |key| if key.disabled { "disabled" } else { "enabled" }.to_owned()),
    column("limit", |key| key.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}"))),
    column("used", |key| key.usage.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.4}"))),
    column("last used", |key| key.last_used_at.clone().unwrap_or_else(|| "never".to_owned())),
    column("hash", |key| key.hash.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => context.out.rows(&commands::account_views(&engine).await?, ACCOUNTS)?,
        Command::Show { name } => show(context, &engine, &name).await?,
        Command::Keys { name, command } => {
            keys(context, &engine, &name, command.unwrap_or(KeysCommand::List)).await?;
        }
        Command::Thaw { name } => thaw(context, &engine, &name).await?,
    }
    Ok(0)
}

async fn show(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<()> {
    context.out.value(&commands::account_now(engine, name, PATIENCE).await?, |account| {
        format!(
            "account {} is {}\n{} keys, {} of them enabled\n{:.2} USD of {:.2} USD used",
            account.name,
            account.identity,
            account.keys,
            account.enabled_keys,
            account.credits_used_usd,
            account.credits_total_usd
        )
    })
}

async fn keys(context: &Context, engine: &Engine, name: &str, command: KeysCommand) -> anyhow::Result<()> {
    let (hash, handling) = match command {
        KeysCommand::List => {
            return context.out.rows(&commands::keys_at(engine, name, PATIENCE).await?, KEYS);
        }
        KeysCommand::Create { limit } => {
            let limit = limit.map(MicroUsd::from_usd);
            return create(context, &commands::create_at(engine, name, limit, PATIENCE).await?);
        }
        KeysCommand::Disable { hash } => (hash, Handling::Disable),
        KeysCommand::Delete { hash } => {
            if !context
                .out
                .confirm(&format!("Delete the key {hash} at the provider? This cannot be undone."))?
            {
                say!("nothing was deleted");
                return Ok(());
            }
            (hash, Handling::Delete)
        }
        KeysCommand::Enable { hash } => (hash, Handling::Enable),
        KeysCommand::Limit { hash, usd } => {
            (hash, Handling::Limit((usd > 0.0).then(|| MicroUsd::from_usd(usd))))
        }
    };
    done(context, &commands::handle_at(engine, name, &hash, handling, PATIENCE).await?)
}

fn create(context: &Context, key: &IssuedKeyView) -> anyhow::Result<()> {
    context.out.value(key, |key| {
        let number = or_dash(key.number.as_ref());
        format!("issued {} and stored it as {} number {number}", key.masked_key, key.provider)
    })
}

fn done(context: &Context, handled: &HandledKeyView) -> anyhow::Result<()> {
    context.out.value(handled, |handled| match handled {
        HandledKeyView::Disabled(hash) => format!("disabled {hash}"),
        HandledKeyView::Enabled(hash) => format!("enabled {hash}"),
        HandledKeyView::Deleted(hash) => format!("deleted {hash}"),
        HandledKeyView::Limited(hash) => format!("limited {hash}"),
    })
}

async fn thaw(context: &Context, engine: &Engine, name: &str) -> anyhow::Result<()> {
    let question = "Thaw only after the other copy of the database is stopped for good. Is it?";
    if !context.out.confirm(question)? {
        return Err(EngineError::Refused("still frozen".to_owned()).into());
    }
    context.out.value(&commands::thaw_account(engine, name, PATIENCE).await?, |thawed| {
        format!(
            "thawed {name}; {} keys are foreign from now on and will never be touched: {}\n\
             tell each rotation its current key: rekeyd rotations adopt NAME --secret-stdin",
            thawed.foreign.len(),
            thawed.foreign.join(", ")
        )
    })
}
