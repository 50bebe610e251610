//! Which repositories see an organisation's secret after our write.
//!
//! A `PUT` with visibility *selected* replaces the list, and without one silently takes the secret away from
//! every repository (fault 14). So the list is read, all pages, and sent back:
//! - visibility: the configured one; else *selected* when repositories are configured; else what is there;
//!   else *private*.
//! - list: the repositories that see it now, and the configured ones. A write never takes one away.
//!
//! A repository that a person adds between our read and our write is lost; GitHub has no conditional write.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::secret_address::{Scope, Store, Visibility};
use super::{Current, Github};
use crate::domain::outcome::{Failure, FailureKind};
use crate::net::Deadline;

/// GitHub's largest page.
const PAGE: usize = 100;
/// No organisation's list is longer than this many pages.
const PAGES: usize = 1000;

/// What a write says about who sees the secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sharing {
    pub(super) visibility: Visibility,
    /// Ids, when selected.
    pub(super) repositories: BTreeSet<u64>,
}

#[derive(Deserialize)]
struct Repositories {
    total_count: usize,
    repositories: Vec<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    #[serde(default)]
    name: String,
}

/// How ids are written in a `PUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    Numbers,
    Text,
}

impl Sharing {
    /// The fields of the `PUT`.
    pub(super) fn fields(&self, ids: Ids) -> Vec<(&'static str, Value)> {
        let mut fields = vec![("visibility", json!(self.visibility.name()))];
        if self.visibility == Visibility::Selected {
            let id = |id: &u64| if ids == Ids::Text { json!(id.to_string()) } else { json!(id) };
            fields.push(("selected_repository_ids", self.repositories.iter().map(id).collect()));
        }
        fields
    }
}

/// The attempts that a 422 allows: twice, for a public key that changed in between. Dependabot's own
/// documentation types ids of repositories as text (and GitHub's Go library sends them so), all others as
/// numbers: there a third attempt sends numbers.
pub(super) fn attempts(store: Store, sharing: Option<&Sharing>) -> (Ids, &'static [Ids]) {
    let selected = sharing.is_some_and(|sharing| sharing.visibility == Visibility::Selected);
    if selected && store == Store::Dependabot {
        (Ids::Text, &[Ids::Text, Ids::Numbers])
    } else {
        (Ids::Numbers, &[Ids::Numbers])
    }
}

impl Github {
    /// Who is to see the secret; `None` where only one repository can.
    pub(super) async fn sharing(
        &self,
        current: Option<&Current>,
        deadline: Deadline,
    ) -> Result<Option<Sharing>, Failure> {
        let Scope::Organization { organization, visibility, repositories } = &self.place.scope else {
            return Ok(None);
        };
        let present = current.and_then(Current::visibility);
        let implied = (!repositories.is_empty()).then_some(Visibility::Selected);
        let visibility = visibility.or(implied).or(present).unwrap_or(Visibility::Private);
        if visibility != Visibility::Selected {
            return Ok(Some(Sharing { visibility, repositories: BTreeSet::new() }));
        }
        let seen = match present {
            Some(Visibility::Selected) => self.selected(deadline).await?,
            _ => BTreeMap::new(),
        };
        let mut ids: BTreeSet<u64> = seen.keys().copied().collect();
        for name in repositories {
            if !seen.values().any(|known| known.eq_ignore_ascii_case(name)) {
                ids.insert(self.repository_id(organization, name, deadline).await?);
            }
        }
        if ids.is_empty() {
            let text = format!("no repository would see the organization secret {}", self.place.secret);
            return Err(Failure::new(FailureKind::NotSent, text)
                .hint("name them in `repositories`, or choose another `visibility`"));
        }
        Ok(Some(Sharing { visibility, repositories: ids }))
    }

    /// The repositories that see it now, id and name. A list that does not come whole is a failure: sending a part of it
    /// back would take the secret away from the rest.
    pub(super) async fn selected(&self, deadline: Deadline) -> Result<BTreeMap<u64, String>, Failure> {
        let mut found = BTreeMap::new();
        for page in 1..=PAGES {
            let path = format!("{}?per_page={PAGE}&page={page}", self.place.repositories_path());
            let listed: Repositories = self.get(path, &self.advice, deadline).await?.json()?;
            let last = listed.repositories.is_empty();
            found.extend(listed.repositories.into_iter().map(|row| (row.id, row.name)));
            if found.len() == listed.total_count {
                return Ok(found);
            }
            if last {
                break;
            }
        }
        let text = "GitHub's list of the repositories that see the secret did not come whole";
        Err(Failure::new(FailureKind::Unclear, text))
    }

    async fn repository_id(&self, owner: &str, name: &str, deadline: Deadline) -> Result<u64, Failure> {
        let mut advice = self.advice.clone();
        advice.not_found = format!("check the name {name} in `repositories`, and that the token may see it");
        let answer = self.get(format!("/repos/{owner}/{name}"), &advice, deadline).await?;
        Ok(answer.json::<Repository>()?.id)
    }

    /// One read.
    pub(super) async fn get(
        &self,
        path: String,
        advice: &super::refusal::Advice,
        deadline: Deadline,
    ) -> Result<crate::net::Answer, Failure> {
        self.api.call(super::api::Call { method: Method::GET, path, body: None, advice }, deadline).await
    }
}
