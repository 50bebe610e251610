//! `config check | show | schema`.

use super::Context;
use super::output::line;
use crate::app::{Misconfigured, check_places};
use crate::config::{load, schema_json};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Validate the files and every secret reference in them
    Check,
    /// Print the effective configuration; references are shown, never resolved
    Show,
    /// Print the JSON Schema of the configuration
    Schema,
}

pub(super) fn run(context: &Context, command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Schema => line(&schema_json())?,
        Command::Show => {
            let loaded = load(context.config.as_deref())?;
            context.out.value(&loaded.effective.to_json(), |_| loaded.effective.to_toml())?;
        }
        Command::Check => check(context)?,
    }
    Ok(0)
}

fn check(context: &Context) -> anyhow::Result<()> {
    let loaded = load(context.config.as_deref())?;
    let problems = loaded.settings.check_references();
    if !problems.is_empty() {
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        return Err(
            Misconfigured { text: format!("references that do not resolve\n{text}"), hint: None }.into()
        );
    }
    check_places(&loaded.settings)?;
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    context.out.value(&serde_json::json!({ "valid": true, "files": files }), |_| {
        let fixed = if loaded.settings.has_credentials() {
            "\nsystemd fixes credentials at start: after changing one, restart the service"
        } else {
            ""
        };
        format!("valid: {}{fixed}", files.join(", "))
    })
}
