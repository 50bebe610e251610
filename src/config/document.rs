//! The merged tree of all files, in which every field and value still knows its file and line.
//!
//! Merging: tables merge recursively, arrays of tables append, anything else that a later file sets again
//! replaces what was there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, without_secret};

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Which of the document's files.
    file: usize,
    /// From 1.
    line: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Position,
    pub value: Value,
}

/// A field: its name's place and its value.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub place: Position,
    pub node: Node,
}

/// What TOML knows.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Table(BTreeMap<String, Field>),
    Array(Vec<Node>),
    String(String),
    Integer(i64),
    /// An integer that 64 bits do not hold.
    HugeInteger,
    Float(f64),
    Boolean(bool),
    Datetime,
}

impl Value {
    /// With its article, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::String(_) => "a string",
            Self::Integer(_) | Self::HugeInteger => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date or time",
        }
    }
}

/// One step from a node to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Item(usize),
}

/// The merged tree.
#[derive(Debug)]
pub(super) struct Document {
    files: Vec<PathBuf>,
    root: Node,
}

impl Document {
    /// A document without files, and so without fields.
    pub fn new() -> Self {
        let place = Position { file: 0, line: 1 };
        Self { files: Vec::new(), root: Node { place, value: Value::Table(BTreeMap::new()) } }
    }

    /// Parses one more file and merges it in. Nothing is merged when it is not TOML.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let file = self.files.len();
        self.files.push(path.to_owned());
        let lines = Lines { file, text };
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| lines.problem(path, error)).collect());
        }
        let place = Position { file, line: 1 };
        let value = lines.table(table.get_ref());
        merge(&mut self.root, Node { place, value });
        Ok(())
    }

    /// The tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The file of a place; a document without files calls it by the default's name.
    pub fn file(&self, place: Position) -> PathBuf {
        self.files.get(place.file).cloned().unwrap_or_else(|| PathBuf::from("rekeyd.toml"))
    }

    /// The value at the end of a path.
    pub fn find(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, step| Some(node.step(step)?.1))
    }

    /// Where the end of a path stands, or the nearest part of it that stands anywhere. `None` when not even
    /// its first step does.
    pub fn place(&self, path: &[Step]) -> Option<Position> {
        let mut node = &self.root;
        let mut found = None;
        for step in path {
            let Some((place, next)) = node.step(step) else { break };
            (found, node) = (Some(place), next);
        }
        found
    }

    /// A path for people: items of arrays by their `name`, where they have one.
    pub fn spell(&self, path: &[Step]) -> String {
        let mut spelled = String::new();
        for (at, step) in path.iter().enumerate() {
            let named = || self.find(&path[..=at]).and_then(Node::name);
            match step {
                Step::Field(name) if at == 0 => spelled.push_str(name),
                Step::Field(name) => spelled.extend([".", name]),
                Step::Item(index) => match named() {
                    Some(name) => spelled.extend([".", name]),
                    None => spelled.extend(["[", &index.to_string(), "]"]),
                },
            }
        }
        spelled
    }

    /// A problem with the field at the end of a path.
    pub fn problem(&self, path: &[Step], message: impl Into<String>, hint: Option<String>) -> Problem {
        let place = self.place(path);
        let field = path.iter().rev().find_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item(_) => None,
        });
        let values = self.find(path).map(Node::texts).unwrap_or_default();
        let said = |text: String, bare| without_secret(&text, field.unwrap_or_default(), &values, bare);
        Problem {
            file: self.file(place.unwrap_or(self.root.place)),
            line: place.map(|place| place.line),
            field: self.spell(path),
            message: said(message.into(), true),
            hint: hint.map(|hint| said(hint, false)),
        }
    }
}

impl Node {
    /// One step down, with the place of what is found there.
    fn step(&self, step: &Step) -> Option<(Position, &Node)> {
        match (&self.value, step) {
            (Value::Table(fields), Step::Field(name)) => {
                fields.get(name).map(|field| (field.place, &field.node))
            }
            (Value::Array(items), Step::Item(index)) => items.get(*index).map(|node| (node.place, node)),
            _ => None,
        }
    }

    /// Every string in it.
    fn texts(&self) -> Vec<&str> {
        match &self.value {
            Value::String(text) => vec![text],
            Value::Array(items) => items.iter().flat_map(Self::texts).collect(),
            Value::Table(fields) => fields.values().flat_map(|field| field.node.texts()).collect(),
            _ => Vec::new(),
        }
    }

    /// The text of a string field of a table.
    pub fn text(&self, field: &str) -> Option<&str> {
        let Value::Table(fields) = &self.value else { return None };
        match &fields.get(field)?.node.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What a table calls itself, if that is a word to print.
    fn name(&self) -> Option<&str> {
        self.text("name").filter(|name| crate::domain::name::Name::parse(name).is_ok())
    }

    /// The same tree without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Table(fields) => {
                let fields = fields.iter().map(|(name, field)| (name.clone(), field.node.to_json()));
                serde_json::Value::Object(fields.collect::<Map<_, _>>())
            }
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::String(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into),
            Value::Boolean(truth) => (*truth).into(),
            Value::HugeInteger | Value::Datetime => serde_json::Value::Null,
        }
    }
}

/// Lays `over` onto `base`.
fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Table(fields), Value::Table(others)) => {
            for (name, other) in others {
                match fields.entry(name) {
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        vacant.insert(other);
                    }
                    std::collections::btree_map::Entry::Occupied(mut field) => {
                        merge_field(field.get_mut(), other);
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(others)) if all_tables(items) && all_tables(&others) => {
            items.extend(others);
        }
        (_, value) => *base = Node { place: over.place, value },
    }
}

fn merge_field(field: &mut Field, other: Field) {
    let grows = matches!((&field.node.value, &other.node.value), (Value::Table(_), Value::Table(_)))
        || matches!((&field.node.value, &other.node.value), (Value::Array(items), Value::Array(others))
            if all_tables(items) && all_tables(others));
    if !grows {
        field.place = other.place;
    }
    merge(&mut field.node, other.node);
}

fn all_tables(items: &[Node]) -> bool {
    !items.is_empty() && items.iter().all(|node| matches!(node.value, Value::Table(_)))
}

/// Turns byte offsets of one file into lines.
struct Lines<'t> {
    file: usize,
    text: &'t str,
}

impl Lines<'_> {
    fn place(&self, span: &Range<usize>) -> Position {
        Position { file: self.file, line: self.line(span.start) }
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().fold(0, |lines, byte| lines + usize::from(*byte == b'\n'))
    }

    /// Only the parser's message: its `Display` shows the line, and with it perhaps a secret.
    fn problem(&self, path: &Path, error: &toml::de::Error) -> Problem {
        let repeated = match (error.message(), error.span()) {
            ("duplicate key", Some(key)) => self.text.get(key).map(|key| format!(" {key:?}")),
            _ => None,
        };
        Problem {
            file: path.to_owned(),
            line: error.span().map(|span| self.line(span.start)),
            field: String::new(),
            message: format!("not TOML: {}{}", error.message(), repeated.unwrap_or_default()),
            hint: None,
        }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        Node { place: self.place(&value.span()), value: self.value(value.get_ref()) }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.node(item)).collect()),
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::HugeInteger, Value::Integer),
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(_) => Value::Datetime,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let fields = table.iter().map(|(name, value)| {
            let field = Field { place: self.place(&name.span()), node: self.node(value) };
            (name.get_ref().clone().into_owned(), field)
        });
        Value::Table(fields.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(files: &[&str]) -> Document {
        let mut document = Document::new();
        for (number, text) in files.iter().enumerate() {
            document.add(Path::new(&format!("{number}.toml")), text).unwrap();
        }
        document
    }

    fn path(text: &str) -> Vec<Step> {
        let step = |step: &str| step.parse().map_or_else(|_| Step::Field(step.to_owned()), Step::Item);
        text.split('.').map(step).collect()
    }

    fn at(document: &Document, text: &str) -> String {
        let problem = document.problem(&path(text), "x", None);
        let line = problem.line.map(|line| line.to_string()).unwrap_or_default();
        format!("{}:{line} {}", problem.file.display(), problem.field)
    }

    #[test]
    fn keeps_the_line_of_every_field_item_and_table() {
        let document = document(&[
            "\n[server]\nlisten = \"x\"\n\n[[accounts]]\nname = \"main\"\nlist = [\n1,\n2]\nkey = { limit = 1,\nreset = 2 }\n[[accounts]]\nname = \"Not A Name\"\n",
        ]);
        for (path, place) in [
            ("server", "0.toml:2 server"),
            ("server.listen", "0.toml:3 server.listen"),
            ("server.absent", "0.toml:2 server.absent"),
            ("accounts.0", "0.toml:5 accounts.main"),
            ("accounts.0.name", "0.toml:6 accounts.main.name"),
            ("accounts.0.list.1", "0.toml:9 accounts.main.list[1]"),
            ("accounts.0.key.reset", "0.toml:11 accounts.main.key.reset"),
            ("accounts.1.name", "0.toml:13 accounts[1].name"),
            ("accounts.7.name", "0.toml:5 accounts[7].name"),
            ("absent.field", "0.toml: absent.field"),
        ] {
            assert_eq!(at(&document, path), place);
        }
    }

    #[test]
    fn merges_tables_appends_arrays_of_tables_and_replaces_the_rest() {
        let document = document(&[
            "[server]\nlisten = \"a\"\nproxies = [\"a\"]\n[[accounts]]\nname = \"one\"\n",
            "[server]\nproxies = [\"b\", \"c\"]\nport = 1\n\n\n[[accounts]]\nname = \"two\"\n",
            "\n[server]\n\nlisten = \"b\"\n",
        ]);
        let expected = serde_json::json!({
            "server": {"listen": "b", "proxies": ["b", "c"], "port": 1},
            "accounts": [{"name": "one"}, {"name": "two"}],
        });
        assert_eq!(document.root().to_json(), expected);
        for (path, place) in [
            ("server", "0.toml:1 server"),
            ("server.listen", "2.toml:4 server.listen"),
            ("server.proxies", "1.toml:2 server.proxies"),
            ("server.port", "1.toml:3 server.port"),
            ("accounts.0.name", "0.toml:5 accounts.one.name"),
            ("accounts.1.name", "1.toml:7 accounts.two.name"),
        ] {
            assert_eq!(at(&document, path), place);
        }
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = "a = 1_000\nb = 0x1F\nc = -3\nd = 1_0.5e3\ne = true\nf = inf\ng = 99999999999999999999\nh = 2026-01-01\n";
        let json = document(&[text]).root().to_json();
        let expected = serde_json::json!({
            "a": 1000, "b": 31, "c": -3, "d": 10500.0, "e": true, "f": null, "g": null, "h": null
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn reports_every_syntax_error_without_the_text_of_the_line() {
        for (text, problems) in [
            ("a = 1\ntoken = \"hunter2\nb = 2\n", "x.toml:2: not TOML: invalid basic string, expected `\"`"),
            (
                "a = 1\n\ntoken = hunter2\n",
                "x.toml:3: not TOML: string values must be quoted, expected literal string",
            ),
            ("[server]\nlisten = 1\nlisten = 2\n", "x.toml:3: not TOML: duplicate key \"listen\""),
            ("[server]\n[tests]\n[server]\n", "x.toml:3: not TOML: duplicate key \"server\""),
            (
                "a = \n\nb = \"x\n",
                "x.toml:1: not TOML: string values must be quoted, expected literal string\nx.toml:3: not TOML: invalid basic string, expected `\"`",
            ),
        ] {
            let errors = Document::new().add(Path::new("x.toml"), text).unwrap_err();
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(errors.join("\n"), problems);
        }
    }
}
