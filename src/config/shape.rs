//! The shape that the tree of a configuration must have.
//!
//! It is read from the mirror's own schema, so the names that are accepted, suggested and published are one
//! list.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value as Json;

/// What a node may be.
#[derive(Debug, Clone)]
pub(super) enum Shape {
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
pub(super) struct Table {
    pub fields: BTreeMap<String, Shape>,
    pub required: Vec<String>,
    /// The further fields that `type` chooses.
    pub kinds: BTreeMap<String, Table>,
}

/// The field that chooses among a table's kinds.
pub(super) const TAG: &str = "type";

impl Shape {
    /// The shape of the whole file.
    pub fn root() -> &'static Self {
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
    pub fn expected(&self) -> String {
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

pub(super) fn one_of(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
