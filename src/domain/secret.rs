//! A secret that cannot be printed, and the only mask that people ever see (I11).

use std::cmp::Reverse;
use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

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

/// Replaces every known secret in `text` by its mask, any longer part of one by `[redacted]`, and the rest
/// of anything that begins like a well-known key: vendors' error bodies echo keys, whole or in part
/// (fault 30).
pub fn redact(text: &str, known: &[&Secret]) -> String {
    let mut out = text.to_owned();
    for secret in known.iter().filter(|s| !s.expose().is_empty()) {
        out = out.replace(secret.expose(), &secret.mask());
        out = redact_parts(&out, secret.expose());
    }
    redact_lookalikes(&out)
}

/// So many characters of a secret in a row are a part of it; the mask itself shows fewer.
const PART: usize = 12;

/// Cuts every run of [`PART`] or more bytes that `text` has in common with `secret`.
fn redact_parts(text: &str, secret: &str) -> String {
    let windows: HashSet<&[u8]> = secret.as_bytes().windows(PART).collect();
    let mut common = vec![false; text.len()];
    for (at, window) in text.as_bytes().windows(PART).enumerate() {
        if windows.contains(window) {
            common[at..at + PART].fill(true);
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let hit = common[at..at + c.len_utf8()].contains(&true);
        match (hit, inside) {
            (true, false) => out.push_str("[redacted]"),
            (false, _) => out.push(c),
            (true, true) => {}
        }
        inside = hit;
    }
    out
}

/// Cuts every run of key characters after a well-known key prefix.
fn redact_lookalikes(text: &str) -> String {
    const PREFIXES: [&str; 13] = [
        "sk-or-v1-",
        "sk-",
        "ghp_",
        "github_pat_",
        "ghs_",
        "AIza",
        "gsk_",
        "hf_",
        "pplx-",
        "r8_",
        "tgp_v1_",
        "xai-",
        "csk-",
    ];
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let first = |rest: &str| {
        let found = PREFIXES.iter().filter_map(|prefix| rest.find(prefix).map(|at| (at, *prefix)));
        found.min_by_key(|(at, prefix)| (*at, Reverse(prefix.len())))
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, prefix)) = first(rest) {
        let tail = &rest[at + prefix.len()..];
        let run = tail.find(|c| !is_key_char(c)).unwrap_or(tail.len());
        out.push_str(&rest[..at + prefix.len()]);
        out.push_str(if run >= 8 { "[redacted]" } else { &tail[..run] });
        rest = &tail[run..];
    }
    out.push_str(rest);
    out
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
    fn masks_by_length() {
        assert_eq!(mask("short"), "...");
        assert_eq!(mask("abcdefghijklmnop"), "...mnop");
        assert_eq!(mask(&format!("sk-or-v1-{}1234", "a".repeat(60))), "sk-or-v...1234");
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", Secret::new("sk-or-v1-not-a-key")), "Secret(..)");
    }

    #[test]
    fn redacts_known_and_lookalike_keys() {
        let secret = Secret::new(format!("zz-{}", "q".repeat(40)));
        let text = format!("bad key {} and sk-or-v1-{}!", secret.expose(), "f".repeat(64));
        let clean = redact(&text, &[&secret]);
        assert!(!clean.contains(secret.expose()) && !clean.contains("ffff"), "{clean}");
        assert!(clean.contains("sk-or-v1-[redacted]!"), "{clean}");
    }

    #[test]
    fn redacts_parts_of_known_keys() {
        let secret = Secret::new("zz-0123456789abcdefghijklmnopqrstuvwxyz");
        let clean = redact("é zz-0123456789ab… and ijklmnopqrstuvwx, not abcdefgh", &[&secret]);
        assert_eq!(clean, "é [redacted]… and [redacted], not abcdefgh");
    }
}
