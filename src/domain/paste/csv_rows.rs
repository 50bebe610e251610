//! CSV with a head: columns are found by their names, whatever separates them.

use serde_json::{Map, Value};

use super::{Fields, KEY, Pasted, Refused, Vocabulary};

const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// The line of the head, from zero, and what separates the columns: it is the first line that is not empty, where it names
/// a column of keys. Comments may stand before it; a head may begin with `#` itself, for a column of numbers.
fn head(text: &str) -> Option<(usize, char)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let numbers =
            SEPARATORS.iter().any(|separator| line.trim_start().starts_with(&format!("#{separator}")));
        if line.trim_start().starts_with('#') && !numbers {
            continue;
        }
        let separator = SEPARATORS.into_iter().find(|separator| names_keys(line, *separator));
        return separator.map(|separator| (number, separator));
    }
    None
}

/// A column alone is separated by nothing.
fn names_keys(line: &str, separator: char) -> bool {
    line.split(separator).map(name).any(|name| KEY.contains(&name.as_str()))
}

pub(super) fn has_head(text: &str) -> bool {
    head(text).is_some()
}

/// `API Key` and `"api_key"` are one column.
fn name(head: &str) -> String {
    head.trim().trim_matches('"').trim().to_lowercase().replace([' ', '-'], "_")
}

pub(super) fn parse(text: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Vec<Pasted> {
    let (skipped, separator) = head(text).unwrap_or((0, ','));
    let mut text = text.split_inclusive('\n').skip(skipped).collect::<String>().replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let comment = (!text.trim_start().starts_with('#')).then_some(b'#');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(u8::try_from(separator).unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(comment)
        .from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().map(|row| row.iter().map(name).collect()).unwrap_or_default();
    let (mut rows, mut record) = (Vec::new(), csv::StringRecord::new());
    loop {
        let key = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let cells =
                    names.iter().cloned().zip(record.iter().map(|cell| Value::String(cell.to_owned())));
                Fields(cells.collect::<Map<_, _>>()).offered(of, vocabulary)
            }
            Err(_) => Err(Refused::new("", "this row of the CSV cannot be read")),
        };
        // Where a record ends is known; where it begins, the comments before it hide.
        let ended = usize::try_from(reader.position().line()).unwrap_or(0);
        let inner: usize = record.iter().map(|cell| cell.matches('\n').count()).sum();
        rows.push(Pasted { line: (skipped + ended).saturating_sub(1 + inner), key });
    }
    rows
}
