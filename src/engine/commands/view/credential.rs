//! `keys get`: the one view with a secret in it.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::secret::Secret;
use crate::engine::commands::hand_out::HandedOut;

/// A key that is given out, as interface.md §3 has it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the shape is interface.md §3")]
pub struct CredentialView {
    #[serde(serialize_with = "exposed")]
    pub key: Secret,
    #[serde(serialize_with = "exposed_or_null")]
    pub api_secret: Option<Secret>,
    pub provider_type: String,
    pub number: Option<i64>,
    pub name: String,
    pub config: Value,
}

/// A secret serialises nowhere else.
fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

#[expect(clippy::ref_option, reason = "serde hands a field over as it is")]
fn exposed_or_null<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// The key as it leaves.
pub fn credential_view(given: &HandedOut) -> CredentialView {
    CredentialView {
        key: given.secret.clone(),
        api_secret: given.api_secret.clone(),
        provider_type: given.key.provider.clone(),
        number: given.key.number,
        name: given.key.name.clone(),
        config: given.key.settings.clone(),
    }
}
