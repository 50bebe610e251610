//! Whose a key is.

use crate::domain::name::Name;
use crate::domain::secret::redact;

/// The name of a stranger has fewer characters: no key has.
const LONGEST_STRANGER: usize = 20;

/// What is called like a provider elsewhere, and whose it is.
const ALSO: &[(&str, &str)] = &[
    ("claude", "anthropic"),
    ("co", "cohere"),
    ("gemini", "google"),
    ("google-ai", "google"),
    ("google-generative-ai", "google"),
    ("grok", "xai"),
    ("hf", "huggingface"),
    ("hugging-face", "huggingface"),
    ("mistral-ai", "mistral"),
    ("mistralai", "mistral"),
    ("open-ai", "openai"),
    ("open-router", "openrouter"),
    ("pplx", "perplexity"),
    ("runwayml", "runway"),
    ("stability-ai", "stability"),
    ("together-ai", "together"),
    ("togetherai", "together"),
    ("xi", "elevenlabs"),
];

/// What names of variables end with after the provider.
const ENDS: &[&str] = &[
    "-api-key",
    "-api-token",
    "-access-token",
    "-secret-key",
    "-auth-token",
    "-apikey",
    "-key",
    "-token",
    "-secret",
];

/// True for what a variable with a key in it may be called, whoever's: `API_KEY`, `TOKEN_2`.
pub(super) fn means_a_key(variable: &str) -> bool {
    let name = variable.trim().to_lowercase().replace('_', "-");
    let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    ENDS.iter().any(|end| unnumbered.ends_with(end) || end.trim_start_matches('-') == unnumbered)
}

/// The providers that are known, and what their keys look like.
pub struct Vocabulary<'a> {
    /// Their names.
    pub names: Vec<String>,
    /// Whose a key can only be by its form: every provider whose keys may look like this, the most special ones.
    pub by_form: &'a dyn Fn(&str) -> Vec<&'static str>,
}

impl std::fmt::Debug for Vocabulary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Vocabulary<'_> {
    /// The provider of this name, however it is written; one that nobody knows as it is, if it is a name at all.
    pub(super) fn provider_called(&self, name: &str) -> Result<String, String> {
        let plain = name.trim().to_lowercase().replace(['_', ' ', '.'], "-");
        // A key is no name, wherever it begins and whose ever it is.
        let is_short = plain.len() < LONGEST_STRANGER && redact(name, &[]) == name;
        let stranger = || Name::parse(&plain).ok().filter(|_| is_short).map(|name| name.to_string());
        self.known(name).or_else(stranger).ok_or_else(|| "no provider has such a name".to_owned())
    }

    /// The provider of this name, when it is known.
    pub(super) fn known(&self, name: &str) -> Option<String> {
        let name = name.trim().to_lowercase().replace(['_', ' ', '.'], "-");
        if self.names.contains(&name) {
            return Some(name);
        }
        let also = ALSO.iter().find(|(other, _)| *other == name)?.1;
        self.names.iter().any(|known| known == also).then(|| also.to_owned())
    }

    /// The provider that a variable is called after: `OPENAI_API_KEY`, `export GROQ_KEY_2`.
    pub(super) fn by_variable(&self, variable: &str) -> Option<String> {
        let name = variable.trim().to_lowercase().replace('_', "-");
        let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        let of = |name: &str| {
            let stem = ENDS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            self.known(stem)
        };
        of(&name).or_else(|| of(unnumbered))
    }

    /// The provider whose keys alone look like this, or why it is not clear.
    pub(super) fn by_form(&self, key: &str) -> Result<String, String> {
        let possible = (self.by_form)(key);
        match possible.as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => Err("whose it is cannot be seen: say its provider".to_owned()),
            several => Err(format!("it may be of {}: say its provider", several.join(" or "))),
        }
    }
}
