//! A variable, and the calls that list, make, read and change one.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::wire::{Answer, Call};
use super::cloud::{Cloud, new_id};
use super::shape;

const TARGETS: [&str; 3] = ["production", "preview", "development"];

/// One variable of a project.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub key: String,
    /// In clear, whatever the type.
    pub value: String,
    /// `plain`, `encrypted` or `sensitive`.
    pub kind: String,
    /// `production`, `preview`, `development`.
    pub target: Vec<String>,
    /// Only for previews of this branch.
    pub git_branch: Option<String>,
    /// Said by a person.
    pub comment: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970; moves at every write.
    pub updated_at: i64,
}

impl std::fmt::Debug for EnvRow {
    /// All but the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = (&self.key, &self.kind, &self.target);
        f.debug_struct("EnvRow")
            .field("what", &what)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

impl EnvRow {
    pub(super) fn new(key: &str, value: &str, kind: &str, target: Vec<String>, now: i64) -> Self {
        Self {
            id: new_id(""),
            key: key.to_owned(),
            value: value.to_owned(),
            kind: kind.to_owned(),
            target,
            git_branch: None,
            comment: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Sets the value; the time moves even within one millisecond.
    pub(super) fn write(&mut self, value: &str, now: i64) {
        value.clone_into(&mut self.value);
        self.updated_at = now.max(self.updated_at + 1);
    }

    /// Whether the two would both be read somewhere.
    fn overlaps(&self, other: &Self) -> bool {
        self.key == other.key
            && self.git_branch == other.git_branch
            && self.target.iter().any(|target| other.target.contains(target))
    }

    fn same_place(&self, other: &Self) -> bool {
        self.overlaps(other) && sorted(&self.target) == sorted(&other.target)
    }

    fn shown(&self, decrypt: bool, single_as_text: bool) -> Value {
        let value = match self.kind.as_str() {
            "sensitive" => String::new(),
            "encrypted" if !decrypt => format!("sealed:{}", hex::encode(Sha256::digest(&self.value))),
            _ => self.value.clone(),
        };
        let target = match self.target.as_slice() {
            [one] if single_as_text => json!(one),
            many => json!(many),
        };
        json!({
            "id": self.id,
            "key": self.key,
            "value": value,
            "type": self.kind,
            "target": target,
            "gitBranch": self.git_branch,
            "customEnvironmentIds": [],
            "comment": self.comment,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "decrypted": decrypt && self.kind != "sensitive",
            "securityIssues": [],
        })
    }

    /// A variable as the body of a create describes it.
    fn read(body: &Value, now: i64) -> Result<Self, Answer> {
        let text = |field: &str| {
            let missing = || shape::bad_request(&format!("missing required property `{field}`."));
            body[field].as_str().ok_or_else(missing)
        };
        let (key, value, kind) = (text("key")?, text("value")?, text("type")?);
        let target = read_target(&body["target"])?;
        let row = Self {
            git_branch: body["gitBranch"].as_str().map(str::to_owned),
            comment: body["comment"].as_str().map(str::to_owned),
            ..Self::new(key, value, kind, target, now)
        };
        row.check()?;
        Ok(row)
    }

    fn check(&self) -> Result<(), Answer> {
        let plain = self.key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        if !plain || self.key.is_empty() || self.key.starts_with(|first: char| first.is_ascii_digit()) {
            let message = "The name contains invalid characters. Only letters, digits, and underscores are \
                           allowed. Furthermore, the name should not start with a digit.";
            return Err(shape::error(400, "INVALID_ENV_KEY", message));
        }
        if !matches!(self.kind.as_str(), "plain" | "encrypted" | "sensitive") {
            return Err(shape::bad_request("`type` should be equal to one of the allowed values"));
        }
        if self.kind == "sensitive" && self.target.iter().any(|target| target == "development") {
            let message = "You cannot set a Sensitive Environment Variable's target to development.";
            return Err(shape::error(400, "bad_request", message));
        }
        if self.git_branch.is_some() && self.target != ["preview"] {
            return Err(shape::bad_request("`gitBranch` is only allowed for the target preview"));
        }
        Ok(())
    }
}

impl Cloud {
    pub(super) fn list_envs(&self, call: &Call, project: &str) -> Result<Answer, Answer> {
        let project = self.project(call, project)?;
        let (decrypt, as_text) = (call.param("decrypt") == Some("true"), self.settings.single_target_as_text);
        let rows = self.projects[project].envs.iter().map(|row| row.shown(decrypt, as_text));
        Ok(Answer::json(200, &json!({"envs": rows.collect::<Vec<_>>()})))
    }

    pub(super) fn read_env(&self, call: &Call, project: &str, id: &str) -> Result<Answer, Answer> {
        let (project, index) = self.env(call, project, id)?;
        let shown = self.projects[project].envs[index].shown(true, self.settings.single_target_as_text);
        Ok(Answer::json(200, &shown))
    }

    /// One variable or a list of them. What cannot be made is told in `failed`, and the answer is still 201.
    pub(super) fn create_env(&mut self, call: &Call, project: &str) -> Result<Answer, Answer> {
        let project = self.project(call, project)?;
        let body = call.json().ok_or_else(|| shape::bad_request("the body is not JSON."))?;
        let upsert = call.param("upsert") == Some("true");
        let (bodies, is_list) = match body {
            Value::Array(many) => (many, true),
            one => (vec![one], false),
        };
        let now = self.now.timestamp_millis();
        let rows: Vec<EnvRow> =
            bodies.iter().map(|body| EnvRow::read(body, now)).collect::<Result<_, _>>()?;
        let (mut created, mut failed) = (Vec::new(), Vec::new());
        for row in rows {
            match self.put_env(project, row, upsert)? {
                Ok(shown) => created.push(shown),
                Err(error) => failed.push(json!({"error": error})),
            }
        }
        let created = if is_list || created.is_empty() { json!(created) } else { created.remove(0) };
        Ok(Answer::json(201, &json!({"created": created, "failed": failed})))
    }

    /// Makes one variable, or updates the one that is there for exactly these targets. The outer error ends the
    /// call, the inner one is told in `failed`.
    fn put_env(&mut self, project: usize, row: EnvRow, upsert: bool) -> Result<Result<Value, Value>, Answer> {
        if let Some((code, message)) = &self.settings.fail_creates {
            return Ok(Err(json!({"code": code, "message": message, "envVarKey": row.key})));
        }
        let as_text = self.settings.single_target_as_text;
        let envs = &mut self.projects[project].envs;
        if let Some(there) = envs.iter_mut().find(|there| there.overlaps(&row)) {
            if !upsert {
                return Ok(Err(conflict(&row)));
            }
            if !there.same_place(&row) {
                return Err(Answer::json(400, &json!({"error": conflict(&row)})));
            }
            if !self.settings.swallow_writes {
                there.write(&row.value, row.updated_at);
                (there.kind, there.comment) = (row.kind, row.comment);
            }
            return Ok(Ok(there.shown(false, as_text)));
        }
        let shown = row.shown(false, as_text);
        if !self.settings.swallow_writes {
            envs.push(row);
        }
        Ok(Ok(shown))
    }

    /// Changes what the body names; the rest stays.
    pub(super) fn patch_env(&mut self, call: &Call, project: &str, id: &str) -> Result<Answer, Answer> {
        let (project, index) = self.env(call, project, id)?;
        let body = call.json().ok_or_else(|| shape::bad_request("the body is not JSON."))?;
        let now = self.now.timestamp_millis();
        let before = &self.projects[project].envs[index];
        let mut row = before.clone();
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        row.key = text("key").unwrap_or(row.key);
        row.kind = text("type").unwrap_or(row.kind);
        row.comment = text("comment").or(row.comment);
        row.git_branch = text("gitBranch").or(row.git_branch);
        if !body["target"].is_null() {
            row.target = read_target(&body["target"])?;
        }
        let altered = |value: String| if self.settings.alter_writes { format!("{value} ") } else { value };
        row.write(&text("value").map_or_else(|| before.value.clone(), altered), now);
        if before.kind == "sensitive" && row.kind != "sensitive" {
            return Err(shape::bad_request("the type of a sensitive variable cannot be changed."));
        }
        row.check()?;
        let others = self.projects[project].envs.iter().filter(|other| other.id != row.id);
        if others.into_iter().any(|other| other.overlaps(&row)) {
            return Err(Answer::json(400, &json!({"error": conflict(&row)})));
        }
        let shown = row.shown(false, self.settings.single_target_as_text);
        if !self.settings.swallow_writes {
            self.projects[project].envs[index] = row;
        }
        Ok(Answer::json(200, &shown))
    }

    pub(super) fn delete_env(&mut self, call: &Call, project: &str, id: &str) -> Result<Answer, Answer> {
        let (project, index) = self.env(call, project, id)?;
        let row = self.projects[project].envs.remove(index);
        Ok(Answer::json(200, &row.shown(false, self.settings.single_target_as_text)))
    }

    /// A variable by its id: where it is.
    fn env(&self, call: &Call, project: &str, id: &str) -> Result<(usize, usize), Answer> {
        let project = self.project(call, project)?;
        let index = self.projects[project].envs.iter().position(|row| row.id == id);
        index.map(|index| (project, index)).ok_or_else(|| shape::not_found("Environment variable"))
    }
}

/// A list of targets, or one as text.
fn read_target(value: &Value) -> Result<Vec<String>, Answer> {
    let wrong = || shape::bad_request("`target` should be a list of production, preview, development.");
    let many = match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => {
            let texts: Option<Vec<String>> = many.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let known = many.iter().all(|target| TARGETS.contains(&target.as_str()));
    if known && !many.is_empty() { Ok(many) } else { Err(wrong()) }
}

fn conflict(row: &EnvRow) -> Value {
    let (key, target) = (&row.key, row.target.join(","));
    let branch = row.git_branch.as_deref().unwrap_or("undefined");
    let message =
        format!("A variable with the name `{key}` already exists for the target {target} on branch {branch}");
    json!({"code": "ENV_CONFLICT", "message": message, "envVarKey": key, "target": row.target})
}

fn sorted(targets: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = targets.iter().collect();
    sorted.sort();
    sorted
}
