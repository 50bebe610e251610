//! Reading and writing the entries of our variable.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{has_code, in_the_way};
use super::evidence::Written;
use super::variables::{self, Environment, Listing, STANDARD, Variable};
use super::{Vercel, VercelSpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::net::{Answer, Deadline};

/// No project's list of variables is longer than this many pages.
const PAGES: usize = 100;

impl Vercel {
    pub(super) fn env_path<'a>(&'a self, version: &'a str) -> [&'a str; 4] {
        [version, "projects", &self.spec.project, "env"]
    }

    /// The project's variables, without their values.
    pub(super) async fn listing(&self, deadline: Deadline) -> Result<Listing, Failure> {
        let mut rows = Vec::new();
        let mut until: Option<String> = None;
        for _ in 0..PAGES {
            let query: Vec<(&str, &str)> = until.iter().map(|until| ("until", until.as_str())).collect();
            let answer = self.api.get(self.api.url(&self.env_path("v10"), &query), deadline).await?;
            let page: Value = answer.json()?;
            rows.extend(page["envs"].as_array().ok_or_else(|| answer.unclear())?.iter().cloned());
            match &page["pagination"]["next"] {
                Value::Null => return Ok(Listing(rows)),
                next => until = Some(next.as_str().map_or_else(|| next.to_string(), str::to_owned)),
            }
        }
        Err(Failure::new(FailureKind::Unclear, "Vercel's list of variables does not end"))
    }

    /// The entries that cover our targets, and the targets that none covers.
    pub(super) async fn entries(
        &self,
        wanted: &[Environment],
        deadline: Deadline,
    ) -> Result<(Vec<Variable>, Vec<Environment>), Failure> {
        let listing = self.listing(deadline).await?;
        let entries = listing.ours(&self.spec.variable, self.spec.git_branch.as_deref())?;
        Ok(variables::sort(entries, wanted))
    }

    /// Our targets; slugs of custom environments are looked up.
    pub(super) async fn targets(&self, deadline: Deadline) -> Result<Vec<Environment>, Failure> {
        let mut known = None;
        let mut targets = Vec::new();
        for name in &self.spec.targets {
            if STANDARD.contains(&name.as_str()) {
                targets.push(Environment::Standard(name.clone()));
            } else if name.starts_with("env_") {
                targets.push(Environment::Custom(name.clone()));
            } else {
                if known.is_none() {
                    known = Some(self.custom_environments(deadline).await?);
                }
                let id = known.as_ref().and_then(|known| custom_id(known, name));
                let text = format!("the project has no environment {name}");
                let missing = Failure::new(FailureKind::NotFound, text).hint("correct `targets`");
                targets.push(Environment::Custom(id.ok_or(missing)?));
            }
        }
        Ok(targets)
    }

    async fn custom_environments(&self, deadline: Deadline) -> Result<Value, Failure> {
        let path = ["v9", "projects", &self.spec.project, "custom-environments"];
        self.api.get(self.api.url(&path, &[]), deadline).await?.json()
    }

    async fn patch(&self, entry: &Variable, secret: &Secret, deadline: Deadline) -> Result<Written, Failure> {
        let path = ["v9", "projects", &self.spec.project, "env", &entry.id];
        let body = json!({ "value": secret.expose() });
        let answer =
            self.api.call(Method::PATCH, self.api.url(&path, &[]), Some(&body), &[secret], deadline).await?;
        let shown: Value = answer.json()?;
        Ok(Written {
            id: entry.id.clone(),
            before: entry.written_at(),
            sent: shown["updatedAt"].as_i64(),
            proved: None,
        })
    }

    /// Creates the entry of one target. A 201 with anything in `failed` has created nothing (fault 17).
    async fn create(
        &self,
        target: &Environment,
        secret: &Secret,
        deadline: Deadline,
    ) -> Result<Written, Failure> {
        let VercelSpec { variable, git_branch, sensitive, .. } = &self.spec;
        let body = variables::creation(variable, secret.expose(), target, git_branch.as_deref(), *sensitive);
        let url = self.api.url(&self.env_path("v10"), &[]);
        let answer = self.api.call(Method::POST, url, Some(&body), &[secret], deadline).await?;
        let shown: Value = answer.json()?;
        if let Some(failed) = shown["failed"].as_array().and_then(|failed| failed.first()) {
            return Err(creation_failed(&answer, &failed["error"], target, secret));
        }
        let created = shown["created"].as_array().and_then(|list| list.first()).unwrap_or(&shown["created"]);
        let entry = Variable::deserialize(created).map_err(|_| answer.unclear())?;
        Ok(Written { sent: entry.written_at(), id: entry.id, before: None, proved: None })
    }

    /// One pass: what is there is patched, what is missing created.
    pub(super) async fn write(&self, secret: &Secret, deadline: Deadline) -> Result<Vec<Written>, Failure> {
        let wanted = self.targets(deadline).await?;
        let (present, missing) = self.entries(&wanted, deadline).await?;
        let mut written = Vec::new();
        for entry in &present {
            written.push(self.patch(entry, secret, deadline).await?);
        }
        for target in &missing {
            written.push(self.create(target, secret, deadline).await?);
        }
        Ok(written)
    }

    /// Whether the entry's value is the delivered one; `None` when Vercel does not give it.
    pub(super) async fn holds(
        &self,
        entry: &Variable,
        secret: &Secret,
        deadline: Deadline,
    ) -> Result<Option<bool>, Failure> {
        if entry.is_sensitive() {
            return Ok(None);
        }
        let path = ["v1", "projects", &self.spec.project, "env", &entry.id];
        let shown: Value = self.api.get(self.api.url(&path, &[]), deadline).await?.json()?;
        let hidden = shown["decrypted"] == false;
        let value = shown["value"].as_str().filter(|_| !hidden);
        Ok(value.map(|value| Secret::new(value) == *secret))
    }
}

fn custom_id(known: &Value, slug: &str) -> Option<String> {
    let rows = known["environments"].as_array()?;
    rows.iter().find(|row| row["slug"] == slug)?["id"].as_str().map(str::to_owned)
}

fn creation_failed(answer: &Answer, error: &Value, target: &Environment, secret: &Secret) -> Failure {
    let said = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    let (code, message) = (said("code"), said("message"));
    let text = format!("Vercel did not create it for {} ({code}): {message}", target.name());
    let failure = answer.failure(FailureKind::Refused, crate::net::sentence(&text, &[secret]));
    Failure { hint: in_the_way(&code).map(str::to_owned), ..failure }
}

/// Somebody created an entry since our listing: `ENV_CONFLICT`, or `ENV_ALREADY_EXISTS`.
pub(super) fn overtaken(failure: &Failure) -> bool {
    has_code(failure, "ENV_CONFLICT") || has_code(failure, "ENV_ALREADY_EXISTS")
}
