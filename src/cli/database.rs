//! `db migrate | status | backup`.

use std::path::PathBuf;

use anyhow::bail;

use super::Context;
use crate::app;
use crate::engine::commands;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Bring the schema up to date; the daemon does this at start too
    Migrate,
    /// Which database, and where its schema stands
    Status,
    /// Write a consistent copy of a SQLite database to a new file
    Backup {
        /// The file; must not exist
        file: PathBuf,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let store = app::open_store(&context.settings()?).await?;
    match command {
        Command::Migrate => {
            let schema = commands::migrate(&store).await?;
            context.out.value(&schema, |s| format!("schema version {} of {}", s.applied, s.known))?;
        }
        Command::Status => {
            context.out.value(&commands::database_view(&store).await?, |view| {
                format!("{}, schema version {} of {}", view.database, view.applied, view.known)
            })?;
        }
        Command::Backup { file } => {
            commands::can_back_up(&store)?;
            if file.exists() {
                bail!("{} exists", file.display());
            }
            context.out.value(&commands::backup(&store, file).await?, |copy| {
                let file = copy.file.display();
                format!("wrote {file}\nits secrets are sealed: keep the encryption key too, elsewhere")
            })?;
        }
    }
    Ok(0)
}
