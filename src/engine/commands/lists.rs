//! Every list in pages: how each may be asked for, and its page. Those that the configuration names are short and are made
//! in memory; those that grow are read by their index.

use super::destinations::destination_views;
use super::people::{session_views, token_views, user_views};
use super::view::{
    AlertView, AuditView, DestinationView, KeyTestView, KeyView, ListedAccountView, ListedRunView,
    RotationView, SessionView, TokenView, UserView, account_views, alert_view, audit_view, key_test_view,
    key_view, listed_run_view, rotation_views,
};
use crate::domain::listing::{Page, Shape, Takes, USUAL, Wanted, by, page};
use crate::engine::{Engine, EngineError};

/// `/api/v1/rotations`.
pub static ROTATIONS: Shape = Shape {
    sorts: &["name", "account", "state", "next_due_at"],
    filters: &[by("q", Takes::Words), by("account", Takes::Text), by("state", Takes::Text)],
    usual: Some(USUAL),
};

/// `/api/v1/destinations`.
pub static DESTINATIONS: Shape = Shape {
    sorts: &["name", "type", "rotation", "level"],
    filters: &[
        by("q", Takes::Words),
        by("type", Takes::Text),
        by("rotation", Takes::Text),
        by("level", Takes::Text),
        by("required", Takes::YesOrNo),
    ],
    usual: Some(USUAL),
};

/// `/api/v1/accounts`.
pub static ACCOUNTS: Shape = Shape {
    sorts: &["name", "provider"],
    filters: &[by("q", Takes::Words), by("provider", Takes::Text)],
    usual: Some(USUAL),
};

/// `/api/v1/accounts/{name}/keys`.
pub static ACCOUNT_KEYS: Shape = Shape {
    sorts: &["name", "created_at", "last_used_at"],
    filters: &[by("q", Takes::Words), by("disabled", Takes::YesOrNo)],
    usual: Some(USUAL),
};

/// `/api/v1/runs`.
pub static RUNS: Shape = Shape {
    sorts: &["-started_at", "rotation", "state"],
    filters: &[
        by("q", Takes::Words),
        by("rotation", Takes::Text),
        by("state", Takes::Text),
        by("trigger", Takes::Text),
        by("open", Takes::YesOrNo),
        by("since", Takes::Moment),
        by("until", Takes::Moment),
    ],
    usual: Some(USUAL),
};

/// `/api/v1/alerts`.
pub static ALERTS: Shape = Shape {
    sorts: &["-opened_at", "kind", "severity", "subject"],
    filters: &[
        by("q", Takes::Words),
        by("kind", Takes::Text),
        by("severity", Takes::Text),
        by("rotation", Takes::Text),
        by("account", Takes::Text),
        by("open", Takes::YesOrNo),
        by("since", Takes::Moment),
        by("until", Takes::Moment),
    ],
    usual: Some(USUAL),
};

/// `/api/v1/audit`.
pub static AUDIT: Shape = Shape {
    sorts: &["-at"],
    filters: &[
        by("q", Takes::Words),
        by("actor", Takes::Text),
        by("action", Takes::Text),
        by("subject", Takes::Text),
        by("outcome", Takes::Text),
        by("since", Takes::Moment),
        by("until", Takes::Moment),
    ],
    usual: Some(USUAL),
};

/// `/api/v1/llm/providers/keys`.
pub static KEYS: Shape = Shape {
    sorts: &["created_at", "provider_type", "name", "priority", "status", "updated_at"],
    filters: &[
        by("q", Takes::Words),
        by("provider", Takes::Text),
        by("status", Takes::Text),
        by("active", Takes::YesOrNo),
        by("owner", Takes::Text),
        by("tested_before", Takes::Moment),
        by("expires_before", Takes::Moment),
    ],
    usual: None,
};

/// `/api/v1/keys/{id}/history`.
pub static HISTORY: Shape = Shape {
    sorts: &["-at", "latency_ms"],
    filters: &[by("outcome", Takes::Text), by("since", Takes::Moment), by("until", Takes::Moment)],
    usual: Some(USUAL),
};

/// `/api/v1/users`.
pub static USERS: Shape = Shape {
    sorts: &["email", "role", "created_at"],
    filters: &[by("q", Takes::Words), by("role", Takes::Text)],
    usual: Some(USUAL),
};

/// `/api/v1/tokens`.
pub static TOKENS: Shape = Shape {
    sorts: &["name", "role", "created_at", "last_used_at"],
    filters: &[by("q", Takes::Words), by("role", Takes::Text), by("owner", Takes::Text)],
    usual: Some(USUAL),
};

/// `/api/v1/sessions`.
pub static SESSIONS: Shape = Shape {
    sorts: &["-created_at", "seen_at", "user"],
    filters: &[by("q", Takes::Words), by("user", Takes::Text)],
    usual: Some(USUAL),
};

/// A page of the people who may log in.
pub async fn user_page(engine: &Engine, wanted: &Wanted) -> Result<Page<UserView>, EngineError> {
    Ok(page(user_views(engine).await?, "id", wanted))
}

/// A page of the tokens: of one person by id, or of everybody.
pub async fn token_page(
    engine: &Engine,
    owner: Option<&str>,
    wanted: &Wanted,
) -> Result<Page<TokenView>, EngineError> {
    Ok(page(token_views(engine, owner).await?, "id", wanted))
}

/// A page of the sessions: of one person by id, or of everybody. `current` is marked.
pub async fn session_page(
    engine: &Engine,
    user: Option<&str>,
    current: Option<&str>,
    wanted: &Wanted,
) -> Result<Page<SessionView>, EngineError> {
    Ok(page(session_views(engine, user, current).await?, "id", wanted))
}

/// A page of the rotations of the configuration.
pub async fn rotation_page(engine: &Engine, wanted: &Wanted) -> Result<Page<RotationView>, EngineError> {
    Ok(page(rotation_views(engine).await?, "name", wanted))
}

/// A page of the destinations.
pub async fn destination_page(
    engine: &Engine,
    wanted: &Wanted,
) -> Result<Page<DestinationView>, EngineError> {
    Ok(page(destination_views(engine).await?, "name", wanted))
}

/// A page of the accounts of the configuration.
pub async fn account_page(engine: &Engine, wanted: &Wanted) -> Result<Page<ListedAccountView>, EngineError> {
    Ok(page(account_views(engine).await?, "name", wanted))
}

/// A page of the runs.
pub async fn run_page(engine: &Engine, wanted: &Wanted) -> Result<Page<ListedRunView>, EngineError> {
    Ok(engine.store().run_page(wanted).await?.map(listed_run_view))
}

/// A page of the alerts.
pub async fn alert_page(engine: &Engine, wanted: &Wanted) -> Result<Page<AlertView>, EngineError> {
    Ok(engine.store().alert_page(wanted).await?.map(alert_view))
}

/// A page of the audit trail.
pub async fn audit_list(engine: &Engine, wanted: &Wanted) -> Result<Page<AuditView>, EngineError> {
    Ok(engine.store().audit_list(wanted).await?.map(audit_view))
}

/// A page of the stored keys, masked.
pub async fn key_page(engine: &Engine, wanted: &Wanted) -> Result<Page<KeyView>, EngineError> {
    Ok(engine.store().key_page(wanted).await?.map(|row| key_view(&row)))
}

/// A page of the tests of one key.
pub async fn key_history(
    engine: &Engine,
    id: &str,
    wanted: Wanted,
) -> Result<Page<KeyTestView>, EngineError> {
    if engine.store().key(id).await?.is_none() {
        return Err(EngineError::not_there(format!("there is no key {id}"), "`rekeyd keys list` shows them"));
    }
    Ok(engine.store().observation_page(id, wanted).await?.map(key_test_view))
}
