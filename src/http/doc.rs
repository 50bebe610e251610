//! What the API says of itself: `OpenAPI` 3.1, made from the declared routes and from the types that they take and
//! answer with.

use std::collections::BTreeMap;

use axum::http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::problem::ProblemBody;
use super::routes::{Allow, Declared};
use crate::domain::listing::{MOST, Shape, Takes};
use crate::domain::role::Role;

/// The schema of a type, among the components.
type Of = fn(&mut SchemaGenerator) -> Schema;

/// What is said of one route.
#[derive(Debug, Clone, Default)]
pub struct Doc {
    pub(super) summary: &'static str,
    pub(super) list: Option<&'static Shape>,
    pub(super) takes: Option<(&'static str, Of)>,
    pub(super) answers: Vec<Answer>,
    /// Query parameters of what is no list, with their sentence.
    pub(super) parameters: Vec<(&'static str, &'static str)>,
    pub(super) takes_idempotency_key: bool,
}

/// What a route answers with when all is well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) media: &'static str,
    pub(super) schema: Option<Of>,
}

/// The schema of this type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The whole document.
pub fn openapi(declared: &[Declared]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = SchemaGenerator::new(settings.for_serialize());
    let problem = schemas.subschema_for::<ProblemBody>();
    let mut paths: BTreeMap<&str, serde_json::Map<String, Value>> = BTreeMap::new();
    for route in declared {
        let operation = operation(route, &mut schemas);
        let method = route.method.as_str().to_lowercase();
        paths.entry(route.path).or_default().insert(method, operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rekeyd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "../.." }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Problem": {
                "description": "Why it was not done.",
                "content": { "application/problem+json": { "schema": problem } },
            } },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "session_token" },
            },
        },
    })
}

fn operation(route: &Declared, schemas: &mut SchemaGenerator) -> Value {
    let doc = &route.doc;
    let mut operation = json!({
        "operationId": operation_id(&route.method, route.path),
        "tags": [tag(route.path)],
        "summary": doc.summary,
        "description": allowed(route.allow),
        "parameters": parameters(route),
        "responses": responses(route, schemas),
        "security": if route.allow == Allow::Anyone { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) },
    });
    if let Some((media, takes)) = doc.takes {
        let schema = takes(schemas);
        operation["requestBody"] = json!({ "required": true, "content": { media: { "schema": schema } } });
    }
    operation
}

/// `get /api/v1/rotations/{name}/plan` is `get_rotations_name_plan`.
fn operation_id(method: &Method, path: &str) -> String {
    let path = path.trim_start_matches("/api/v1").replace(['{', '}'], "").replace(['/', '-'], "_");
    format!("{}{path}", method.as_str().to_lowercase())
}

fn tag(path: &str) -> &str {
    path.trim_start_matches("/api/v1/").split('/').next().unwrap_or_default()
}

/// Who may, in words.
pub(super) fn allowed(allow: Allow) -> String {
    match allow {
        Allow::Anyone => "Everybody may.".to_owned(),
        Allow::Known => "Whoever is logged in or has a token may.".to_owned(),
        Allow::May(permission) => {
            let roles: Vec<&str> =
                Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::word).collect();
            format!("Roles: {}.", roles.join(", "))
        }
    }
}

fn parameters(route: &Declared) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let text = json!({ "type": "string" });
    let mut query = |name: &str, said: &str, schema: Value| {
        all.push(json!({ "name": name, "in": "query", "description": said, "schema": schema }));
    };
    if let Some(list) = route.doc.list {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": MOST, "default": list.usual });
        query("limit", "Rows of a page.", limit);
        query("cursor", "`next_cursor` of the page before.", text.clone());
        query("sort", "A minus turns it round.", json!({ "type": "string", "enum": sorts(list) }));
        for filter in list.filters {
            let (said, schema) = match filter.takes {
                Takes::Text => ("Only those.", text.clone()),
                Takes::Words => ("Words that a row contains.", text.clone()),
                Takes::YesOrNo => ("Only those.", json!({ "type": "boolean" })),
                Takes::Moment => ("A moment.", json!({ "type": "string", "format": "date-time" })),
            };
            query(filter.name, said, schema);
        }
    }
    for (name, said) in &route.doc.parameters {
        query(name, said, text.clone());
    }
    if route.doc.takes_idempotency_key {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": text,
            "description": "The same answer to the same request for 24 hours.",
        }));
    }
    all
}

/// Each field, and turned round; the first is how a list is sorted when nobody says.
fn sorts(list: &Shape) -> Vec<String> {
    let fields = list.sorts.iter().map(|sort| sort.trim_start_matches('-'));
    fields.flat_map(|field| [field.to_owned(), format!("-{field}")]).collect()
}

fn responses(route: &Declared, schemas: &mut SchemaGenerator) -> Value {
    let mut all = serde_json::Map::new();
    for answer in &route.doc.answers {
        let mut good = json!({ "description": "Done." });
        if let Some(schema) = answer.schema {
            let schema = schema(schemas);
            good["content"] = json!({ answer.media: { "schema": schema } });
        }
        all.insert(answer.status.to_string(), good);
    }
    all.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    Value::Object(all)
}
