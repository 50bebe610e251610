//! One pass over the stored keys: select, probe, fold, commit, tell; then the accounts, and what must be healed.
//!
//! A pass is single-flight over all processes (lease `queue:tests`). Nothing sleeps for a second look: when it is
//! due stands in the key's health, and a later pass with [`Why::Again`] picks it up.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::incident::{counted, provider_change};
use super::probing::Subject;
use super::record::{Folded, Look};
use super::{Engine, EngineError};
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::domain::verdict::pass::{MASS_HOLD, ProviderHealth};
use crate::domain::verdict::{Observation, Occasion};
use crate::store::{Change, KeyRow, Lease, ProviderRow, Role};

/// Tests of stored keys.
pub(super) const QUEUE: &str = "queue:tests";
/// A person waits this long for another process that tests.
const PATIENCE: Span = Span::seconds(60);

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every active key.
    All,
    /// The active keys of one provider.
    Provider(String),
    /// One key by id, active or not.
    Key(String),
}

/// Why they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The schedule: keys without a fresh conclusive look.
    Schedule,
    /// Between passes: keys that wait for a second look.
    Again,
    /// A person: all of them, now.
    Person,
}

/// What a pass is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which keys.
    pub which: Which,
    /// Why.
    pub why: Why,
}

/// One key of a pass.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the history and of the keys list")]
pub struct KeyReport {
    pub id: String,
    pub provider_type: String,
    pub number: Option<i64>,
    pub name: String,
    pub masked_key: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub detail: String,
    pub latency_ms: i64,
    pub status: String,
    pub rotation: Option<String>,
}

/// What came of a pass.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// Another process tests right now: nothing was done.
    pub busy: bool,
    /// The keys that were looked at.
    pub keys: Vec<KeyReport>,
    /// Rotations whose dead key is being replaced.
    pub healing: Vec<String>,
}

impl Engine {
    /// For a loop without a schedule of its own: a pass when one is due, else the second looks that are due.
    pub async fn check_tick(&self, stop: &CancellationToken) -> Result<CheckReport, EngineError> {
        let due = self.pass_is_due(self.parts.tests.interval).await?;
        let why = if due { Why::Schedule } else { Why::Again };
        self.check_keys(&Scope { which: Which::All, why }, stop).await
    }

    /// One pass. Several processes may call it at once: one of them works, and a key is tested once. Asked to
    /// stop, it gives up the calls to providers, and what they would have shown is looked at by the next pass.
    pub async fn check_keys(
        &self,
        scope: &Scope,
        stop: &CancellationToken,
    ) -> Result<CheckReport, EngineError> {
        let asked_at = self.clock().now();
        if scope.why == Why::Again && self.nothing_again(asked_at).await? {
            return Ok(CheckReport::default());
        }
        let Some(lease) = self.queue(scope.why).await? else {
            return Ok(CheckReport { busy: true, ..CheckReport::default() });
        };
        self.while_held(&lease, self.pass(scope, asked_at, &lease, stop)).await
    }

    async fn pass(
        &self,
        scope: &Scope,
        asked_at: Timestamp,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<CheckReport, EngineError> {
        // Another replica's pass of this very tick counts as ours.
        if scope.why == Why::Schedule && !self.pass_is_due(Span(self.parts.tests.interval.0 / 2)).await? {
            return Ok(CheckReport::default());
        }
        let all = self.parts.store.keys().await?;
        let providers = self.parts.store.providers().await?;
        let (wanted, done): (Vec<&KeyRow>, Vec<&KeyRow>) = all
            .iter()
            .filter(|row| scope.includes(row))
            .partition(|row| self.wants(row, &providers, scope, asked_at));
        let subjects = self.subjects(&wanted, &providers).await?;
        let mut by_provider: BTreeMap<String, Vec<(String, Observation)>> = BTreeMap::new();
        let Some(probed) = stop.run_until_cancelled(self.probe_all(subjects)).await else {
            return Ok(CheckReport::default());
        };
        for (subject, seen) in probed {
            by_provider.entry(subject.row.provider).or_default().push((subject.row.id, seen));
        }
        let mut ids: Vec<String> = Vec::new();
        for (provider, seen) in by_provider {
            ids.extend(seen.iter().map(|(id, _)| id.clone()));
            self.commit_provider(lease, &provider, seen, scope.why, &all).await?;
        }
        self.watch_accounts(lease, scope, stop).await?;
        let healing = self.heal(&ids, scope.why, stop).await?;
        if scope.why == Why::Schedule && !stop.is_cancelled() {
            let oldest = self.clock().now().plus(Span(-self.parts.tests.history.0));
            self.parts.store.prune_observations(oldest).await?;
            // Last: a pass that breaks off is caught up, without the keys that it came to.
            let mark = Change::ProviderHealth { subject: "pass".to_owned(), doc: json!(Some(asked_at)) };
            self.parts.store.commit(lease, &[mark]).await?;
        }
        if scope.why == Why::Person {
            ids.extend(done.iter().map(|row| row.id.clone()));
        }
        Ok(CheckReport { busy: false, keys: self.reports(&ids).await?, healing })
    }

    /// Everything that the looks at one provider's keys change, in one transaction, the mass guard included.
    async fn commit_provider(
        &self,
        lease: &Lease,
        provider: &str,
        seen: Vec<(String, Observation)>,
        why: Why,
        all: &[KeyRow],
    ) -> Result<(), EngineError> {
        let subject = format!("provider:{provider}");
        let before: ProviderHealth = self.parts.store.provider_health(&subject).await?;
        let now = self.clock().now();
        let occasion = if why == Why::Schedule { Occasion::Pass } else { Occasion::Extra };
        let looks: BTreeMap<String, Observation> = seen.into_iter().collect();
        let ids: Vec<String> = looks.keys().cloned().collect();
        let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
            let folded: Vec<Folded> = rows
                .into_iter()
                .filter_map(|row| {
                    let look = Look::new(looks.get(&row.id)?.clone(), occasion);
                    let now = Stamp { ours: now, theirs: look.seen.date };
                    Some(self.fold(row, &look, now))
                })
                .collect();
            let count = counted(provider, all, &looks, &folded, why);
            let hold = count.is_incident().then(|| now.plus(MASS_HOLD));
            let (after, tells) = before.pass(count, now);
            let mut changes = vec![Change::ProviderHealth { subject: subject.clone(), doc: json!(after) }];
            changes.extend(tells.iter().map(|tell| provider_change(provider, *tell, count)));
            for one in folded {
                let hold = hold.filter(|_| one.turned_bad());
                changes.extend(self.tested(one, hold));
            }
            Ok(changes)
        };
        self.parts.store.commit_tests(Some(lease), &ids, decide).await
    }

    /// A key that another process looked at since the person asked needs no second test.
    fn wants(&self, row: &KeyRow, providers: &[ProviderRow], scope: &Scope, asked_at: Timestamp) -> bool {
        let now = self.clock().now();
        match scope.why {
            Why::Person => row.health.looked_at.is_none_or(|at| at < asked_at || at > now),
            Why::Again => row.health.is_due_again(now),
            Why::Schedule => {
                let provider = providers.iter().find(|provider| provider.name == row.provider);
                let least = provider.and_then(|provider| self.parts.tester.min_interval(&provider.kind));
                let least = least.unwrap_or(Span::ZERO);
                row.health.is_due(now, self.parts.tests.interval.max(Span(least.0 * 2)))
            }
        }
    }

    async fn subjects(
        &self,
        rows: &[&KeyRow],
        providers: &[ProviderRow],
    ) -> Result<Vec<Subject>, EngineError> {
        let mut subjects = Vec::new();
        for row in rows {
            let Some(secret) = self.open(row)? else { continue };
            let Some(provider) = providers.iter().find(|provider| provider.name == row.provider) else {
                continue;
            };
            let base_url = self.endpoint(provider, row.account.as_deref()).await?;
            let row = (*row).clone();
            subjects.push(Subject { row, kind: provider.kind.clone(), base_url, secret });
        }
        Ok(subjects)
    }

    /// Where keys of a provider are tested: where their account is, else where the provider's row says.
    pub(super) async fn endpoint(
        &self,
        provider: &ProviderRow,
        identity: Option<&str>,
    ) -> Result<Option<url::Url>, EngineError> {
        let entries = match identity {
            Some(identity) => self.parts.store.entries_of(identity).await?,
            None => Vec::new(),
        };
        let own = entries.iter().find_map(|name| self.parts.accounts.get(name));
        let any = || self.accounts().find(|account| account.provider == provider.name);
        Ok(match own.or_else(any) {
            Some(account) => Some(account.base_url.clone()),
            None => provider.base_url.as_deref().and_then(|url| url::Url::parse(url).ok()),
        })
    }

    async fn reports(&self, ids: &[String]) -> Result<Vec<KeyReport>, EngineError> {
        let mut reports = Vec::new();
        for row in self.parts.store.keys().await? {
            if !ids.contains(&row.id) {
                continue;
            }
            let Some(last) = self.parts.store.observations(&row.id, 1).await?.into_iter().next() else {
                continue;
            };
            reports.push(KeyReport {
                id: row.id,
                provider_type: row.provider,
                number: row.number,
                name: row.name,
                masked_key: row.mask,
                outcome: last.outcome,
                reason: last.reason,
                detail: last.detail,
                latency_ms: last.latency_ms,
                status: row.verdict,
                rotation: row.rotation,
            });
        }
        Ok(reports)
    }

    pub(super) async fn pass_is_due(&self, interval: Span) -> Result<bool, EngineError> {
        let last: Option<Timestamp> = self.parts.store.provider_health("pass").await?;
        let age = last.map(|at| self.clock().now().since(at));
        Ok(age.is_none_or(|age| age >= interval || age < Span::ZERO))
    }

    async fn nothing_again(&self, now: Timestamp) -> Result<bool, EngineError> {
        let keys = self.parts.store.keys().await?;
        let waits = keys.iter().any(|row| is_tested(row) && row.health.is_due_again(now));
        Ok(!waits && !self.account_waits(now).await?)
    }

    async fn queue(&self, why: Why) -> Result<Option<Lease>, EngineError> {
        let until = self.clock().monotonic().0 + PATIENCE.0;
        loop {
            let lease = self.parts.store.acquire(QUEUE, &self.parts.owner, self.parts.lease).await?;
            if lease.is_some() || why != Why::Person || self.clock().monotonic().0 >= until {
                return Ok(lease);
            }
            self.clock().sleep(Span(200)).await;
        }
    }

    /// Does the work of a pass while its lease is renewed, then gives the lease back. Ends early when it is lost.
    pub(super) async fn while_held<T>(
        &self,
        lease: &Lease,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let done = tokio::select! {
            done = work => done,
            error = self.keep(lease) => Err(error),
        };
        self.parts.store.release(lease).await?;
        done
    }

    /// Renews the lease until it is lost.
    async fn keep(&self, lease: &Lease) -> EngineError {
        loop {
            self.clock().sleep(Span(self.parts.lease.0 / 3)).await;
            if let Err(error) = self.parts.store.renew(lease, self.parts.lease).await {
                return error.into();
            }
        }
    }
}

impl Scope {
    fn includes(&self, row: &KeyRow) -> bool {
        match &self.which {
            Which::All => is_tested(row),
            Which::Provider(name) => is_tested(row) && row.provider == *name,
            Which::Key(id) => row.id == *id && !matches!(row.role, Role::Dead | Role::Retiring),
        }
    }
}

/// Tombstones, inactive keys and placeholders are not tested. A retiring key is watched through the account only:
/// a test with it would keep it from going quiet. A candidate is its run's.
pub(super) fn is_tested(row: &KeyRow) -> bool {
    row.is_active && row.secret.is_some() && matches!(row.role, Role::Current | Role::Manual)
}

impl CheckReport {
    /// A key was not accepted.
    pub fn any_invalid(&self) -> bool {
        self.keys.iter().any(|key| key.outcome == "invalid" || key.status == "invalid")
    }
}
