//! Vercel environment variables, and the redeploy that makes production take them up.
//!
//! Map: this file says what a publish and a look are; `entries` reads and writes the variable; `variables`
//! matches entries and words new ones;
//! `proof` decides what counts as proof; `redeploy` rebuilds production, `promotion` lets it serve; `api` makes the calls and reads
//! refusals.
//!
//! Values of other variables are never fetched: the listing is asked for without decryption, and only our own
//! entries are read, one by one.

mod api;
mod entries;
mod evidence;
mod promotion;
mod proof;
mod redeploy;
mod variables;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use self::api::Api;
use self::entries::overtaken;
use self::evidence::{Evidence, Written};
use self::promotion::Reach;
use self::variables::{Environment, Variable};
use super::{Delivery, Destination, Extent, Look, PlannedCall, Remark, Rollout, Standing, Survey};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::net::{Deadline, Http};

/// What a Vercel destination is made from.
#[derive(Debug, Clone)]
pub struct VercelSpec {
    /// Name or id of the project.
    pub project: String,
    /// Id (`team_…`) or slug of the team that owns it; `None` for a personal account.
    pub team: Option<String>,
    /// Name of the variable.
    pub variable: String,
    /// `production`, `preview`, `development`, and custom environments by slug or id (`env_…`).
    pub targets: Vec<String>,
    /// For one preview branch only.
    pub git_branch: Option<String>,
    /// Whether entries that rekeyd creates are `sensitive` (development ones never are).
    pub sensitive: bool,
    /// Whether production is rebuilt after a proved write.
    pub redeploy: bool,
    /// Whether a rebuilt deployment that is ready and staged is promoted.
    pub promote: bool,
    /// The credential.
    pub token: Secret,
    /// `https://api.vercel.com`
    pub api_url: String,
}

impl VercelSpec {
    fn place(&self, host: &str, targets: &str) -> String {
        let project = one_spelling(&self.project, "prj_");
        let team = one_spelling(self.team.as_deref().unwrap_or("-"), "team_");
        let branch = self.git_branch.as_ref().map(|branch| format!("@{branch}")).unwrap_or_default();
        format!("vercel:{host}/{team}/{project}/{}/{targets}{branch}", self.variable)
    }
}

/// Vercel's ids have both cases; its names have one, whatever is written.
fn one_spelling(text: &str, id: &str) -> String {
    if text.starts_with(id) { text.to_owned() } else { text.to_lowercase() }
}

/// A Vercel destination. Has no `Debug`: it holds a credential.
pub struct Vercel {
    spec: VercelSpec,
    api: Api,
}

impl Vercel {
    /// Checks the names; makes no call.
    pub fn new(spec: VercelSpec, http: &Http) -> Result<Self, Failure> {
        let refuse = |text: &str| Err(Failure::new(FailureKind::NotSent, text));
        let letters = spec.variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if spec.variable.is_empty() || !letters || spec.variable.starts_with(|c: char| c.is_ascii_digit()) {
            return refuse("`variable` must be letters, digits and `_`, not a digit first");
        }
        if spec.targets.is_empty() || spec.project.is_empty() {
            return refuse("`project` and `targets` must not be empty");
        }
        if spec.git_branch.is_some() && spec.targets != ["preview"] {
            return refuse("a branch can only have a value of its own for the target \"preview\"");
        }
        if spec.promote && !spec.redeploy {
            return refuse("`promote` is about deployments that `redeploy` makes");
        }
        if spec.redeploy && !spec.targets.iter().any(|target| target == "production") {
            return refuse("`redeploy` rebuilds production, which is not among `targets`");
        }
        let api = Api::new(&spec.api_url, spec.team.clone(), spec.token.clone(), http)?;
        Ok(Self { spec, api })
    }
}

#[async_trait]
impl Destination for Vercel {
    fn address(&self) -> String {
        let mut targets = self.spec.targets.clone();
        targets.sort();
        targets.dedup();
        self.spec.place(&self.api.host(), &targets.join("+"))
    }

    /// One for each target: two destinations may share some of them.
    fn extent(&self) -> Extent {
        let (host, targets) = (self.api.host(), &self.spec.targets);
        let places = targets.iter().map(|target| self.spec.place(&host, target)).collect();
        Extent { places, mirror: None }
    }

    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        let wanted = self.targets(deadline).await?;
        let listing = self.listing(deadline).await?;
        let branch = self.spec.git_branch.as_deref();
        let entries = listing.ours(&self.spec.variable, branch)?;
        let (present, missing) = variables::sort(entries, &wanted);
        let url = self.api.url(&self.env_path("v10"), &[]);
        let mut seen = vec![Remark::plain(format!("GET {url} with {}: readable", self.read_with()))];
        seen.extend(present.iter().flat_map(|entry| self.describe(entry, &wanted)));
        let created = |target: &Environment| {
            Remark::plain(format!("{} will be created for {}", self.spec.variable, target.name()))
        };
        seen.extend(missing.iter().map(created));
        for branch in listing.other_branches(&self.spec.variable, branch) {
            let text = format!("the branch {branch} has a value of its own, which stays as it is");
            seen.push(Remark::warning(text));
        }
        if self.spec.redeploy {
            let project = self.project(deadline).await?;
            seen.push(match project.production() {
                Some(id) => {
                    Remark::plain(format!("production is served by {id}, which is rebuilt after a write"))
                }
                None => Remark::warning("there is no production deployment to rebuild"),
            });
        }
        Ok(seen)
    }

    /// A second pass when somebody created an entry in between, or when a create of ours whose answer was
    /// lost is only now found in the way.
    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        let entries = match self.write(&delivery.secret, deadline).await {
            Err(failure) if overtaken(&failure) => self.write(&delivery.secret, deadline).await?,
            first => first?,
        };
        Ok(json!(Evidence { generation: delivery.generation, entries, deployment: None }))
    }

    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure> {
        let kept = Evidence::deserialize(evidence).ok();
        let ours = kept.filter(|kept| kept.generation == delivery.generation);
        let wanted = self.targets(deadline).await?;
        let (present, missing) = self.entries(&wanted, deadline).await?;
        let mut standings: Vec<Standing> = missing.iter().map(|_| proof::absent(ours.as_ref())).collect();
        let mut proved = Vec::new();
        for entry in &present {
            let equal = self.holds(entry, &delivery.secret, deadline).await?;
            let written = ours.iter().flat_map(|kept| &kept.entries).find(|written| written.id == entry.id);
            standings.push(proof::judge(entry, equal, ours.is_some(), written));
            proved.push(Written { proved: entry.written_at(), ..Written::known(entry, written) });
        }
        let standing = proof::together(standings);
        if standing != Standing::Confirmed {
            return Ok(Look { standing, evidence: evidence.clone() });
        }
        let deployment = ours.and_then(|kept| kept.deployment);
        let mut kept = Evidence { generation: delivery.generation, entries: proved, deployment };
        let reach = if self.spec.redeploy { self.reach(&mut kept, deadline).await? } else { Reach::Waits };
        let standing = match reach {
            Reach::Effective => Standing::Effective,
            Reach::Waits => Standing::Confirmed,
            Reach::Held(how) => Standing::Held(how),
        };
        Ok(Look { standing, evidence: json!(kept) })
    }

    /// Each entry that is there is named with what it is; a create only for a target that none covers.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        let seen = self.preflight(deadline).await?;
        let wanted = self.targets(deadline).await?;
        let (present, missing) = self.entries(&wanted, deadline).await?;
        Ok(Survey::new(self.calls(self.writes(&present, &missing)), seen))
    }

    fn plan(&self) -> Vec<PlannedCall> {
        let (patch, post) = (self.entry_url("ID"), self.api.url(&self.env_path("v10"), &[]));
        let patched = "replaces its value; targets, type and comment stay";
        let created = "creates it, only for a target that has none";
        self.calls(vec![
            PlannedCall { call: format!("PATCH {patch}"), effect: patched.to_owned() },
            PlannedCall { call: format!("POST {post}"), effect: created.to_owned() },
        ])
    }

    fn rollout(&self) -> Option<&dyn Rollout> {
        self.spec.redeploy.then_some(self as &dyn Rollout)
    }
}

impl Vercel {
    /// What the token must reach. Vercel's tokens have no narrower permissions than their scope.
    fn read_with(&self) -> String {
        match &self.spec.team {
            Some(team) => format!("a token whose scope has team {team}"),
            None => "a token of the personal account".to_owned(),
        }
    }

    fn entry_url(&self, id: &str) -> String {
        self.api.url(&["v9", "projects", &self.spec.project, "env", id], &[]).to_string()
    }

    /// The calls of a publish that makes these writes.
    fn calls(&self, writes: Vec<PlannedCall>) -> Vec<PlannedCall> {
        let VercelSpec { variable, targets, .. } = &self.spec;
        let list = |effect: String| PlannedCall {
            call: format!("GET {}", self.api.url(&self.env_path("v10"), &[])),
            effect,
        };
        let mut calls = vec![list(format!("finds {variable} for {}", targets.join(", ")))];
        calls.extend(writes);
        calls.push(list("proves the write by value, or by its time".to_owned()));
        if self.spec.redeploy {
            let call = format!("POST {}", self.api.url(&["v13", "deployments"], &[("forceNew", "1")]));
            let effect = "rebuilds what serves production now, and waits until it is READY".to_owned();
            calls.push(PlannedCall { call, effect });
        }
        if self.spec.promote {
            let url = self.api.url(&["v10", "projects", &self.spec.project, "promote", "ID"], &[]);
            let effect = "lets it serve production when it is staged".to_owned();
            calls.push(PlannedCall { call: format!("POST {url}"), effect });
        }
        calls
    }

    fn writes(&self, present: &[Variable], missing: &[Environment]) -> Vec<PlannedCall> {
        let variable = &self.spec.variable;
        let patch = |entry: &Variable| {
            let changed = entry.written_at().map(|at| format!(", last changed {}", Timestamp(at).rfc3339()));
            PlannedCall {
                call: format!("PATCH {}", self.entry_url(&entry.id)),
                effect: format!(
                    "replaces the value of {variable} ({}; {}{}); targets, type and comment stay",
                    names(&entry.targets()),
                    entry.kind,
                    changed.unwrap_or_default()
                ),
            }
        };
        let create = |target: &Environment| PlannedCall {
            call: format!("POST {}", self.api.url(&self.env_path("v10"), &[])),
            effect: format!("creates {variable} for {}, which has none", target.name()),
        };
        present.iter().map(patch).chain(missing.iter().map(create)).collect()
    }

    /// What an entry is, and where that differs from the configuration: it stays as it is.
    fn describe(&self, entry: &Variable, wanted: &[Environment]) -> Vec<Remark> {
        let targets = entry.targets();
        let names = names(&targets);
        let exists = format!("{} exists for {names}, type {}", self.spec.variable, entry.kind);
        let mut lines = vec![Remark::plain(exists)];
        let mut warn = |text| lines.push(Remark::warning(text));
        let extra: Vec<&str> =
            targets.iter().filter(|target| !wanted.contains(target)).map(Environment::name).collect();
        if !extra.is_empty() {
            warn(format!("that entry also serves {}, which gets the key too", extra.join(", ")));
        }
        if self.spec.sensitive && !entry.is_sensitive() && names != "development" {
            warn(format!("it is {}, not sensitive, and keeps its type", entry.kind));
        }
        if entry.is_sensitive() {
            warn(format!(
                "the entry for {names} is sensitive: Vercel never gives its value back, so a write is proved \
                 by its time alone"
            ));
        }
        lines
    }
}

fn names(targets: &[Environment]) -> String {
    targets.iter().map(Environment::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
