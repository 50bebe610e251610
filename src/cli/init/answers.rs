//! What `init` needs to know: from flags, and from a person for what they leave out.

use std::path::Path;

use anyhow::Context as _;
use dialoguer::{Input, Password};

use super::Flags;
use crate::app::Misconfigured;
use crate::cli::output::piped;
use crate::domain::secret::Secret;
use crate::engine::commands;

/// Names of the credentials.
pub(super) const PROVISIONING_KEY: &str = "openrouter-provisioning-key";
pub(super) const GITHUB_TOKEN: &str = "github-token";
pub(super) const SMTP_PASSWORD: &str = "smtp-password";

/// Everything the configuration is made of.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) provisioning_key: Option<Secret>,
    pub(super) base_url: Option<String>,
    pub(super) rotation: String,
    pub(super) schedule: String,
    pub(super) github: Option<Github>,
    pub(super) mail: Option<Mail>,
    pub(super) admin: Option<Admin>,
}

/// Who may everything, at first.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) email: String,
    pub(super) password: Secret,
}

/// The secret that holds the key.
#[derive(Debug)]
pub(super) struct Github {
    pub(super) repository: String,
    pub(super) secret: String,
    pub(super) api_url: Option<String>,
    pub(super) token: Option<Secret>,
}

/// How alerts travel.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) smtp: String,
    pub(super) password: Option<Secret>,
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

impl Mail {
    /// Whether the server wants a password: it does for a user before the `@`.
    pub(super) fn has_user(&self) -> bool {
        url::Url::parse(&self.smtp).is_ok_and(|url| !url.username().is_empty())
    }

    /// Whether mails never leave this machine, so that they need no TLS.
    pub(super) fn is_local(&self) -> bool {
        let url = url::Url::parse(&self.smtp).ok();
        let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        self.smtp.starts_with("smtp://")
            && (host == "localhost"
                || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    }
}

impl Answers {
    /// The secrets that were given, by the name of their credential.
    pub(super) fn credentials(&self) -> Vec<(&'static str, &Secret)> {
        let github = self.github.as_ref().and_then(|github| github.token.as_ref());
        let mail = self.mail.as_ref().and_then(|mail| mail.password.as_ref());
        let all = [
            (PROVISIONING_KEY, self.provisioning_key.as_ref()),
            (GITHUB_TOKEN, github),
            (SMTP_PASSWORD, mail),
        ];
        all.into_iter().filter_map(|(name, secret)| secret.map(|secret| (name, secret))).collect()
    }
}

/// Nobody is asked: flags and defaults.
pub(super) fn of_flags(flags: Flags) -> anyhow::Result<Answers> {
    if flags.github_token_file.is_some() && flags.github_repository.is_none() {
        return Err(usage("--github-token-file needs --github-repository"));
    }
    let github = match flags.github_repository {
        None => None,
        Some(repository) => Some(Github {
            repository,
            secret: flags.github_secret,
            api_url: flags.github_api_url,
            token: from_file(flags.github_token_file.as_deref())?,
        }),
    };
    let mail = match flags.smtp {
        None => None,
        Some(smtp) => {
            let from = flags.from.ok_or_else(|| usage("--smtp needs --from ADDRESS"))?;
            if flags.to.is_empty() {
                return Err(usage("--smtp needs --to ADDRESS"));
            }
            Some(Mail { smtp, password: from_file(flags.smtp_password_file.as_deref())?, from, to: flags.to })
        }
    };
    let admin = match flags.admin {
        None => None,
        Some(email) => {
            let password = from_file(flags.admin_password_file.as_deref())?;
            let password = password.ok_or_else(|| usage("--admin needs --admin-password-file PATH"))?;
            commands::acceptable_password(&password)?;
            Some(Admin { email, password })
        }
    };
    Ok(Answers {
        provisioning_key: from_file(flags.provisioning_key_file.as_deref())?,
        base_url: flags.base_url,
        rotation: flags.rotation,
        schedule: flags.schedule,
        github,
        mail,
        admin,
    })
}

/// Asks for what the flags leave out; an empty answer leaves a thing out.
pub(super) fn ask(mut flags: Flags) -> anyhow::Result<Answers> {
    let key = match from_file(flags.provisioning_key_file.take().as_deref())? {
        Some(key) => Some(key),
        None => hidden("OpenRouter provisioning key (it can create keys, and cannot call models)")?,
    };
    if flags.github_repository.is_none() {
        flags.github_repository = line("GitHub repository that reads the key, owner/name (empty: none)", "")?;
        if flags.github_repository.is_some() {
            flags.github_secret = line("Name of the secret", &flags.github_secret)?.unwrap_or_default();
        }
    }
    if flags.smtp.is_none() {
        flags.smtp =
            line("Mail server for alerts, like smtps://user@mail.example.com:465 (empty: none)", "")?;
    }
    if flags.smtp.is_some() && flags.from.is_none() {
        flags.from = Some(needed("Sender of alerts")?);
    }
    if flags.smtp.is_some() && flags.to.is_empty() {
        let to = needed("Recipients, separated by commas")?;
        flags.to = to.split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
    }
    let mut answers = of_flags(flags)?;
    answers.provisioning_key = key;
    if let Some(github) = answers.github.as_mut().filter(|github| github.token.is_none()) {
        github.token = hidden("GitHub token with \"Secrets: read and write\" on that repository")?;
    }
    if let Some(mail) = answers.mail.as_mut().filter(|mail| mail.password.is_none() && mail.has_user()) {
        mail.password = hidden("Password for the mail server")?;
    }
    if answers.admin.is_none() {
        answers.admin = admin()?;
    }
    Ok(answers)
}

/// The first admin, whose password is asked for until it is one.
fn admin() -> anyhow::Result<Option<Admin>> {
    let Some(email) = line("E-mail address of the first admin, who may log in (empty: add one later)", "")?
    else {
        return Ok(None);
    };
    let password = Password::new()
        .with_prompt("Password of the first admin, 12 characters or more")
        .with_confirmation("The same again", "the two are not the same")
        .validate_with(|text: &String| {
            commands::acceptable_password(&Secret::new(text.as_str())).map_err(|error| error.to_string())
        })
        .interact()?;
    Ok(Some(Admin { email, password: Secret::new(password) }))
}

fn line(prompt: &str, default: &str) -> anyhow::Result<Option<String>> {
    let mut input = Input::<String>::new().with_prompt(prompt).allow_empty(true);
    if !default.is_empty() {
        input = input.default(default.to_owned());
    }
    Ok(Some(input.interact_text()?.trim().to_owned()).filter(|answer| !answer.is_empty()))
}

/// Asks until there is an answer.
fn needed(prompt: &str) -> anyhow::Result<String> {
    Ok(Input::<String>::new().with_prompt(prompt).interact_text()?.trim().to_owned())
}

fn hidden(prompt: &str) -> anyhow::Result<Option<Secret>> {
    let prompt = format!("{prompt}; empty to add it later");
    let text = Password::new().with_prompt(prompt).allow_empty_password(true).interact()?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new))
}

fn from_file(path: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let Some(path) = path else { return Ok(None) };
    let text = if path == Path::new("-") {
        piped()?
    } else {
        std::fs::read_to_string(path).with_context(|| path.display().to_string())?
    };
    match text.trim() {
        "" => Err(usage(&format!("{} holds no secret", path.display()))),
        secret => Ok(Some(Secret::new(secret))),
    }
}

fn usage(text: &str) -> anyhow::Error {
    Misconfigured { text: text.to_owned(), hint: Some("`rekeyd init --help` lists the flags".to_owned()) }
        .into()
}
