//! Env files, edited in place: `NAME=value` lines as systemd, Docker, shells and the dotenv libraries read them.
//!
//! Only the values of our variable change; every other byte stays (comments, order, `export`, line ends, a
//! byte order mark, a missing final newline). Where readers differ, the choice is the one on which all of
//! them agree afterwards:
//! - *several lines assign the variable*: most readers take the last, some the first, so each gets the key.
//! - *a comment behind the value*: dotenv cuts it, systemd and Docker take it as part of the value, so the
//!   written line has none.
//! - *quotes*: an existing pair is kept (its reader strips them); a new line has none, because Docker does
//!   not strip them, unless the key holds characters that a shell would interpret.
//! - *a quoted value over several lines* is one value: what looks like an assignment inside it is not one. A
//!   quote that is never closed is an ordinary character.

use std::ops::Range;

use super::disk::refused;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One assignment of the variable, as byte ranges of the text.
#[derive(Debug, PartialEq, Eq)]
struct Assignment {
    /// What a new value replaces: quotes, value, and what follows it on the line.
    region: Range<usize>,
    /// The value itself.
    value: Range<usize>,
    /// The quote around it.
    quote: Option<u8>,
}

/// The values that the text assigns to `variable`, in order.
pub(super) fn values<'a>(text: &'a [u8], variable: &str) -> Vec<&'a [u8]> {
    assignments(text, variable).into_iter().map(|found| &text[found.value]).collect()
}

/// The text with every assignment of `variable` carrying the key, or with one appended.
pub(super) fn edit(text: &[u8], variable: &str, secret: &Secret) -> Result<Vec<u8>, Failure> {
    let found = assignments(text, variable);
    let mut out = Vec::with_capacity(text.len() + variable.len() + secret.expose().len() + 8);
    let mut copied = 0;
    for assignment in &found {
        out.extend_from_slice(&text[copied..assignment.region.start]);
        out.extend_from_slice(render(secret.expose(), assignment.quote)?.as_bytes());
        copied = assignment.region.end;
    }
    out.extend_from_slice(&text[copied..]);
    if found.is_empty() {
        append(&mut out, variable, &render(secret.expose(), None)?);
    }
    Ok(out)
}

/// A new last line, in the file's own kind of line end. An unfinished last line is finished first, and the
/// new one too: a shell's `read` loses a line without an end.
fn append(out: &mut Vec<u8>, variable: &str, value: &str) {
    let first_end = out.iter().position(|&byte| byte == b'\n');
    let crlf = first_end.is_some_and(|at| at > 0 && out[at - 1] == b'\r');
    let end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let bare = out.is_empty() || out == BYTE_ORDER_MARK || out.ends_with(b"\n");
    if !bare {
        out.extend_from_slice(end);
    }
    // After a last line that goes on behind its end, an empty one takes the continuation.
    let last = out.strip_suffix(b"\n").map_or(&out[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    if continues(last) {
        out.extend_from_slice(end);
    }
    out.extend_from_slice(variable.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value.as_bytes());
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

fn assignments(text: &[u8], variable: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    while at < text.len() {
        let line_end = end_of_line(text, at);
        let Some((name, start)) = left_side(text, at..line_end) else {
            at = line_end + 1;
            continue;
        };
        let assignment = right_side(text, start);
        at = end_of_line(text, assignment.region.end) + 1;
        if name == variable.as_bytes() {
            found.push(assignment);
        }
    }
    found
}

/// Name and start of the value of a line that assigns one.
fn left_side(text: &[u8], line: Range<usize>) -> Option<(&[u8], usize)> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let skip = |from: usize| from + text[from..line.end].iter().take_while(|byte| blank(byte)).count();
    let mut start = skip(line.start);
    let after_export = text[start..line.end].strip_prefix(b"export").map(|_| start + b"export".len());
    if let Some(after) = after_export.filter(|&after| skip(after) > after) {
        start = skip(after);
    }
    let name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let length = text[start..line.end].iter().take_while(|byte| name_byte(byte)).count();
    let equals = skip(start + length);
    let assigns = length > 0 && equals < line.end && text[equals] == b'=';
    assigns.then(|| (&text[start..start + length], skip(equals + 1)))
}

/// The value that starts at `start`.
fn right_side(text: &[u8], start: usize) -> Assignment {
    let quote = text.get(start).copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if let Some((quote, close)) = quote.and_then(|quote| Some((quote, closing_quote(text, start, quote)?))) {
        let end = without_return(text, close + 1, end_of_line(text, close));
        return Assignment { region: start..end, value: start + 1..close, quote: Some(quote) };
    }
    let mut end = end_of_line(text, start);
    while end < text.len() && continues(&text[start..without_return(text, start, end)]) {
        end = end_of_line(text, end + 1);
    }
    let end = without_return(text, start, end);
    Assignment { region: start..end, value: start..start + bare_length(&text[start..end]), quote: None }
}

/// Where the quote opened at `open` is closed, on this line or a later one.
fn closing_quote(text: &[u8], open: usize, quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate().skip(open + 1) {
        if escaped {
            escaped = false;
        } else if byte == b'\\' && quote != b'\'' {
            escaped = true;
        } else if byte == quote {
            return Some(at);
        }
    }
    None
}

/// True when an unquoted value goes on behind the line end (an odd number of backslashes).
fn continues(value: &[u8]) -> bool {
    value.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// Length of an unquoted value without the blanks and the comment behind it.
fn bare_length(value: &[u8]) -> usize {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let comment = value.windows(2).position(|pair| blank(&pair[0]) && pair[1] == b'#');
    let kept = &value[..comment.unwrap_or(value.len())];
    let only_comment = kept.first() == Some(&b'#');
    if only_comment { 0 } else { kept.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1) }
}

fn end_of_line(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |length| from + length)
}

/// `end`, or one less when a carriage return stands before it (not before `start`).
fn without_return(text: &[u8], start: usize, end: usize) -> usize {
    if end > start && text[end - 1] == b'\r' { end - 1 } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_env_files() {
        let seeds: [&[u8]; 4] = [
            b"A=1\nKEY=old # x\nexport KEY='a\nb'\n",
            b"KEY=\"a\\\"b\"\r\n# KEY=no\r\n",
            b"\xef\xbb\xbfKEY=a\\\nb",
            b"",
        ];
        crate::net::testing::fuzz(&seeds, |text| {
            values(text, "KEY");
            if let Ok(edited) = edit(text, "KEY", &key()) {
                assert!(!values(&edited, "KEY").is_empty());
            }
        });
    }

    fn key() -> Secret {
        Secret::new(format!("sk-or-v1-{}", "0f".repeat(32)))
    }

    fn edited(text: &str) -> String {
        String::from_utf8(edit(text.as_bytes(), "KEY", &key()).unwrap()).unwrap()
    }

    #[test]
    fn only_the_value_changes() {
        let rows = [
            ("", "KEY=@\n"),
            ("A=1", "A=1\nKEY=@\n"),
            ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nKEY=@\r\n"),
            ("\u{feff}", "\u{feff}KEY=@\n"),
            ("\u{feff}KEY=x\n", "\u{feff}KEY=@\n"),
            ("# head\nKEY=old\n\nB=2\n", "# head\nKEY=@\n\nB=2\n"),
            ("KEY=old", "KEY=@"),
            ("KEY=", "KEY=@"),
            ("KEY=old\r\nB=2", "KEY=@\r\nB=2"),
            ("export KEY=old\n", "export KEY=@\n"),
            ("  export\tKEY = old\n", "  export\tKEY = @\n"),
            ("KEY=\"old\"\n", "KEY=\"@\"\n"),
            ("KEY='o\"ld' # why\nB=1\n", "KEY='@'\nB=1\n"),
            ("KEY=old # why\n", "KEY=@\n"),
            ("KEY=# to be filled\n", "KEY=@\n"),
            ("KEY=`old`\n", "KEY=@\n"),
            ("KEY=a\nKEY=\"b\"\n", "KEY=@\nKEY=\"@\"\n"),
            ("KEY=\"a\nb\nKEY=c\"\nB=1\n", "KEY=\"@\"\nB=1\n"),
            ("B=\"\nKEY=inside\n\"\n", "B=\"\nKEY=inside\n\"\nKEY=@\n"),
            ("B=\"open\nKEY=x\n", "B=\"open\nKEY=@\n"),
            ("B=\"an \\\" escaped\nKEY=x\n\"\n", "B=\"an \\\" escaped\nKEY=x\n\"\nKEY=@\n"),
            ("KEY=a\\\nb\nB=1\n", "KEY=@\nB=1\n"),
            ("A=b\\", "A=b\\\n\nKEY=@\n"),
            ("A=b\\\r\n", "A=b\\\r\n\r\nKEY=@\r\n"),
            ("B=it's\nKEY=x\nC='\n", "B=it's\nKEY=@\nC='\n"),
            ("#KEY=x\n;KEY=y\nMY_KEY=z\nKEY_2=q\nKEYS\n", "#KEY=x\n;KEY=y\nMY_KEY=z\nKEY_2=q\nKEYS\nKEY=@\n"),
            ("exportKEY=x\nexport=1\n", "exportKEY=x\nexport=1\nKEY=@\n"),
        ];
        for (text, expected) in rows {
            assert_eq!(edited(text), expected.replace('@', key().expose()), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let out = edit(b"A=\xff\xfe\nKEY=x\n\xff", "KEY", &key()).unwrap();
        assert_eq!(out, [b"A=\xff\xfe\nKEY=", key().expose().as_bytes(), b"\n\xff"].concat());
    }

    #[test]
    fn values_as_readers_see_them() {
        let rows = [
            ("KEY=a", vec!["a"]),
            ("KEY = a  # b\r\n", vec!["a"]),
            ("KEY=a#b", vec!["a#b"]),
            ("KEY=\"a b\" # c\nKEY='d'", vec!["a b", "d"]),
            ("KEY=\n", vec![""]),
            ("OTHER=a", vec![]),
        ];
        for (text, expected) in rows {
            let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values(text.as_bytes(), "KEY"), expected, "{text:?}");
        }
    }

    #[test]
    fn odd_keys_are_quoted_or_refused() {
        let edited = |key: &str| edit(b"KEY=x\n", "KEY", &Secret::new(key));
        assert_eq!(edited("a$b c#").unwrap(), b"KEY='a$b c#'\n");
        for bad in ["it's", "two\nlines", ""] {
            assert!(edited(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_reads_back_and_keeps_its_other_values(
            text in "([A-Z]{1,2}|KEY|export KEY|#|\"|'|=|\\\\| |\n|\r\n|é){0,40}",
        ) {
            let others = |text: &[u8]| -> Vec<Vec<u8>> {
                ["A", "B", "AB"].iter().flat_map(|name| values(text, name)).map(|value| value.trim_ascii_end().to_vec()).collect()
            };
            let out = edit(text.as_bytes(), "KEY", &key()).unwrap();
            let read = values(&out, "KEY");
            proptest::prop_assert!(!read.is_empty());
            proptest::prop_assert!(read.iter().all(|value| *value == key().expose().as_bytes()));
            proptest::prop_assert_eq!(others(&out), others(text.as_bytes()));
            proptest::prop_assert_eq!(edit(&out, "KEY", &key()).unwrap(), out);
        }
    }
}
