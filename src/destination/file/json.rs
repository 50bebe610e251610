//! JSON files, edited in place: one field of the top-level object. Every other byte stays, so that order,
//! indentation and numbers of any length survive (a parse and a print would change them).
//!
//! A field that stands twice gets the key twice: readers differ on which one counts.

use std::collections::HashMap;
use std::ops::Range;

use serde::de::{Deserialize, IgnoredAny};

use super::disk::refused;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;

/// One field of the top-level object.
struct Field {
    name: String,
    name_start: usize,
    value: Range<usize>,
}

/// The values of `variable`: strings as text, anything else as `None`.
pub(super) fn values(text: &[u8], variable: &str) -> Result<Vec<Option<String>>, Failure> {
    let text = object(text)?;
    let ours = fields(text).into_iter().filter(|field| field.name == variable);
    Ok(ours.map(|field| serde_json::from_str(&text[field.value]).ok()).collect())
}

/// The text with every field `variable` carrying the key, or with one added at the end of the object.
pub(super) fn edit(text: &[u8], variable: &str, secret: &Secret) -> Result<Vec<u8>, Failure> {
    let name = serde_json::Value::from(variable).to_string();
    let value = serde_json::Value::from(secret.expose()).to_string();
    if text.trim_ascii().is_empty() {
        return Ok(format!("{{\n  {name}: {value}\n}}\n").into_bytes());
    }
    let text = object(text)?;
    let fields = fields(text);
    let ours: Vec<&Field> = fields.iter().filter(|field| field.name == variable).collect();
    if ours.is_empty() {
        return Ok(add(text, fields.first(), fields.last(), &format!("{name}: {value}")));
    }
    let mut out = Vec::with_capacity(text.len() + value.len());
    let mut copied = 0;
    for field in ours {
        out.extend_from_slice(&text.as_bytes()[copied..field.value.start]);
        out.extend_from_slice(value.as_bytes());
        copied = field.value.end;
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
    Ok(out)
}

/// Adds a field behind the last one, indented like the first.
fn add(text: &str, first: Option<&Field>, last: Option<&Field>, field: &str) -> Vec<u8> {
    let open = text.find('{').map_or(0, |at| at + 1);
    let (at, added) = match (first, last) {
        (Some(first), Some(last)) => (last.value.end, format!(",{}{field}", &text[open..first.name_start])),
        _ => (open, field.to_owned()),
    };
    [&text[..at], &added, &text[at..]].concat().into_bytes()
}

/// The text, when it is one JSON object. The parser's own words are left out: they quote the file.
#[expect(clippy::zero_sized_map_values, reason = "an object can only be read into a map")]
fn object(text: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| refused("it is not UTF-8 text"))?;
    serde_json::from_str::<HashMap<String, IgnoredAny>>(text).map(|_| text).map_err(|error| {
        refused(format!("it is not a JSON object (line {}, column {})", error.line(), error.column()))
    })
}

/// The fields of a text that [`object`] has accepted.
fn fields(text: &str) -> Vec<Field> {
    let mut found = Vec::new();
    let mut at = text.find('{').map_or(text.len(), |at| at + 1);
    loop {
        at = skip(text, at, &[',']);
        let Some((name, name_end)) = parse::<String>(text, at) else { return found };
        let start = skip(text, name_end, &[':']);
        let Some((_, end)) = parse::<IgnoredAny>(text, start) else { return found };
        found.push(Field { name, name_start: at, value: start..end });
        at = end;
    }
}

/// One JSON value at `at`, and where it ends.
fn parse<'a, T: Deserialize<'a>>(text: &'a str, at: usize) -> Option<(T, usize)> {
    let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, at + stream.byte_offset()))
}

fn skip(text: &str, at: usize, marks: &[char]) -> usize {
    let rest =
        text[at..].trim_start_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r') || marks.contains(&c));
    text.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str) -> String {
        String::from_utf8(edit(text.as_bytes(), "key", &Secret::new("false-key")).unwrap()).unwrap()
    }

    #[test]
    fn only_the_field_changes() {
        let rows = [
            ("", "{\n  \"key\": @\n}\n"),
            (" \n", "{\n  \"key\": @\n}\n"),
            ("{}", "{\"key\": @}"),
            ("{\"key\":\"old\"}", "{\"key\":@}"),
            (
                "{\n\t\"z\": 1e400,\n\t\"a\": [1,{\"key\":2}]\n}\n",
                "{\n\t\"z\": 1e400,\n\t\"a\": [1,{\"key\":2}],\n\t\"key\": @\n}\n",
            ),
            (" { \"key\" : null , \"b\":true}\r\n", " { \"key\" : @ , \"b\":true}\r\n"),
            ("{\"k\\u0065y\":{\"a\":[]},\"key\":1}", "{\"k\\u0065y\":@,\"key\":@}"),
            (
                "{\"a\":123456789012345678901234567890.10}",
                "{\"a\":123456789012345678901234567890.10,\"key\": @}",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(edited(text), expected.replace('@', "\"false-key\""), "{text:?}");
        }
    }

    #[test]
    fn values_of_the_top_level_only() {
        let read = |text: &str| values(text.as_bytes(), "key").unwrap();
        assert_eq!(read("{\"key\":\"a\\n\",\"b\":{\"key\":\"c\"}}"), [Some("a\n".to_owned())]);
        assert_eq!(read("{\"key\":1}"), [None]);
        assert!(read("{}").is_empty());
    }

    #[test]
    fn what_is_no_object_is_refused_and_not_quoted() {
        for text in ["[1]", "{\"a\":1} x", "{\"a\":}", "\"false-key\"", "{a:1}", "\u{feff}{}", "{\"a\":1,}"] {
            let failure = edit(text.as_bytes(), "key", &Secret::new("x")).unwrap_err();
            assert!(failure.message.starts_with("it is not a JSON object (line 1"), "{failure:?}");
            assert!(!failure.message.contains("false-key"));
        }
        assert!(edit(b"\xff", "key", &Secret::new("x")).is_err());
    }
}
