//! What is cut out of every text that comes from outside, before anybody reads it.
//!
//! Vendors' error bodies echo keys, whole or in part (fault 30), and programs print them in whatever form they work
//! with: base64 at any offset, hex, JSON, URLs, groups, capitals. So a secret is not sought as a text. Of the text only
//! letters and digits are looked at, in lower case: as it stands, and with its escapes undone. What is
//! left of the usual encodings in that view is the same whatever alphabet, padding, line length or grouping was used.

use std::cmp::Reverse;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Secret;

/// So many characters of a secret in a row are a part of it; the mask itself shows fewer.
const PART: usize = 12;
/// A form with fewer letters and digits than this would be found in any text; such a secret is cut out only as it is.
const SHORTEST: usize = 6;
/// How often escapes are undone: a URL inside of JSON inside of a log line.
const ROUNDS: usize = 3;
const CUT: &str = "[redacted]";

/// Replaces every known secret in `text` by its mask, any longer part of one, in whatever usual encoding, by
/// `[redacted]`, and the rest of anything that begins like a well-known key.
pub fn redact(text: &str, known: &[&Secret]) -> String {
    let mut out = text.to_owned();
    for secret in known.iter().filter(|secret| !secret.expose().is_empty()) {
        out = out.replace(secret.expose(), &secret.mask());
        out = cut_forms(&out, secret.expose());
    }
    redact_lookalikes(&out)
}

/// One way to write a secret: its letters and digits, in lower case.
struct Form {
    letters: Vec<u8>,
    /// In base64 the first and last character of a part may belong to its neighbour as well.
    shares_edges: bool,
}

impl Form {
    fn new(text: &str, shares_edges: bool) -> Self {
        let letters = text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase());
        Self { letters: letters.collect(), shares_edges }
    }
}

/// Text, hex, the numbers of its bytes, and base64 at each of the three offsets.
fn forms(secret: &str) -> Vec<Form> {
    let bytes = secret.as_bytes();
    let numbers: String = bytes.iter().map(u8::to_string).collect();
    let mut all =
        vec![Form::new(secret, false), Form::new(&hex::encode(bytes), false), Form::new(&numbers, false)];
    for offset in 0..3 {
        let shifted = STANDARD_NO_PAD.encode([&[0; 2][..offset], bytes].concat());
        // What stands before and after decides these characters too.
        let from = [0, 2, 3][offset];
        let until = shifted.len() - usize::from(!(offset + bytes.len()).is_multiple_of(3));
        all.push(Form::new(shifted.get(from..until).unwrap_or_default(), true));
    }
    all.retain(|form| form.letters.len() >= SHORTEST);
    all
}

/// A character of the text, and the bytes of the text that stand for it.
#[derive(Clone, Copy)]
struct Unit {
    c: char,
    from: usize,
    until: usize,
}

/// What is looked at of a text: its letters and digits, and where each stands.
struct View {
    letters: Vec<Unit>,
    word: Vec<u8>,
}

impl View {
    fn of(mut letters: Vec<Unit>) -> Self {
        letters.retain(|unit| unit.c.is_ascii_alphanumeric());
        let word = letters.iter().map(|unit| unit.c.to_ascii_lowercase() as u8).collect();
        Self { letters, word }
    }
}

/// Cuts every run of [`PART`] or more letters that `text` has in common with a form of `secret`.
fn cut_forms(text: &str, secret: &str) -> String {
    let raw: Vec<Unit> =
        text.char_indices().map(|(at, c)| Unit { c, from: at, until: at + c.len_utf8() }).collect();
    // Each round is looked at: what one undoes may look like another escape to the next. So does `key=12…` to mail.
    let mail = unescaped(&raw, '=');
    let rounds = std::iter::successors(Some(raw), |view| Some(unescaped(view, '%'))).take(1 + ROUNDS);
    let mut views: Vec<View> = rounds.chain([mail]).map(View::of).collect();
    views.dedup_by(|next, view| next.word == view.word);
    let mut common = vec![false; text.len()];
    for form in forms(secret) {
        let length = PART.min(form.letters.len());
        let windows: HashSet<&[u8]> = form.letters.windows(length).collect();
        for View { letters, word } in &views {
            for (at, window) in word.windows(length).enumerate() {
                if windows.contains(window) {
                    common[letters[at].from..letters[at + length - 1].until].fill(true);
                }
            }
        }
        if form.shares_edges {
            widen(&mut common, text);
        }
    }
    without(text, &common)
}

/// Takes the characters of base64 beside what was found along: some bits in them are the secret's.
fn widen(common: &mut [bool], text: &str) {
    let belongs = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
    let bytes = text.as_bytes();
    let found = common.to_vec();
    for at in 0..bytes.len() {
        let near = |next: usize| found.get(next).copied().unwrap_or(false);
        let beside = (1..=4).any(|step| {
            let after = near(at + step) && bytes[at..at + step].iter().all(|b| belongs(*b));
            let before =
                at >= step && near(at - step) && bytes[at - step + 1..=at].iter().all(|b| belongs(*b));
            after || before
        });
        common[at] |= beside;
    }
}

fn without(text: &str, common: &[bool]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let hit = common[at..at + c.len_utf8()].contains(&true);
        match (hit, inside) {
            (true, false) => out.push_str(CUT),
            (false, _) => out.push(c),
            (true, true) => {}
        }
        inside = hit;
    }
    out
}

/// One round of undoing the escapes of JSON, shells, C and HTML, and those that `sign` begins: `%` in URLs, `=` in mail.
/// What is none stays.
fn unescaped(units: &[Unit], sign: char) -> Vec<Unit> {
    let mut out = Vec::with_capacity(units.len());
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        let (length, c) = escape(&units[at..], sign).unwrap_or((1, Some(unit.c)));
        if let Some(c) = c {
            out.push(Unit { c, from: unit.from, until: units[at + length - 1].until });
        }
        at += length;
    }
    out
}

/// How many characters the escape at the beginning takes, and what it stands for.
fn escape(rest: &[Unit], sign: char) -> Option<(usize, Option<char>)> {
    let at = |n: usize| rest.get(n).map(|unit| unit.c);
    let number = |from: usize, length: usize, radix: u32| {
        let digits: String = rest.get(from..from + length)?.iter().map(|unit| unit.c).collect();
        char::from_u32(u32::from_str_radix(&digits, radix).ok()?)
    };
    // As many digits as there are until `end`.
    let until = |from: usize, end: char, radix: u32| {
        let length = rest.iter().skip(from).take(8).position(|unit| unit.c == end)?;
        Some((from + length + 1, Some(number(from, length, radix)?)))
    };
    match (at(0)?, at(1)) {
        (c, Some(_)) if c == sign => number(1, 2, 16).map(|c| (3, Some(c))),
        ('\\', Some('u')) if at(2) == Some('{') => until(3, '}', 16),
        ('\\', Some('u')) => number(2, 4, 16).map(|c| (6, Some(c))),
        ('\\', Some('x')) => number(2, 2, 16).map(|c| (4, Some(c))),
        ('\\', Some('0'..='3')) if number(1, 3, 8).is_some() => number(1, 3, 8).map(|c| (4, Some(c))),
        ('\\', Some('n' | 'r' | 't' | 'b' | 'f' | '0')) => Some((2, Some(' '))),
        ('\\', Some(c)) => Some((2, Some(c))),
        ('&', Some('#')) if at(2) == Some('x') => until(3, ';', 16),
        ('&', Some('#')) => until(2, ';', 10),
        ('&', Some(_)) => {
            let length = rest.iter().take(6).position(|unit| unit.c == ';')?;
            Some((length + 1, Some('&')))
        }
        ('0', Some('x' | 'X')) if number(2, 2, 16).is_some() => Some((2, None)),
        _ => None,
    }
}

/// How well-known keys begin.
const PREFIXES: [&str; 17] = [
    "sk-or-v1-",
    "sk-",
    "ghp_",
    "gho_",
    "ghu_",
    "github_pat_",
    "ghs_",
    "ghr_",
    "AIza",
    "gsk_",
    "hf_",
    "pplx-",
    "r8_",
    "tgp_v1_",
    "xai-",
    "csk-",
    "AKIA",
];

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// True for a word that begins like a well-known key and goes on long enough to be one. Whoever typed it where something
/// else belongs must not read it again.
pub fn looks_like_key(word: &str) -> bool {
    let tail = |prefix: &&str| word.strip_prefix(*prefix);
    PREFIXES.iter().filter_map(tail).any(|tail| {
        let run = tail.find(|c| !is_key_char(c)).unwrap_or(tail.len());
        // A name such as "sk-production-main" has no digit; a key without one does not happen.
        run >= 16 && tail[..run].contains(|c: char| c.is_ascii_digit())
    })
}

/// True for a text in which such a word stands, whatever is around it: `key=sk-…`, `(sk-…)`, `"sk-…"`.
pub fn holds_key(text: &str) -> bool {
    text.split(|c| !is_key_char(c)).any(looks_like_key)
}

/// Cuts every run of key characters after a well-known key prefix.
fn redact_lookalikes(text: &str) -> String {
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
        out.push_str(if run >= 8 { CUT } else { &tail[..run] });
        rest = &tail[run..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
