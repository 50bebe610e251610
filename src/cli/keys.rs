//! `keys list | add | show | test | delete`.

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::output::{or_dash, secret, table};
use crate::domain::secret::Secret;
use crate::engine::commands;
use crate::engine::commands::AddKey;
use crate::engine::commands::{Scope, Which, Why};
use crate::store::{KeyRow, Role};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List stored keys, masked
    List {
        /// Only of this provider
        #[arg(long)]
        provider: Option<String>,
    },
    /// Store a key; prompts for it, or reads it from a pipe
    Add {
        /// Name of the provider
        provider: String,
        /// Name for people
        #[arg(long)]
        name: Option<String>,
        /// 100 production, 50-90 backup, below 50 testing
        #[arg(long, default_value_t = 100)]
        priority: i64,
        /// Free JSON: endpoint, model, version
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// File with the provider's second secret
        #[arg(long, value_name = "PATH")]
        api_secret_file: Option<std::path::PathBuf>,
        /// Read the key from stdin even on a terminal
        #[arg(long)]
        secret_stdin: bool,
        /// Store it inactive: neither tested nor handed out
        #[arg(long)]
        inactive: bool,
        /// Do not ask the provider first
        #[arg(long)]
        no_test: bool,
        /// Test this key with a completion of a few tokens of this model; costs money each time
        #[arg(long, value_name = "MODEL")]
        billed_probe: Option<String>,
    },
    /// Test stored keys now, with the cheapest honest request of their provider
    Test {
        /// Name of the provider; without it every active key
        #[arg(conflicts_with = "all")]
        provider: Option<String>,
        /// Number of the key
        number: Option<i64>,
        /// Every active key of every provider
        #[arg(long)]
        all: bool,
    },
    /// Show one key, masked
    Show {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
    },
    /// Remove a key from the store; the provider still honours it, unless --at-provider
    Delete {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
        /// Disable and delete it at the provider too, through the guard
        #[arg(long)]
        at_provider: bool,
    },
}

/// A row of `keys list`; the fields of the REST list (interface.md §3).
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    provider_type: String,
    name: String,
    number: Option<i64>,
    masked_key: String,
    priority: i64,
    is_active: bool,
    status: String,
    status_detail: Option<String>,
    last_tested_at: Option<String>,
    latency_ms: Option<i64>,
    config: Value,
    created_at: String,
    updated_at: String,
    rotation: Option<String>,
    generation: Option<i64>,
    role: Role,
}

fn row(key: &KeyRow) -> Row {
    Row {
        id: key.id.clone(),
        provider_type: key.provider.clone(),
        name: key.name.clone(),
        number: key.number,
        masked_key: key.mask.clone(),
        priority: key.priority,
        is_active: key.is_active,
        status: key.verdict.clone(),
        status_detail: key.detail.clone(),
        last_tested_at: key.facts.tested.as_ref().map(|(_, at)| at.ours.rfc3339()),
        latency_ms: key.latency_ms,
        config: key.settings.clone(),
        created_at: key.created_at.rfc3339(),
        updated_at: key.updated_at.rfc3339(),
        rotation: key.rotation.clone(),
        generation: key.generation,
        role: key.role,
    }
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::List { provider } => list(context, provider.as_deref()).await?,
        Command::Show { provider, number } => {
            let engine = context.engine().await?;
            let key = commands::numbered(&engine, &provider, number).await?;
            context.out.value(&row(&key), one)?;
        }
        Command::Test { provider, number, all: _ } => return test(context, provider, number).await,
        Command::Delete { provider, number, at_provider } => {
            delete(context, &provider, number, at_provider).await?;
        }
        Command::Add {
            provider,
            name,
            priority,
            settings,
            api_secret_file,
            secret_stdin,
            inactive,
            no_test,
            billed_probe,
        } => {
            let mut settings = settings.map_or(Ok(serde_json::json!({})), |text| parse_settings(&text))?;
            if let Some(model) = billed_probe {
                settings["billed_probe"] = Value::String(model);
            }
            let api_secret = api_secret_file.map(|path| std::fs::read_to_string(&path)).transpose()?;
            let secret = if secret_stdin {
                Secret::new(super::output::piped()?.trim_end_matches(['\n', '\r']).to_owned())
            } else {
                secret(&format!("{provider} key"))?
            };
            let add = AddKey {
                provider,
                name,
                priority,
                secret,
                api_secret: api_secret.map(|text| Secret::new(text.trim_end().to_owned())),
                settings,
                is_active: !inactive,
                test: !no_test,
            };
            let added = commands::add_key(&context.engine().await?, add).await?;
            if let Some(warning) = &added.warning {
                eprintln!("warning: {warning}");
            }
            context.out.value(&row(&added.key), |row| {
                format!(
                    "stored {} as {} number {}: {}",
                    row.masked_key,
                    row.provider_type,
                    or_dash(row.number.as_ref()),
                    row.status
                )
            })?;
        }
    }
    Ok(0)
}

fn parse_settings(text: &str) -> anyhow::Result<Value> {
    let wrong = |text: String| crate::app::Misconfigured { text, hint: None };
    let value: Value =
        serde_json::from_str(text).map_err(|error| wrong(format!("--settings is not JSON: {error}")))?;
    if !value.is_object() {
        return Err(wrong("--settings is not a JSON object".to_owned()).into());
    }
    Ok(value)
}

/// Tests now. Exit status 1 when the provider does not accept one of the keys.
async fn test(context: &Context, provider: Option<String>, number: Option<i64>) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    let which = match (provider, number) {
        (Some(provider), Some(number)) => {
            Which::Key(commands::numbered(&engine, &provider, number).await?.id)
        }
        (Some(provider), None) => Which::Provider(provider),
        (None, _) => Which::All,
    };
    let report =
        commands::check_keys(&engine, &Scope { which, why: Why::Person }, &CancellationToken::new()).await?;
    if report.busy {
        anyhow::bail!("another rekeyd process has been testing keys for a minute; try again");
    }
    let headers = ["provider", "no", "name", "key", "outcome", "reason", "latency", "status", "detail"];
    context.out.rows(&report.keys, &headers, |key| {
        vec![
            key.provider_type.clone(),
            or_dash(key.number.as_ref()),
            key.name.clone(),
            key.masked_key.clone(),
            key.outcome.clone(),
            or_dash(key.reason.as_ref()),
            format!("{} ms", key.latency_ms),
            key.status.clone(),
            key.detail.clone(),
        ]
    })?;
    for rotation in &report.healing {
        eprintln!(
            "rotation {rotation}: its key is dead and is being replaced; follow it with `rekeyd runs list`"
        );
    }
    Ok(u8::from(report.any_invalid()))
}

async fn list(context: &Context, provider: Option<&str>) -> anyhow::Result<()> {
    let engine = context.engine().await?;
    if let Some(name) = provider {
        commands::provider_of(&engine, name).await?;
    }
    let keys = engine.store().keys().await?;
    let shown = keys.iter().filter(|key| key.role != Role::Dead);
    let rows: Vec<Row> =
        shown.filter(|key| provider.is_none_or(|name| key.provider == name)).map(row).collect();
    let headers =
        ["provider", "no", "name", "key", "priority", "active", "status", "rotation", "last tested"];
    context.out.rows(&rows, &headers, |row| {
        vec![
            row.provider_type.clone(),
            or_dash(row.number.as_ref()),
            row.name.clone(),
            row.masked_key.clone(),
            row.priority.to_string(),
            if row.is_active { "yes" } else { "no" }.to_owned(),
            row.status.clone(),
            row.rotation.as_ref().map_or_else(
                || "-".to_owned(),
                |name| {
                    format!(
                        "{name} generation {} ({})",
                        or_dash(row.generation.as_ref()),
                        role_word(row.role)
                    )
                },
            ),
            or_dash(row.last_tested_at.as_ref()),
        ]
    })
}

fn role_word(role: Role) -> &'static str {
    role.word()
}

fn one(row: &Row) -> String {
    let cells = [
        ("provider", row.provider_type.clone()),
        ("number", or_dash(row.number.as_ref())),
        ("name", row.name.clone()),
        ("key", row.masked_key.clone()),
        ("priority", row.priority.to_string()),
        ("active", row.is_active.to_string()),
        ("status", row.status.clone()),
        ("detail", or_dash(row.status_detail.as_ref())),
        ("rotation", or_dash(row.rotation.as_ref())),
        ("generation", or_dash(row.generation.as_ref())),
        ("role", role_word(row.role).to_owned()),
        ("last tested", or_dash(row.last_tested_at.as_ref())),
        ("created", row.created_at.clone()),
    ];
    table(&["field", "value"], cells.into_iter().map(|(field, value)| vec![field.to_owned(), value]))
}

async fn delete(context: &Context, provider: &str, number: i64, at_provider: bool) -> anyhow::Result<()> {
    let engine = context.engine().await?;
    let key = commands::numbered(&engine, provider, number).await?;
    let place = if at_provider { "from the store and at the provider" } else { "from the store" };
    if !context.out.confirm(&format!("Delete {provider} key number {number} ({}) {place}?", key.mask))? {
        eprintln!("nothing was deleted");
        return Ok(());
    }
    let key = commands::delete_key(&engine, provider, number, at_provider).await?;
    context.out.value(&serde_json::json!({ "deleted": number, "at_provider": at_provider }), |_| {
        if at_provider {
            format!("deleted {} from the store and at the provider", key.mask)
        } else {
            format!("deleted {} from the store; the provider still honours it", key.mask)
        }
    })
}
