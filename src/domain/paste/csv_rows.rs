//! CSV with a head: columns are found by their names, whatever separates them.

use serde_json::{Map, Value};

use super::{Fields, KEY, Pasted, Refused, Vocabulary};

const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// What separates the columns, when the first line names a column of keys and another one.
fn separator(text: &str) -> Option<char> {
    let head = text.lines().find(|line| !line.trim().is_empty())?;
    SEPARATORS.into_iter().find(|separator| {
        let names: Vec<String> = head.split(*separator).map(name).collect();
        names.len() > 1 && names.iter().any(|name| KEY.contains(&name.as_str()))
    })
}

pub(super) fn has_head(text: &str) -> bool {
    separator(text).is_some()
}

/// `API Key` and `"api_key"` are one column.
fn name(head: &str) -> String {
    head.trim().trim_matches('"').trim().to_lowercase().replace([' ', '-'], "_")
}

pub(super) fn parse(text: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Vec<Pasted> {
    let separator = separator(text).unwrap_or(',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(u8::try_from(separator).unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().map(|row| row.iter().map(name).collect()).unwrap_or_default();
    let mut rows = Vec::new();
    for record in reader.records() {
        let Ok(record) = record else {
            rows.push(Pasted {
                line: rows.len() + 2,
                key: Err(Refused::new("", "this row of the CSV cannot be read")),
            });
            continue;
        };
        let line = record.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        let cells = names.iter().cloned().zip(record.iter().map(|cell| Value::String(cell.to_owned())));
        let fields = Fields(cells.collect::<Map<_, _>>());
        rows.push(Pasted { line, key: fields.offered(of, vocabulary) });
    }
    rows
}
