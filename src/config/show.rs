//! What the configuration looks like from outside: its schema, and the effective one as TOML or JSON.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::file::ConfigFile;

/// The JSON Schema of the configuration file, indented, for `rekeyd config schema`.
pub fn schema_json() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ConfigFile>();
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// The same without references, to be walked.
pub(super) fn inline_schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<ConfigFile>()
}

/// The configuration in effect: every default filled in, secret references shown, never what they name. Made
/// from a configuration that was loaded, so it can be loaded again.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective(pub(super) ConfigFile);

impl Effective {
    /// As TOML, for `rekeyd config show`.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.0).expect("every value of the mirror has a place in TOML")
    }

    /// As JSON, for `rekeyd config show --json`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.0).expect("every value of the mirror has a place in JSON")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value as Json;

    use super::*;
    use crate::config::load::parse;

    const CONFIG: &str = "[database]\nurl = \"postgres://rekeyd:hunter2@db/rekeyd\"\n\
        [email]\nsmtp = \"smtps://user@mail.example.com\"\npassword = \"credential:smtp\"\n\
        from = \"a@example.com\"\nto = [\"b@example.com\"]\n\
        [[accounts]]\nname = \"main\"\nprovisioning_key = \"env:KEY\"\n\
        [[rotations]]\nname = \"production\"\naccount = \"main\"\nevery = \"60d\"\n\
        destinations = [\"vc\"]\nkey = { limit = 5 }\nprobe = { chat = \"model/name\" }\n\
        [[destinations]]\nname = \"vc\"\ntype = \"vercel\"\nproject = \"app\"\nvariable = \"KEY\"\ntoken = \"env:T\"\n";

    fn effective(text: &str) -> Effective {
        parse([(Path::new("r.toml"), text)]).unwrap_or_else(|error| panic!("{error}")).effective
    }

    #[test]
    fn shows_defaults_and_references_but_no_password() {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(effective(CONFIG).to_toml());
        });
        assert!(!effective(CONFIG).to_json().to_string().contains("hunter2"));
    }

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        for text in ["", CONFIG] {
            let once = effective(text);
            assert_eq!(effective(&once.to_toml()).to_json(), once.to_json());
        }
    }

    /// Calls `look` with every schema and its path.
    fn walk(schema: &Json, path: &str, look: &mut dyn FnMut(&Json, &str)) {
        look(schema, path);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(field, &format!("{path}.{name}"), look);
        }
        for choices in [&schema["oneOf"], &schema["anyOf"]] {
            choices.as_array().into_iter().flatten().for_each(|choice| walk(choice, path, look));
        }
        if schema["items"].is_object() {
            walk(&schema["items"], path, look);
        }
    }

    #[test]
    fn the_schema_takes_no_unknown_field_and_describes_the_known_ones() {
        let mut tables = 0;
        walk(inline_schema().as_value(), "", &mut |schema, path| {
            if schema["type"] == "object" || schema["type"][0] == "object" {
                tables += 1;
                let chosen_by_type = !schema["properties"]["type"]["const"].is_null();
                let closed =
                    schema["additionalProperties"] == false || schema["unevaluatedProperties"] == false;
                assert!(closed || chosen_by_type, "{path} takes any field");
            }
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let described = field["description"].is_string() || matches!(name.as_str(), "type" | "chat");
                assert!(described, "{path}.{name} has no description");
            }
        });
        assert!(tables > 20, "{tables}");
    }

    #[test]
    fn the_schema_is_json_schema() {
        let schema: Json = serde_json::from_str(&schema_json()).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["properties"]["server"]["$ref"], "#/$defs/Server");
        assert_eq!(schema["$defs"]["Server"]["properties"]["listen"]["default"], "127.0.0.1:8084");
    }
}
