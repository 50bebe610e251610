//! What is wrong with a configuration, where, and what to do about it.

use std::path::PathBuf;

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
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
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
