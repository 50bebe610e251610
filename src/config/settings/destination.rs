//! `[[destinations]]`

use std::path::PathBuf;

use super::values::BaseUrl;
use crate::crypto::SecretRef;
use crate::domain::key::KeyKind;
use crate::domain::name::Name;
use crate::domain::time::Span;

pub use crate::config::file::{FileFormat, GithubStore, OnDrift, VercelTarget, Visibility};

/// `[[destinations]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name, unique among destinations.
    pub name: Name,
    /// Which kind of key it takes; only GitHub takes provisioning keys.
    pub holds: KeyKind,
    /// Whether the old key waits for it.
    pub required: bool,
    /// What to do when somebody else changed it.
    pub on_drift: OnDrift,
    /// Where it is.
    pub kind: DestinationKind,
}

/// Where a key is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationKind {
    /// A GitHub secret.
    Github {
        /// Whose secret.
        scope: GithubScope,
        /// Which of GitHub's stores.
        store: GithubStore,
        /// Name of the secret, upper-case as GitHub stores it.
        secret: String,
        /// How to log in.
        auth: GithubAuth,
        /// Base of the API.
        api_url: BaseUrl,
        /// Type of the `repository_dispatch` event sent after a publish; only with a repository.
        dispatch: Option<String>,
    },
    /// A Vercel environment variable.
    Vercel {
        /// Name or id of the project.
        project: String,
        /// Id or slug of the team; `None` for a personal account.
        team: Option<String>,
        /// Name of the variable.
        variable: String,
        /// Where it applies; at least one, each once.
        targets: Vec<VercelTarget>,
        /// Variables that rekeyd creates are sensitive.
        sensitive: bool,
        /// The token.
        token: SecretRef,
        /// Base of the API.
        api_url: BaseUrl,
        /// Rebuild the production deployment and wait for it; only with the production target.
        redeploy: bool,
    },
    /// A row of the application's database.
    Postgres {
        /// Its connection URL.
        url: SecretRef,
        /// `providers.provider_name`.
        provider_name: String,
        /// `provider_api_keys.key_number`, at least 1.
        key_number: u32,
        /// Publish every active stored key of `provider_name` too, generations of rotations excepted.
        mirror: bool,
    },
    /// A file.
    File {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What is written.
        format: FileFormat,
        /// Name of the variable or field; given exactly when `format` is not raw.
        variable: Option<String>,
        /// Permission bits; others have none.
        mode: u32,
        /// Owner, by name or number; `None` for whoever runs rekeyd.
        owner: Option<String>,
        /// Group, by name or number; `None` for that of whoever runs rekeyd.
        group: Option<String>,
    },
    /// A program that takes the key on its standard input.
    Command {
        /// Program and arguments; at least the program.
        command: Vec<String>,
        /// It is killed after this long.
        timeout: Span,
    },
}

/// Whose GitHub secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GithubScope {
    /// A repository's, or an environment's of it.
    Repository {
        /// Owner of the repository.
        owner: String,
        /// Name of the repository.
        repository: String,
        /// The environment; only with the Actions store.
        environment: Option<String>,
    },
    /// An organisation's.
    Organization {
        /// The organisation.
        organization: String,
        /// Who sees a secret; `None` keeps that of an existing one (a new one is private).
        visibility: Option<Visibility>,
        /// Names of the repositories that see it; given exactly with `visibility = "selected"`.
        repositories: Vec<String>,
    },
}

/// How to log in at GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GithubAuth {
    /// A token.
    Token(SecretRef),
    /// A GitHub App.
    App(GithubApp),
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubApp {
    /// Id of the app.
    pub id: u64,
    /// Id of the installation.
    pub installation: u64,
    /// Its private key (PEM).
    pub private_key: SecretRef,
}
