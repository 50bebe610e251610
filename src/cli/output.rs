//! Tables for people, JSON for programs; confirmations and prompts. The only file that writes to a terminal: names that
//! others gave are shown as they are there (`domain::plain`), and nothing that looks like a key goes to stderr.
//!
//! A table is one list of [`Column`]s over a view of `engine/commands/view`: each names its head and what it shows of
//! a row, so that the two cannot part, and JSON is the view that the cells read.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::domain::plain;
use crate::domain::secret::{Secret, redact};

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
        if self.json { json(value) } else { line(&text(value)) }
    }

    /// Rows as a JSON array, or as a table of these columns.
    pub(super) fn rows<T: Serialize>(self, rows: &[T], columns: &[Column<T>]) -> anyhow::Result<()> {
        if self.json {
            return json(&rows);
        }
        if rows.is_empty() {
            say!("(none)");
            return Ok(());
        }
        line(&table(columns, rows))
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
        Ok(dialoguer::Confirm::new().with_prompt(plain::line(question)).default(false).interact()?)
    }
}

/// A column of a table: its head, and what it shows of a row.
#[derive(Debug)]
pub(super) struct Column<T> {
    head: &'static str,
    cell: Cell<T>,
}

#[derive(Debug)]
enum Cell<T> {
    /// One line, whatever names stand in it.
    Line(fn(&T) -> String),
    /// Several, each of its own.
    Lines(fn(&T) -> Vec<String>),
}

impl<T> Cell<T> {
    fn of(&self, row: &T) -> String {
        match self {
            Self::Line(cell) => plain::line(&cell(row)).into_owned(),
            Self::Lines(cell) => {
                cell(row).iter().map(|line| plain::line(line).into_owned()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// A column by its head and its cell.
pub(super) const fn column<T>(head: &'static str, cell: fn(&T) -> String) -> Column<T> {
    Column { head, cell: Cell::Line(cell) }
}

/// A column whose cells have several lines.
pub(super) const fn column_of_lines<T>(head: &'static str, cell: fn(&T) -> Vec<String>) -> Column<T> {
    Column { head, cell: Cell::Lines(cell) }
}

/// A plain table that copies well out of a terminal.
pub(super) fn table<T>(columns: &[Column<T>], rows: &[T]) -> String {
    let cells = rows.iter().map(|row| columns.iter().map(|column| column.cell.of(row)).collect());
    lay_out(columns.iter().map(|column| column.head), cells)
}

/// One row as a table of its own: a line for each column.
pub(super) fn card<T>(columns: &[Column<T>], row: &T) -> String {
    let lines = columns.iter().map(|column| vec![column.head.to_owned(), column.cell.of(row)]);
    lay_out(["field", "value"].into_iter(), lines)
}

fn lay_out<'h>(heads: impl Iterator<Item = &'h str>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heads.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// One piece of data on stdout.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    out(&plain::lines(text))
}

/// The same as JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    out(&plain::json(&serde_json::to_string_pretty(value)?))
}

/// One value as JSON on one line.
pub(super) fn json_line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    out(&plain::json(&serde_json::to_string(value)?))
}

/// A line on stderr.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::output::tell(&format!($($words)*)) };
}
pub(super) use say;

/// What [`say!`] writes. A closed pipe is not worth a word.
pub(super) fn tell(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", plain::lines(&redact(text, &[]))));
}

/// A closed pipe ends quietly.
fn out(text: &str) -> anyhow::Result<()> {
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

/// Yes or no.
pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// A dash where there is nothing.
pub(super) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
