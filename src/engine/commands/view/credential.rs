//! `keys get`: the one view with a secret in it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::secret::Secret;
use crate::engine::commands::hand_out::HandedOut;

/// A key that is given out, as interface.md §3 has it.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the shape is interface.md §3")]
pub struct CredentialView {
    pub key: Exposed,
    pub api_secret: Option<Exposed>,
    pub provider_type: String,
    pub number: Option<i64>,
    pub name: String,
    pub config: Value,
}

/// A secret that is serialised: nowhere but here.
#[derive(Debug)]
pub struct Exposed(pub Secret);

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl JsonSchema for Exposed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// The key as it leaves.
pub fn credential_view(given: &HandedOut) -> CredentialView {
    CredentialView {
        key: Exposed(given.secret.clone()),
        api_secret: given.api_secret.clone().map(Exposed),
        provider_type: given.key.provider.clone(),
        number: given.key.number,
        name: given.key.name.clone(),
        config: given.key.settings.clone(),
    }
}
