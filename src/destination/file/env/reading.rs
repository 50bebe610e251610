//! How env files are read: as lines (systemd, Docker), as lines whose quoted values may span several (the dotenv
//! libraries), and as commands (a shell that sources them). An assignment counts when all of them find it and none takes
//! more or less for its value; a line about our variable on which they differ is refused.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::disk::refused;
use super::BYTE_ORDER_MARK;
use crate::domain::outcome::Failure;

/// One assignment of the variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// What a new value replaces, as bytes of the text: the value with its quotes.
    pub(super) region: Range<usize>,
    /// The quote around it.
    pub(super) quote: Option<u8>,
}

impl Assignment {
    /// The value without its quotes.
    pub(super) fn value(&self) -> Range<usize> {
        let quotes = usize::from(self.quote.is_some());
        self.region.start + quotes..self.region.end - quotes
    }
}

/// One line, without its end.
struct Line {
    number: usize,
    range: Range<usize>,
    /// Some reader takes it for the rest of a value that began on an earlier line.
    is_inside: bool,
}

/// A word of a line, as a shell divides it: quotes hold it together.
struct Word {
    range: Range<usize>,
    /// The number of its command on the line: `;`, `&` and `|` end one.
    command: usize,
}

/// All assignments of the variable, in their order.
pub(super) fn assignments(text: &[u8], variable: &str) -> Result<Vec<Assignment>, Failure> {
    check_encoding(text)?;
    let mut found = Vec::new();
    for line in lines(text) {
        let words = words(text, line.range.clone());
        let uncertain = |why: &str| uncertain(line.number, why);
        if let Some(why) = other_language(text, &line, &words) {
            return Err(uncertain(why));
        }
        let ours = of_line(text, &line, &words, variable.as_bytes()).map_err(uncertain)?;
        if line.is_inside && !ours.is_empty() {
            return Err(uncertain("some programs read it as part of a value that begins above it"));
        }
        found.extend(ours);
    }
    Ok(found)
}

fn uncertain(line: usize, why: &str) -> Failure {
    refused(format!("programs read line {line} differently, and rekeyd does not guess: {why}"))
        .hint("write the variable on a line of its own, as NAME=value or export NAME=value")
}

/// Whether there are assignments, and a shell exports each of them: on its line, by a later `export NAME`, or between
/// `set -a` and `set +a`.
pub(super) fn all_are_exported(text: &[u8]) -> bool {
    let (mut assigned, mut exported, mut all) = (Vec::new(), BTreeSet::new(), false);
    for line in lines(text).iter().filter(|line| !line.is_inside) {
        let words = words(text, line.range.clone());
        let mut exports = false;
        for (at, word) in words.iter().enumerate() {
            let first = at == 0 || words[at - 1].command != word.command;
            let whole = &text[word.range.clone()];
            let before = if first { &b""[..] } else { &text[words[at - 1].range.clone()] };
            match whole {
                b"-a" | b"+a" if before == b"set" => all = whole[0] == b'-',
                b"allexport" if matches!(before, b"-o" | b"+o") => all = before[0] == b'-',
                _ => {}
            }
            exports = whole == b"export" || exports && !first;
            let name = &text[name(text, word)];
            let assigns = whole.get(name.len()) == Some(&b'=') && !name.is_empty();
            if exports && !name.is_empty() && whole != b"export" || assigns && all {
                exported.insert(name);
            }
            if assigns {
                assigned.push(name);
            }
        }
    }
    !assigned.is_empty() && assigned.iter().all(|name| exported.contains(name))
}

/// True when a line goes on behind its end (an odd number of backslashes).
pub(super) fn goes_on(line: &[u8]) -> bool {
    line.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

// --- files of another kind -------------------------------------------------------------------------------------

fn check_encoding(text: &[u8]) -> Result<(), Failure> {
    if text.contains(&0) || text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(refused("it is UTF-16 or holds zero bytes").hint("save it as UTF-8"));
    }
    let lone = text.iter().enumerate().any(|(at, &byte)| byte == b'\r' && text.get(at + 1) != Some(&b'\n'));
    if lone {
        return Err(
            refused("it holds carriage returns that end no line").hint("save it with line ends of Unix")
        );
    }
    Ok(())
}

/// A line that no env file has: a new line of ours would mean nothing beside it.
fn other_language(text: &[u8], line: &Line, words: &[Word]) -> Option<&'static str> {
    let word = |at: usize| words.get(at).map_or(&b""[..], |word| &text[word.range.clone()]);
    let whole = text[line.range.clone()].trim_ascii();
    // What a fish sets has a name and a value behind its option.
    let command = words.iter().take_while(|word| word.command == 0).count();
    let is_option = matches!(word(1).first(), Some(b'-' | b'+')) && (command <= 2 || word(1).contains(&b'o'));
    match word(0) {
        _ if line.is_inside => None,
        b"setenv" => Some("it is of a csh"),
        b"set" if !is_option => Some("it is of a csh, a fish or a Windows shell"),
        first if first.to_ascii_lowercase().starts_with(b"$env:") => Some("it is of a PowerShell"),
        _ if whole.starts_with(b"[") && whole.ends_with(b"]") => {
            Some("it begins a section of a unit or INI file")
        }
        _ => None,
    }
}

// --- lines -----------------------------------------------------------------------------------------------------

fn lines(text: &[u8]) -> Vec<Line> {
    let begin = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let (mut all, mut at, mut goes_on_here) = (Vec::new(), begin, false);
    while at < text.len() {
        let newline =
            text[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |length| at + length);
        let end = if newline > at && text[newline - 1] == b'\r' { newline - 1 } else { newline };
        all.push(Line { number: all.len() + 1, range: at..end, is_inside: goes_on_here });
        goes_on_here = goes_on(&text[at..end]);
        at = newline + 1;
    }
    for quoted in quoted_by_a_shell(text, begin).into_iter().chain(quoted_as_values(text, &all)) {
        all.iter_mut()
            .filter(|line| quoted.contains(&line.range.start))
            .for_each(|line| line.is_inside = true);
    }
    all
}

/// Where a shell is within quotes; nothing when it would find the last one open, since then it reads none of it.
fn quoted_by_a_shell(text: &[u8], begin: usize) -> Vec<Range<usize>> {
    let (mut quoted, mut at, mut word_begins) = (Vec::new(), begin, true);
    while at < text.len() {
        let byte = text[at];
        match byte {
            b'#' if word_begins => at += text[at..].iter().take_while(|&&byte| byte != b'\n').count(),
            b'\\' => at += 2,
            b'"' | b'\'' | b'`' => {
                let Some(close) = closing_quote(text, at) else { return Vec::new() };
                if text[at..close].contains(&b'\n') {
                    quoted.push(at + 1..close + 1);
                }
                at = close + 1;
            }
            _ => at += 1,
        }
        word_begins = matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(');
    }
    quoted
}

/// Values that begin with a quote and end with it on a later line, as the dotenv libraries read them.
fn quoted_as_values(text: &[u8], lines: &[Line]) -> Vec<Range<usize>> {
    let mut quoted: Vec<Range<usize>> = Vec::new();
    for line in lines {
        let above = quoted.last().is_some_and(|last| last.contains(&line.range.start));
        if let Some(open) = opening_quote(text, &line.range).filter(|_| !above)
            && let Some(close) = closing_quote(text, open).filter(|close| *close > line.range.end)
        {
            quoted.push(open + 1..close + 1);
        }
    }
    quoted
}

/// The quote with which the value of a line begins.
fn opening_quote(text: &[u8], line: &Range<usize>) -> Option<usize> {
    let equals = line.start + text[line.clone()].iter().position(|&byte| byte == b'=')?;
    let blanks = text[equals + 1..line.end].iter().take_while(|byte| is_blank(**byte)).count();
    let at = equals + 1 + blanks;
    let comment = text[line.clone()].trim_ascii_start().starts_with(b"#");
    (at < line.end && !comment && matches!(text[at], b'"' | b'\'' | b'`')).then_some(at)
}

/// Where the quote opened at `open` is closed, on this line or a later one.
fn closing_quote(text: &[u8], open: usize) -> Option<usize> {
    let quote = text[open];
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'\'' => at += 2,
            byte if byte == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

// --- words -----------------------------------------------------------------------------------------------------

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn words(text: &[u8], line: Range<usize>) -> Vec<Word> {
    let (mut words, mut command, mut at) = (Vec::new(), 0, line.start);
    // A comment to systemd; no command to a shell.
    if text[line.clone()].trim_ascii_start().starts_with(b";") {
        return words;
    }
    while at < line.end {
        match text[at] {
            byte if is_blank(byte) => at += 1,
            b'#' => break,
            b';' | b'&' | b'|' => {
                command += 1;
                at += 1;
            }
            _ => {
                let end = end_of_word(&text[..line.end], at);
                words.push(Word { range: at..end, command });
                at = end;
            }
        }
    }
    words
}

/// A quote that stays open takes the rest of the line.
fn end_of_word(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < line.len() {
        match line[at] {
            b'\\' => at += 2,
            b'"' | b'\'' => at = closing_quote(line, at).map_or(line.len(), |close| close + 1),
            b' ' | b'\t' | b';' | b'&' | b'|' => return at,
            _ => at += 1,
        }
    }
    line.len()
}

/// The name with which a word begins.
fn name(text: &[u8], word: &Word) -> Range<usize> {
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let length = text[word.range.clone()].iter().take_while(is_name).count();
    word.range.start..word.range.start + length
}

// --- assignments -----------------------------------------------------------------------------------------------

const BELONGS: &str = "what follows the value belongs to it for some of them";
const OTHER_WAY: &str = "it names the variable in another way than NAME=value";

/// What a line assigns to the variable; an error says why that is not certain.
fn of_line(
    text: &[u8],
    line: &Line,
    words: &[Word],
    variable: &[u8],
) -> Result<Vec<Assignment>, &'static str> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if &text[name(text, word)] != variable {
            continue;
        }
        if let Some(assignment) = of_word(text, line, words, at)? {
            let rest = text[assignment.region.end..line.range.end].trim_ascii_start();
            if assignment.region.is_empty() && rest.starts_with(b"#") {
                return Err("what begins with # is a comment for some of them");
            }
            check_separators(text, line, words, at)?;
            found.push(assignment);
        }
    }
    Ok(found)
}

/// What a word that begins with the variable's name assigns to it.
fn of_word(text: &[u8], line: &Line, words: &[Word], at: usize) -> Result<Option<Assignment>, &'static str> {
    let word = &words[at];
    let name_end = name(text, word).end;
    let command: Vec<&Word> = words.iter().filter(|other| other.command == word.command).collect();
    let is_exported = &text[command[0].range.clone()] == b"export";
    let before = words[..at].iter().filter(|other| other.command == word.command).count();
    let leads = before == usize::from(is_exported);
    let is_alone = leads && command.len() == before + 1;
    let is_open = name_end + 1 >= word.range.end;
    let equals_follows = words.get(at + 1).is_some_and(|next| text[next.range.start] == b'=');
    match text[name_end..word.range.end].first() {
        Some(b'=') if is_alone || is_exported && !is_open => {
            assigned(text, name_end + 1..word.range.end).map(Some)
        }
        Some(b'=') if leads && is_open && !is_exported => {
            with_blanks(text, line, name_end, &words[at + 1..]).map(Some)
        }
        None if leads && equals_follows => with_blanks(text, line, name_end, &words[at + 1..]).map(Some),
        None if is_exported => Ok(None),
        Some(b'=') => Err(BELONGS),
        None | Some(b':' | b'+' | b'[') => Err(OTHER_WAY),
        Some(_) => Ok(None),
    }
}

/// Only what always runs, and in the shell itself, sets a variable: `a; NAME=value && b`, not `a && NAME=value | b`.
fn check_separators(text: &[u8], line: &Line, words: &[Word], at: usize) -> Result<(), &'static str> {
    let ends = words.iter().map(|word| word.range.end);
    let starts = words.iter().skip(1).map(|word| word.range.start).chain([line.range.end]);
    for (number, (end, start)) in ends.zip(starts).enumerate() {
        let gap = text[end..start].trim_ascii_start();
        let length = gap.iter().take_while(|byte| matches!(byte, b';' | b'&' | b'|')).count();
        match &gap[..length] {
            b"" | b";" => {}
            b"&&" if number >= at => {}
            _ => return Err("a shell runs it on a condition, or beside itself"),
        }
    }
    Ok(())
}

/// `NAME = value`, as the dotenv libraries read it: one word, and nothing else but a comment.
fn with_blanks(text: &[u8], line: &Line, name_end: usize, rest: &[Word]) -> Result<Assignment, &'static str> {
    let skip =
        |from: usize| from + text[from..line.range.end].iter().take_while(|byte| is_blank(**byte)).count();
    let equals = skip(name_end);
    if text[..line.range.end].get(equals) != Some(&b'=') {
        return Err(OTHER_WAY);
    }
    let start = skip(equals + 1);
    let values: Vec<&Word> = rest.iter().filter(|word| word.range.end > start).collect();
    match values.as_slice() {
        [] => Ok(Assignment { region: equals + 1..equals + 1, quote: None }),
        // Attached, a shell would take NAME=value for another assignment.
        [value] if equals > name_end || !text[value.range.clone()].contains(&b'=') => {
            assigned(text, start..value.range.end)
        }
        _ => Err(BELONGS),
    }
}

/// The value that stands at these bytes.
fn assigned(text: &[u8], region: Range<usize>) -> Result<Assignment, &'static str> {
    let value = &text[region.clone()];
    match value.first().copied() {
        Some(quote @ (b'"' | b'\''))
            if closing_quote(&text[..region.end], region.start) == Some(region.end - 1) =>
        {
            Ok(Assignment { region, quote: Some(quote) })
        }
        Some(b'"' | b'\'') => Err("its quotes do not end where the value ends"),
        Some(b'#') => Err("what begins with # is a comment for some of them"),
        // To be filled in by a person.
        Some(b'<') if value.ends_with(b">") && !value[1..].contains(&b'<') => {
            Ok(Assignment { region, quote: None })
        }
        _ if value.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\' | b'(' | b')' | b'<' | b'>')) => {
            Err("the value has quotes, backslashes or brackets")
        }
        _ => Ok(Assignment { region, quote: None }),
    }
}
