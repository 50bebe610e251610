//! What the tests of this room share.

use std::path::Path;

use super::load::parse;
use super::problem::ConfigError;
use super::settings::Settings;

/// The settings of one valid file.
pub(crate) fn settings(text: &str) -> Settings {
    match parse([(Path::new("r.toml"), text)]) {
        Ok(loaded) => loaded.settings,
        Err(error) => panic!("{error}"),
    }
}

/// All problems of one file, as they are printed.
pub(super) fn problems(text: &str) -> String {
    match parse([(Path::new("r.toml"), text)]) {
        Ok(_) => "none".to_owned(),
        Err(ConfigError::Invalid(problems)) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(error) => panic!("{error}"),
    }
}

/// Compares a table of files and what is printed about each with its snapshot.
macro_rules! assert_table {
    ($files:expr $(,)?) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(crate::config::testing::table($files));
        })
    };
}
pub(super) use assert_table;

/// A table of files and what is printed about each.
pub(super) fn table(files: &[&str]) -> String {
    let row = |file: &&str| format!("{}\n    ↓\n{}\n", file.trim_end(), problems(file));
    files.iter().map(row).collect::<Vec<_>>().join("\n────────\n")
}

/// An account and what follows.
pub(super) const ACCOUNT: &str = "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:KEY\"\n";
