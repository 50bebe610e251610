//! `encryption generate-key | reencrypt`.

use super::Context;
use super::output::line;
use crate::app;
use crate::crypto::{Sealed, fernet};
use crate::engine::{EngineError, commands};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a new Fernet key, for `BYOK_ENCRYPTION_KEY`
    GenerateKey,
    /// Seal every stored secret with the first encryption key
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
    let ring = app::ring(&context.settings()?)?;
    let seal = |token: &str| -> Result<Option<String>, EngineError> {
        let sealed = Sealed::from_stored(token);
        if ring.sealed_by_first(&sealed) {
            return Ok(None);
        }
        let secret = ring.open(&sealed).map_err(EngineError::Crypto)?;
        Ok(Some(ring.seal(&secret).as_str().to_owned()))
    };
    context.out.value(&commands::reseal(&engine, seal).await?, |view| {
        let changed = view.resealed;
        format!("{changed} secrets sealed with the first key; the others may go once every replica has the new list")
    })
}
