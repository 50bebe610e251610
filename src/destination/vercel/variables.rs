//! The variable as Vercel keeps it: one entry for several targets, or one each, with or without a branch.
//!
//! The safest write is a `PATCH` of the value by id: it keeps targets, type and comment. An upsert over
//! another set of targets is refused (`ENV_CONFLICT`), and deleting first would leave a gap. So entries that
//! are there are patched, and for a target that none covers one is created, for that target alone.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::outcome::{Failure, FailureKind};

/// A deployment target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Environment {
    /// `production`, `preview` or `development`.
    Standard(String),
    /// A custom environment, by id.
    Custom(String),
}

/// The standard targets.
pub(super) const STANDARD: [&str; 3] = ["production", "preview", "development"];

/// One entry, as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) id: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    target: Targets,
    git_branch: Option<String>,
    #[serde(default)]
    custom_environment_ids: Vec<String>,
    pub(super) created_at: Option<i64>,
    pub(super) updated_at: Option<i64>,
}

/// Vercel shows one target as a text or as a list of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Targets {
    Many(Vec<String>),
    One(String),
    Other(Option<Value>),
}

impl Default for Targets {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Variable {
    pub(super) fn targets(&self) -> Vec<Environment> {
        let standard = match &self.target {
            Targets::Many(names) => names.clone(),
            Targets::One(name) => vec![name.clone()],
            Targets::Other(_) => Vec::new(),
        };
        let custom = self.custom_environment_ids.iter().cloned().map(Environment::Custom);
        standard.into_iter().map(Environment::Standard).chain(custom).collect()
    }

    /// When it was last written: a new entry has only the time of its creation.
    pub(super) fn written_at(&self) -> Option<i64> {
        self.updated_at.or(self.created_at)
    }

    /// Never given back by Vercel.
    pub(super) fn is_sensitive(&self) -> bool {
        self.kind == "sensitive"
    }
}

impl Environment {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Standard(name) | Self::Custom(name) => name,
        }
    }
}

/// All variables of a project, as Vercel lists them.
#[derive(Debug)]
pub(super) struct Listing(pub(super) Vec<Value>);

impl Listing {
    /// The entries of our variable: same key, same branch.
    pub(super) fn ours(&self, variable: &str, branch: Option<&str>) -> Result<Vec<Variable>, Failure> {
        let named = self.0.iter().filter(|entry| entry["key"] == variable);
        let entries: Option<Vec<Variable>> = named.map(|entry| Variable::deserialize(entry).ok()).collect();
        let unreadable =
            || Failure::new(FailureKind::Unclear, format!("Vercel's entry of {variable} cannot be read"));
        let entries = entries.ok_or_else(unreadable)?.into_iter();
        Ok(entries.filter(|entry| entry.git_branch.as_deref() == branch).collect())
    }

    /// Branches that have a value of their own, which ours does not reach.
    pub(super) fn other_branches(&self, variable: &str, branch: Option<&str>) -> Vec<String> {
        let named = self.0.iter().filter(|entry| entry["key"] == variable);
        let branches = named.filter_map(|entry| entry["gitBranch"].as_str());
        branches.filter(|found| Some(*found) != branch).map(str::to_owned).collect()
    }
}

/// The entries that cover a wanted target, and the targets that none covers.
pub(super) fn sort(entries: Vec<Variable>, wanted: &[Environment]) -> (Vec<Variable>, Vec<Environment>) {
    let covers = |entry: &Variable, target: &Environment| entry.targets().contains(target);
    let missing = wanted.iter().filter(|target| !entries.iter().any(|entry| covers(entry, target)));
    let missing = missing.cloned().collect();
    let present = entries.into_iter().filter(|entry| wanted.iter().any(|target| covers(entry, target)));
    (present.collect(), missing)
}

/// The body that creates the variable for one target. Vercel refuses `sensitive` for development.
pub(super) fn creation(
    variable: &str,
    value: &str,
    target: &Environment,
    branch: Option<&str>,
    sensitive: bool,
) -> Value {
    let development = *target == Environment::Standard("development".to_owned());
    let kind = if sensitive && !development { "sensitive" } else { "encrypted" };
    let mut body = json!({ "key": variable, "value": value, "type": kind });
    match target {
        Environment::Standard(name) => body["target"] = json!([name]),
        Environment::Custom(id) => body["customEnvironmentIds"] = json!([id]),
    }
    if let Some(branch) = branch {
        body["gitBranch"] = json!(branch);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(names: &[&str]) -> Vec<Environment> {
        names.iter().map(|&name| Environment::Standard(name.to_owned())).collect()
    }

    fn listing() -> Listing {
        let rows = json!([
            {"id": "1", "key": "K", "type": "sensitive", "target": ["production", "preview"], "gitBranch": null},
            {"id": "2", "key": "K", "type": "encrypted", "target": "development"},
            {"id": "3", "key": "K", "type": "encrypted", "target": ["preview"], "gitBranch": "next"},
            {"id": "4", "key": "OTHER", "target": 7},
            {"id": "5", "key": "K", "type": "encrypted", "target": null, "customEnvironmentIds": ["env_1"]},
        ]);
        Listing(rows.as_array().unwrap().clone())
    }

    #[test]
    fn entries_are_matched_by_key_target_and_branch() {
        let ids = |entries: &[Variable]| entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
        let entries = listing().ours("K", None).unwrap();
        assert_eq!(ids(&entries), ["1", "2", "5"]);
        let (present, missing) = sort(entries.clone(), &standard(&["production", "development"]));
        assert_eq!((ids(&present), missing), (vec!["1".to_owned(), "2".to_owned()], vec![]));
        let wanted = [Environment::Custom("env_1".into()), Environment::Custom("env_2".into())];
        let (present, missing) = sort(entries, &wanted);
        assert_eq!((ids(&present), missing), (vec!["5".to_owned()], vec![wanted[1].clone()]));
        let branch = listing().ours("K", Some("next")).unwrap();
        let (present, missing) = sort(branch, &standard(&["preview"]));
        assert_eq!((ids(&present), missing), (vec!["3".to_owned()], vec![]));
        assert_eq!(listing().other_branches("K", None), ["next"]);
        assert_eq!(sort(vec![], &standard(&["preview"])).1, standard(&["preview"]));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_not_taken_for_none() {
        assert!(Listing(vec![json!({"key": "K"})]).ours("K", None).is_err(), "ours has no id");
        assert_eq!(Listing(vec![json!({"key": "X"})]).ours("K", None), Ok(vec![]));
    }

    #[test]
    fn creations() {
        let target = |name: &str| Environment::Standard(name.to_owned());
        let kind = |name: &str, sensitive| creation("K", "v", &target(name), None, sensitive)["type"].clone();
        assert_eq!(kind("production", true), "sensitive");
        assert_eq!(kind("preview", true), "sensitive");
        assert_eq!(kind("development", true), "encrypted");
        assert_eq!(kind("production", false), "encrypted");
        let body = creation("K", "v", &Environment::Custom("env_1".into()), Some("next"), true);
        let expected = json!({"key": "K", "value": "v", "type": "sensitive", "customEnvironmentIds": ["env_1"], "gitBranch": "next"});
        assert_eq!(body, expected);
    }
}
