//! Tests of stored keys: what the daemon looks at by itself, what a person asks for, and what was shown.
//!
//! When a key is looked at next stands in its row, as an index finds it; several processes share what is due
//! ([`super::tester`]).

use tokio_util::sync::CancellationToken;

use crate::domain::time::Timestamp;
use crate::engine::passes::accounts;
use crate::engine::passes::asked::Asked;
use crate::engine::passes::tester::{Queue, Tester};
use crate::engine::testing::endpoint::{Scope, Which, Why};
use crate::engine::{Engine, EngineError};
use crate::store::{KeyRow, ObservationRow, Role};

/// One key of a pass.
#[derive(Debug, Clone)]
pub struct KeyReport {
    /// The key as it stands after the pass.
    pub key: KeyRow,
    /// Its last test.
    pub last: ObservationRow,
}

/// What came of a pass.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Another process tests right now: nothing was done.
    pub busy: bool,
    /// The keys that were looked at.
    pub keys: Vec<KeyReport>,
    /// Rotations whose dead key is being replaced.
    pub healing: Vec<String>,
}

/// Looks at every key that is due, until none is. Several processes may do so at once: each key is one's. Asked to stop,
/// it gives up the calls to providers, and what they would have shown is looked at again.
pub async fn check_tick(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    Tester::new(engine, Why::Schedule, stop).await?.work(&mut Queue::default()).await
}

/// Looks at all keys of the scope now. Several processes may be asked at once: a key that one looks at is looked at once.
pub async fn check_keys(
    engine: &Engine,
    scope: &Scope,
    stop: &CancellationToken,
) -> Result<CheckReport, EngineError> {
    let asked_at = engine.clock().now();
    let keys = keys_of(engine, &scope.which).await?;
    let mut asked = Asked::new(&keys, asked_at);
    let mut tester = Tester::new(engine, scope.why, stop).await?;
    tester.work(&mut asked).await?;
    let healing = tester.healed;
    if scope.which == Which::All {
        accounts::watch_now(engine, stop).await?;
    }
    Ok(CheckReport { busy: asked.is_busy, keys: reports(engine, &keys, asked_at).await?, healing })
}

/// Provider and id of each key of the scope.
async fn keys_of(engine: &Engine, which: &Which) -> Result<Vec<(String, String)>, EngineError> {
    let store = &engine.parts.store;
    let providers = match which {
        Which::Provider(name) => vec![name.clone()],
        Which::All => store.providers().await?.into_iter().map(|row| row.name).collect(),
        Which::Key(id) => return some_keys(engine, std::slice::from_ref(id)).await,
        Which::Keys(ids) => return some_keys(engine, ids).await,
    };
    let mut keys = Vec::new();
    for name in providers {
        keys.extend(store.tested_ids(&name).await?.into_iter().map(|id| (name.clone(), id)));
    }
    Ok(keys)
}

/// Those of them that may be tested.
async fn some_keys(engine: &Engine, ids: &[String]) -> Result<Vec<(String, String)>, EngineError> {
    let mut keys = Vec::new();
    for id in ids {
        let key = engine.parts.store.key(id).await?;
        let key = key.filter(|row| !row.is_placeholder() && !matches!(row.role, Role::Dead | Role::Retiring));
        keys.extend(key.map(|row| (row.provider, row.id)));
    }
    Ok(keys)
}

/// The keys that were looked at since.
async fn reports(
    engine: &Engine,
    keys: &[(String, String)],
    asked_at: Timestamp,
) -> Result<Vec<KeyReport>, EngineError> {
    let mut reports = Vec::new();
    for (_, id) in keys {
        let Some(key) = engine.parts.store.key(id).await? else { continue };
        let last = engine.parts.store.observations(id, 1).await?.into_iter().next();
        let seen = key.health.looked_at.is_some_and(|at| at >= asked_at);
        reports.extend(last.filter(|_| seen).map(|last| KeyReport { key, last }));
    }
    Ok(reports)
}

impl CheckReport {
    /// A key was not accepted.
    pub fn any_invalid(&self) -> bool {
        self.keys.iter().any(|key| key.last.outcome == "invalid" || key.key.verdict == "invalid")
    }
}
