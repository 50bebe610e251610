//! What `keys add` and `keys update` are told: by flags, or by answers.

use std::io::IsTerminal;
use std::path::PathBuf;

use dialoguer::{Confirm, Input, Password, Select};
use serde_json::{Map, Value};

use super::super::output::{piped, secret};
use crate::app::Misconfigured;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::engine::commands::{About, AddKey, Expiry, UpdateKey};

/// What production uses.
const PRODUCTION: i64 = 100;

/// Flags of `keys add` and `keys update`.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct Flags {
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// 100 production, 50-90 backup, below 50 testing
    #[arg(long)]
    priority: Option<i64>,
    /// Free JSON: endpoint, model, version
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// File with the provider's second secret
    #[arg(long, value_name = "PATH")]
    api_secret_file: Option<PathBuf>,
    /// Read the key from stdin even on a terminal
    #[arg(long)]
    secret_stdin: bool,
    /// Keep it inactive: neither tested nor handed out
    #[arg(long)]
    inactive: bool,
    /// Do not ask the provider first
    #[arg(long)]
    no_test: bool,
    /// Test this key with a completion of a few tokens of this model; costs money each time
    #[arg(long, value_name = "MODEL")]
    billed_probe: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "EMAIL")]
    owner: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Until when it is good: 2027-01-31, a time with its zone, or never
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
}

fn wrong(text: String, hint: &str) -> anyhow::Error {
    Misconfigured { text, hint: Some(hint.to_owned()) }.into()
}

impl Flags {
    /// A key to add; the key itself comes by prompt or pipe.
    pub(super) fn add(self, provider: String) -> anyhow::Result<AddKey> {
        let key = self.key(&format!("{provider} key"))?;
        let settings = self.settings()?.unwrap_or_else(|| Value::Object(Map::new()));
        let expires_at = match self.expiry()? {
            Expiry::At(at) => Some(at),
            Expiry::AsItWas | Expiry::Never => None,
        };
        Ok(AddKey {
            api_secret: self.api_secret()?,
            about: About { expires_at, owner: self.owner, note: self.note },
            provider,
            name: self.name,
            priority: self.priority.unwrap_or(PRODUCTION),
            secret: key,
            settings,
            is_active: !self.inactive,
            test: !self.no_test,
            force: false,
        })
    }

    /// What changes of a key. Nothing but its secret, which is asked for, when no flag says otherwise.
    pub(super) fn update(self, prompt: &str, old_settings: &Value) -> anyhow::Result<UpdateKey> {
        let secret =
            (self.secret_stdin || !self.changes_something()).then(|| self.key(prompt)).transpose()?;
        let mut settings = self.settings()?;
        if self.settings.is_none()
            && let Some(changed) = &mut settings
        {
            let mut whole = old_settings.clone();
            whole["billed_probe"] = changed["billed_probe"].take();
            *changed = whole;
        }
        Ok(UpdateKey {
            secret,
            settings,
            api_secret: self.api_secret()?,
            expiry: self.expiry()?,
            name: self.name,
            priority: self.priority,
            is_active: self.inactive.then_some(false),
            owner: self.owner,
            note: self.note,
            test: !self.no_test,
            force: false,
        })
    }

    /// True when a flag says what becomes of the key, whatever its secret.
    fn changes_something(&self) -> bool {
        self.inactive
            || self.priority.is_some()
            || self.api_secret_file.is_some()
            || [&self.name, &self.settings, &self.billed_probe, &self.owner, &self.note, &self.expires]
                .into_iter()
                .any(Option::is_some)
    }

    fn key(&self, prompt: &str) -> anyhow::Result<Secret> {
        if self.secret_stdin {
            return Ok(Secret::new(piped()?.trim_end_matches(['\n', '\r']).to_owned()));
        }
        secret(prompt)
    }

    fn api_secret(&self) -> anyhow::Result<Option<Secret>> {
        let text = self.api_secret_file.as_ref().map(std::fs::read_to_string).transpose()?;
        Ok(text.map(|text| Secret::new(text.trim_end().to_owned())))
    }

    fn expiry(&self) -> anyhow::Result<Expiry> {
        match self.expires.as_deref() {
            None => Ok(Expiry::AsItWas),
            Some("never") => Ok(Expiry::Never),
            Some(text) => Timestamp::parse_day_or_time(text)
                .map(Expiry::At)
                .ok_or_else(|| wrong(format!("--expires {text} is no date"), "2027-01-31, or never")),
        }
    }

    /// The settings of the flags. `None` when none says anything.
    fn settings(&self) -> anyhow::Result<Option<Value>> {
        let mut settings = self.settings.as_deref().map(parse_settings).transpose()?;
        if let Some(model) = &self.billed_probe {
            settings.get_or_insert_with(|| Value::Object(Map::new()))["billed_probe"] = model.clone().into();
        }
        Ok(settings)
    }
}

fn parse_settings(text: &str) -> anyhow::Result<Value> {
    let hint = r#"--settings '{"model": "…"}'"#;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| wrong(format!("--settings is not JSON: {error}"), hint))?;
    if !value.is_object() {
        return Err(wrong("--settings is not a JSON object".to_owned(), hint));
    }
    Ok(value)
}

/// Asks everything that a key can have; what a flag says already is not asked.
pub(super) fn asked(flags: Flags, providers: &[String]) -> anyhow::Result<AddKey> {
    if !std::io::stdin().is_terminal() {
        return Err(wrong(
            "whose key? Without a terminal nobody can be asked".to_owned(),
            "`rekeyd keys add PROVIDER` reads the key from the pipe",
        ));
    }
    let chosen = Select::new().with_prompt("Provider").items(providers).default(0).interact()?;
    let provider = providers[chosen].clone();
    let flags = Flags {
        name: or_asked(flags.name, "Name (empty: the provider's)")?,
        owner: or_asked(flags.owner, "Owner's e-mail address (empty: nobody's)")?,
        note: or_asked(flags.note, "What it is for (empty: nothing)")?,
        expires: or_asked(flags.expires, "Expires on (2027-01-31; empty: never)")?,
        settings: or_asked(flags.settings, "Settings as JSON: endpoint, model, version (empty: none)")?,
        priority: Some(match flags.priority {
            Some(priority) => priority,
            None => Input::new()
                .with_prompt("Priority: 100 production, 50-90 backup, below 50 testing")
                .default(PRODUCTION)
                .interact_text()?,
        }),
        no_test: flags.no_test
            || !Confirm::new().with_prompt("Ask the provider whether it works?").default(true).interact()?,
        ..flags
    };
    let asks_second = flags.api_secret_file.is_none();
    let mut add = flags.add(provider)?;
    if asks_second {
        let second = Password::new().with_prompt("Second secret (empty: none)").allow_empty_password(true);
        add.api_secret = Some(second.interact()?).filter(|text| !text.is_empty()).map(Secret::new);
    }
    Ok(add)
}

fn or_asked(given: Option<String>, prompt: &str) -> anyhow::Result<Option<String>> {
    if given.is_some() {
        return Ok(given);
    }
    let answer: String = Input::new().with_prompt(prompt).allow_empty(true).interact_text()?;
    Ok(Some(answer).filter(|answer| !answer.is_empty()))
}
