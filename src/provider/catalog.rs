//! The catalog: every provider as a row of data (providers.md, "Probes").
//!
//! A row says how a key is tested for nothing, what in a 200 proves that it was, and how failures are read.
//! The rows are in `rows`, their tables of failures in `rules`; [`super::probe`] is the interpreter. A provider
//! gets a file of code only when a row cannot say it.

mod rows;
mod rules;

pub use rows::CATALOG;

use super::{Capability, Profile};
use crate::domain::time::Span;
use crate::domain::verdict::rule::{Rule, Sign};

/// One provider.
#[derive(Debug)]
pub struct CatalogRow {
    /// Its name in the configuration and the API, `provider_type`.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is, in one sentence.
    pub description: &'static str,
    /// What its keys look like, for people.
    pub key_format: &'static str,
    /// Where its keys are documented.
    pub docs_url: &'static str,
    /// Where its API begins; empty for a custom endpoint, which brings its own.
    pub base_url: &'static str,
    /// The cheapest request that needs the key.
    pub probe: Probe,
    /// What in a 200 proves that the key was looked at.
    pub proof: Sign,
    /// How answers are read, top to bottom; what no rule names is `unexpected`.
    pub rules: &'static [Rule],
    /// What keys look like: for a warning, never for a refusal.
    pub forms: &'static [KeyForm],
    /// Where a 200 tells when the key expires (JSON pointer).
    pub expires: Option<&'static str>,
    /// A 200 proves nothing unless the same request with a wrong key fails.
    pub negative_control: bool,
    /// Tests cost the customer something: not more often than this.
    pub min_interval: Option<Span>,
    /// Path of the OpenAI-compatible chat call, for a billed probe; `None` when there is none.
    pub chat: Option<&'static str>,
    /// Keys come in two kinds that look alike.
    pub two_kinds: bool,
    /// What its keys are good for.
    pub capabilities: &'static [Capability],
}

/// The request of a test.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// GET or POST.
    pub verb: Verb,
    /// Path and query below the base.
    pub path: &'static str,
    /// How the key travels. Never in the URL.
    pub auth: Auth,
    /// Further headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// Settings of the key that travel as headers when they are there: (setting, header).
    pub optional_headers: &'static [(&'static str, &'static str)],
    /// The setting of the key that replaces the path.
    pub path_setting: Option<&'static str>,
}

/// Method of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Verb {
    Get,
    Post,
}

/// How a key travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer`.
    Bearer,
    /// Alone in this header.
    Header(&'static str),
}

/// One form of a provider's keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyForm {
    /// What they begin with.
    pub prefix: &'static str,
    /// What follows.
    pub rest: Rest,
}

/// What follows the prefix of a key.
#[derive(Debug, Clone, Copy)]
pub enum Rest {
    /// Anything.
    Any,
    /// So many characters.
    Long(usize),
    /// So many hexadecimal digits.
    Hex(usize),
    /// So many ASCII letters and digits.
    Alphanumeric(usize),
}

impl KeyForm {
    fn fits(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(self.prefix) else { return false };
        let all = |length: usize, is: fn(u8) -> bool| rest.len() == length && rest.bytes().all(is);
        match self.rest {
            Rest::Any => !rest.is_empty(),
            Rest::Long(length) => rest.len() == length,
            Rest::Hex(length) => all(length, |b| b.is_ascii_hexdigit()),
            Rest::Alphanumeric(length) => all(length, |b| b.is_ascii_alphanumeric()),
        }
    }
}

impl CatalogRow {
    /// What people are told of it.
    pub fn profile(&self) -> Profile {
        Profile {
            kind: self.name,
            title: self.title,
            description: self.description,
            key_format: self.key_format,
            docs_url: self.docs_url,
            base_url: self.base_url,
            capabilities: self.capabilities,
        }
    }

    /// False when a key looks unlike this provider's keys: worth a warning, never a refusal.
    pub fn looks_right(&self, key: &str) -> bool {
        self.forms.is_empty() || self.forms.iter().any(|form| form.fits(key))
    }
}

/// The providers whose keys alone look like this one: those with the longest beginning that fits. A form without a
/// beginning of its own says nothing.
pub fn kinds_of_form(key: &str) -> Vec<&'static str> {
    let fits = |row: &CatalogRow| {
        row.forms.iter().filter(|form| form.fits(key)).map(|form| form.prefix.len()).max().unwrap_or(0)
    };
    let longest = CATALOG.iter().map(fits).max().unwrap_or(0);
    // What begins like a more special key, and is none, is a damaged one: it is not sent to whoever takes anything.
    let begins = |form: &&KeyForm| key.starts_with(form.prefix) && form.prefix.len() > longest;
    if CATALOG.iter().flat_map(|row| row.forms).any(|form| begins(&form)) {
        return Vec::new();
    }
    CATALOG.iter().filter(|row| longest > 0 && fits(row) == longest).map(|row| row.name).collect()
}

/// The row of this name.
pub fn find(name: &str) -> Option<&'static CatalogRow> {
    CATALOG.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests;
