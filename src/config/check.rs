//! Whether the tree has the shape of the mirror: every field known, of its type, and none missing.
//!
//! serde could say the same, but only the first problem, and inside `[[destinations]]` (chosen by `type`)
//! without a line.

use std::collections::BTreeMap;

use super::document::{Document, Field, Node, Step, Value};
use super::nearest::{nearest, suggestion};
use super::problem::Problem;
use super::shape::{Shape, TAG, Table};

/// What a look at the whole tree found.
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    /// Whether the mirror can take the tree: nothing is missing or of another type.
    pub fits: bool,
}

/// Looks at the whole tree.
pub(super) fn check(document: &Document) -> Findings {
    let mut look = Walk { document, path: Vec::new(), problems: Vec::new(), fits: true };
    look.node(Shape::root(), document.root());
    Findings { problems: look.problems, fits: look.fits }
}

/// A walk down the tree and its shape together.
struct Walk<'d> {
    document: &'d Document,
    path: Vec<Step>,
    problems: Vec<Problem>,
    fits: bool,
}

impl Walk<'_> {
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
}
