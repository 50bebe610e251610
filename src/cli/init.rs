//! `init`: the first configuration, its credentials and the encryption key.
//!
//! ```text
//! flags ─► answers ─► text ─► checked ─► files ─► loaded again
//!          (asks what    (nothing was    (never over an
//!          is missing)   written yet)    existing one)
//! ```

mod answers;
mod files;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Context, person};
use crate::app::{self, Misconfigured};
use crate::cli::output::say;
use crate::config::{Settings, load};
use crate::domain::actor::Actor;
use crate::domain::key::KeyKind;
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::engine::{EngineError, commands};
use answers::{Admin, Answers};
use files::{Folder, Written};

/// What can be said beforehand. Secrets come from files or the keyboard, never from the command line.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Flags {
    /// File with the OpenRouter provisioning key; "-" is stdin. Asked for without echo when left out
    #[arg(long, value_name = "PATH")]
    provisioning_key_file: Option<PathBuf>,
    /// Address of OpenRouter's API, when calls go through a gateway
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Name of the rotation
    #[arg(long, value_name = "NAME", default_value = "production")]
    rotation: String,
    /// When a new key is due: cron with seconds, in UTC
    #[arg(long, value_name = "CRON", default_value = "0 0 3 1 * *")]
    schedule: String,
    /// GitHub repository whose secret holds the key
    #[arg(long, value_name = "OWNER/NAME")]
    github_repository: Option<String>,
    /// Name of the secret
    #[arg(long, value_name = "NAME", default_value = "OPENROUTER_API_KEY")]
    github_secret: String,
    /// File with a GitHub token that may read and write the repository's secrets; "-" is stdin
    #[arg(long, value_name = "PATH")]
    github_token_file: Option<PathBuf>,
    /// Address of the API of a GitHub Enterprise Server
    #[arg(long, value_name = "URL")]
    github_api_url: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "Mail server for alerts, like smtps://user@mail.example.com:465; smtp:// for STARTTLS, usually port 587"
    )]
    smtp: Option<String>,
    /// File with the password of the mail server's user; "-" is stdin
    #[arg(long, value_name = "PATH", requires = "smtp")]
    smtp_password_file: Option<PathBuf>,
    /// Sender of alerts
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    from: Option<String>,
    /// Who gets alerts; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    to: Vec<String>,
    /// E-mail address of the first admin, who logs in with it
    #[arg(long, value_name = "ADDRESS", requires = "admin_password_file")]
    admin: Option<String>,
    /// File with the first admin's password, 12 characters or more; "-" is stdin
    #[arg(long, value_name = "PATH", requires = "admin")]
    admin_password_file: Option<PathBuf>,
}

/// What was done, and what is next.
#[derive(Debug, Serialize)]
struct Done {
    config: PathBuf,
    files: Vec<Written>,
    missing: Vec<String>,
    admin: Option<String>,
    next: Vec<String>,
}

pub(super) async fn run(context: &Context, flags: Flags) -> anyhow::Result<u8> {
    let config = std::path::absolute(load::path(context.config.as_deref()))?;
    if config.exists() {
        return Err(Misconfigured {
            text: format!("{} exists; nothing was changed", config.display()),
            hint: Some(
                "`rekeyd config check` validates it; --config PATH begins another one elsewhere".to_owned(),
            ),
        }
        .into());
    }
    let answers = if context.out.asks() { answers::ask(flags)? } else { answers::of_flags(flags)? };
    let folder = Folder::of(&config);
    let text = text::configuration(&answers, &folder);
    let parsed = load::parse([(config.as_path(), text.as_str())])?;
    if let Some(key) = &answers.provisioning_key {
        prove_kind(&parsed.settings, key).await?;
    }
    let files = write(&answers, &folder, &config, &text)?;
    let loaded = load(Some(&config))?;
    let missing = loaded.settings.check_references().iter().map(ToString::to_string).collect();
    let admin = make_admin(&loaded.settings, answers.admin.as_ref()).await;
    let next = next(&answers, &folder, &config, admin.is_some());
    let done = Done { config, files, missing, admin, next };
    context.out.value(&done, said)?;
    Ok(0)
}

/// The two kinds look alike: only the provider can tell (product.md). Without it `init` goes on and says so; what
/// uses the key later proves it again.
async fn prove_kind(settings: &Settings, key: &Secret) -> anyhow::Result<()> {
    match app::kind_of(settings, key).await? {
        Ok(KeyKind::Provisioning) => Ok(()),
        Ok(KeyKind::Regular) => Err(EngineError::Refused(
            "refused: this is a regular key: it calls models and cannot manage keys, so it is no provisioning key; \
             nothing was written"
                .to_owned(),
        )
        .into()),
        Err(failure) => {
            say!("the provisioning key could not be proved: {failure}");
            Ok(())
        }
    }
}

/// Makes the first admin. Where that does not work yet, `init` goes on and says so: `users add` does the same later.
async fn make_admin(settings: &Settings, admin: Option<&Admin>) -> Option<String> {
    let Admin { email, password } = admin?;
    let made = async {
        let engine = app::engine(settings, Actor::cli(&person())).await?;
        anyhow::Ok(commands::add_user(&engine, email, Role::Admin, Some(password.clone())).await?)
    };
    match made.await {
        Ok(user) => Some(user.email),
        Err(error) => {
            say!("the first admin could not be made: {error:#}");
            None
        }
    }
}

/// Credentials first, so that a configuration that is there never lacks what was answered.
fn write(answers: &Answers, folder: &Folder, config: &Path, text: &str) -> anyhow::Result<Vec<Written>> {
    let secrets = answers.credentials();
    folder.refuse_others(&secrets)?;
    let mut files = vec![folder.encryption_key()?];
    for (name, secret) in secrets {
        files.push(folder.credential(name, secret)?);
    }
    files.push(folder.configuration(config, text)?);
    Ok(files)
}

/// The commands that lead from here to the first rotation.
fn next(answers: &Answers, folder: &Folder, config: &Path, has_admin: bool) -> Vec<String> {
    let program =
        if folder.is_the_systems() && folder.has_group() { "sudo -u rekeyd rekeyd" } else { "rekeyd" };
    let program = if config == Path::new(load::DEFAULT_PATH) {
        program.to_owned()
    } else {
        format!("{program} --config {}", config.display())
    };
    let rotation = &answers.rotation;
    let mut next = Vec::new();
    if answers.github.is_some() {
        next.push(format!(
            "{program} rotations adopt {rotation} --secret-stdin    # the key in use now, if any"
        ));
        next.push(format!("{program} rotations plan {rotation}    # every call, before one is made"));
        next.push(format!("{program} rotations run {rotation}"));
    } else {
        next.push(format!("{program} config check"));
    }
    if !has_admin {
        next.push(format!("{program} users add EMAIL --role admin    # who may log in"));
    }
    if folder.is_the_systems() {
        next.push("systemctl enable --now rekeyd".to_owned());
    } else {
        next.push(format!("{program} serve"));
    }
    next
}

fn said(done: &Done) -> String {
    let mut lines: Vec<String> = done.files.iter().map(ToString::to_string).collect();
    lines.extend(done.admin.iter().map(|email| format!("{email} may log in as admin")));
    lines.push("keep a copy of the encryption key elsewhere: without it the store cannot be read".to_owned());
    if !done.missing.is_empty() {
        lines.push("\nstill missing:".to_owned());
        lines.extend(done.missing.iter().map(|line| format!("  {line}")));
    }
    lines.push("\nnext:".to_owned());
    lines.extend(done.next.iter().map(|line| format!("  {line}")));
    lines.join("\n")
}
