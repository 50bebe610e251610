//! Every command that is written down is one that the program knows, and the synopsis names every one that it knows.
//!
//! A command is what stands in backticks, or at the beginning of a line of an example, and begins with `rekeyd` or with
//! a group and a word below it. Words in capitals and in braces stand for a value. A command that only lacks arguments
//! is fine: prose names commands so.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::pages::{Page, spans};
use super::texts::{self, Text};
use super::{none, root};

const PROGRAM: &str = "rekeyd";

fn program() -> clap::Command {
    rekeyd::cli::Cli::command()
}

/// The groups and commands below the program.
fn groups() -> Vec<String> {
    program().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// A word that stands for a value: `NAME`, `{}`, `{name}`, `<NAME>`, `OWNER/NAME`, `"0 0 3 1 * *"`.
fn is_value(word: &str) -> bool {
    let capitals =
        word.chars().any(|c| c.is_ascii_uppercase()) && !word.chars().any(|c| c.is_ascii_lowercase());
    capitals || word.starts_with(['{', '<', '"', '\'', '/', '$'])
}

/// A command as the synopsis writes it, without the program's name, if that is what the text is.
fn command<'t>(text: &'t str, groups: &[String]) -> Option<&'t str> {
    let text = without_shell(text.trim());
    let called = text.strip_prefix("rekeyd ").map(str::trim_start);
    let text = called.unwrap_or(text);
    let mut words = text.split_whitespace();
    let first = words.next()?;
    // Without the program's name one word is no command: `keys` is a table, `audit` a word.
    let group = groups.iter().any(|group| group == first) && words.next().is_some();
    let lower = first.starts_with(|c: char| c.is_ascii_lowercase() || c == '-');
    ((called.is_some() && lower) || group).then(|| up_to_shell(text))
}

/// What an example puts before a command.
fn without_shell(text: &str) -> &str {
    let before = ["$ ", "sudo ", "-u rekeyd ", "cargo run -- "];
    let text = before.iter().fold(text, |text, before| text.strip_prefix(before).unwrap_or(text));
    text.strip_prefix("/usr/bin/").unwrap_or(text)
}

/// What follows a command: another one, a file, a comment, an etcetera.
fn up_to_shell(text: &str) -> &str {
    let ends = [" | ", " || ", " && ", " > ", " < ", " #", "; ", " \u{2026}", " ..."];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end_matches([';', ',', '\u{2026}'])
}

/// Why the program does not know a command.
fn objection(words: &[String]) -> Option<String> {
    let values = words.iter().map(|word| if is_value(word) { "1".to_owned() } else { word.clone() });
    let error = program().try_get_matches_from(std::iter::once(PROGRAM.to_owned()).chain(values)).err()?;
    // A value that only stands for one cannot be right.
    let unfit = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation)
        && words.iter().any(|word| is_value(word));
    let fine = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
            | ErrorKind::MissingRequiredArgument
    );
    (!fine && !unfit).then(|| format!("{PROGRAM} {}: {:?}", words.join(" "), error.kind()))
}

// --- commands in texts -----------------------------------------------------------------------------------------------

/// A text whose lines are whole: strings of Rust and examples of a shell go on behind a backslash.
fn joined(text: &str) -> String {
    text.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("")
}

/// Lines that are a command: of examples, of the annotated configuration, of what a program prints.
fn lines<'t>(text: &'t str, groups: &[String]) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(|line| {
        let line = without_shell(line.trim_start_matches(['#', '/', '!', ' ']));
        let said = line.strip_prefix("rekeyd ")?.split("  ").next()?;
        // Prose may begin with the program's name too; what has its words in columns is no prose.
        let in_columns = said.len() < line.len() - "rekeyd ".len();
        let group = groups.iter().any(|group| Some(group.as_str()) == said.split(' ').next());
        (group || in_columns).then(|| up_to_shell(said))
    })
}

/// The commands of a text that the program does not know.
fn unknown(text: &str, groups: &[String]) -> Vec<String> {
    let text = joined(text);
    let spans = spans(&text).filter_map(|span| command(span, groups));
    spans.chain(lines(&text, groups)).flat_map(|said| alternatives(said).objections()).collect()
}

/// Sources that print, pages that tell, files that explain themselves; not what tests plant, and not the synopsis.
fn is_asked(file: &Text) -> bool {
    let told = ["src/", "docs/", "config/", "systemd/", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    told.iter().any(|start| file.name.starts_with(start)) && !file.name.starts_with("docs/design/")
}

#[test]
fn commands_that_are_written_down_exist() {
    let groups = groups();
    let asked = texts::all().into_iter().filter(is_asked);
    let found = asked.flat_map(|file| {
        let found = unknown(&file.text, &groups);
        found.into_iter().map(move |what| format!("{}: {what}", file.name)).collect::<Vec<_>>()
    });
    none(&found.collect::<Vec<_>>());
}

#[test]
fn commands_of_the_design_exist_or_are_marked() {
    let groups = groups();
    let pages = texts::all().into_iter().filter(|file| file.name.starts_with("docs/design/"));
    let found = pages.flat_map(|file| {
        let built = Page::read(&file.text).built;
        let commands = spans(&built).filter_map(|span| command(span, &groups));
        let found: Vec<String> = commands.flat_map(|said| alternatives(said).objections()).collect();
        found
            .into_iter()
            .map(move |what| format!("{}: {what}, and is not marked", file.name))
            .collect::<Vec<_>>()
    });
    none(&found.collect::<Vec<_>>());
}

#[test]
fn planted_commands_that_are_not_there_are_seen() {
    let groups = groups();
    let fine = "`rekeyd why NAME`, `keys list --provider x`, `rekeyd rotations run {name} --leaked`, `runs abort`,\n\
                `rekeyd completions SHELL | less`, `keys`, `keys.rs`, `rekeyd`, `accounts keys NAME limit HASH USD`\n\
                # rekeyd db status   says where\n";
    assert_eq!(unknown(fine, &groups), Vec::<String>::new());
    for planted in [
        "  rekeyd runz list   shows\n",
        "`keys list --later`",
        "`rekeyd audit lists`",
        "    rekeyd runs stop ID   stops\n",
        "`rekeyd why A B`",
    ] {
        assert_eq!(unknown(planted, &groups).len(), 1, "{planted}");
    }
}

// --- the synopsis ----------------------------------------------------------------------------------------------------

/// One command of a line of the synopsis: what it must have, and each thing that it may have.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    base: Vec<String>,
    options: Vec<Vec<String>>,
}

/// Splits at a mark that stands outside of brackets and quotes.
fn outside(text: &str, mark: char) -> Vec<&str> {
    let (mut depth, mut quoted, mut from, mut parts) = (0, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' | '\'' => quoted = !quoted,
            _ if quoted => {}
            '[' => depth += 1,
            ']' => depth -= 1,
            c if c == mark && depth == 0 => {
                parts.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// What stands outside of brackets, and each of the ways to fill one of them.
fn alternatives(text: &str) -> Usage {
    let (mut base, mut options) = (Vec::new(), Vec::new());
    for part in outside(text, ' ').into_iter().filter(|part| !part.is_empty()) {
        match part.strip_prefix('[').and_then(|part| part.strip_suffix(']')) {
            None => base.push(part.to_owned()),
            Some(inner) => options.extend(outside(inner, '|').into_iter().flat_map(|choice| {
                let usage = alternatives(choice);
                let more = usage.options.iter().map(|more| [usage.base.clone(), more.clone()].concat());
                std::iter::once(usage.base.clone()).chain(more).collect::<Vec<_>>()
            })),
        }
    }
    Usage { base, options }
}

/// `rekeyd keys delete PROVIDER NUMBER [--at-provider] | show PROVIDER NUMBER`
fn usages(line: &str) -> Vec<Usage> {
    let line = line.split("  ").next().unwrap_or(line).trim_start_matches("rekeyd ");
    let choices: Vec<&str> = outside(line, '|').into_iter().map(str::trim).collect();
    let group = choices[0].split(' ').next().unwrap_or_default();
    let whole = choices.iter().enumerate().map(|(place, choice)| match place {
        0 => (*choice).to_owned(),
        _ => format!("{group} {choice}"),
    });
    whole.map(|choice| alternatives(&choice)).collect()
}

impl Usage {
    /// What it must have alone, and with each thing that it may have.
    fn ways(&self) -> impl Iterator<Item = Vec<String>> {
        let with = self.options.iter().map(|option| [self.base.clone(), option.clone()].concat());
        std::iter::once(self.base.clone()).chain(with)
    }

    /// Everything that it says exists.
    fn objections(&self) -> Vec<String> {
        self.ways().filter_map(|words| objection(&words)).collect()
    }

    /// The commands that it names, without values and options: `accounts keys`, `accounts keys list`.
    fn names(&self) -> Vec<String> {
        let name = |words: Vec<String>| {
            let words = words.into_iter().take_while(|word| !word.starts_with('-'));
            words.filter(|word| !is_value(word)).collect::<Vec<_>>().join(" ")
        };
        self.ways().map(name).collect()
    }

    /// Nothing of it does: neither the command nor, where there is one, any of its options.
    fn is_unbuilt(&self) -> bool {
        let with = |option: &Vec<String>| objection(&[self.base.clone(), option.clone()].concat()).is_some();
        objection(&self.base).is_some() || (!self.options.is_empty() && self.options.iter().all(with))
    }
}

/// What is wrong with the synopsis of a page.
fn synopsis_told_wrong(page: &str) -> Vec<String> {
    let commands = Page::code(page, "").into_iter().map(|(_, line)| line);
    let mut found = Vec::new();
    for line in commands.filter(|line| line.starts_with("rekeyd ")) {
        let marked = line.contains("# not built yet");
        for usage in usages(&line) {
            if !marked {
                found.extend(usage.objections());
            } else if !usage.is_unbuilt() {
                found.push(format!("{}: exists, take its mark away", usage.base.join(" ")));
            }
        }
    }
    found
}

/// A command and those below it, by their words, without groups that do nothing themselves.
fn callable(command: &clap::Command, words: &str) -> Vec<String> {
    let below = command.get_subcommands();
    let below = below.flat_map(|below| callable(below, format!("{words} {}", below.get_name()).trim_start()));
    let own = (!command.is_subcommand_required_set()).then(|| words.to_owned());
    own.into_iter().chain(below).collect()
}

/// The commands of a program that the synopsis of a page does not name, or only as not built.
fn untold(page: &str, program: &clap::Command) -> Vec<String> {
    let lines = Page::code(page, "").into_iter().map(|(_, line)| line);
    let built = lines.filter(|line| line.starts_with("rekeyd ") && !line.contains("# not built yet"));
    let told: BTreeSet<String> =
        built.flat_map(|line| usages(&line)).flat_map(|usage| usage.names()).collect();
    let untold = callable(program, "").into_iter().filter(|words| !told.contains(words));
    untold.map(|words| format!("{PROGRAM} {words}: is not in the synopsis")).collect()
}

#[test]
fn the_synopsis_marks_commands_as_long_as_they_are_not_built() {
    none(&synopsis_told_wrong(&texts::read(&root().join("docs/design/interface.md"))));
}

#[test]
fn the_synopsis_names_every_command() {
    none(&untold(&texts::read(&root().join("docs/design/interface.md")), &program()));
}

#[test]
fn planted_commands_that_the_synopsis_does_not_name_are_seen() {
    let group = |name: &'static str, below: [&'static str; 2]| {
        clap::Command::new(name).subcommands(below.map(clap::Command::new))
    };
    let program = clap::Command::new(PROGRAM).subcommand_required(true).subcommands([
        clap::Command::new("serve"),
        group("runs", ["list", "show"]).subcommand_required(true),
        group("keys", ["create", "limit"]),
    ]);
    let told = |lines: &str| untold(&format!("```\n{lines}\n```"), &program).join("\n");
    let fine = "rekeyd serve   the daemon\nrekeyd runs list [--limit N] | show ID\n\
                rekeyd keys NAME [create | limit HASH USD]";
    assert_eq!(told(fine), "");
    for (line, without, missing) in [
        ("rekeyd serve   the daemon", "", "rekeyd serve:"),
        ("serve   the", "serve    # not built yet: the", "rekeyd serve:"),
        (" | show ID", "", "rekeyd runs show:"),
        (" | limit HASH USD", "", "rekeyd keys limit:"),
    ] {
        let found = told(&fine.replace(line, without));
        assert!(found.starts_with(missing) && found.lines().count() == 1, "{line}: {found}");
    }
    let found = told(&fine.replace("rekeyd keys NAME [create | limit HASH USD]", ""));
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn planted_marks_at_commands_are_seen() {
    let told = |line: &str| synopsis_told_wrong(&format!("```\n{line}\n```")).len();
    assert_eq!(
        told("rekeyd keys delete PROVIDER NUMBER [--at-provider] | show PROVIDER NUMBER   removes it"),
        0
    );
    assert_eq!(told("rekeyd keys test [PROVIDER [NUMBER]] [--all]"), 0);
    assert_eq!(told("rekeyd keys list [--later]"), 1);
    assert_eq!(told("rekeyd keys list [--later]    # not built yet"), 0);
    assert_eq!(told("rekeyd keys list [--provider NAME] [--later]    # not built yet"), 1);
    assert_eq!(told("rekeyd keys list | guess    # not built yet"), 1);
    let usage = alternatives("run NAME [--leaked [--generation N]] [A | B]");
    assert_eq!(usage.base, ["run", "NAME"]);
    assert_eq!(
        usage.options.iter().map(|o| o.join(" ")).collect::<Vec<_>>(),
        ["--leaked", "--leaked --generation N", "A", "B"]
    );
}
