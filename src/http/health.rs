//! `/healthz`: the process lives. `/readyz`: it does its work. No login, nothing of the inside.

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
