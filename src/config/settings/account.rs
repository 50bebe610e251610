//! `[[accounts]]` and `[leaks]`.

use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, BaseUrl, CronExpr};
use super::whole::Known;
use crate::config::file::{self, Holds, NameText};
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

impl Account {
    pub(super) fn read(file: &file::Account, known: &Known<'_>, at: &At<'_>) -> Read<Self> {
        let name = at.field("name").name(&file.name);
        let provider = at
            .field("provider")
            .name(&file.provider)
            .inspect(|name| at.field("provider").keep_provider(name));
        let provisioning_key = at.field("provisioning_key").reference(&file.provisioning_key, Purpose::Token);
        let base_url = file.base_url.as_ref().map(|url| at.field("base_url").api_url(url)).transpose();
        let workspace = at.field("workspace").optional_word(file.workspace.as_ref());
        let provisioning_destinations = at
            .field("provisioning_destinations")
            .each(&file.provisioning_destinations, |name, at| provisioning_destination(name, known, at));
        let below = MicroUsd::from_usd(file.credits_alert_below);
        Ok(Self {
            name: name?,
            provider: provider?,
            provisioning_key: provisioning_key?,
            base_url: base_url?,
            workspace: workspace?,
            max_deletes_per_hour: file.max_deletes_per_hour,
            credits_alert_below: Some(below).filter(|below| below.0 > 0),
            provisioning_destinations: provisioning_destinations?,
        })
    }
}

fn provisioning_destination(text: &NameText, known: &Known<'_>, at: &At<'_>) -> Read<Name> {
    let name = at.known(text, "destination", &known.destinations)?;
    if known.holds(text.as_str()) == Some(Holds::Regular) {
        return Err(at.problem(
            format!("destination {:?} holds regular keys", text.as_str()),
            "a provisioning key goes only where holds = \"provisioning\"; consumers of regular keys cannot use it",
        ));
    }
    Ok(name)
}

impl Leaks {
    pub(super) fn read(file: &file::Leaks, at: &At<'_>) -> Read<Self> {
        let repositories =
            at.field("repositories").each(&file.repositories, |text, at| at.value(parse_repository(text)));
        let token = at.field("token").reference(&file.token, Purpose::Token);
        let schedule = at.field("schedule").cron(&file.schedule);
        let api_url = at.field("api_url").api_url(&file.api_url);
        Ok(Self { repositories: repositories?, token: token?, schedule: schedule?, api_url: api_url? })
    }
}

/// Reads `owner/name`.
pub(super) fn parse_repository(text: &str) -> Result<(String, String), BadValue> {
    let hint = "write \"owner/name\", such as \"acme/app\"";
    match text.split_once('/') {
        Some((owner, name)) if is_github_name(owner) && is_github_name(name) => {
            Ok((owner.to_owned(), name.to_owned()))
        }
        _ => Err(BadValue::new(format!("{text:?} is not a repository"), hint)),
    }
}

/// Letters, digits, `-`, `_` and `.`, as in the names of owners and repositories.
pub(super) fn is_github_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !matches!(text, "" | "." | "..") && text.chars().all(plain)
}
