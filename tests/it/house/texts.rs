//! Every text that is ours: sources, tests, pages, configuration, scripts.

use std::path::Path;

use super::{files_below, root};

/// A file by its path from the root.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
}

const FOLDERS: &[&str] =
    &[".ci", "benches", "config", "docs", "examples", "migrations", "src", "systemd", "tests"];
const FILES: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
];

pub(super) fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All of them, without what is no text.
pub(super) fn all() -> Vec<Text> {
    let mut files = FILES.iter().map(|file| root().join(file)).collect();
    for folder in FOLDERS {
        files_below(&root().join(folder), &mut files);
    }
    let text = |file: &std::path::PathBuf| {
        let name = file.strip_prefix(root()).ok()?.to_str()?.to_owned();
        Some(Text { name, text: std::fs::read_to_string(file).ok()? })
    };
    files.iter().filter_map(text).collect()
}

pub(super) fn is_page(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md")
}

pub(super) fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}
