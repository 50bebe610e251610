//! Names of accounts, rotations, destinations and providers: `[a-z0-9][a-z0-9-]*` (interface.md §1).

use serde::{Deserialize, Deserializer, Serialize};

/// The longest name; it becomes part of key names at the provider, which people read in a table.
const MAX_LENGTH: usize = 64;

/// A valid name. Compare, hash and print it like the text it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// There is no text at all.
    #[error("a name cannot be empty")]
    Empty,
    /// It begins with a hyphen or another character that is not a lowercase letter or digit.
    #[error("a name starts with a lowercase letter or a digit, not with {0:?}")]
    Start(char),
    /// It contains something other than lowercase letters, digits and hyphens.
    #[error("a name has only lowercase letters, digits and hyphens, not {0:?}")]
    Character(char),
    /// It is longer than 64 characters.
    #[error("a name has at most {MAX_LENGTH} characters, not {0}")]
    TooLong(usize),
}

impl Name {
    /// Checks `text` and takes it as a name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let first = text.chars().next().ok_or(InvalidName::Empty)?;
        if !plain(first) {
            return Err(InvalidName::Start(first));
        }
        if let Some(bad) = text.chars().find(|c| !plain(*c) && *c != '-') {
            return Err(InvalidName::Character(bad));
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidName::TooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_interface_allows() {
        for good in ["a", "0", "main", "github-production", "3scale", "a--b-", &"x".repeat(64)] {
            assert_eq!(Name::parse(good).unwrap(), *good);
        }
    }

    #[test]
    fn refuses_everything_else_and_says_why() {
        let long = "x".repeat(65);
        for (bad, why) in [
            ("", InvalidName::Empty),
            ("-a", InvalidName::Start('-')),
            ("Main", InvalidName::Start('M')),
            ("a_b", InvalidName::Character('_')),
            ("a b", InvalidName::Character(' ')),
            ("größe", InvalidName::Character('ö')),
            ("a/b", InvalidName::Character('/')),
            (long.as_str(), InvalidName::TooLong(65)),
        ] {
            assert_eq!(Name::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn reads_from_json_only_when_valid() {
        assert_eq!(serde_json::from_str::<Name>("\"main\"").unwrap(), "main");
        assert!(serde_json::from_str::<Name>("\"Not Main\"").is_err());
        assert_eq!(serde_json::to_string(&Name::parse("main").unwrap()).unwrap(), "\"main\"");
    }
}
