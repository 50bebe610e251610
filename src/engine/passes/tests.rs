//! One pass over the stored keys: select, probe, fold, commit, tell; then the accounts, and what must be healed.
//!
//! A pass is single-flight over all processes (lease `queue:tests`). Nothing sleeps for a second look: when it is
//! due stands in the key's health, and a later pass with [`Why::Again`] picks it up.

use std::collections::BTreeMap;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::time::{Span, Stamp, Timestamp};
use crate::domain::verdict::pass::{MASS_HOLD, ProviderHealth};
use crate::domain::verdict::{Observation, Occasion};
use crate::engine::passes::{accounts, heal, incident};
use crate::engine::testing::endpoint::QUEUE;
use crate::engine::testing::endpoint::{Scope, Which, Why};
use crate::engine::testing::probing::Subject;
use crate::engine::testing::record::{Folded, Sighting};
use crate::engine::testing::{endpoint, probing, record};
use crate::engine::{Engine, EngineError, lease};
use crate::store::{Change, KeyRow, Lease, ObservationRow, ProviderRow};

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
    let all = engine.parts.store.keys().await?;
    let providers = engine.parts.store.providers().await?;
    let (wanted, done): (Vec<&KeyRow>, Vec<&KeyRow>) = all
        .iter()
        .filter(|row| scope.includes(row))
        .partition(|row| wants(engine, row, &providers, scope, asked_at));
    let subjects = subjects(engine, &wanted, &providers).await?;
    let mut by_provider: BTreeMap<String, Vec<(String, Observation)>> = BTreeMap::new();
    let Some(probed) = stop.run_until_cancelled(probing::probe_all(engine, subjects)).await else {
        return Ok(CheckReport::default());
    };
    for (subject, seen) in probed {
        by_provider.entry(subject.row.provider).or_default().push((subject.row.id, seen));
    }
    let mut ids: Vec<String> = Vec::new();
    for (provider, seen) in by_provider {
        ids.extend(seen.iter().map(|(id, _)| id.clone()));
        commit_provider(engine, lease, &provider, seen, scope.why, &all).await?;
    }
    accounts::watch_accounts(engine, lease, scope, stop).await?;
    let healing = heal::heal(engine, &ids, scope.why, stop).await?;
    if scope.why == Why::Schedule && !stop.is_cancelled() {
        let oldest = engine.clock().now().plus(Span(-engine.parts.tests.history.0));
        engine.parts.store.prune_observations(oldest).await?;
        // Last: a pass that breaks off is caught up, without the keys that it came to.
        let mark = Change::Remember { subject: "pass".to_owned(), doc: json!(Some(asked_at)) };
        engine.parts.store.commit(lease, &[mark]).await?;
    }
    if scope.why == Why::Person {
        ids.extend(done.iter().map(|row| row.id.clone()));
    }
    Ok(CheckReport { busy: false, keys: reports(engine, &ids).await?, healing })
}

/// Everything that the looks at one provider's keys change, in one transaction, the mass guard included.
async fn commit_provider(
    engine: &Engine,
    lease: &Lease,
    provider: &str,
    seen: Vec<(String, Observation)>,
    why: Why,
    all: &[KeyRow],
) -> Result<(), EngineError> {
    let subject = format!("provider:{provider}");
    let before: ProviderHealth = engine.parts.store.memory(&subject).await?;
    let now = engine.clock().now();
    let occasion = if why == Why::Schedule { Occasion::Pass } else { Occasion::Extra };
    let looks: BTreeMap<String, Observation> = seen.into_iter().collect();
    let ids: Vec<String> = looks.keys().cloned().collect();
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let folded: Vec<Folded> = rows
            .into_iter()
            .filter_map(|row| {
                let look = Sighting::new(looks.get(&row.id)?.clone(), occasion);
                let now = Stamp { ours: now, theirs: look.seen.date };
                Some(record::fold(engine, row, &look, now))
            })
            .collect();
        let count = incident::counted(provider, all, &looks, &folded, why);
        let hold = count.is_incident().then(|| now.plus(MASS_HOLD));
        let (after, tells) = before.pass(count, now);
        let mut changes = vec![Change::Remember { subject: subject.clone(), doc: json!(after) }];
        changes.extend(tells.iter().map(|tell| incident::provider_change(provider, *tell, count)));
        for one in folded {
            let hold = hold.filter(|_| one.turned_bad());
            changes.extend(record::tested(engine, one, hold));
        }
        Ok(changes)
    };
    engine.parts.store.commit_tests(Some(lease), &ids, decide).await
}

/// A key that another process looked at since the person asked needs no second test.
fn wants(
    engine: &Engine,
    row: &KeyRow,
    providers: &[ProviderRow],
    scope: &Scope,
    asked_at: Timestamp,
) -> bool {
    let now = engine.clock().now();
    match scope.why {
        Why::Person => row.health.looked_at.is_none_or(|at| at < asked_at || at > now),
        Why::Again => row.health.is_due_again(now),
        Why::Schedule => {
            let provider = providers.iter().find(|provider| provider.name == row.provider);
            let least = provider.and_then(|provider| engine.parts.tester.min_interval(&provider.kind));
            let least = least.unwrap_or(Span::ZERO);
            row.health.is_due(now, engine.parts.tests.interval.max(Span(least.0 * 2)))
        }
    }
}

async fn subjects(
    engine: &Engine,
    rows: &[&KeyRow],
    providers: &[ProviderRow],
) -> Result<Vec<Subject>, EngineError> {
    let mut subjects = Vec::new();
    for row in rows {
        let Some(secret) = engine.open(row)? else { continue };
        let Some(provider) = providers.iter().find(|provider| provider.name == row.provider) else {
            continue;
        };
        let base_url = endpoint::endpoint(engine, provider, row.account.as_deref()).await?;
        let row = (*row).clone();
        subjects.push(Subject { row, kind: provider.kind.clone(), base_url, secret });
    }
    Ok(subjects)
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
    let keys = engine.parts.store.keys().await?;
    let waits = keys.iter().any(|row| endpoint::is_tested(row) && row.health.is_due_again(now));
    Ok(!waits && !accounts::account_waits(engine, now).await?)
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
