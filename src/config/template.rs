//! `config/rekeyd.toml`: the annotated default, which `rekeyd init` and the packages start from. Its tests
//! keep it in step with the mirror: every field occurs in it, every default it states is the mirror's.

/// The text of `config/rekeyd.toml`. It is valid as it stands, and means the same as an empty file. Lines of
/// examples begin with `#` and no space.
pub const TEMPLATE: &str = include_str!("../../config/rekeyd.toml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value as Json;

    use super::*;
    use crate::config::load::{Loaded, parse};
    use crate::config::problem::ConfigError;
    use crate::config::show::inline_schema;

    /// The template with every example in force.
    fn with_examples() -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(example) if !example.is_empty() && !example.starts_with(' ') => example.to_owned(),
            _ => line.to_owned(),
        };
        TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn load(text: &str) -> Loaded {
        parse([(Path::new("rekeyd.toml"), text)]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Every text in a tree, by a path of indices and names.
    fn texts(tree: &Json, path: &str, found: &mut Vec<String>) {
        match tree {
            Json::String(_) => found.push(path.to_owned()),
            Json::Array(items) => {
                items.iter().enumerate().for_each(|(at, item)| texts(item, &format!("{path}/{at}"), found));
            }
            Json::Object(fields) => {
                fields.iter().for_each(|(name, field)| texts(field, &format!("{path}/{name}"), found));
            }
            _ => {}
        }
    }

    /// A key that is pasted anywhere, as a value or as the name of a field, stands in no problem.
    #[test]
    fn what_is_pasted_anywhere_is_never_repeated() {
        let tree = tree(&with_examples());
        let mut places = Vec::new();
        texts(&tree, "", &mut places);
        assert!(places.len() > 60, "{places:?}");
        let mut refused = 0;
        let noise = "q7".repeat(20);
        for key in [
            format!("sk-or-v1-{noise}"),
            format!("{noise}/+{noise}=="),
            format!("SG.{noise}.{noise}"),
            format!("env:{noise}-{noise}"),
            format!("https://user:{noise}@hooks.example.com/{noise}?{noise}"),
            format!("postgres://user:/{noise}@db/app"),
            format!("smtp://user:{noise}@mail.example.com/{noise}"),
        ] {
            for place in &places {
                let mut pasted = tree.clone();
                *pasted.pointer_mut(place).unwrap() = key.clone().into();
                let text = toml::to_string(&pasted).unwrap();
                if let Err(error) = parse([(Path::new("r.toml"), text.as_str())]) {
                    refused += 1;
                    let said = format!("{error} {:?}", error.hint());
                    assert!(!said.contains(&noise[..12]), "{place} = {key}: {said}");
                }
            }
        }
        assert!(refused > 300, "{refused}");
        let named = format!("[server]\n\"sk-or-v1-{noise}\" = 1\n{noise} = 2\n");
        let error = parse([(Path::new("r.toml"), named.as_str())]).unwrap_err();
        assert!(!error.to_string().contains(&noise[..12]), "{error}");
    }

    /// Short ones too, where secrets belong.
    #[test]
    fn a_short_secret_is_not_repeated_where_one_belongs() {
        let tree = tree(&with_examples());
        let mut places = Vec::new();
        texts(&tree, "", &mut places);
        let guarded = [
            "secret",
            "token",
            "password",
            "keys",
            "private_key",
            "provisioning_key",
            "url",
            "smtp",
            "proxy",
        ];
        let mut refused = 0;
        for place in
            places.iter().filter(|place| guarded.iter().any(|field| place.ends_with(&format!("/{field}"))))
        {
            let mut pasted = tree.clone();
            *pasted.pointer_mut(place).unwrap() = "hunter2!".into();
            let text = toml::to_string(&pasted).unwrap();
            let error = parse([(Path::new("r.toml"), text.as_str())]).unwrap_err();
            refused += 1;
            assert!(!error.to_string().contains("hunter2"), "{place}: {error}");
        }
        assert!(refused >= 12, "{refused}");
    }

    fn tree(text: &str) -> Json {
        serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
    }

    /// Paths of all fields below a schema, without indices: `destinations.vercel.targets`.
    fn fields(schema: &Json, path: &str, found: &mut BTreeSet<String>) {
        for choice in schema["anyOf"].as_array().into_iter().chain(schema["oneOf"].as_array()).flatten() {
            let kind = choice["properties"]["type"]["const"].as_str();
            fields(choice, &kind.map_or(path.to_owned(), |kind| format!("{path}.{kind}")), found);
        }
        fields_of_items(schema, path, found);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            fields(field, &path, found);
            found.insert(path);
        }
    }

    fn fields_of_items(schema: &Json, path: &str, found: &mut BTreeSet<String>) {
        if schema["items"].is_object() {
            fields(&schema["items"], path, found);
        }
    }

    /// The same paths below a tree.
    fn stated(tree: &Json, path: &str, found: &mut BTreeSet<String>) {
        for item in tree.as_array().into_iter().flatten() {
            stated(item, path, found);
        }
        let Json::Object(table) = tree else { return };
        for (name, value) in table {
            found.insert(format!("{path}.{name}"));
            stated(value, &format!("{path}.{name}"), found);
            if let Some(kind) = table.get("type").and_then(Json::as_str) {
                found.insert(format!("{path}.{kind}.{name}"));
                stated(value, &format!("{path}.{kind}.{name}"), found);
            }
        }
    }

    #[test]
    fn as_it_stands_it_means_the_same_as_an_empty_file() {
        assert_eq!(load(TEMPLATE).effective, load("").effective);
        assert_eq!(load(TEMPLATE).settings.server, load("").settings.server);
    }

    #[test]
    fn with_its_examples_it_is_valid_and_complete() {
        let settings = load(&with_examples()).settings;
        assert_eq!(
            (settings.accounts.len(), settings.rotations.len(), settings.destinations.len()),
            (1, 2, 6)
        );
        assert!(settings.email.is_some() && settings.webhook.is_some() && settings.heartbeat.is_some());
        assert!(settings.leaks.is_some());
    }

    #[test]
    fn every_field_occurs_in_it() {
        let (mut known, mut found) = (BTreeSet::new(), BTreeSet::new());
        fields(inline_schema().as_value(), "", &mut known);
        stated(&tree(&with_examples()), "", &mut found);
        let missing: Vec<&String> = known.difference(&found).collect();
        assert!(known.len() > 100 && missing.is_empty(), "{missing:#?}");
    }

    /// The fields whose stated value is an example: those that have no default, or that show another value.
    const EXAMPLES: [&str; 20] = [
        ".accounts.provisioning_destinations",
        ".accounts.workspace",
        ".destinations.dispatch",
        ".destinations.environment",
        ".destinations.group",
        ".destinations.mode",
        ".destinations.owner",
        ".destinations.repositories",
        ".destinations.team",
        ".destinations.visibility",
        ".email.routes",
        ".email.routes.account",
        ".email.routes.rotation",
        ".email.routes.severity",
        ".rotations.destinations",
        ".rotations.key",
        ".rotations.key.include_byok_in_limit",
        ".rotations.key.limit",
        ".rotations.key.limit_reset",
        ".rotations.window.days",
    ];

    /// Removes one stated field after the other. Where the rest still is a configuration, the field has a
    /// default, and the effective value must not have changed; unless it is an example, whose value must show.
    #[test]
    fn every_default_it_states_is_the_default_of_the_code() {
        let tree = tree(&with_examples());
        let before = effective(&tree).expect("valid with its examples");
        let mut changed = BTreeSet::new();
        let mut unchanged = BTreeSet::new();
        for pointer in pointers(&tree, "") {
            let Some(after) = effective(&without(&tree, &pointer)) else { continue };
            let names: Vec<&str> = pointer.split('/').filter(|step| step.parse::<usize>().is_err()).collect();
            let field = names.join(".");
            if after.pointer(&pointer) == before.pointer(&pointer) {
                unchanged.insert(field)
            } else {
                changed.insert(field)
            };
        }
        let expected: BTreeSet<String> = EXAMPLES.iter().map(ToString::to_string).collect();
        let wrong: Vec<&String> =
            changed.iter().filter(|field| !is_table(field) && !expected.contains(*field)).collect();
        assert!(wrong.is_empty(), "stated otherwise than the code's default: {wrong:#?}");
        let stale: Vec<&String> = expected.difference(&changed).collect();
        assert!(stale.is_empty(), "not an example: {stale:#?}");
        assert!(unchanged.len() > 60, "{unchanged:#?}");
    }

    /// Puts every kind of value into every line: whatever comes of it, it is no panic, what is wrong has a
    /// line, and what passes the check is taken by the mirror.
    #[test]
    fn nothing_that_is_written_anywhere_is_beyond_it() {
        const VALUES: [&str; 9] =
            ["0", "-1", "9223372036854775807", "nan", "\"\"", "\"é:/\\u0000\"", "[]", "[[]]", "{}"];
        let template = with_examples();
        let lines: Vec<&str> = template.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let Some((field, _)) = line.split_once(" = ") else { continue };
            for value in VALUES {
                let changed = format!("{field} = {value}");
                let text = [&lines[..number], &[changed.as_str()], &lines[number + 1..]].concat().join("\n");
                let Err(error) = parse([(Path::new("r.toml"), text.as_str())]) else { continue };
                let ConfigError::Invalid(problems) = error else { panic!("{error}") };
                for problem in problems {
                    assert!(problem.line.is_some() && !problem.field.is_empty(), "{changed}: {problem}");
                }
            }
        }
    }

    /// Whole optional tables and lists of tables.
    fn is_table(field: &str) -> bool {
        matches!(
            field,
            ".email"
                | ".webhook"
                | ".heartbeat"
                | ".metrics"
                | ".leaks"
                | ".rotations"
                | ".accounts"
                | ".preferences"
                | ".rotations.window"
                | ".rotations.probe"
                | ".destinations"
        )
    }

    fn effective(tree: &Json) -> Option<Json> {
        let text = toml::to_string(tree).unwrap();
        parse([(Path::new("rekeyd.toml"), text.as_str())]).ok().map(|loaded| loaded.effective.to_json())
    }

    /// JSON pointers of every field, those of items of arrays included.
    fn pointers(tree: &Json, path: &str) -> Vec<String> {
        let below = |step: &str, value: &Json| {
            let path = format!("{path}/{step}");
            let mut found = pointers(value, &path);
            found.push(path);
            found
        };
        match tree {
            Json::Object(table) => table.iter().flat_map(|(name, value)| below(name, value)).collect(),
            Json::Array(items) => items
                .iter()
                .enumerate()
                .flat_map(|(index, value)| pointers(value, &format!("{path}/{index}")))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn without(tree: &Json, pointer: &str) -> Json {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut tree = tree.clone();
        tree.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        tree
    }
}
