//! What the tests of this room share.

use std::path::Path;

use super::load::parse;
use super::problem::ConfigError;
use super::settings::Settings;

/// The settings of one valid file.
pub(super) fn settings(text: &str) -> Settings {
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

/// Checks a table of files and what is printed about each.
pub(super) fn assert_problems(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(text, expected)| (text, expected, problems(text)))
        .filter(|(_, expected, found)| found != *expected)
        .map(|(text, expected, found)| format!("--- file\n{text}\n--- expected\n{expected}\n--- found\n{found}\n"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// An account and what follows.
pub(super) const ACCOUNT: &str = "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:KEY\"\n";
