//! `keys list | suggest | show | add | add-bulk | import | update | activate | deactivate | set-priority | get | test | delete`.

mod bulk;
mod command;
mod flags;
mod history;
mod tables;

use tokio_util::sync::CancellationToken;

pub(super) use self::command::Command;
use self::flags::Flags;
use self::tables::{KEYS, ONE, SUGGESTIONS, TESTED};
use super::Context;
use super::output::{card, or_dash};
use crate::cli::output::say;
use crate::engine::Engine;
use crate::engine::commands;
use crate::engine::commands::{
    Ask, DeletedKeyView, KeyQuery, KeyView, Scope, Strategy, TestedKeyView, UpdateKey, Which, Why,
};

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::List(asked) => list(context, asked.into()).await?,
        Command::Suggest => suggest(context).await?,
        Command::Update { provider, number, flags } => {
            let engine = context.engine().await?;
            let key = commands::numbered(&engine, &provider, number).await?;
            let changes = flags.update(&format!("new key of {provider} number {number}"), &key.settings)?;
            update(context, &engine, &provider, number, changes).await?;
        }
        Command::AddBulk { provider, how } => return bulk::add(context, provider.as_deref(), &how).await,
        Command::Import { from, fernet_key, how } => {
            return bulk::import(context, &from, fernet_key.as_deref(), &how).await;
        }
        Command::Get { provider, number, random, name, fallback, preference } => {
            let strategy = match (number, name) {
                (Some(number), _) => Strategy::Number(number),
                (None, Some(name)) => Strategy::Name(name),
                (None, None) if random => Strategy::Random,
                (None, None) => Strategy::Best,
            };
            let ask = Ask { provider, strategy, fallback, preference, only: None };
            let given = commands::hand_out(&context.engine().await?, &ask).await?;
            context.out.value(&commands::credential_view(&given), |view| view.key.0.expose().to_owned())?;
        }
        Command::Activate { provider, number } => {
            let changes = UpdateKey { is_active: Some(true), ..UpdateKey::default() };
            update(context, &context.engine().await?, &provider, number, changes).await?;
        }
        Command::Deactivate { provider, number } => {
            let changes = UpdateKey { is_active: Some(false), ..UpdateKey::default() };
            update(context, &context.engine().await?, &provider, number, changes).await?;
        }
        Command::SetPriority { provider, number, priority } => {
            let changes = UpdateKey { priority: Some(priority), ..UpdateKey::default() };
            update(context, &context.engine().await?, &provider, number, changes).await?;
        }
        Command::Show { provider, number } => {
            let engine = context.engine().await?;
            let key = commands::numbered(&engine, &provider, number).await?;
            let shown = commands::shown_key_view(&engine, &key).await?;
            context.out.value(&shown, |shown| {
                format!("{}\n\n{}", card(ONE, &shown.key), history::drawn(&shown.history))
            })?;
        }
        Command::Test { provider, number, all: _ } => return test(context, provider, number).await,
        Command::Delete { provider, number, at_provider } => {
            delete(context, &provider, number, at_provider).await?;
        }
        Command::Add { provider, flags } => add(context, provider, flags).await?,
    }
    Ok(0)
}

async fn list(context: &Context, query: KeyQuery) -> anyhow::Result<()> {
    let page = commands::find_keys(&context.engine().await?, query).await?;
    context.out.rows(&page.keys, KEYS)?;
    let shown = i64::try_from(page.keys.len()).unwrap_or(i64::MAX);
    if shown < page.total {
        say!("{shown} of {}; --limit {} shows all", page.total, page.total);
    }
    Ok(())
}

async fn suggest(context: &Context) -> anyhow::Result<()> {
    let found = commands::suggest(&context.engine().await?).await?;
    context.out.rows(&found.suggestions, SUGGESTIONS)?;
    for (account, why) in &found.not_asked {
        say!("account {account} could not be asked for limits and use: {why}");
    }
    if found.suggestions.is_empty() {
        say!("nothing to tidy up");
    }
    Ok(())
}

async fn add(context: &Context, provider: Option<String>, flags: Flags) -> anyhow::Result<()> {
    let (engine, add) = if let Some(provider) = provider {
        let add = flags.add(provider)?;
        (context.engine().await?, add)
    } else {
        let engine = context.engine().await?;
        let providers = commands::provider_names(&engine).await?;
        (engine, flags::asked(flags, &providers)?)
    };
    let added = commands::add_key(&engine, add).await?;
    if let Some(warning) = &added.warning {
        say!("warning: {warning}");
    }
    context.out.value(&commands::key_view(&added.key), |key| {
        let number = or_dash(key.number.as_ref());
        format!("stored {} as {} number {number}: {}", key.masked_key, key.provider_type, key.status)
    })
}

async fn update(
    context: &Context,
    engine: &Engine,
    provider: &str,
    number: i64,
    changes: UpdateKey,
) -> anyhow::Result<()> {
    let updated = commands::update_key(engine, provider, number, changes).await?;
    if let Some(warning) = &updated.warning {
        say!("warning: {warning}");
    }
    if let Some(mask) = &updated.replaced {
        say!("the provider still honours the key that it replaces, {mask}");
    }
    context.out.value(&commands::key_view(&updated.key), standing)
}

/// One key in one line.
fn standing(key: &KeyView) -> String {
    format!(
        "{} number {} ({}): {}, priority {}, {}",
        key.provider_type,
        or_dash(key.number.as_ref()),
        key.masked_key,
        if key.is_active { "active" } else { "inactive" },
        key.priority,
        key.status
    )
}

/// Tests now. Exit status 1 when the provider does not accept one of the keys.
async fn test(context: &Context, provider: Option<String>, number: Option<i64>) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    let which = match (provider, number) {
        (Some(provider), Some(number)) => {
            Which::Key(commands::testable(&engine, &provider, number).await?.id)
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
