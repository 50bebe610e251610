//! The audit trail: who, by which way, from where, and what came of it.

use askama::Template;
use axum::http::Method;
use axum::response::Response;
use serde_json::Value;

use super::frame::Frame;
use super::parts;
use super::visit::{ROWS, Visit, page};
use crate::domain::listing::Page;
use crate::domain::role::Permission;
use crate::engine::commands::{AUDIT, AuditView, audit_list};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().at(Method::GET, "/audit", Allow::May(Permission::Audit), list)
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Page<AuditView>,
    /// What it was narrowed by, to be filled in again.
    filters: Vec<(&'static str, String)>,
    next: Option<String>,
}

impl AuditPage {
    /// A filter as it was filled in.
    fn field(&self, name: &str) -> &str {
        let found = self.filters.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a filter that is folded away says something.
    fn is_narrow(&self) -> bool {
        ["actor", "action", "subject"].iter().any(|name| !self.field(name).is_empty())
    }
}

const FILTERS: [&str; 5] = ["q", "actor", "action", "subject", "outcome"];

fn shown(value: Option<&Value>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let rows = audit_list(visit.engine(), &visit.wanted(&AUDIT, ROWS)?).await?;
    let filters = FILTERS.map(|name| (name, visit.asked(name).unwrap_or_default())).to_vec();
    let next = rows.next_cursor.as_deref().map(|cursor| visit.following(cursor));
    page(&AuditPage { frame: visit.frame("Audit"), rows, filters, next })
}
