//! Secret-scanning alerts, and the dispatch that tells a repository's workflows something.

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::forge::{Dispatch, Forge};
use super::page::paged;
use super::{shape, text};

/// A secret that was found in a repository.
#[derive(Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// `owner/name`.
    pub repo: String,
    /// Its number in that repository, from 1.
    pub number: u64,
    /// The vendor's name of the kind of secret.
    pub secret_type: String,
    /// The secret.
    pub secret: String,
    /// Whole seconds.
    pub created_at: DateTime<Utc>,
    /// How it was resolved, once it is: `revoked`, `false_positive`, `wont_fix`, `used_in_tests`.
    pub resolution: Option<String>,
    /// What was said about that.
    pub resolution_comment: Option<String>,
}

impl std::fmt::Debug for AlertRow {
    /// All but the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = (&self.repo, self.number);
        f.debug_struct("AlertRow")
            .field("id", &id)
            .field("resolution", &self.resolution)
            .finish_non_exhaustive()
    }
}

impl AlertRow {
    fn state(&self) -> &'static str {
        if self.resolution.is_some() { "resolved" } else { "open" }
    }

    fn shown(&self) -> Value {
        let (repo, number) = (&self.repo, self.number);
        json!({
            "number": number,
            "created_at": shape::time(self.created_at),
            "url": format!("https://api.github.com/repos/{repo}/secret-scanning/alerts/{number}"),
            "html_url": format!("https://github.com/{repo}/security/secret-scanning/{number}"),
            "state": self.state(),
            "resolution": self.resolution,
            "resolution_comment": self.resolution_comment,
            "secret_type": self.secret_type,
            "secret_type_display_name": self.secret_type.replace('_', " "),
            "secret": self.secret,
            "validity": "unknown",
            "publicly_leaked": false,
            "repository": {"full_name": repo},
        })
    }
}

impl Forge {
    pub(super) fn add_alert(
        &mut self,
        repo: &str,
        secret_type: &str,
        secret: &str,
        now: DateTime<Utc>,
    ) -> u64 {
        self.add_repo(repo);
        let number = 1 + u64::try_from(self.alerts_of(repo).len()).expect("a few alerts");
        self.alerts.push(AlertRow {
            repo: repo.to_owned(),
            number,
            secret_type: secret_type.to_owned(),
            secret: secret.to_owned(),
            created_at: now.trunc_subsecs(0),
            resolution: None,
            resolution_comment: None,
        });
        number
    }

    /// Newest first, of one repository or of all of an owner.
    pub(super) fn list_alerts(&self, call: &Call, repo: Option<&str>, org: Option<&str>) -> Answer {
        let owner = |alert: &AlertRow| alert.repo.split('/').next().unwrap_or_default().to_lowercase();
        let wanted = |alert: &&AlertRow| {
            repo.is_none_or(|repo| alert.repo.eq_ignore_ascii_case(repo))
                && org.is_none_or(|org| owner(alert) == org.to_lowercase())
                && call.param("state").is_none_or(|state| alert.state() == state)
                && call
                    .param("secret_type")
                    .is_none_or(|kinds| kinds.split(',').any(|kind| kind == alert.secret_type))
        };
        let alerts: Vec<Value> = self.alerts.iter().rev().filter(wanted).map(AlertRow::shown).collect();
        paged(call, &alerts, |page| json!(page))
    }

    pub(super) fn read_alert(&mut self, repo: &str, number: u64) -> Result<Answer, Answer> {
        Ok(Answer::json(200, &self.alert(repo, number)?.shown()))
    }

    pub(super) fn patch_alert(&mut self, call: &Call, repo: &str, number: u64) -> Result<Answer, Answer> {
        let body = call.json().unwrap_or_default();
        let (state, resolution) = (text(&body, "state"), text(&body, "resolution"));
        let alert = self.alert(repo, number)?;
        match (state, resolution) {
            (Some("open"), _) => (alert.resolution, alert.resolution_comment) = (None, None),
            (Some("resolved"), Some(how @ ("revoked" | "false_positive" | "wont_fix" | "used_in_tests"))) => {
                alert.resolution = Some(how.to_owned());
                alert.resolution_comment = text(&body, "resolution_comment").map(str::to_owned);
            }
            (Some("resolved"), _) => return Err(shape::invalid("resolution", "is required")),
            _ => return Err(shape::invalid("state", "must be open or resolved")),
        }
        Ok(Answer::json(200, &alert.shown()))
    }

    fn alert(&mut self, repo: &str, number: u64) -> Result<&mut AlertRow, Answer> {
        let named = |alert: &&mut AlertRow| alert.repo.eq_ignore_ascii_case(repo) && alert.number == number;
        self.alerts.iter_mut().find(named).ok_or_else(shape::not_found)
    }

    pub(super) fn dispatch(&mut self, call: &Call, repo: &str) -> Result<Answer, Answer> {
        let body = call.json().ok_or_else(|| shape::error(400, "Problems parsing JSON"))?;
        let wrong = |message: &str| Err(shape::error(422, &format!("Invalid request.\n\n{message}")));
        let event_type = match text(&body, "event_type") {
            Some(event) if (1..=100).contains(&event.len()) => event.to_owned(),
            Some(_) => return wrong("\"event_type\" must be 1 to 100 characters."),
            None => return wrong("\"event_type\" wasn't supplied."),
        };
        let client_payload = body.get("client_payload").cloned().unwrap_or_else(|| json!({}));
        match client_payload.as_object() {
            None => return wrong("\"client_payload\" must be an object."),
            Some(fields) if fields.len() > 10 => return wrong("No more than 10 properties are allowed."),
            Some(_) => {}
        }
        self.dispatches.push(Dispatch { repo: repo.to_owned(), event_type, client_payload });
        Ok(Answer::empty(204))
    }
}
