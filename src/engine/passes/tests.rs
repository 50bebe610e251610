//! Tests of stored keys: what the daemon looks at by itself, what a person asks for, and what was shown.
//!
//! When a key is looked at next stands in its row, as an index finds it; several processes share what is due
//! ([`super::tester`]).

use tokio_util::sync::CancellationToken;

use crate::domain::time::Timestamp;
use crate::engine::passes::asked::Asked;
use crate::engine::passes::tester::{Queue, Tester};
use crate::engine::passes::{accounts, heal};
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
    let due = engine.parts.store.is_due(engine.clock().now()).await?;
    if !due && heal::waits(engine).await?.is_empty() {
        return Ok(());
    }
    Tester::new(engine, Why::Schedule, stop).await?.work(&mut Queue::default()).await
}

/// Looks at all keys of the scope now. Several processes may be asked at once: a key that one looks at is looked at once.
pub async fn check_keys(
    engine: &Engine,
    scope: &Scope,
    stop: &CancellationToken,
) -> Result<CheckReport, EngineError> {
    let asked_at = engine.clock().now();
    let ids = ids(engine, &scope.which).await?;
    let mut asked = Asked::new(&ids, asked_at);
    let mut tester = Tester::new(engine, scope.why, stop).await?;
    tester.work(&mut asked).await?;
    let healing = tester.healed;
    if scope.which == Which::All {
        accounts::watch_now(engine, stop).await?;
    }
    Ok(CheckReport { busy: asked.is_busy, keys: reports(engine, &ids, asked_at).await?, healing })
}

async fn ids(engine: &Engine, which: &Which) -> Result<Vec<String>, EngineError> {
    let store = &engine.parts.store;
    match which {
        Which::Provider(name) => Ok(store.tested_ids(name).await?),
        Which::All => {
            let mut all = Vec::new();
            for provider in store.providers().await? {
                all.extend(store.tested_ids(&provider.name).await?);
            }
            Ok(all)
        }
        Which::Key(id) => {
            let key = store.key(id).await?;
            let key = key.filter(|row| !matches!(row.role, Role::Dead | Role::Retiring));
            Ok(key.map(|row| row.id).into_iter().collect())
        }
    }
}

/// The keys that were looked at since.
async fn reports(
    engine: &Engine,
    ids: &[String],
    asked_at: Timestamp,
) -> Result<Vec<KeyReport>, EngineError> {
    let mut reports = Vec::new();
    for id in ids {
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
