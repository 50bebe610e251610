//! Reads the pages of docs/design: what is built, and what they mark as not built yet (docs/design/README.md says how).

use std::collections::BTreeSet;

/// Opens words that are not built; [`CLOSES`] ends them, lines later if need be.
const OPENS: &str = "*(not built yet:";
const CLOSES: &str = ")*";
/// Marks a heading, a row, a rule or an item.
const WHOLE: &str = "*(not built yet)*";
/// Marks a line of a block of code, or what follows in a comment there.
const IN_CODE: &str = "not built yet";

/// A page as two texts with the same lines: each word of it stands in one of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) built: String,
    pub(super) unbuilt: String,
}

#[derive(Default)]
struct Reader {
    page: Page,
    in_code: bool,
    /// Within words that are not built.
    in_words: bool,
    /// The rank of the heading whose section is not built.
    section: Option<usize>,
    /// Within a table of TOML that is not built.
    table: bool,
}

impl Page {
    pub(super) fn read(text: &str) -> Self {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line);
            reader.page.built.push('\n');
            reader.page.unbuilt.push('\n');
        }
        assert!(!reader.in_words, "a mark is opened and not closed");
        reader.page
    }

    /// The lines of all blocks of code in this language, each with its number, from 0.
    pub(super) fn code(text: &str, language: &str) -> Vec<(usize, String)> {
        let mut within = None;
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), within) {
                (Some(opened), None) => within = Some(opened),
                (Some(_), Some(_)) => within = None,
                (None, Some(opened)) if opened == language => lines.push((number, line.to_owned())),
                (None, _) => {}
            }
        }
        lines
    }
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.starts_with("```") {
            self.in_code = !self.in_code;
            self.page.built.push_str(line);
        } else if self.in_code {
            self.code(line);
        } else if self.is_whole(line) {
            self.page.unbuilt.push_str(line);
        } else {
            self.words(line);
        }
    }

    fn code(&mut self, line: &str) {
        if line.starts_with('[') {
            self.table = line.contains(IN_CODE);
        }
        let (built, unbuilt) = match line.split_once(IN_CODE) {
            _ if self.table || self.section.is_some() => ("", line),
            Some((before, _)) if before.ends_with("# ") => ("", line),
            Some((before, _)) => line.split_at(before.len()),
            None => (line, ""),
        };
        self.page.built.push_str(built);
        self.page.unbuilt.push_str(unbuilt);
    }

    fn is_whole(&mut self, line: &str) -> bool {
        let marked = line.contains(WHOLE);
        let rank = line.len() - line.trim_start_matches('#').len();
        if rank > 0 && self.section.is_none_or(|section| rank <= section) {
            self.section = marked.then_some(rank);
        }
        marked || self.section.is_some()
    }

    fn words(&mut self, line: &str) {
        let mut rest = line;
        loop {
            let mark = if self.in_words { CLOSES } else { OPENS };
            let side = if self.in_words { &mut self.page.unbuilt } else { &mut self.page.built };
            let Some((before, after)) = rest.split_once(mark) else { return side.push_str(rest) };
            side.push_str(before);
            self.in_words = !self.in_words;
            rest = after;
        }
    }
}

/// What stands between backticks on one line.
pub(super) fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

// --- what the pages define ---------------------------------------------------------------------------------------

/// The names that a text defines: `**R1**` or `**R16 No frenzy.**` at the head of an item.
pub(super) fn defined(text: &str, letter: char) -> BTreeSet<String> {
    let items = text.lines().filter_map(|line| line.strip_prefix("- **"));
    items.filter_map(|item| numbered(item, letter)).collect()
}

/// The faults that a text lists, as items of its last part.
pub(super) fn faults(rotation: &str) -> BTreeSet<u32> {
    let (_, list) = rotation.split_once("## Faults to survive").unwrap_or_default();
    list.lines().filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

/// `R12` at the beginning of a text.
fn numbered(text: &str, letter: char) -> Option<String> {
    let digits: String = text.strip_prefix(letter)?.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("{letter}{digits}"))
}

// --- what sources cite ---------------------------------------------------------------------------------------------

/// The words of a text: letters, digits and what holds a name together.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    text.split(ends).map(|word| word.trim_matches('.'))
}

/// Pages: `rotation.md`.
pub(super) fn cited_pages(text: &str) -> BTreeSet<String> {
    words(text).filter(|word| super::texts::is_page(word)).map(str::to_owned).collect()
}

/// Rules and invariants: `R12`, and both ends of `I1–I10`.
pub(super) fn cited(text: &str, letter: char) -> BTreeSet<String> {
    let whole = |word: &&str| numbered(word, letter).is_some_and(|name| name == **word);
    words(text).filter(whole).map(str::to_owned).collect()
}

/// Faults: `fault 15`, `faults 1, 2 and 4`, `faults = [1, 2]`, `fault_07_of_a_test`.
pub(super) fn cited_faults(text: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for (_, after) in text.match_indices("fault").map(|(at, word)| text.split_at(at + word.len())) {
        let after = after.trim_start_matches('s').trim_start_matches([' ', '=', '[', '_']);
        let list = after.replace(" and ", ", ").replace(" to ", ", ").replace(['–', '-'], ", ");
        let numbers = list.split(", ").map_while(|item| {
            let digits: String = item.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        found.extend(numbers);
    }
    found
}
