//! The list of keys as a file for a spreadsheet, masked.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};

use super::query::Query;
use crate::engine::commands::{FoundKeysView, KeyQuery, KeyView, find_keys};
use crate::engine::{Engine, EngineError};
use crate::http::dashboard::visit::Visit;
use crate::http::problem::Problem;

/// Rows that are read and sent at one time.
const CHUNK: i64 = 500;

const HEAD: [&str; 15] = [
    "provider_type",
    "number",
    "name",
    "masked_key",
    "priority",
    "is_active",
    "status",
    "status_detail",
    "last_tested_at",
    "owner",
    "note",
    "expires_at",
    "rotation",
    "generation",
    "created_at",
];

pub(super) async fn csv(visit: Visit) -> Result<Response, Problem> {
    let query = KeyQuery { limit: Some(CHUNK), offset: 0, ..Query::of(&visit).asked()? };
    let first = find_keys(visit.engine(), query.clone()).await?;
    let (sender, body) = Channel::<Bytes, EngineError>::new(1);
    tokio::spawn(send(visit.engine().clone(), query, first, sender));
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"rekeyd-keys.csv\""),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// Sends all rows, page after page, so that none but one is in memory. A reader who leaves ends it.
async fn send(
    engine: Engine,
    mut query: KeyQuery,
    mut page: FoundKeysView,
    mut to: Sender<Bytes, EngineError>,
) {
    let mut text = line(HEAD.map(str::to_owned));
    loop {
        text.extend(page.keys.iter().map(|key| line(row(key))));
        if to.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() || page.keys.is_empty() {
            return;
        }
        query.offset += CHUNK;
        page = match find_keys(&engine, query.clone()).await {
            Ok(page) => page,
            Err(error) => return to.abort(error),
        };
    }
}

fn row(key: &KeyView) -> [String; 15] {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        key.provider_type.clone(),
        number(key.number),
        key.name.clone(),
        key.masked_key.clone(),
        key.priority.to_string(),
        key.is_active.to_string(),
        key.status.clone(),
        text(&key.status_detail),
        text(&key.last_tested_at),
        text(&key.owner),
        text(&key.note),
        text(&key.expires_at),
        text(&key.rotation),
        number(key.generation),
        key.created_at.clone(),
    ]
}

/// One line. What a spreadsheet would take for a formula is text for it.
fn line(cells: [String; 15]) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let plain = cells.map(|cell| match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        _ => cell,
    });
    // A buffer in memory takes all that is written.
    drop(writer.write_record(plain));
    writer.into_inner().ok().and_then(|line| String::from_utf8(line).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_no_second_cell() {
        let mut cells = HEAD.map(|_| String::new());
        cells[2] = "=HYPERLINK(\"https://evil.example\")".to_owned();
        cells[10] = "first,second\nthird".to_owned();
        let line = line(cells);
        assert!(line.contains("\"'=HYPERLINK(\"\"https://evil.example\"\")\""), "{line}");
        assert!(line.contains("\"first,second\nthird\"") && line.ends_with("\r\n"), "{line}");
    }
}
