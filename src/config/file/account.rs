//! `[[accounts]]`, `[leaks]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{CronText, NameText, ReferenceText};

/// The provider of an account that names none.
pub const DEFAULT_PROVIDER: &str = "openrouter";
/// Where that provider is.
pub const DEFAULT_BASE_URL: &str = "https://openrouter.ai/api/v1";

/// One account at a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Account {
    /// What rotations call it.
    pub name: NameText,
    /// Whose account it is.
    #[serde(default = "provider")]
    pub provider: NameText,
    /// The key that makes, lists, disables and deletes keys.
    pub provisioning_key: ReferenceText,
    /// Base of the provider's API; else the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The workspace whose keys are managed; else the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Breaker: more disables and deletes than this within an hour wait.
    #[serde(default = "max_deletes_per_hour")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_deletes_per_hour: u32,
    /// What a new key takes over from the old one: its limits, the guardrail that it is assigned to, its places in
    /// the allow-lists of BYOK credentials.
    #[serde(default = "inherit")]
    pub inherit: Vec<Inherited>,
    /// An alert opens when less credit is left, in USD; 0 turns it off.
    #[serde(default = "credits_alert_below")]
    #[schemars(range(min = 0.0, max = 1_000_000_000.0))]
    pub credits_alert_below: f64,
    /// Destinations that hold provisioning keys and receive this one.
    #[serde(default)]
    pub provisioning_destinations: Vec<NameText>,
}

impl Account {
    pub(super) fn complete(&mut self) {
        if self.base_url.is_none() && self.provider.as_str() == DEFAULT_PROVIDER {
            self.base_url = Some(DEFAULT_BASE_URL.to_owned());
        }
    }
}

fn provider() -> NameText {
    DEFAULT_PROVIDER.into()
}

/// What a new key takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Inherited {
    /// Limit, period, and whether own vendor keys count.
    Limits,
    /// The guardrail that it is assigned to.
    Guardrails,
    /// Its places in allow-lists.
    Byok,
}

fn inherit() -> Vec<Inherited> {
    vec![Inherited::Limits, Inherited::Guardrails, Inherited::Byok]
}

const fn max_deletes_per_hour() -> u32 {
    10
}

const fn credits_alert_below() -> f64 {
    10.0
}

/// GitHub secret scanning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Leaks {
    /// "owner/name" of every repository whose alerts are read.
    #[schemars(length(min = 1))]
    pub repositories: Vec<String>,
    /// A token that may read secret scanning alerts.
    pub token: ReferenceText,
    /// When they are read, in UTC.
    #[serde(default = "schedule")]
    pub schedule: CronText,
    /// Base of GitHub's API; GitHub Enterprise Server: its own.
    #[serde(default = "super::destination::github_api")]
    pub api_url: String,
}

fn schedule() -> CronText {
    "0 */5 * * * *".into()
}
