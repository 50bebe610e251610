//! `keys add-bulk`, `keys import`: many keys at once.

use std::path::Path;

use anyhow::Context as _;

use super::super::Context;
use super::super::output::{Column, column, or_dash, progress, say, secret_lines, whole};
use crate::app::{self, Misconfigured};
use crate::crypto::SecretRef;
use crate::domain::secret::Secret;
use crate::engine::Engine;
use crate::engine::commands;
use crate::engine::commands::{Import, ImportView, ImportedView};

/// Nobody keeps more keys in one file.
const AT_MOST: u64 = 16 << 20;

/// How many keys are taken over.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct How {
    /// Do not ask the providers first
    #[arg(long)]
    no_test: bool,
    /// Answer the same, and store nothing
    #[arg(long)]
    dry_run: bool,
}

const ROWS: &[Column<ImportedView>] = &[
    column("line", |row| row.line.to_string()),
    column("provider", |row| or_dash(row.provider_type.as_ref())),
    column("key", |row| row.masked_key.clone()),
    column("outcome", |row| row.outcome.to_owned()),
    column("no", |row| or_dash(row.number.as_ref())),
    column("detail", |row| or_dash(row.detail.as_ref())),
];

/// What somebody pastes or pipes.
pub(super) async fn add(context: &Context, provider: Option<&str>, how: &How) -> anyhow::Result<u8> {
    let text = secret_lines("key (empty: no more)", AT_MOST)?;
    take_over(context, &context.engine().await?, &text, provider, None, how).await
}

/// What is in a file, or in the tables of an application's database.
pub(super) async fn import(
    context: &Context,
    from: &str,
    fernet_key: Option<&str>,
    how: &How,
) -> anyhow::Result<u8> {
    let fernet_key = fernet_key.map(|text| reference(text, "--fernet-key")).transpose()?;
    let text = read(context, from).await?;
    take_over(context, &context.engine().await?, &text, None, fernet_key.as_ref(), how).await
}

async fn read(context: &Context, from: &str) -> anyhow::Result<Secret> {
    if from.starts_with("postgres://") || from.starts_with("postgresql://") {
        let text = "a database URL has a password in it, which does not belong into a command".to_owned();
        let hint = Some("write it to a file that only you can read, and say file:/path".to_owned());
        return Err(Misconfigured { text, hint }.into());
    }
    if from == "-" {
        return whole(std::io::stdin(), "stdin", AT_MOST);
    }
    if let Ok(url) = SecretRef::parse(from) {
        return app::application_keys(&context.settings()?, &url).await;
    }
    let file = std::fs::File::open(Path::new(from)).with_context(|| from.to_owned())?;
    whole(file, from, AT_MOST)
}

fn reference(text: &str, field: &str) -> anyhow::Result<SecretRef> {
    let wrong = |error| Misconfigured { text: format!("{field}: {error}"), hint: None };
    Ok(SecretRef::parse(text).map_err(wrong)?)
}

/// Stores what can be stored, and says of each line what became of it. Exit status 1 when no line had a key.
async fn take_over(
    context: &Context,
    engine: &Engine,
    text: &Secret,
    provider: Option<&str>,
    fernet_key: Option<&SecretRef>,
    how: &How,
) -> anyhow::Result<u8> {
    let ring = fernet_key.map(app::foreign_ring).transpose()?;
    let rows = commands::read_pasted(engine, text.expose(), provider).await?;
    let rows = commands::decrypted(rows, ring.as_ref());
    let bar = progress(rows.len());
    let import = Import { rows, test: !how.no_test, dry_run: how.dry_run };
    let done = commands::import(engine, import, &mut |count| bar.inc(count as u64)).await;
    bar.finish_and_clear();
    let view = ImportView::from(commands::imported_views(done?));
    context.out.rows(&view.rows, ROWS)?;
    let ImportView { rows, added, known, placeholders, refused } = view;
    let stored = if how.dry_run { "nothing was stored; without --dry-run: " } else { "" };
    say!("{stored}added {added}, known already {known}, placeholders {placeholders}, refused {refused}");
    Ok(u8::from(rows.len() == refused))
}
