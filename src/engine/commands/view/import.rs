//! `keys add-bulk`, `keys import`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::commands::import::{Fate, Imported};

/// What became of one line.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct ImportedView {
    pub line: usize,
    pub provider_type: Option<String>,
    pub masked_key: String,
    /// `added`, `known`, `placeholder` or `refused`.
    pub outcome: &'static str,
    /// The number it is stored under, by this line or already.
    pub number: Option<i64>,
    pub detail: Option<String>,
}

/// What became of all of them.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct ImportView {
    pub rows: Vec<ImportedView>,
    pub added: usize,
    pub known: usize,
    pub placeholders: usize,
    pub refused: usize,
}

impl From<Vec<ImportedView>> for ImportView {
    fn from(rows: Vec<ImportedView>) -> Self {
        let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
        let [added, known, placeholders, refused] = ["added", "known", "placeholder", "refused"].map(count);
        Self { rows, added, known, placeholders, refused }
    }
}

/// What became of each line.
pub fn imported_views(rows: Vec<Imported>) -> Vec<ImportedView> {
    rows.into_iter().map(view).collect()
}

fn view(row: Imported) -> ImportedView {
    let (outcome, number, detail) = match row.fate {
        Fate::Added(number) => ("added", number, None),
        Fate::Placeholder(number) => ("placeholder", number, Some("stored inactive".to_owned())),
        Fate::Known(provider, number) if row.provider.as_ref() == Some(&provider) => ("known", number, None),
        Fate::Known(provider, number) => ("known", number, Some(format!("as a key of {provider}"))),
        Fate::Repeated(line) => ("known", None, Some(format!("line {line} has it"))),
        Fate::Refused(why) => ("refused", None, Some(why)),
    };
    ImportedView {
        line: row.line,
        provider_type: row.provider,
        masked_key: row.shown,
        outcome,
        number,
        detail,
    }
}
