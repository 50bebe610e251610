//! `[[accounts]]` and `[leaks]`.

use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, BaseUrl, CronExpr};
use super::whole::Known;
use crate::config::file::{self, Holds, NameText};
use crate::crypto::SecretRef;
use crate::domain::inherit::Inherit;
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
    /// What a new key takes over from the old one (R23).
    pub inherit: Inherit,
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
            inherit: inherit(&file.inherit),
            credits_alert_below: Some(below).filter(|below| below.0 > 0),
            provisioning_destinations: provisioning_destinations?,
        })
    }
}

fn inherit(all: &[file::Inherited]) -> Inherit {
    let has = |one| all.contains(&one);
    Inherit {
        limits: has(file::Inherited::Limits),
        guardrails: has(file::Inherited::Guardrails),
        byok: has(file::Inherited::Byok),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{ACCOUNT, assert_table, settings};

    #[test]
    fn has_the_defaults_of_the_interface() {
        let account = settings(ACCOUNT).accounts.remove(0);
        assert_eq!(account.provider, "openrouter");
        assert_eq!(account.base_url.unwrap().as_str(), "https://openrouter.ai/api/v1");
        assert_eq!(account.credits_alert_below, Some(MicroUsd::from_usd(10.0)));
        assert_eq!(account.inherit, Inherit { limits: true, guardrails: true, byok: true });
        assert_eq!((account.max_deletes_per_hour, account.workspace), (10, None));
        let leaks = settings("[leaks]\nrepositories = [\"acme/app\"]\ntoken = \"env:T\"").leaks.unwrap();
        assert_eq!(leaks.repositories, [("acme".to_owned(), "app".to_owned())]);
        assert_eq!(
            (leaks.schedule.as_str(), leaks.api_url.as_str()),
            ("0 */5 * * * *", "https://api.github.com")
        );
    }

    #[test]
    fn other_providers_have_their_own_base() {
        let account = settings(&format!("{ACCOUNT}provider = \"openai\"")).accounts.remove(0);
        assert_eq!(account.base_url, None);
    }

    #[test]
    fn what_is_not_named_is_not_inherited() {
        let of = |list| settings(&format!("{ACCOUNT}inherit = {list}")).accounts[0].inherit;
        assert_eq!(of("[]"), Inherit { limits: false, guardrails: false, byok: false });
        assert_eq!(of("[\"byok\", \"limits\"]"), Inherit { limits: true, guardrails: false, byok: true });
    }

    #[test]
    fn zero_turns_the_credit_alert_off() {
        assert_eq!(
            settings(&format!("{ACCOUNT}credits_alert_below = 0")).accounts[0].credits_alert_below,
            None
        );
    }

    #[test]
    fn providers_are_checked_against_the_catalog() {
        let settings = settings(&format!("{ACCOUNT}provider = \"openroute\"\n"));
        assert!(settings.check_providers(&["openroute"]).is_empty());
        let problems: Vec<String> =
            settings.check_providers(&["openai", "openrouter"]).iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "r.toml:4: accounts.main.provider: there is no provider \"openroute\"\n  hint: did you mean \"openrouter\"?"
            ]
        );
    }

    #[test]
    fn refuses_bad_accounts() {
        let account = |lines: &str| format!("{ACCOUNT}{lines}");
        let github = "[[destinations]]\nname = \"gh\"\ntype = \"github\"\nrepository = \"a/b\"\nsecret = \"A\"\ntoken = \"env:T\"\n";
        let files = [
            "[[accounts]]\nname = \"Main\"\nprovider = \"Open Router\"\nprovisioning_key = \"sk-or-v1-hunter2\"".to_owned(),
            account("base_url = \"http://openrouter.ai/api/v1\""),
            account("base_url = \"openrouter.ai\""),
            account("base_url = \"https://user:hunter2@openrouter.ai\""),
            account("workspace = \"\""),
            account("workspace = \" a\""),
            account("max_deletes_per_hour = 0"),
            account("provisioning_destinations = [\"gh\"]"),
            account(&format!("provisioning_destinations = [\"hg\"]\n{github}")),
            account(&format!("provisioning_destinations = [\"gh\"]\n{github}")),
            account(&format!("provisioning_destinations = [\n\"gh\",\n\"gh\"]\n{github}holds = \"provisioning\"")),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_leak_settings() {
        assert_table!(&[
            "[leaks]\nrepositories = []\ntoken = \"env:T\"",
            "[leaks]\nrepositories = [\"acme\", \"https://github.com/acme/app\", \"acme/..\"]\ntoken = \"hunter2\"",
            "[leaks]\nrepositories = [\"acme/app\"]\ntoken = \"env:T\"\nschedule = \"*/5 * * * *\"\napi_url = \"http://ghe.example.com\"",
        ]);
    }
}
