//! `/healthz`: the process lives. `/readyz`: it does its work. `/`: the same for people, and where to look next. No
//! login, nothing of the inside.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

/// Why this process is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// `database`, `leases`, `pass`, `stopping`.
    pub what: &'static str,
    /// In words.
    pub why: String,
}

/// Who knows.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Every reason against; none when ready.
    async fn unready(&self) -> Vec<Unready>;
}

/// The answer of both.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Unready>,
}

const WHERE_NEXT: &str = "
On the server:
  rekeyd rotations list   the rotations, and when they are due
  rekeyd why NAME         what is proved, and what blocks the old key
  rekeyd alerts list      what needs a person
";

/// Where the links of mails lead.
pub(super) async fn front(State(readiness): State<Arc<dyn Readiness>>) -> String {
    let reasons = readiness.unready().await;
    let state = if reasons.is_empty() { "ready" } else { "not ready" };
    let mut lines = vec![format!("rekeyd {}: {state}", env!("CARGO_PKG_VERSION"))];
    lines.extend(reasons.iter().map(|reason| format!("  {}: {}", reason.what, reason.why)));
    lines.push(WHERE_NEXT.to_owned());
    lines.join("\n")
}

/// 200 while the process lives.
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "alive", reasons: Vec::new() })
}

/// 200 while it does its work; else 503 and why not.
pub(super) async fn readyz(State(readiness): State<Arc<dyn Readiness>>) -> (StatusCode, Json<Health>) {
    let reasons = readiness.unready().await;
    if reasons.is_empty() {
        (StatusCode::OK, Json(Health { status: "ready", reasons }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unready", reasons }))
    }
}
