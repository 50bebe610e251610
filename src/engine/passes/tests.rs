//! Tests of stored keys: when there is something to look at, and what a pass showed.
//!
//! A pass is single-flight over all processes (lease `queue:tests`). When a second look is due stands in the key's
//! health: a pass that is on its way picks it up, else the next tick does ([`Why::Again`]).

use tokio_util::sync::CancellationToken;

use crate::domain::time::{Span, Timestamp};
use crate::engine::passes::pass::Seen;
use crate::engine::passes::{accounts, heal, pass, unreadable};
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::QUEUE;
use crate::engine::testing::endpoint::{Scope, Which, Why};
use crate::engine::{Engine, EngineError, lease};
use crate::store::{KeyRow, Lease, ObservationRow};

/// A person waits this long for another process that tests.
const PATIENCE: Span = Span::seconds(60);

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

/// For a loop without a schedule of its own: a pass when one is due, else the second looks that are due.
pub async fn check_tick(engine: &Engine, stop: &CancellationToken) -> Result<CheckReport, EngineError> {
    let due = endpoint::pass_is_due(engine, engine.parts.tests.interval).await?;
    let why = if due { Why::Schedule } else { Why::Again };
    check_keys(engine, &Scope { which: Which::All, why }, stop).await
}

/// One pass. Several processes may call it at once: one of them works, and a key is tested once. Asked to
/// stop, it gives up the calls to providers, and what they would have shown is looked at by the next pass.
pub async fn check_keys(
    engine: &Engine,
    scope: &Scope,
    stop: &CancellationToken,
) -> Result<CheckReport, EngineError> {
    let asked_at = engine.clock().now();
    if scope.why == Why::Again && nothing_again(engine, asked_at).await? {
        return Ok(CheckReport::default());
    }
    let Some(lease) = queue(engine, scope.why).await? else {
        return Ok(CheckReport { busy: true, ..CheckReport::default() });
    };
    lease::while_held(engine, &lease, pass(engine, scope, asked_at, &lease, stop)).await
}

async fn pass(
    engine: &Engine,
    scope: &Scope,
    asked_at: Timestamp,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<CheckReport, EngineError> {
    // Another replica's pass of this very tick counts as ours.
    if scope.why == Why::Schedule
        && !endpoint::pass_is_due(engine, Span(engine.parts.tests.interval.0 / 2)).await?
    {
        return Ok(CheckReport::default());
    }
    let Some(Seen { ids, healing }) = pass::look(engine, scope, asked_at, lease, stop).await? else {
        return Ok(CheckReport::default());
    };
    Ok(CheckReport { busy: false, keys: reports(engine, &ids).await?, healing })
}

async fn reports(engine: &Engine, ids: &[String]) -> Result<Vec<KeyReport>, EngineError> {
    let mut reports = Vec::new();
    for row in engine.parts.store.keys().await? {
        if !ids.contains(&row.id) {
            continue;
        }
        let Some(last) = engine.parts.store.observations(&row.id, 1).await?.into_iter().next() else {
            continue;
        };
        reports.push(KeyReport { key: row, last });
    }
    Ok(reports)
}

async fn nothing_again(engine: &Engine, now: Timestamp) -> Result<bool, EngineError> {
    let keys = engine.parts.store.tested_keys().await?;
    let waits = keys.iter().any(|row| row.health.is_due_again(now));
    Ok(!waits
        && !accounts::account_waits(engine, now).await?
        && heal::waits(engine).await?.is_empty()
        && !unreadable::is_due(engine).await?)
}

async fn queue(engine: &Engine, why: Why) -> Result<Option<Lease>, EngineError> {
    let until = engine.clock().monotonic().0 + PATIENCE.0;
    loop {
        let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
        if lease.is_some() || why != Why::Person || engine.clock().monotonic().0 >= until {
            return Ok(lease);
        }
        engine.clock().sleep(Span(200)).await;
    }
}

impl CheckReport {
    /// A key was not accepted.
    pub fn any_invalid(&self) -> bool {
        self.keys.iter().any(|key| key.last.outcome == "invalid" || key.key.verdict == "invalid")
    }
}
