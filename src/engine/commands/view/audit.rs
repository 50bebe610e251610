//! `audit list | export`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::store::AuditRow;

/// One row of the audit trail.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditView {
    /// Unique.
    pub id: String,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// Who.
    pub actor: String,
    /// By which way: `cli`, `api`, `dashboard`, `daemon`.
    pub via: String,
    /// The true address of who called; null on the command line.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// `done`, `refused`, `failed`.
    pub outcome: String,
    /// How and why.
    pub detail: String,
    /// What a person changed, as it was.
    pub before: Option<Value>,
    /// What a person changed, as it is now.
    pub after: Option<Value>,
}

pub(in crate::engine::commands) fn audit_view(row: AuditRow) -> AuditView {
    AuditView {
        id: row.id,
        at: row.at.rfc3339(),
        actor: row.actor,
        via: row.via,
        address: row.address,
        request_id: row.request_id,
        action: row.action,
        subject: row.subject,
        outcome: row.outcome,
        detail: row.detail,
        before: row.before,
        after: row.after,
    }
}
