//! What is wrong with a configuration, where, and what to do about it.

use std::path::PathBuf;

use crate::crypto::trusted::Distrust;
use crate::domain::plain;
use crate::domain::secret::{looks_like_key, redact};

/// One thing that is wrong. Prints as `path:line: field: message`, with a second line for the hint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The field, like `rotations.production.grace`; empty for the file as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// The next move.
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", unrepeated(&self.field))?;
        }
        write!(f, " {}", unrepeated(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", unrepeated(hint)),
            None => Ok(()),
        }
    }
}

/// Fields that hold a secret, or beside which one is easily pasted. What stands in them is never repeated.
const GUARDED: [&str; 10] = [
    "secret",
    "variable",
    "token",
    "password",
    "keys",
    "private_key",
    "provisioning_key",
    "url",
    "smtp",
    "proxy",
];

/// What is said of a field, without its value where that may be a secret: problems go to the journal, the audit, an alert
/// and a mail. `bare` is whether it may stand there without quotes too; hints have examples with words of their own.
pub(super) fn without_secret(said: &str, field: &str, values: &[&str], bare: bool) -> String {
    let mut said = said.to_owned();
    for value in values.iter().filter(|value| !value.is_empty()) {
        if GUARDED.contains(&field) || may_be_secret(value) {
            said = said.replace(&format!("{value:?}"), "the value");
            if bare && value.len() >= 8 {
                said = said.replace(value, "the value");
            }
        }
    }
    said
}

/// A word that nobody would read out: no path, no address, and random enough.
fn may_be_secret(value: &str) -> bool {
    let odd = value.starts_with('/') || value.contains([' ', '@']) || value.contains("://");
    looks_like_key(value) || (!odd && is_random(value))
}

fn is_random(word: &str) -> bool {
    let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
    word.len() >= 20 && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic)
}

/// The last look at a text before it is printed: names and fields too may be a key that was pasted.
fn unrepeated(text: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
    let mut out = String::new();
    for word in text.split_inclusive(|c| !in_word(c)) {
        let (run, end) = match word.char_indices().next_back() {
            Some((at, c)) if !in_word(c) => word.split_at(at),
            _ => (word, ""),
        };
        out.push_str(if is_random(run) { "[not repeated]" } else { run });
        out.push_str(end);
    }
    plain::lines(&redact(&out, &[])).into_owned()
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file at the path.
    #[error("there is no configuration at {}", .0.display())]
    Missing(PathBuf),
    /// A file or the folder of drop-ins cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file, or a folder or link on the way to it, is somebody else's to change.
    #[error("{} is not read: {why}", .path.display())]
    Distrusted {
        /// Which.
        path: PathBuf,
        /// Why.
        why: Distrust,
    },
    /// The files were read, and something in them is wrong. Never empty; in the order of files and lines.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// The next move, where there is one. The problems of [`ConfigError::Invalid`] print their own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => {
                Some("`rekeyd init` writes one; --config PATH or $REKEYD_CONFIG names another".to_owned())
            }
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run this as root or as the user rekeyd".to_owned())
            }
            Self::Distrusted { why, .. } => why.hint(),
            Self::Unreadable { .. } | Self::Invalid(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: Option<usize>, field: &str, hint: Option<&str>) -> Problem {
        Problem {
            file: PathBuf::from("/etc/rekeyd/rekeyd.toml"),
            line,
            field: field.to_owned(),
            message: "it is wrong".to_owned(),
            hint: hint.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn prints_a_line_each_and_hints() {
        let error = ConfigError::Invalid(vec![
            problem(None, "", None),
            problem(Some(3), "server.listen", Some("make it right")),
            problem(Some(4), "", None),
        ]);
        assert_eq!(
            error.to_string(),
            "/etc/rekeyd/rekeyd.toml: it is wrong\n\
             /etc/rekeyd/rekeyd.toml:3: server.listen: it is wrong\n  hint: make it right\n\
             /etc/rekeyd/rekeyd.toml:4: it is wrong"
        );
    }
}
