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
