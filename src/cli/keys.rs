//! `keys list | add | show | test | delete`.

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::output::{Column, card, column, or_dash, secret, yes_or_no};
use crate::cli::output::say;
use crate::domain::secret::Secret;
use crate::engine::commands;
use crate::engine::commands::{AddKey, DeletedKeyView, KeyView, Scope, TestedKeyView, Which, Why};

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

const KEYS: &[Column<KeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("no", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("priority", |key| key.priority.to_string()),
    column("active", |key| yes_or_no(key.is_active)),
    column("status", |key| key.status.clone()),
    column("rotation", |key| or_dash(key.rotation.as_ref().map(|name| place_in(name, key)).as_ref())),
    column("last tested", |key| or_dash(key.last_tested_at.as_ref())),
];

const ONE: &[Column<KeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("number", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("priority", |key| key.priority.to_string()),
    column("active", |key| key.is_active.to_string()),
    column("status", |key| key.status.clone()),
    column("detail", |key| or_dash(key.status_detail.as_ref())),
    column("rotation", |key| or_dash(key.rotation.as_ref())),
    column("generation", |key| or_dash(key.generation.as_ref())),
    column("role", |key| key.role.to_owned()),
    column("last tested", |key| or_dash(key.last_tested_at.as_ref())),
    column("created", |key| key.created_at.clone()),
];

const TESTED: &[Column<TestedKeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("no", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("outcome", |key| key.outcome.clone()),
    column("reason", |key| or_dash(key.reason.as_ref())),
    column("latency", |key| format!("{} ms", key.latency_ms)),
    column("status", |key| key.status.clone()),
    column("detail", |key| key.detail.clone()),
];

fn place_in(rotation: &str, key: &KeyView) -> String {
    format!("{rotation} generation {} ({})", or_dash(key.generation.as_ref()), key.role)
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::List { provider } => {
            let engine = context.engine().await?;
            context.out.rows(&commands::key_views(&engine, provider.as_deref()).await?, KEYS)?;
        }
        Command::Show { provider, number } => {
            let engine = context.engine().await?;
            let key = commands::numbered(&engine, &provider, number).await?;
            context.out.value(&commands::key_view(&key), |key| card(ONE, key))?;
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
            let mut settings = settings
                .map_or_else(|| Ok(Value::Object(serde_json::Map::new())), |text| parse_settings(&text))?;
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
                say!("warning: {warning}");
            }
            context.out.value(&commands::key_view(&added.key), |key| {
                let number = or_dash(key.number.as_ref());
                format!("stored {} as {} number {number}: {}", key.masked_key, key.provider_type, key.status)
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
    let invalid = report.any_invalid();
    let keys: Vec<TestedKeyView> = report.keys.into_iter().map(commands::tested_key_view).collect();
    context.out.rows(&keys, TESTED)?;
    for rotation in &report.healing {
        say!("rotation {rotation}: its key is dead and is being replaced; follow it with `rekeyd runs list`");
    }
    Ok(u8::from(invalid))
}

async fn delete(context: &Context, provider: &str, number: i64, at_provider: bool) -> anyhow::Result<()> {
    let engine = context.engine().await?;
    let key = commands::numbered(&engine, provider, number).await?;
    let place = if at_provider { "from the store and at the provider" } else { "from the store" };
    if !context.out.confirm(&format!("Delete {provider} key number {number} ({}) {place}?", key.mask))? {
        say!("nothing was deleted");
        return Ok(());
    }
    let key = commands::delete_key(&engine, provider, number, at_provider).await?;
    context.out.value(&DeletedKeyView { at_provider, deleted: number }, |_| {
        if at_provider {
            format!("deleted {} from the store and at the provider", key.mask)
        } else {
            format!("deleted {} from the store; the provider still honours it", key.mask)
        }
    })
}
