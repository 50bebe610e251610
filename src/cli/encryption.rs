//! `encryption generate-key | reencrypt`.

use super::Context;
use super::output::line;
use crate::crypto::fernet;
use crate::engine::commands;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a new Fernet key, for `BYOK_ENCRYPTION_KEY`
    GenerateKey,
    /// Make the first encryption key the one that seals, beside living daemons: every secret is sealed with it and proved
    Reencrypt,
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::GenerateKey => line(fernet::generate_key().expose())?,
        Command::Reencrypt => reencrypt(context).await?,
    }
    Ok(0)
}

async fn reencrypt(context: &Context) -> anyhow::Result<()> {
    let engine = context.engine().await?;
    context.out.value(&commands::reencrypt(&engine).await?, |view| {
        let changed = view.resealed;
        format!(
            "{changed} secrets sealed with the first key; all of them open with it alone, so the others may leave the \
             list everywhere"
        )
    })
}
