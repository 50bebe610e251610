//! `db migrate | status | backup`.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::Context;
use crate::app::{self, Misconfigured};
use crate::store::Kind;

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
            store.migrate().await?;
            let status = store.schema().await?;
            context.out.value(&status, |s| format!("schema version {} of {}", s.applied, s.known))?;
        }
        Command::Status => {
            let status = store.schema().await?;
            let value =
                json!({ "database": store.kind().word(), "applied": status.applied, "known": status.known });
            context.out.value(&value, |_| {
                format!("{}, schema version {} of {}", store.kind().word(), status.applied, status.known)
            })?;
        }
        Command::Backup { file } => {
            if store.kind() == Kind::Postgres {
                return Err(Misconfigured {
                    text: "rekeyd backs up SQLite only".to_owned(),
                    hint: Some("use pg_dump for PostgreSQL".to_owned()),
                }
                .into());
            }
            if file.exists() {
                bail!("{} exists", file.display());
            }
            store.backup(&file).await?;
            context.out.value(&json!({ "file": file }), |_| {
                format!(
                    "wrote {}\nits secrets are sealed: keep the encryption key too, elsewhere",
                    file.display()
                )
            })?;
        }
    }
    Ok(0)
}
