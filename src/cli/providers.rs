//! `providers list | show | add | delete`.

use super::Context;
use super::output::{Column, card, column, or_dash};
use crate::cli::output::say;
use crate::engine::commands;
use crate::engine::commands::{AddProvider, ProviderView};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The catalog, and providers that were added
    List,
    /// One provider: where it is, what its keys look like, how they are
    Show {
        /// Name of the provider
        name: String,
    },
    /// Add a provider under a name of your own
    Add {
        /// Its name, like vision-nova
        name: String,
        /// Its row of the catalog, whose tests it has
        #[arg(long, default_value = "custom")]
        kind: String,
        /// Where its API is, else where the catalog says
        #[arg(long, value_name = "URL")]
        base_url: Option<String>,
        /// Its name for people
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
    },
    /// Remove a provider and all its keys from the store; the vendor still honours them
    Delete {
        /// Name of the provider
        name: String,
    },
}

const PROVIDERS: &[Column<ProviderView>] = &[
    column("provider", |row| row.provider_type.clone()),
    column("kind", |row| row.kind.clone()),
    column("status", |row| row.status.clone()),
    column("keys", |row| row.keys_total.to_string()),
    column("valid", |row| row.keys_valid.to_string()),
    column("title", |row| row.name.clone()),
];

const ONE: &[Column<ProviderView>] = &[
    column("provider", |row| row.provider_type.clone()),
    column("kind", |row| row.kind.clone()),
    column("title", |row| row.name.clone()),
    column("about", |row| row.description.to_owned()),
    column("base URL", |row| or_dash(row.base_url.as_ref())),
    column("keys look like", |row| row.key_format.to_owned()),
    column("documented at", |row| row.docs_url.to_owned()),
    column("good for", |row| {
        row.capabilities.iter().map(|capability| capability.word()).collect::<Vec<_>>().join(", ")
    }),
    column("status", |row| row.status.clone()),
    column("keys", |row| format!("{}, {} of them valid", row.keys_total, row.keys_valid)),
];

/// Masks that are named one by one.
const NAMED: usize = 10;

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::List => context.out.rows(&commands::provider_views(&engine).await?, PROVIDERS)?,
        Command::Show { name } => {
            context.out.value(&commands::provider_view(&engine, &name).await?, |row| card(ONE, row))?;
        }
        Command::Add { name, kind, base_url, title } => {
            let add = AddProvider { name, kind: Some(kind), base_url, title };
            let row = commands::add_provider(&engine, add).await?;
            context.out.value(&commands::provider_view(&engine, &row.name).await?, |row| {
                format!(
                    "added {} of kind {} at {}; `rekeyd keys add {}` stores a key of it",
                    row.provider_type,
                    row.kind,
                    or_dash(row.base_url.as_ref()),
                    row.provider_type
                )
            })?;
        }
        Command::Delete { name } => {
            let (_, keys) = commands::removable(&engine, &name).await?;
            let question = match keys.len() {
                0 => format!("Delete provider {name}?"),
                1 => format!("Delete provider {name} and its key from the store?"),
                n => format!("Delete provider {name} and all its {n} keys from the store?"),
            };
            if !context.out.confirm(&question)? {
                say!("nothing was deleted");
                return Ok(0);
            }
            let keys = commands::delete_provider(&engine, &name).await?;
            let view = commands::deleted_provider_view(&name, &keys);
            let honoured = still_honoured(&view.still_honoured);
            context.out.value(&view, |_| format!("deleted provider {name}{honoured}"))?;
        }
    }
    Ok(0)
}

/// What the vendor knows nothing of.
fn still_honoured(masks: &[String]) -> String {
    match masks {
        [] => String::new(),
        [one] => format!("; the vendor still honours its key {one}"),
        all => {
            let more = all.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            format!("; the vendor still honours its {} keys: {named}{more}", all.len())
        }
    }
}
