//! `[[accounts]]` and `[leaks]`.

use super::values::{BaseUrl, CronExpr};
use crate::crypto::SecretRef;
use crate::domain::key::MicroUsd;
use crate::domain::name::Name;

/// `[[accounts]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, unique among accounts.
    pub name: Name,
    /// A provider of the catalog or an added one; whether it exists, `Settings::check_providers` says.
    pub provider: Name,
    /// The provisioning key.
    pub provisioning_key: SecretRef,
    /// Base of the provider's API; `None` for the catalog's own. Always given for
    /// `openrouter`.
    pub base_url: Option<BaseUrl>,
    /// The workspace whose keys are managed; `None` for the account's default.
    pub workspace: Option<String>,
    /// Breaker (R12), at least 1.
    pub max_deletes_per_hour: u32,
    /// `None` when turned off (0).
    pub credits_alert_below: Option<MicroUsd>,
    /// Destinations that receive the provisioning key; each exists, is GitHub and holds provisioning keys.
    pub provisioning_destinations: Vec<Name>,
}

/// `[leaks]`: GitHub secret scanning.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaks {
    /// `(owner, repository)`; at least one.
    pub repositories: Vec<(String, String)>,
    /// A token that reads secret scanning alerts.
    pub token: SecretRef,
    /// When it is looked at, in UTC.
    pub schedule: CronExpr,
    /// Base of GitHub's API.
    pub api_url: BaseUrl,
}
