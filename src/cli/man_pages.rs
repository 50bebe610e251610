//! `completions SHELL` and `man`: made from the one definition of the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rekeyd", &mut script);
    print(&script)
}

/// Prints one page about all commands, or writes one page a command into a folder.
pub(super) fn man(out: Option<PathBuf>) -> anyhow::Result<()> {
    let Some(folder) = out else { return print(&page()?) };
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    pages(&folder)
}

fn pages(folder: &Path) -> anyhow::Result<()> {
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder).with_context(|| folder.display().to_string())
}

/// One page: the program, then a section for each command that can be run.
fn page() -> std::io::Result<Vec<u8>> {
    let command = Cli::command().disable_help_subcommand(true);
    let mut roff = Vec::new();
    let head = Man::new(command.clone());
    head.render_title(&mut roff)?;
    head.render_name_section(&mut roff)?;
    head.render_synopsis_section(&mut roff)?;
    head.render_description_section(&mut roff)?;
    head.render_options_section(&mut roff)?;
    roff.extend_from_slice(b".SH COMMANDS\n");
    for command in command.get_subcommands() {
        section(command, "rekeyd", &mut roff)?;
    }
    roff.extend_from_slice(
        b".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed\n.TP\n2\nusage or configuration, a wrong encryption key too\n\
          .TP\n3\nrefused by a safety rule\n\
          .SH FILES\n.TP\n/etc/rekeyd/rekeyd.toml\nthe configuration; drop\\-ins in rekeyd.d beside it\n\
          .TP\n/etc/rekeyd/credentials\nthe secrets it refers to\n\
          .TP\n/var/lib/rekeyd/rekeyd.db\nthe store\n",
    );
    Ok(roff)
}

/// A command below `parent`, or all that are below it. Global options stand at the top of the page only.
fn section(command: &Command, parent: &str, roff: &mut Vec<u8>) -> std::io::Result<()> {
    let name = format!("{parent} {}", command.get_name());
    if command.has_subcommands() {
        return command.get_subcommands().try_for_each(|below| section(below, &name, roff));
    }
    let alone = command.clone().bin_name(&name).disable_help_flag(true).disable_version_flag(true);
    let man = Man::new(alone);
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    writeln!(roff, ".SS \"{}\"", name.replace('-', "\\-"))?;
    for line in String::from_utf8_lossy(&text).lines() {
        // Sections of a page of its own become paragraphs of this one.
        let line = if line.starts_with(".SH ") { ".PP" } else { line };
        writeln!(roff, "{line}")?;
    }
    Ok(())
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("stdout"),
    }
}
