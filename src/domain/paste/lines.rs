//! Lines, each for itself: a key, a pair, a variable.

use super::whose::means_a_key;
use super::{Offered, Pasted, Refused, Vocabulary, bare};

/// Empty lines and comments offer nothing, and need no answer.
pub(super) fn parse(text: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Vec<Pasted> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines =
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//"));
    lines.map(|(line, text)| Pasted { line, key: one(text, of, vocabulary) }).collect()
}

fn one(line: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Result<Offered, Refused> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    if let Some((name, value)) = assignment(line) {
        return variable(name, value, of, vocabulary);
    }
    if let Some(name) = line.strip_suffix(['=', ':']).filter(|name| is_variable(name, vocabulary)) {
        return Err(Refused::new(name, "the variable is empty"));
    }
    let words: Vec<&str> = line.split([' ', '\t', ',', ';', '|']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [key] => alone(unquoted(key), of, vocabulary),
        [provider, key] => {
            let said = vocabulary.provider_called(unquoted(provider.trim_end_matches(':')));
            let provider = said.map_err(|why| Refused::new(line, why))?;
            Ok(bare(of.map_or(provider, str::to_owned), unquoted(key), None))
        }
        _ => Err(Refused::new(line, "neither a key, nor a provider and a key, nor a variable")),
    }
}

/// A variable and its value, `NAME=value` or `name: value`. A key may have these signs in it, and ends with `=` at most.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=').or_else(|| line.split_once(": "))?;
    let name = unquoted(name.trim());
    let is_name = name.len() < 64
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let value = value.trim();
    (is_name && starts && value.chars().any(|c| c != '=')).then_some((name, value))
}

/// `OPENAI_API_KEY`, `TOKEN_2`: what is called so is no key itself.
fn is_variable(name: &str, vocabulary: &Vocabulary) -> bool {
    let name = name.trim_end();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && (means_a_key(name) || vocabulary.by_variable(name).is_some())
}

fn variable(name: &str, value: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Result<Offered, Refused> {
    let key = value_of(value);
    if let Some(provider) = vocabulary.by_variable(name) {
        return Ok(bare(of.map_or(provider, str::to_owned), key, None));
    }
    if let Some(of) = of.filter(|_| means_a_key(name)) {
        return Ok(bare(of.to_owned(), key, None));
    }
    // A file of variables has others than keys: one whose name says nothing is a key only when its form says so.
    match vocabulary.by_form(key) {
        Ok(provider) => Ok(bare(of.map_or(provider, str::to_owned), key, None)),
        Err(_) => Err(Refused::new(name, "the variable is called after no provider")),
    }
}

fn alone(key: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Result<Offered, Refused> {
    let provider = match of {
        Some(of) => of.to_owned(),
        None => vocabulary.by_form(key).map_err(|why| Refused::new(key, why))?,
    };
    Ok(bare(provider, key, None))
}

/// A value of a `.env` file: in quotes, or up to a comment.
fn value_of(text: &str) -> &str {
    let text = text.trim().trim_end_matches([',', ';']);
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) {
        let inner = &text[1..];
        return inner.split(quote).next().unwrap_or(inner);
    }
    text.split(" #").next().unwrap_or(text).trim_end()
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\'', '`'])
}
