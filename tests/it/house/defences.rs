//! `tests/defences.toml`, and what docs/safety.md says of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// A defence and the test that needs it; the fields are explained where they are filled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defence {
    #[serde(default)]
    faults: BTreeSet<u8>,
    what: String,
    file: String,
    old: String,
    new: String,
    #[serde(default)]
    also: Vec<Change>,
    test: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    file: String,
    old: String,
    new: String,
}

#[derive(Deserialize)]
struct All {
    defence: Vec<Defence>,
}

/// The list, as `tests/defences.py` reads it.
pub fn read(text: &str) -> Vec<Defence> {
    toml::from_str::<All>(text).unwrap().defence
}

/// Every test of this program, by its full name.
pub fn own_tests() -> BTreeSet<String> {
    let listed =
        Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// What is wrong with the list, given the tests and the text of each file.
pub fn faulty(all: &[Defence], tests: &BTreeSet<String>, text: impl Fn(&str) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for defence in all {
        if !tests.contains(&defence.test) {
            found.push(format!("there is no test {}", defence.test));
        }
        let own = (&defence.file, &defence.old, &defence.new);
        let more = defence.also.iter().map(|change| (&change.file, &change.old, &change.new));
        for (file, old, new) in std::iter::once(own).chain(more) {
            let times = text(file).matches(old.as_str()).count();
            if times != 1 || old == new {
                found.push(format!("{file} has {times} times, and it must be changed: {old}"));
            }
        }
    }
    let defended: BTreeSet<u8> = all.iter().flat_map(|defence| defence.faults.clone()).collect();
    let bare = (1..=34).filter(|fault| !defended.contains(fault));
    found.extend(bare.map(|fault| format!("fault {fault} has no defence")));
    found
}

/// The table of docs/safety.md.
pub fn table(all: &[Defence]) -> String {
    let mut text = String::from("| defence | fault | test that fails without it |\n|---|---|---|\n");
    for Defence { faults, what, test, .. } in all {
        let faults = faults.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        writeln!(text, "| {what} | {faults} | `{test}` |").unwrap();
    }
    text
}

/// The text of a file of the repository.
pub fn text_of(root: &Path, file: &str) -> String {
    std::fs::read_to_string(root.join(file)).unwrap_or_default()
}
