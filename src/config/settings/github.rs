//! Destinations of type `github`: whose secret it is, and how to log in.

use super::account::{is_github_name, parse_repository};
use super::at::{At, Read};
use super::origin::Purpose;
use super::values::{BadValue, BaseUrl};
use crate::config::file;
use crate::crypto::SecretRef;

pub use crate::config::file::{GithubStore, Visibility};

/// A GitHub secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Github {
    /// Whose secret.
    pub scope: GithubScope,
    /// Which of GitHub's stores.
    pub store: GithubStore,
    /// Name of the secret, upper-case as GitHub stores it.
    pub secret: String,
    /// How to log in.
    pub auth: GithubAuth,
    /// Base of the API.
    pub api_url: BaseUrl,
    /// Type of the `repository_dispatch` event sent after a publish; only with a repository.
    pub dispatch: Option<String>,
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
        /// Who sees a secret; `None` with repositories means selected, and without them keeps that of an
        /// existing secret (a new one is private).
        visibility: Option<Visibility>,
        /// Names of the repositories that see it, besides those that do already; none for all and private.
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

impl Github {
    pub(super) fn read(file: &file::Github, at: &At<'_>) -> Read<Self> {
        let scope = GithubScope::read(file, at);
        let secret = at.field("secret").value(secret_name(&file.secret));
        let auth = GithubAuth::read(file, at);
        let api_url = at.field("api_url").api_url(&file.api_url);
        let dispatch = at.field("dispatch").optional_word(file.dispatch.as_ref());
        Ok(Self {
            scope: scope?,
            store: file.store,
            secret: secret?,
            auth: auth?,
            api_url: api_url?,
            dispatch: dispatch?,
        })
    }
}

/// GitHub's rules for the name of a secret; it is stored upper-case.
fn secret_name(text: &str) -> Result<String, BadValue> {
    let bad = |message: &str| {
        let hint =
            "letters, digits and _, not starting with a digit or GITHUB_, such as \"OPENROUTER_API_KEY\"";
        BadValue::new(format!("{text:?} {message}"), hint)
    };
    let name = text.to_ascii_uppercase();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(bad("is not the name of a secret"));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad("starts with a digit, which GitHub refuses"));
    }
    if name.starts_with("GITHUB_") {
        return Err(bad("starts with GITHUB_, which GitHub keeps for itself"));
    }
    Ok(name)
}

impl GithubScope {
    fn read(file: &file::Github, at: &At<'_>) -> Read<Self> {
        match (&file.repository, &file.organization) {
            (Some(repository), None) => Self::read_repository(repository, file, at),
            (None, Some(organization)) => Self::read_organization(organization, file, at),
            (Some(_), Some(_)) => Err(at.field("organization").problem(
                "repository and organization contradict each other",
                "keep one of the two; two secrets are two destinations",
            )),
            (None, None) => Err(at.problem(
                "neither repository nor organization says whose secret it is",
                "write repository = \"acme/app\" or organization = \"acme\"",
            )),
        }
    }

    fn read_repository(text: &str, file: &file::Github, at: &At<'_>) -> Read<Self> {
        let repository = at.field("repository").value(parse_repository(text));
        let environment = at.field("environment").optional_word(file.environment.as_ref());
        let only_organizations = "only a secret of an organization has it";
        if file.visibility.is_some() {
            return Err(at.field("visibility").problem(only_organizations, "leave it out"));
        }
        if !file.repositories.is_empty() {
            return Err(at.field("repositories").problem(only_organizations, "leave it out"));
        }
        if file.environment.is_some() && file.store != GithubStore::Actions {
            return Err(at.field("environment").problem(
                format!("the store {:?} has no environments", file.store.as_str()),
                "leave environment out, or write store = \"actions\"",
            ));
        }
        let (owner, repository) = repository?;
        Ok(Self::Repository { owner, repository, environment: environment? })
    }

    fn read_organization(text: &str, file: &file::Github, at: &At<'_>) -> Read<Self> {
        if !is_github_name(text) {
            let hint = "write its name as in github.com/NAME";
            return Err(at.field("organization").problem(format!("{text:?} is not an organization"), hint));
        }
        if file.environment.is_some() {
            let hint = "an environment belongs to a repository: write repository = \"acme/app\"";
            return Err(at.field("environment").problem("an organization has no environments", hint));
        }
        if file.dispatch.is_some() {
            let hint = "leave it out: the event is sent to a repository";
            return Err(at.field("dispatch").problem("only a secret of a repository has it", hint));
        }
        let selected = matches!(file.visibility, None | Some(Visibility::Selected));
        if !selected && !file.repositories.is_empty() {
            let hint = "write visibility = \"selected\", or leave repositories out";
            return Err(at.field("repositories").problem("a list contradicts this visibility", hint));
        }
        let repositories = at.field("repositories").each(&file.repositories, |text, at| {
            if is_github_name(text) {
                return Ok(text.clone());
            }
            let hint = "write its name alone, without the owner, such as \"app\"";
            Err(at.problem(format!("{text:?} is not the name of a repository"), hint))
        })?;
        Ok(Self::Organization { organization: text.to_owned(), visibility: file.visibility, repositories })
    }

    /// The part of an address that tells one secret from another; GitHub does not look at case.
    pub(super) fn address(&self) -> String {
        let address = match self {
            Self::Repository { owner, repository, environment: None } => {
                format!("repos/{owner}/{repository}")
            }
            Self::Repository { owner, repository, environment: Some(environment) } => {
                format!("repos/{owner}/{repository}/environments/{environment}")
            }
            Self::Organization { organization, .. } => format!("orgs/{organization}"),
        };
        address.to_lowercase()
    }
}

impl GithubAuth {
    fn read(file: &file::Github, at: &At<'_>) -> Read<Self> {
        match (&file.token, &file.app) {
            (Some(token), None) => at.field("token").reference(token, Purpose::Token).map(Self::Token),
            (None, Some(app)) => {
                let private_key =
                    at.field("app").field("private_key").reference(&app.private_key, Purpose::PrivateKey)?;
                Ok(Self::App(GithubApp { id: app.id, installation: app.installation, private_key }))
            }
            (Some(_), Some(_)) => {
                Err(at.field("app").problem("token and app contradict each other", "keep one of the two"))
            }
            (None, None) => Err(at.problem(
                "neither token nor app says how to log in",
                "write token = \"credential:github-token\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::DestinationKind;
    use crate::config::testing::{assert_table, settings};

    /// A GitHub destination with these lines.
    fn github(lines: &str) -> String {
        format!("[[destinations]]\nname = \"gh\"\ntype = \"github\"\n{lines}")
    }

    fn read(lines: &str) -> Github {
        let DestinationKind::Github(github) = settings(&github(lines)).destinations.remove(0).kind else {
            panic!()
        };
        github
    }

    #[test]
    fn reads_a_repository() {
        let kind = read("repository = \"acme/app\"\nsecret = \"openrouter_api_key\"\ntoken = \"env:T\"");
        assert_eq!(
            kind,
            Github {
                scope: GithubScope::Repository {
                    owner: "acme".to_owned(),
                    repository: "app".to_owned(),
                    environment: None,
                },
                store: GithubStore::Actions,
                secret: "OPENROUTER_API_KEY".to_owned(),
                auth: GithubAuth::Token(SecretRef::Env("T".to_owned())),
                api_url: crate::config::settings::BaseUrl::parse("https://api.github.com").unwrap(),
                dispatch: None,
            }
        );
    }

    #[test]
    fn reads_an_organization_and_an_app() {
        let Github { scope, auth, .. } = read(
            "organization = \"acme\"\nvisibility = \"selected\"\nrepositories = [\"app\"]\nsecret = \"A\"\n\
             app = { id = 1, installation = 2, private_key = \"credential:k\" }",
        );
        let (organization, repositories) = ("acme".to_owned(), vec!["app".to_owned()]);
        let visibility = Some(Visibility::Selected);
        assert_eq!(scope, GithubScope::Organization { organization, visibility, repositories });
        let private_key = SecretRef::Credential("k".to_owned());
        assert_eq!(auth, GithubAuth::App(GithubApp { id: 1, installation: 2, private_key }));
    }

    #[test]
    fn an_existing_list_of_repositories_may_be_kept_or_added_to() {
        let visibility = |lines: &str| {
            let lines = format!("organization = \"acme\"\nsecret = \"A\"\ntoken = \"env:T\"\n{lines}");
            let GithubScope::Organization { visibility, repositories, .. } = read(&lines).scope else {
                panic!()
            };
            (visibility, repositories.len())
        };
        assert_eq!(visibility(""), (None, 0));
        assert_eq!(visibility("repositories = [\"app\"]"), (None, 1));
        assert_eq!(visibility("visibility = \"selected\""), (Some(Visibility::Selected), 0));
    }

    #[test]
    fn refuses_contradictions() {
        const REST: &str = "secret = \"A\"\ntoken = \"env:T\"\n";
        let files = [
            github(REST),
            github(&format!("repository = \"a/b\"\norganization = \"a\"\n{REST}")),
            github("repository = \"a/b\"\nsecret = \"A\""),
            github(&format!(
                "repository = \"a/b\"\n{REST}app = {{ id = 1, installation = 2, private_key = \"env:K\" }}"
            )),
            github(&format!("repository = \"a/b\"\n{REST}visibility = \"all\"")),
            github(&format!("repository = \"a/b\"\n{REST}repositories = [\"b\"]")),
            github(&format!("repository = \"a/b\"\n{REST}environment = \"x\"\nstore = \"dependabot\"")),
            github(&format!("organization = \"a\"\n{REST}environment = \"x\"")),
            github(&format!("organization = \"a\"\n{REST}dispatch = \"x\"")),
            github(&format!("organization = \"a\"\n{REST}visibility = \"all\"\nrepositories = [\"b\"]")),
            github(&format!("organization = \"a\"\n{REST}visibility = \"private\"\nrepositories = [\"b\"]")),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_names_and_addresses() {
        let secret =
            |name: &str| github(&format!("repository = \"a/b\"\ntoken = \"env:T\"\nsecret = {name:?}"));
        let files = [
            secret(""),
            secret("1KEY"),
            secret("MY-KEY"),
            secret("GITHUB_TOKEN"),
            secret("github_token"),
            github("repository = \"app\"\nsecret = \"A\"\ntoken = \"ghp_hunter2\""),
            github(
                "repository = \"https://github.com/a/b\"\nsecret = \"A\"\ntoken = \"env:T\"\ndispatch = \"\"",
            ),
            github(
                "repository = \"a/b\"\nenvironment = \"\"\nsecret = \"A\"\ntoken = \"env:T\"\napi_url = \"http://ghe.example.com\"",
            ),
            github("organization = \"github.com/acme\"\nsecret = \"A\"\ntoken = \"env:T\""),
            github(
                "organization = \"a\"\nvisibility = \"selected\"\nrepositories = [\"b\", \"a/b\"]\nsecret = \"A\"\ntoken = \"env:T\"",
            ),
            github(
                "repository = \"a/b\"\nsecret = \"A\"\napp = { id = 0, installation = 2, private_key = \"hunter2\" }",
            ),
            github("repository = \"a/b\"\nsecret = \"A\"\nstore = \"action\"\ntoken = \"env:T\""),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }
}
