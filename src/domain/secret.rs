//! A secret that cannot be printed, and the only mask that people ever see (I11).

mod redact;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

pub use redact::{holds_key, looks_like_key, redact};

/// Key material in memory: no `Display`, a `Debug` that says nothing, wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of key material.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The material itself, for the one call that needs it. Never log, format or store the answer.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What people may see of it, see [`mask`].
    pub fn mask(&self) -> String {
        mask(self.expose())
    }

    /// True for what examples and templates put where a key belongs, see [`is_placeholder`].
    pub fn is_placeholder(&self) -> bool {
        is_placeholder(self.expose())
    }

    /// Why it cannot be a key, see [`malformation`].
    pub fn malformation(&self) -> Option<&'static str> {
        malformation(self.expose())
    }

    /// True for what lists show instead of a key, see [`mask`].
    pub fn is_masked(&self) -> bool {
        is_masked(self.expose())
    }

    /// Lowercase hex SHA-256 of the whole text: OpenRouter's `hash` of a key (wire-facts.md).
    pub fn sha256_hex(&self) -> String {
        hex::encode(Sha256::digest(self.expose().as_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    /// Compares digests, so that the time taken tells nothing about the material.
    fn eq(&self, other: &Self) -> bool {
        Sha256::digest(self.expose().as_bytes()) == Sha256::digest(other.expose().as_bytes())
    }
}

impl Eq for Secret {}

/// `your-api-key-here`, `sk-...`, `changeme`, `<key>`, `${KEY}`, `sk-xxxxxxxx`: text that stands for a key. Words are
/// sought only where no random key would have them by chance.
fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 5] = ["changeme", "replaceme", "placeholder", "yourkey", "apikeyhere"];
    const WHOLE: [&str; 8] = ["todo", "tbd", "none", "null", "secret", "apikey", "example", "dummy"];
    let letters: String = text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let yours = letters.starts_with("your") || letters.contains("your") && letters.ends_with("key");
    let bracketed = [("<", ">"), ("${", "}"), ("{{", "}}")]
        .iter()
        .any(|(from, to)| text.starts_with(from) && text.ends_with(to));
    let tail = text.rsplit(['-', '_']).next().unwrap_or_default();
    let filler = tail.len() >= 3 && tail.chars().all(|c| matches!(c, 'x' | 'X' | '*'));
    letters.is_empty()
        || bracketed
        || yours
        || filler
        || text.contains("...")
        || text.contains('…')
        || WHOLE.contains(&letters.as_str())
        || WORDS.iter().any(|word| letters.contains(word))
}

/// Why a text cannot be a key: it is empty, longer than 8 KiB, has spaces or control characters in it, or is the mask of one
/// (interface.md §3). A placeholder is well-formed.
fn malformation(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > 8 * 1024 {
        Some("it is longer than 8 KiB")
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("it has spaces or control characters in it")
    } else if is_masked(text) {
        Some("it is the mask of one, as lists show it; the key itself is needed")
    } else {
        None
    }
}

/// `sk-or-v...1234`, `...1234`, `sk-****1234`, `sk-••••1234`: dots with the end of a key behind them. `sk-...` alone is what
/// stands for a key in an example.
fn is_masked(text: &str) -> bool {
    let hidden =
        ["...", "…", "***", "•••"].iter().filter_map(|dots| text.rfind(dots).map(|at| at + dots.len()));
    hidden.max().is_some_and(|end| text[end..].chars().any(char::is_alphanumeric))
}

/// First 7 and last 4 characters (`sk-or-v...1234`); only the last 4 of a secret shorter than 24
/// characters; `...` alone below 12 (I11).
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let last = |n: usize| chars[chars.len() - n..].iter().collect::<String>();
    match chars.len() {
        0..12 => "...".to_owned(),
        12..24 => format!("...{}", last(4)),
        _ => format!("{}...{}", chars[..7].iter().collect::<String>(), last(4)),
    }
}

/// The same text for who may not see masks: each of them becomes `(hidden)`.
pub fn without_masks(text: &str) -> String {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(from) = rest.find(belongs) {
        let (before, word) = rest.split_at(from);
        let (word, after) = word.split_at(word.find(|c: char| !belongs(c)).unwrap_or(word.len()));
        let is_mask = word.find("...").is_some_and(|at| at + 3 < word.len());
        out.push_str(before);
        out.push_str(if is_mask { "(hidden)" } else { word });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_key_is_not_one() {
        for text in [
            "your-api-key-here",
            "YOUR_OPENAI_API_KEY",
            "sk-your-key",
            "sk-...",
            "sk-or-v1-…",
            "changeme",
            "change-me",
            "replace_me",
            "<key>",
            "${OPENAI_API_KEY}",
            "{{key}}",
            "sk-xxxxxxxxxxxx",
            "***",
            "TODO",
            "null",
            "insert-api-key-here",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn a_random_key_is_not_taken_for_a_placeholder() {
        for text in [
            "sk-or-v1-0123abcd",
            "sk-proj-a1B2_c3D4-e5",
            "AIzaSyD-9tSrke72PouQMnMX",
            "gsk_Todo4None8null2",
            "sk-false-000000000000",
            "a",
            "xy",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn masks_are_hidden_and_nothing_else_is() {
        for text in ["sk-or-v1-0123456789abcdef-0123", "sk-false-000000000000"] {
            let masked = mask(text);
            assert_eq!(
                without_masks(&format!("Key {masked}, of main: ({masked}).")),
                "Key (hidden), of main: ((hidden))."
            );
        }
        for text in ["wait... then", "it is 3.5 s", "runs on acme/app", "ü ... ü", ""] {
            assert_eq!(without_masks(text), text);
        }
    }

    #[test]
    fn masks_by_length() {
        assert_eq!(mask("short"), "...");
        assert_eq!(mask("abcdefghijklmnop"), "...mnop");
        assert_eq!(mask(&format!("sk-or-v1-{}1234", "a".repeat(60))), "sk-or-v...1234");
    }

    #[test]
    fn the_mask_of_a_key_is_no_key() {
        let key = format!("sk-or-v1-{}1234", "a".repeat(60));
        for text in [&mask(&key), "...1234", "sk-****1234", "sk-••••9876", "sk-proj…ab12"] {
            assert!(malformation(text).is_some_and(|why| why.contains("mask")), "{text}");
        }
        for text in ["sk-...", "...", "***", "sk-or-v1-…", &key] {
            assert_eq!(malformation(text), None, "{text}");
        }
        for text in ["", "two words", "tab\there", &"x".repeat(8193)] {
            assert!(malformation(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", Secret::new("sk-or-v1-not-a-key")), "Secret(..)");
    }
}
