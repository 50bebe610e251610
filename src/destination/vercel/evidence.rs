//! What the store keeps of a publish until the next look, as it is serialised.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::variables::Variable;

/// What is remembered of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// The generation that was sent.
    pub(super) generation: i64,
    /// One for each entry that was written.
    pub(super) entries: Vec<Written>,
    /// The deployment that was started for this write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deployment: Option<Deployment>,
}

/// One entry that was written. Times are Vercel's, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) id: String,
    /// Before our write; `None` for an entry that we created.
    pub(super) before: Option<i64>,
    /// As the answer to our write gave it.
    pub(super) sent: Option<i64>,
    /// Once it proved our write.
    pub(super) proved: Option<i64>,
}

/// A deployment that was started.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) attempt: u32,
    /// As last seen: QUEUED, INITIALIZING, BUILDING, READY, ERROR, CANCELED, BLOCKED.
    pub(super) state: String,
    /// Nothing was tried after it, until a person said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) given_up: bool,
    /// `readySubstate`, as last seen: STAGED, ROLLING, PROMOTED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<String>,
    /// The deployment it was rebuilt from; `None` when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// The last rollback when the build began.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) rollback: Value,
    /// It was seen ready without serving production: a deployment is ready a moment before it serves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stands: bool,
    /// Production is another than when the build began: what serves now is rebuilt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) outdated: bool,
    /// How often its promotion was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) asked: u32,
    /// It was asked for, and may still come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) asked_for: bool,
    /// Looks since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) waited: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it like this")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Deployment {
    /// As it was just seen.
    pub(super) fn note(&mut self, ready_state: Option<String>, stage: Option<String>) {
        self.state = ready_state.unwrap_or_else(|| "UNKNOWN".to_owned());
        self.stage = stage;
        self.stands &= self.state == "READY";
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self.state.as_str(), "ERROR" | "CANCELED" | "BLOCKED" | "DELETED")
    }
}

impl Written {
    /// Our record of an entry, or one without a history (the key was there before us).
    pub(super) fn known(entry: &Variable, record: Option<&Self>) -> Self {
        let fresh = || Self { id: entry.id.clone(), before: None, sent: None, proved: None };
        record.cloned().unwrap_or_else(fresh)
    }
}

impl Evidence {
    /// When the last of the entries was written; `None` before all of them are proved.
    pub(super) fn proved_at(&self) -> Option<i64> {
        let times: Option<Vec<i64>> = self.entries.iter().map(|written| written.proved).collect();
        times?.into_iter().max()
    }
}
