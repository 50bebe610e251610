//! `[[destinations]]`: what all kinds have in common, and a struct for each kind, chosen by `type`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{DurationText, NameText, ReferenceText};
use super::yes;
use crate::domain::rotation::OnDrift;

/// A place that consumers read a key from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Destination {
    /// What rotations call it.
    pub name: NameText,
    /// Which kind of key it takes; only GitHub may hold provisioning keys.
    #[serde(default = "holds")]
    pub holds: Holds,
    /// Whether the old key waits until this one has the new key.
    #[serde(default = "yes")]
    pub required: bool,
    /// What happens when somebody else changed it.
    #[serde(default = "on_drift")]
    pub on_drift: OnDrift,
    /// Which kind of place it is, and where.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Destination {
    pub(super) fn complete(&mut self) {
        if let Kind::Vercel(vercel) = &mut self.kind {
            let production = vercel.targets.contains(&VercelTarget::Production);
            vercel.redeploy.get_or_insert(production);
        }
    }
}

const fn holds() -> Holds {
    Holds::Regular
}

const fn on_drift() -> OnDrift {
    OnDrift::Hold
}

/// Which kind of key a destination takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Keys that call models.
    Regular,
    /// Keys that manage keys.
    Provisioning,
}

/// The kinds of destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A GitHub secret.
    Github(Github),
    /// A Vercel environment variable.
    Vercel(Vercel),
    /// A row of the application's PostgreSQL database.
    Postgres(Postgres),
    /// A file.
    File(File),
    /// A program that takes the key on its standard input.
    Command(Command),
}

/// A GitHub secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Github {
    /// "owner/name". Either this or `organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Either this or `repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Which repositories of the organisation see the secret; else those that are listed, or an existing one
    /// keeps its own and a new one is private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// With visibility "selected": names of these repositories, without the owner, besides those that see it
    /// already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// An environment of the repository; only in the store "actions".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Which of GitHub's stores.
    #[serde(default = "store")]
    pub store: GithubStore,
    /// Name of the secret.
    pub secret: String,
    /// A token that may write secrets. Either this or `app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<ReferenceText>,
    /// An installation of a GitHub App. Either this or `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<GithubApp>,
    /// Base of GitHub's API; GitHub Enterprise Server: its own.
    #[serde(default = "github_api")]
    pub api_url: String,
    /// Type of a `repository_dispatch` event that is sent after a publish; no key material in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<String>,
}

const fn store() -> GithubStore {
    GithubStore::Actions
}

pub(super) fn github_api() -> String {
    "https://api.github.com".to_owned()
}

/// Which repositories of an organisation see a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// All of them.
    All,
    /// Those that are private or internal.
    Private,
    /// Those that are listed.
    Selected,
}

/// GitHub's stores of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GithubStore {
    /// Actions.
    Actions,
    /// Dependabot.
    Dependabot,
    /// Codespaces.
    Codespaces,
}

impl GithubStore {
    /// Its part of an API path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Dependabot => "dependabot",
            Self::Codespaces => "codespaces",
        }
    }
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GithubApp {
    /// Id of the app.
    #[schemars(range(min = 1))]
    pub id: u64,
    /// Id of the installation.
    #[schemars(range(min = 1))]
    pub installation: u64,
    /// Its private key (PEM).
    pub private_key: ReferenceText,
}

/// A Vercel environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vercel {
    /// Name or id of the project.
    pub project: String,
    /// Id or slug of the team; none for a personal account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Name of the variable.
    pub variable: String,
    /// Where it applies.
    #[serde(default = "targets")]
    #[schemars(length(min = 1))]
    pub targets: Vec<VercelTarget>,
    /// Variables that rekeyd creates for production and preview are sensitive; an existing one keeps its type.
    #[serde(default = "yes")]
    pub sensitive: bool,
    /// A token of the team.
    pub token: ReferenceText,
    /// Base of Vercel's API.
    #[serde(default = "vercel_api")]
    pub api_url: String,
    /// Rebuild the current production deployment and wait for it: a change reaches only later deployments.
    /// On where `targets` has production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeploy: Option<bool>,
    /// Promote a rebuilt deployment that is ready but staged, unless somebody shipped or rolled back meanwhile.
    #[serde(default)]
    pub promote: bool,
}

fn targets() -> Vec<VercelTarget> {
    vec![VercelTarget::Production, VercelTarget::Preview, VercelTarget::Development]
}

fn vercel_api() -> String {
    "https://api.vercel.com".to_owned()
}

/// Where a Vercel variable applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are Vercel's")]
pub enum VercelTarget {
    Production,
    Preview,
    Development,
}

impl VercelTarget {
    /// Vercel's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Preview => "preview",
            Self::Development => "development",
        }
    }
}

/// A row of the application's PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Postgres {
    /// Its connection URL; Supabase: the service connection string.
    pub url: ReferenceText,
    /// The provider's name in its table `providers`.
    #[serde(default = "provider_name")]
    pub provider_name: String,
    /// The key's number in its table `provider_api_keys`.
    #[serde(default = "key_number")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub key_number: u32,
    /// Publish every active stored key of `provider_name` too, under its own number; keys of rotations
    /// excepted.
    #[serde(default)]
    pub mirror: bool,
}

fn provider_name() -> String {
    super::DEFAULT_PROVIDER.to_owned()
}

const fn key_number() -> u32 {
    1
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// An absolute path.
    pub path: String,
    /// What is written.
    #[serde(default = "format")]
    pub format: FileFormat,
    /// Name of the variable ("env") or field ("json").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Permissions, octal; none for others. Else those of the file; 0600 for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-7]{3,4}$"))]
    pub mode: Option<String>,
    /// Owner; else that of the file, or whoever runs rekeyd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group; else that of the file, or of whoever runs rekeyd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Accepts a folder or a file that other users may write. They could then put a file of their own in its place.
    #[serde(default)]
    pub unsafe_folder: bool,
}

const fn format() -> FileFormat {
    FileFormat::Env
}

/// What is written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// `VARIABLE=key`
    Env,
    /// The key alone.
    Raw,
    /// `{"variable": "key"}`
    Json,
}

/// A program that takes the key on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// The program and its arguments. `REKEYD_ROTATION`, `REKEYD_GENERATION` and `REKEYD_DESTINATION` are in its
    /// environment.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// It is killed after this long.
    #[serde(default = "timeout")]
    pub timeout: DurationText,
    /// Show the last line of its output when it fails, with the key redacted. It may hold other secrets.
    #[serde(default)]
    pub show_output: bool,
}

fn timeout() -> DurationText {
    "60s".into()
}
