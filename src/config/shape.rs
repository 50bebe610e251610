//! Whether the tree has the shape of the mirror: every field known, of its type, and none missing.
//!
//! The shape is read from the mirror's own schema, so the names that are accepted, suggested and published
//! are one list. serde could say the same, but only the first problem, and inside `[[destinations]]` (chosen
//! by `type`) without a line.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::document::{Document, Field, Node, Step, Value};
use super::nearest::{nearest, suggestion};
use super::problem::Problem;

/// What a node may be.
#[derive(Debug, Clone)]
enum Shape {
    Table(Table),
    Array {
        item: Box<Shape>,
        least: u64,
    },
    Text {
        example: Option<String>,
    },
    Word(Vec<String>),
    /// One of the words, or a table.
    WordOrTable(Vec<String>, Table),
    Integer {
        least: Option<f64>,
        most: Option<f64>,
    },
    Number {
        above: Option<f64>,
        least: Option<f64>,
        most: Option<f64>,
    },
    Boolean,
}

/// The fields of a table.
#[derive(Debug, Clone, Default)]
struct Table {
    fields: BTreeMap<String, Shape>,
    required: Vec<String>,
    /// The further fields that `type` chooses.
    kinds: BTreeMap<String, Table>,
}

/// The field that chooses among a table's kinds.
const TAG: &str = "type";

impl Shape {
    /// The shape of the whole file.
    fn root() -> &'static Self {
        static ROOT: OnceLock<Shape> = OnceLock::new();
        ROOT.get_or_init(|| Self::of(super::show::inline_schema().as_value()))
    }

    /// Reads a schema that the mirror made.
    fn of(schema: &Json) -> Self {
        if let Some(choices) = schema["anyOf"].as_array() {
            let given = choices.iter().find(|choice| choice["type"] != "null");
            return Self::of(given.expect("an option has a schema besides null"));
        }
        if let (Some(choices), true) = (schema["oneOf"].as_array(), schema["properties"].is_null()) {
            return Self::choice(choices);
        }
        if let Some(words) = schema["enum"].as_array() {
            return Self::Word(words.iter().filter_map(Json::as_str).map(ToOwned::to_owned).collect());
        }
        let named = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match named.expect("every schema of the mirror has a type") {
            "object" => Self::Table(Table::of(schema)),
            "array" => Self::Array {
                item: Box::new(Self::of(&schema["items"])),
                least: schema["minItems"].as_u64().unwrap_or(0),
            },
            "string" => Self::Text { example: schema["examples"][0].as_str().map(ToOwned::to_owned) },
            "integer" => {
                Self::Integer { least: schema["minimum"].as_f64(), most: schema["maximum"].as_f64() }
            }
            "number" => Self::Number {
                above: schema["exclusiveMinimum"].as_f64(),
                least: schema["minimum"].as_f64(),
                most: schema["maximum"].as_f64(),
            },
            "boolean" => Self::Boolean,
            other => unreachable!("the mirror has no {other}"),
        }
    }

    /// Words, perhaps with one table among them.
    fn choice(choices: &[Json]) -> Self {
        let words =
            choices.iter().filter_map(|choice| choice["const"].as_str()).map(ToOwned::to_owned).collect();
        match choices.iter().find(|choice| choice["type"] == "object") {
            Some(table) => Self::WordOrTable(words, Table::of(table)),
            None => Self::Word(words),
        }
    }

    /// With its article, for people.
    fn expected(&self) -> String {
        match self {
            Self::Table(_) => "a table".to_owned(),
            Self::Array { item, .. } if matches!(**item, Self::Table(_)) => "an array of tables".to_owned(),
            Self::Array { .. } => "an array".to_owned(),
            Self::Text { .. } => "a string".to_owned(),
            Self::Word(words) => one_of(words),
            Self::WordOrTable(words, _) => format!("{} or a table", one_of(words)),
            Self::Integer { .. } => "an integer".to_owned(),
            Self::Number { .. } => "a number".to_owned(),
            Self::Boolean => "true or false".to_owned(),
        }
    }
}

impl Table {
    fn of(schema: &Json) -> Self {
        let names = |list: &Json| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(Json::as_str).map(ToOwned::to_owned).collect()
        };
        let fields = schema["properties"].as_object().into_iter().flatten();
        let kinds = schema["oneOf"].as_array().into_iter().flatten();
        Self {
            fields: fields
                .filter(|(name, field)| *name != TAG || field["const"].is_null())
                .map(|(name, field)| (name.clone(), Shape::of(field)))
                .collect(),
            required: names(&schema["required"]).into_iter().filter(|name| name != TAG).collect(),
            kinds: kinds
                .filter_map(|kind| {
                    Some((kind["properties"][TAG]["const"].as_str()?.to_owned(), Self::of(kind)))
                })
                .collect(),
        }
    }
}

fn one_of(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

/// What a look at the whole tree found.
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    /// Whether the mirror can take the tree: nothing is missing or of another type.
    pub fits: bool,
}

/// Looks at the whole tree.
pub(super) fn check(document: &Document) -> Findings {
    let mut look = Look { document, path: Vec::new(), problems: Vec::new(), fits: true };
    look.node(Shape::root(), document.root());
    Findings { problems: look.problems, fits: look.fits }
}

/// A walk down the tree and its shape together.
struct Look<'d> {
    document: &'d Document,
    path: Vec<Step>,
    problems: Vec<Problem>,
    fits: bool,
}

impl Look<'_> {
    /// A problem here that keeps the mirror from taking the tree.
    fn misfit(&mut self, message: impl Into<String>, hint: Option<String>) {
        self.fits = false;
        self.problems.push(self.document.problem(&self.path, message, hint));
    }

    fn node(&mut self, shape: &Shape, node: &Node) {
        match (shape, &node.value) {
            (Shape::Table(table) | Shape::WordOrTable(_, table), Value::Table(fields)) => {
                self.table(table, fields);
            }
            (Shape::Array { item, least }, Value::Array(items)) => self.array(item, *least, items),
            (Shape::Word(words), Value::String(word)) => self.word(words, None, word),
            (Shape::WordOrTable(words, table), Value::String(word)) => self.word(words, Some(table), word),
            (Shape::Integer { .. }, Value::HugeInteger) => self.misfit("the number is too large", None),
            (Shape::Integer { least, most }, Value::Integer(number)) => {
                self.range(exact(*number), None, *least, *most);
            }
            (Shape::Number { above, least, most }, Value::Integer(number)) => {
                self.range(exact(*number), *above, *least, *most);
            }
            (Shape::Number { above, least, most }, Value::Float(number)) => {
                self.range(*number, *above, *least, *most);
            }
            (Shape::Text { .. }, Value::String(_)) | (Shape::Boolean, Value::Boolean(_)) => {}
            (_, value) => self.other_type(shape, value),
        }
    }

    fn table(&mut self, table: &Table, fields: &BTreeMap<String, Field>) {
        let kind = if table.kinds.is_empty() { None } else { self.kind(table, fields) };
        if kind.is_none() && !table.kinds.is_empty() {
            return;
        }
        for (name, field) in fields {
            let known = table.fields.get(name).or_else(|| kind.and_then(|kind| kind.fields.get(name)));
            self.path.push(Step::Field(name.clone()));
            match known {
                Some(shape) => self.node(shape, &field.node),
                None if kind.is_some() && name == TAG => {}
                None => self.unknown(name, table, kind),
            }
            self.path.pop();
        }
        for name in table.required.iter().chain(kind.iter().flat_map(|kind| &kind.required)) {
            if !fields.contains_key(name) {
                self.misfit(format!("missing field {name:?}"), None);
            }
        }
    }

    /// The fields that `type` chooses; `None` when it is missing or wrong, which is reported.
    fn kind<'t>(&mut self, table: &'t Table, fields: &BTreeMap<String, Field>) -> Option<&'t Table> {
        let kinds = || table.kinds.keys().map(String::as_str);
        let Some(tag) = fields.get(TAG) else {
            let kinds: Vec<String> = kinds().map(|kind| format!("{kind:?}")).collect();
            self.misfit(format!("missing field {TAG:?}"), Some(format!("one of {}", kinds.join(", "))));
            return None;
        };
        self.path.push(Step::Field(TAG.to_owned()));
        let kind = match &tag.node.value {
            Value::String(kind) => {
                let known = table.kinds.get(kind);
                if known.is_none() {
                    let hint = suggestion(kind, kinds(), "types");
                    self.misfit(format!("unknown type {kind:?}"), Some(hint));
                }
                known
            }
            value => {
                self.other_type(&Shape::Text { example: None }, value);
                None
            }
        };
        self.path.pop();
        kind
    }

    fn unknown(&mut self, name: &str, table: &Table, kind: Option<&Table>) {
        let known = || {
            let fields = table.fields.keys().chain(kind.iter().flat_map(|kind| kind.fields.keys()));
            fields.map(String::as_str)
        };
        let owner = table.kinds.iter().find(|(_, other)| other.fields.contains_key(name));
        let hint = match (nearest(name, known()), owner) {
            (None, Some((owner, _))) => format!("only type = {owner:?} has it"),
            _ => suggestion(name, known(), "fields here"),
        };
        // The mirror ignores it, so the walk can go on to what else is wrong.
        self.problems.push(self.document.problem(&self.path, "unknown field", Some(hint)));
    }

    fn array(&mut self, item: &Shape, least: u64, items: &[Node]) {
        if (items.len() as u64) < least {
            self.misfit("it cannot be empty", None);
        }
        for (index, node) in items.iter().enumerate() {
            self.path.push(Step::Item(index));
            self.node(item, node);
            self.path.pop();
        }
    }

    fn word(&mut self, words: &[String], table: Option<&Table>, word: &str) {
        if words.iter().any(|known| known == word) {
            return;
        }
        let tables =
            table.iter().flat_map(|table| table.fields.keys()).map(|field| format!("{{ {field} = … }}"));
        let possible: Vec<String> = words.iter().map(|word| format!("{word:?}")).chain(tables).collect();
        let hint = match nearest(word, words.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write {}", possible.join(" or ")),
        };
        self.misfit("unknown value", Some(hint));
    }

    fn range(&mut self, number: f64, above: Option<f64>, least: Option<f64>, most: Option<f64>) {
        if !number.is_finite() {
            self.misfit("it must be a finite number", None);
        } else if let Some(above) = above.filter(|above| number <= *above) {
            self.misfit(format!("{number} is too small: it must be above {above}"), None);
        } else if let Some(least) = least.filter(|least| number < *least) {
            self.misfit(format!("{number} is too small: it must be at least {least}"), None);
        } else if let Some(most) = most.filter(|most| number > *most) {
            self.misfit(format!("{number} is too large: it must be at most {most}"), None);
        }
    }

    fn other_type(&mut self, shape: &Shape, value: &Value) {
        let name = match self.path.last() {
            Some(Step::Field(name)) => name.clone(),
            _ => String::new(),
        };
        let hint = match (shape, value) {
            (Shape::Array { item, .. }, Value::Table(_)) if matches!(**item, Shape::Table(_)) => {
                Some(format!("write [[{name}]] instead of [{name}]"))
            }
            (Shape::Array { item, .. }, Value::String(_)) if matches!(**item, Shape::Text { .. }) => {
                Some(format!("write {name} = [\"…\"]"))
            }
            (Shape::Table(_), Value::Array(_)) => Some(format!("write [{name}] instead of [[{name}]]")),
            (Shape::Text { example: Some(example) }, _) => {
                Some(format!("write it like {name} = {example:?}"))
            }
            _ => None,
        };
        self.misfit(format!("expected {}, found {}", shape.expected(), value.kind()), hint);
    }
}

/// Limits are small: what a float cannot hold exactly is outside them anyway.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn exact(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_table, problems};
    use super::*;

    #[test]
    fn unknown_fields_are_named_with_the_nearest_valid_one() {
        assert_table!(&[
            "[server]\n\nlisen = \"x\"",
            "[sever]\nlisten = \"x\"",
            "[server]\ncolour = \"red\"",
            "color = \"red\"",
            "[email]\nsmtp = \"smtp://localhost\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\n[[email.routes]]\nto = [\"a@b.example\"]\nsevrity = \"info\"",
            "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:K\"\nmax_deletes = 3",
            "[[rotations]]\nname = \"a\"\naccount = \"a\"\nprobe = { chatt = \"x\" }\nwindow = { start = \"01:00\", stop = \"x\" }\nkey = { limits = 1 }",
        ]);
    }

    #[test]
    fn destinations_know_only_the_fields_of_their_type() {
        assert_table!(&[
            "[[destinations]]\nname = \"a\"\ntype = \"github\"\nrepository = \"a/b\"\nsecret = \"A\"\ntoken = \"env:T\"\n\nenviroment = \"x\"",
            "[[destinations]]\nname = \"a\"\ntype = \"github\"\nrepository = \"a/b\"\nsecret = \"A\"\ntoken = \"env:T\"\nredeploy = true\nsekret = 1",
            "[[destinations]]\nname = \"a\"\ntype = \"github\"\nsecret = \"A\"\napp = { id = 1, installation = 2, privat_key = \"env:A\" }",
            "[[destinations]]\nname = \"a\"\ntype = \"githb\"\nsecret = \"A\"",
            "[[destinations]]\nname = \"a\"\ntype = 7",
            "[[destinations]]\nname = \"a\"\nsecret = \"A\"",
            "[[destinations]]\ntype = \"vercel\"",
            "[[destinations]]\nname = \"a\"\ntype = \"file\"\npath = \"/a\"\nvariable = \"A\"\nrequird = false",
        ]);
    }

    #[test]
    fn values_have_the_type_of_their_field() {
        assert_table!(&[
            "server = 1",
            "[server]\nlisten = 8084\ntrusted_proxies = \"10.0.0.0/8\"",
            "[engine]\nlease = 30\ncall_timeout = true",
            "[tests]\nschedule = 2026-01-01\nconcurrency = \"many\"\nallow_private_endpoints = \"yes\"",
            "[database]\nmax_connections = 1.5",
            "[database]\nmax_connections = 0",
            "[database]\nmax_connections = 99999999999999999999",
            "[tests]\nconcurrency = 1025\nper_provider_concurrency = -1",
            "[accounts]\nname = \"main\"",
            "[[log]]\nformat = \"json\"",
            "[log]\nformat = \"Json\"",
            "[log]\nformat = \"xml\"",
            "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:K\"\ncredits_alert_below = nan",
            "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:K\"\ncredits_alert_below = -1",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\nkey = { limit = 0 }",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\nprobe = \"chat\"",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\nprobe = 1",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\nwindow = { start = \"01:00\", end = \"02:00\", days = [\"Mon\", \"Tues\"] }",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\nwindow = { start = \"01:00\", end = \"02:00\", days = [] }",
            "[[rotations]]\nname = \"a\"\naccount = \"main\"\ndestinations = [\n  \"x\",\n  1,\n]",
        ]);
    }

    #[test]
    fn missing_fields_are_reported_where_the_table_begins() {
        assert_table!(&[
            "\n[[accounts]]\n\n[[rotations]]\nname = \"a\"\n\n[email]\n[webhook]\n[heartbeat]\n[leaks]"
        ]);
    }

    #[test]
    fn no_value_is_ever_repeated() {
        for text in [
            "[encryption]\nkeys = \"hunter2\"",
            "[encryption]\nkeys = [\"hunter2\"]",
            "[log]\nformat = \"hunter2\"",
            "[database]\nurl = \"hunter2\"",
            "[database]\nmax_connections = \"hunter2\"",
            "[[accounts]]\nname = \"main\"\nprovisioning_key = \"sk-or-v1-hunter2\"",
            "[[accounts]]\nname = \"main\"\nprovisioning_key = \"hunter2",
            "[webhook]\nurl = \"https://hunter2.example/hunter2\"",
        ] {
            let problems = problems(text);
            assert!(problems != "none" && !problems.contains("hunter2"), "{problems}");
        }
    }

    /// What the mirror has must be what the walk knows: no table that takes any field, no integer without
    /// bounds (the mirror's are narrower than TOML's).
    #[test]
    fn the_shape_is_closed_and_bounded() {
        fn walk(shape: &Shape, path: &str) {
            match shape {
                Shape::Table(table) | Shape::WordOrTable(_, table) => fields(table, path),
                Shape::Array { item, .. } => walk(item, path),
                Shape::Integer { least, .. } => assert!(least.is_some_and(|least| least >= 0.0), "{path}"),
                _ => {}
            }
        }
        fn fields(table: &Table, path: &str) {
            assert!(!table.fields.is_empty(), "{path}");
            table.fields.iter().for_each(|(name, shape)| walk(shape, &format!("{path}.{name}")));
            table.kinds.iter().for_each(|(kind, table)| fields(table, &format!("{path}({kind})")));
        }
        walk(Shape::root(), "");
    }
}
