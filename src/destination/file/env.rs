//! Env files, edited in place: `NAME=value` lines as systemd, Docker, shells and the dotenv libraries read them.
//!
//! Only the value of our variable changes; every other byte stays: comments, order, `export`, what follows the value
//! on its line (`; export NAME`, `OTHER=1`), line ends, a byte order mark, a missing final newline. What readers would
//! not agree on is refused, with its line, before anything is written ([`reading`]). Where readers differ and all of
//! them can be served, the choice is the one on which they agree afterwards:
//! - *several lines assign the variable*: most readers take the last, some the first, so each gets the key.
//! - *quotes*: an existing pair is kept (its reader strips them); a new line has none, because Docker does not strip
//!   them, unless the key holds characters that a shell would interpret.
//! - *a new line* is exported when all others are: a shell sources the file, for programs that it starts.

mod reading;

use self::reading::{Assignment, all_are_exported, assignments, goes_on};
use super::disk::refused;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The values that the text assigns to `variable`, in order. An error names the line that readers read differently.
pub(super) fn values<'a>(text: &'a [u8], variable: &str) -> Result<Vec<&'a [u8]>, Failure> {
    Ok(assignments(text, variable)?.into_iter().map(|found| &text[found.value()]).collect())
}

/// The text with every assignment of `variable` carrying the key, or with one appended.
pub(super) fn edit(text: &[u8], variable: &str, secret: &Secret) -> Result<Vec<u8>, Failure> {
    let found = assignments(text, variable)?;
    let mut out = Vec::with_capacity(text.len() + variable.len() + secret.expose().len() + 16);
    let mut copied = 0;
    for Assignment { region, quote } in &found {
        out.extend_from_slice(&text[copied..region.start]);
        out.extend_from_slice(render(secret.expose(), *quote)?.as_bytes());
        copied = region.end;
    }
    out.extend_from_slice(&text[copied..]);
    if found.is_empty() {
        let export = if all_are_exported(text) { "export " } else { "" };
        append(&mut out, &format!("{export}{variable}={}", render(secret.expose(), None)?));
    }
    Ok(out)
}

/// A new last line, in the file's own kind of line end. An unfinished last line is finished first, and the
/// new one too: a shell's `read` loses a line without an end.
fn append(out: &mut Vec<u8>, line: &str) {
    let first_end = out.iter().position(|&byte| byte == b'\n');
    let crlf = first_end.is_some_and(|at| at > 0 && out[at - 1] == b'\r');
    let end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let bare = out.is_empty() || out == BYTE_ORDER_MARK || out.ends_with(b"\n");
    if !bare {
        out.extend_from_slice(end);
    }
    // After a last line that goes on behind its end, an empty one takes the continuation.
    let last = out.strip_suffix(b"\n").map_or(&out[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    if goes_on(last) {
        out.extend_from_slice(end);
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(end);
}

/// The value as it stands in the file.
fn render(key: &str, quote: Option<u8>) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !key.is_empty() && key.chars().all(plain) {
        return Ok(match quote {
            Some(b'"') => format!("\"{key}\""),
            Some(b'\'') => format!("'{key}'"),
            _ => key.to_owned(),
        });
    }
    if key.is_empty() || key.chars().any(|c| c.is_control() || c == '\'') {
        return Err(refused("the key holds characters that no env file carries safely")
            .hint("use format = \"raw\" or \"json\" for this destination"));
    }
    Ok(format!("'{key}'"))
}

#[cfg(test)]
mod tests;
