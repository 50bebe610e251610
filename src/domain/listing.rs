//! Lists in pages: how one may be asked for, what was asked, and the page that comes of it. Every list of every surface
//! goes through here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::time::Timestamp;

/// Rows of a page when nobody says.
pub const USUAL: usize = 100;
/// Rows of the longest page.
pub const MOST: usize = 1000;

/// How a list may be asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// Fields to sort by, the first when nobody says; a minus before one turns it round.
    pub sorts: &'static [&'static str],
    /// What it can be narrowed by.
    pub filters: &'static [Filter],
    /// Rows of a page when nobody says; `None` for all there are.
    pub usual: Option<usize>,
}

/// One thing that a list can be narrowed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Name of the parameter.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
}

/// What a filter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The field is this.
    Text,
    /// Words that some field contains, whatever their case.
    Words,
    /// `true` or `false`.
    YesOrNo,
    /// A moment, RFC 3339.
    Moment,
}

/// A filter on a field of the same name.
pub const fn by(name: &'static str, takes: Takes) -> Filter {
    Filter { name, takes }
}

/// What a filter was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// [`Takes::Text`], [`Takes::Words`].
    Text(String),
    /// [`Takes::YesOrNo`].
    Flag(bool),
    /// [`Takes::Moment`].
    Moment(Timestamp),
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Rows of the page; without it as many as there are.
    pub limit: Option<usize>,
    /// The row after which the page begins.
    pub after: Option<Cursor>,
    /// Which field.
    pub sort: &'static str,
    /// Highest first.
    pub is_descending: bool,
    /// By name.
    pub filters: BTreeMap<&'static str, Given>,
}

/// A place in a sorted list: the value that it is sorted by, and the id of the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Text or a number.
    pub value: Value,
    /// Unique in the list.
    pub id: String,
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<V> {
    /// The rows.
    pub items: Vec<V>,
    /// Asks for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Rows of the whole list, narrowed by the filters.
    pub total: usize,
}

/// A parameter that a list does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {why}")]
pub struct Misasked {
    /// Its name.
    pub parameter: String,
    /// In words, with what would be understood.
    pub why: String,
}

impl Shape {
    /// Everything that was asked for when nobody asked for anything.
    pub fn everything(&self) -> Wanted {
        let (sort, is_descending) = direction(self.sorts.first().copied().unwrap_or("id"));
        Wanted { limit: None, after: None, sort, is_descending, filters: BTreeMap::new() }
    }

    /// Reads the parameters of a query, each of which may come once.
    pub fn read<'p>(
        &self,
        pairs: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)> + 'p,
    ) -> Result<Wanted, Misasked> {
        let mut wanted = Wanted { limit: self.usual, ..self.everything() };
        let mut seen = std::collections::BTreeSet::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let wrong = |why: String| Misasked { parameter: name.to_owned(), why };
            if !seen.insert(name.to_owned()) {
                return Err(wrong("it is there twice".to_owned()));
            }
            match name {
                "limit" => wanted.limit = Some(limit(value).ok_or_else(|| wrong(format!("1 to {MOST}")))?),
                "cursor" => {
                    let cursor = Cursor::parse(value);
                    wanted.after = Some(cursor.ok_or_else(|| {
                        wrong("not one of this list: take `next_cursor` of the page before".to_owned())
                    })?);
                }
                "sort" => {
                    let known = self.sorts.iter().map(|sort| direction(sort).0);
                    let (field, is_descending) =
                        value.strip_prefix('-').map_or((value, false), |it| (it, true));
                    wanted.sort = known.clone().find(|sort| *sort == field).ok_or_else(|| {
                        wrong(format!(
                            "one of {}, or with a minus before it",
                            known.collect::<Vec<_>>().join(", ")
                        ))
                    })?;
                    wanted.is_descending = is_descending;
                }
                _ => {
                    let filter = self.filters.iter().find(|filter| filter.name == name);
                    let filter = filter.ok_or_else(|| wrong(self.understands()))?;
                    wanted.filters.insert(filter.name, filter.takes.read(value).map_err(wrong)?);
                }
            }
        }
        Ok(wanted)
    }

    fn understands(&self) -> String {
        let filters = self.filters.iter().map(|filter| filter.name);
        let known: Vec<&str> = ["limit", "cursor", "sort"].into_iter().chain(filters).collect();
        format!("this list understands {}", known.join(", "))
    }
}

/// A field, and whether it stands there with a minus.
fn direction(sort: &'static str) -> (&'static str, bool) {
    sort.strip_prefix('-').map_or((sort, false), |field| (field, true))
}

fn limit(text: &str) -> Option<usize> {
    text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
}

impl Takes {
    fn read(self, text: &str) -> Result<Given, String> {
        match self {
            Self::Text | Self::Words => Ok(Given::Text(text.to_owned())),
            Self::YesOrNo => match text {
                "true" => Ok(Given::Flag(true)),
                "false" => Ok(Given::Flag(false)),
                _ => Err("true or false".to_owned()),
            },
            Self::Moment => Timestamp::parse_rfc3339(text)
                .map(Given::Moment)
                .ok_or_else(|| "a moment like 2026-12-01T03:00:00Z".to_owned()),
        }
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (value, id): (Value, String) = serde_json::from_slice(&bytes).ok()?;
        (value.is_string() || value.is_i64()).then_some(Self { value, id })
    }

    /// As it travels.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!([self.value, self.id]).to_string())
    }
}

impl Wanted {
    /// The page after one whose `next_cursor` this is.
    #[must_use]
    pub fn following(&self, next_cursor: &str) -> Self {
        Self { after: Cursor::parse(next_cursor), ..self.clone() }
    }
}

impl<V> Page<V> {
    /// The same page of something else.
    pub fn map<W>(self, of: impl FnMut(V) -> W) -> Page<W> {
        let Self { items, next_cursor, total } = self;
        Page { items: items.into_iter().map(of).collect(), next_cursor, total }
    }
}

/// A page of a list that is in memory whole: what the configuration names. Fields are those of its JSON; a filter
/// compares the field of its name, and words are looked for in every field.
pub fn page<V: Serialize>(all: Vec<V>, id: &'static str, wanted: &Wanted) -> Page<V> {
    let rows = all.into_iter().map(|view| (serde_json::to_value(&view).unwrap_or_default(), view));
    let mut rows: Vec<(Value, V)> = rows.filter(|(row, _)| wanted.includes(row)).collect();
    let place = |row: &Value| (comparable(&row[wanted.sort]), comparable(&row[id]));
    rows.sort_by_key(|(row, _)| place(row));
    if wanted.is_descending {
        rows.reverse();
    }
    let total = rows.len();
    if let Some(after) = &wanted.after {
        let after = (comparable(&after.value), after.id.clone());
        rows.retain(|(row, _)| if wanted.is_descending { place(row) < after } else { place(row) > after });
    }
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let is_last = rows.len() <= limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| !is_last).map(|(row, _)| place(row));
    let next_cursor = last.map(|(value, id)| Cursor { value: Value::String(value), id }.text());
    Page { items: rows.into_iter().map(|(_, view)| view).collect(), next_cursor, total }
}

/// Numbers in the order of their value, nothing before everything.
fn comparable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| number.to_string(), |number| format!("{number:020}"))
        }
        other => other.to_string(),
    }
}

impl Wanted {
    fn includes(&self, row: &Value) -> bool {
        self.filters.iter().all(|(name, given)| match given {
            Given::Text(words) if *name == "q" => says(row, &words.to_lowercase()),
            Given::Text(text) => row[*name].as_str() == Some(text),
            Given::Flag(flag) => row[*name].as_bool() == Some(*flag),
            Given::Moment(_) => true,
        })
    }
}

/// Whether some value of a row contains these words; names of fields say nothing.
fn says(row: &Value, words: &str) -> bool {
    match row {
        Value::Array(all) => all.iter().any(|value| says(value, words)),
        Value::Object(fields) => fields.values().any(|value| says(value, words)),
        Value::String(text) => text.to_lowercase().contains(words),
        other => other.to_string().contains(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        sorts: &["name", "-rank"],
        filters: &[by("q", Takes::Words), by("state", Takes::Text), by("since", Takes::Moment)],
        usual: Some(USUAL),
    };

    fn read(query: &str) -> Result<Wanted, Misasked> {
        SHAPE.read(url::form_urlencoded::parse(query.as_bytes()))
    }

    #[derive(Debug, Serialize)]
    struct Row {
        name: &'static str,
        rank: i64,
        state: &'static str,
    }

    fn rows() -> Vec<Row> {
        let row = |name, rank, state| Row { name, rank, state };
        vec![row("c", 9, "idle"), row("a", 10, "idle"), row("b", 9, "running"), row("d", 100, "idle")]
    }

    fn names(page: &Page<Row>) -> String {
        page.items.iter().map(|row| row.name).collect()
    }

    #[test]
    fn what_a_list_does_not_understand_is_said() {
        for (query, parameter) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("sort=age", "sort"),
            ("cursor=x", "cursor"),
            ("since=yesterday", "since"),
            ("colour=red", "colour"),
            ("state=idle&state=running", "state"),
        ] {
            assert_eq!(read(query).unwrap_err().parameter, parameter, "{query}");
        }
        assert_eq!(read("").unwrap().limit, Some(USUAL));
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_double() {
        for (sort, whole) in [("name", "abcd"), ("-name", "dcba"), ("rank", "bcad"), ("-rank", "dacb")] {
            let (mut seen, mut cursor) = (String::new(), String::new());
            loop {
                let page = page(rows(), "name", &read(&format!("limit=1&sort={sort}{cursor}")).unwrap());
                assert_eq!(page.total, 4);
                seen.push_str(&names(&page));
                let Some(next) = page.next_cursor else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen, whole, "{sort}");
        }
    }

    #[test]
    fn a_total_obeys_the_filters() {
        let page = page(rows(), "name", &read("state=idle&limit=2").unwrap());
        assert_eq!((names(&page).as_str(), page.total, page.next_cursor.is_some()), ("ac", 3, true));
        let fields = super::page(rows(), "name", &read("q=state").unwrap());
        assert_eq!(fields.total, 0, "the name of a field is no word of a row");
        let words = super::page(rows(), "name", &read("q=RUNN").unwrap());
        assert_eq!((names(&words).as_str(), words.total), ("b", 1));
    }
}
