//! Tables for people, JSON for programs; confirmations and prompts.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::domain::secret::Secret;

/// Where data goes and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
    yes: bool,
}

impl Output {
    pub(super) fn new(json: bool, yes: bool) -> Self {
        Self { json, yes }
    }

    /// One value as JSON, or what `text` makes of it.
    pub(super) fn value<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { text(value) };
        line(&text)
    }

    /// Rows as a JSON array, or as a table with these headers.
    pub(super) fn rows<T: Serialize>(
        self,
        rows: &[T],
        headers: &[&str],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        if self.json {
            return line(&serde_json::to_string_pretty(rows)?);
        }
        if rows.is_empty() {
            eprintln!("(none)");
            return Ok(());
        }
        line(&table(headers, rows.iter().map(cells)))
    }

    /// Whether questions can be asked: somebody sits at a terminal and did not say `--yes`.
    pub(super) fn asks(self) -> bool {
        !self.yes && std::io::stdin().is_terminal()
    }

    /// Asks before something that cannot be undone; `--yes` answers. Without a terminal the answer is no.
    pub(super) fn confirm(self, question: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!("{question} Say --yes to confirm.");
        }
        Ok(dialoguer::Confirm::new().with_prompt(question).default(false).interact()?)
    }
}

/// A plain table that copies well out of a terminal.
pub(super) fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// One piece of data on stdout; a closed pipe ends quietly.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("stdout"),
    }
}

/// A secret from the keyboard without echo, or from a pipe. Never from argv.
pub(super) fn secret(prompt: &str) -> anyhow::Result<Secret> {
    let text = if std::io::stdin().is_terminal() {
        dialoguer::Password::new().with_prompt(prompt).interact()?
    } else {
        piped()?
    };
    Ok(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// All of stdin, at most 64 KiB.
pub(super) fn piped() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut text).context("stdin")?;
    Ok(text)
}

/// A dash where there is nothing.
pub(super) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
