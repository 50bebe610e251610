//! One provider's share of a pass: its looks, committed as they come, and the mass guard over all of them.
//!
//! A verdict is committed when its look is over (R22). What people hear of it waits while it may still be one of
//! many ([`Mass::Open`]): the hold is in the store, so that a process that dies delays an alert and never loses it.
//! When the count is decided, or the share is over, the alerts that need not wait are let go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::pass::{COMPANY_HOLD, MASS_HOLD, Mass, PassCount, ProviderHealth};
use crate::domain::verdict::{Observation, Occasion, Outcome};
use crate::engine::passes::incident;
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::Why;
use crate::engine::testing::probing::Asked;
use crate::engine::testing::record;
use crate::engine::testing::record::{Folded, Sighting};
use crate::engine::{Engine, EngineError};
use crate::store::{Change, KeyRow, Lease};

/// Second looks that are due within this are waited for while alerts are held.
const SOON: Span = Span::seconds(30);

/// An alert that the mass guard holds while the count is open.
#[derive(Debug, Clone)]
struct Held {
    seen: Observation,
    since: Timestamp,
}

/// What the pass has seen of one provider.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    provider: String,
    why: Why,
    /// Its active keys, and whether their verdict is bad.
    keys: BTreeMap<String, bool>,
    /// Looks on their way.
    going: BTreeSet<String>,
    looked: BTreeSet<String>,
    unreachable: BTreeSet<String>,
    turned_bad: BTreeSet<String>,
    /// Keys that were refused once, and when the second look is due.
    doubted: BTreeMap<String, Timestamp>,
    held: BTreeMap<String, Held>,
}

impl Share {
    /// Nothing seen yet. `all`: every key that is tested.
    pub(crate) fn new(provider: &str, why: Why, all: &[KeyRow]) -> Self {
        let mine = || all.iter().filter(|row| endpoint::is_tested(row) && row.provider == provider);
        let doubted = |row: &KeyRow| Some((row.id.clone(), row.health.suspicion?.look_again_at));
        Self {
            provider: provider.to_owned(),
            why,
            keys: mine().map(|row| (row.id.clone(), row.health.verdict.is_bad())).collect(),
            going: BTreeSet::new(),
            looked: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            turned_bad: BTreeSet::new(),
            doubted: mine().filter_map(doubted).collect(),
            held: BTreeMap::new(),
        }
    }

    /// A look begins.
    pub(crate) fn begin(&mut self, key: &str) {
        self.going.insert(key.to_owned());
    }

    /// A look broke off.
    pub(crate) fn give_up(&mut self, key: &str) {
        self.going.remove(key);
    }

    /// True when no look is on its way and no alert is held for others to come.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.going.is_empty() && (self.held.is_empty() || self.mass(now) != Mass::Open)
    }

    fn count(&self) -> PassCount {
        let unreachable = self.unreachable.len();
        // Only passes count for "3 passes": between them an outage is not seen again, but its end is.
        let reach = if self.why == Why::Schedule { unreachable } else { 0 };
        PassCount {
            keys: self.keys.len(),
            looked: self.looked.len() - unreachable + reach,
            unreachable: reach,
            turned_bad: self.turned_bad.len(),
            doubted: self.doubted.len(),
            bad: self.keys.values().filter(|bad| **bad).count(),
        }
    }

    fn mass(&self, now: Timestamp) -> Mass {
        let since = self.held.values().map(|held| held.since).min();
        let waited = since.map_or(Span::ZERO, |since| now.since(since));
        self.count().mass(self.going.len() + self.soon(now), waited)
    }

    /// Second looks that are due soon. A person does not wait for them, and one that is long due does not come.
    fn soon(&self, now: Timestamp) -> usize {
        let comes = |at: &Timestamp| (-SOON.0..=SOON.0).contains(&at.since(now).0);
        let rest = self.doubted.iter().filter(|(id, at)| comes(at) && !self.going.contains(*id));
        if self.why == Why::Person { 0 } else { rest.count() }
    }

    fn take_in(&mut self, one: &Folded, seen: &Observation) {
        let (id, health) = (one.id().to_owned(), &one.step.health);
        let note = |set: &mut BTreeSet<String>, holds: bool| {
            if holds {
                set.insert(id.clone())
            } else {
                set.remove(&id)
            };
        };
        note(&mut self.going, false);
        note(&mut self.looked, true);
        note(&mut self.unreachable, seen.outcome() == Outcome::Unreachable);
        let bad_since = self.turned_bad.contains(&id) && health.verdict.is_bad();
        note(&mut self.turned_bad, one.turned_bad() || bad_since);
        match health.suspicion {
            Some(suspicion) => drop(self.doubted.insert(id.clone(), suspicion.look_again_at)),
            None => drop(self.doubted.remove(&id)),
        }
        if let Some(bad) = self.keys.get_mut(&id) {
            *bad = health.verdict.is_bad();
        }
    }
}

/// Commits looks that are over, in one transaction. Answers the rotations whose current key they leave for dead, or in
/// doubt.
pub(crate) async fn commit(
    engine: &Engine,
    lease: &Lease,
    share: &mut Share,
    looks: &BTreeMap<String, Asked>,
) -> Result<Vec<String>, EngineError> {
    let subject = format!("provider:{}", share.provider);
    let before: ProviderHealth = engine.parts.store.memory_or_anew(&subject).await?;
    let now = engine.clock().now();
    let occasion = if share.why == Why::Schedule { Occasion::Pass } else { Occasion::Extra };
    let ids: Vec<String> = looks.keys().cloned().collect();
    let (mut next, mut in_doubt) = (share.clone(), Vec::new());
    for id in &ids {
        next.give_up(id);
    }
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let mut folded: Vec<Folded> = Vec::new();
        for row in rows {
            let Some(Asked { at, seen }) = looks.get(&row.id) else { continue };
            let look = Sighting::new(seen.clone(), occasion);
            let Some(one) = record::fold(engine, row, &look, *at) else { continue };
            next.take_in(&one, seen);
            folded.push(one);
        }
        // While an incident is open, a key that turns bad is one of it, whichever pass sees it.
        let mass = if before.told_incident { Mass::Incident } else { next.mass(now) };
        let (after, tells) = before.so_far(next.count());
        let mut changes = Vec::new();
        if after != before {
            changes.push(Change::Remember { subject, doc: json!(after) });
        }
        changes
            .extend(tells.iter().map(|tell| incident::provider_change(&next.provider, *tell, next.count())));
        for one in folded {
            in_doubt.extend(one.current_in_doubt().map(str::to_owned));
            let hold = (one.turned_bad() && mass != Mass::Single).then(|| now.plus(MASS_HOLD));
            if hold.is_some() && mass == Mass::Open {
                let seen = looks[one.id()].seen.clone();
                next.held.insert(one.id().to_owned(), Held { seen, since: now });
            }
            changes.extend(record::tested(engine, one, hold));
        }
        Ok(changes)
    };
    engine.parts.store.commit_tests(Some(lease), &ids, decide).await?;
    *share = next;
    settle(engine, lease, share).await?;
    Ok(in_doubt)
}

/// Lets go of the alerts that are held when the count says that they are no incident, and forgets them when it says
/// that they are one.
pub(crate) async fn settle(engine: &Engine, lease: &Lease, share: &mut Share) -> Result<(), EngineError> {
    let mass = share.mass(engine.clock().now());
    decided(engine, lease, share, mass).await
}

/// The pass breaks off: alerts that look like an incident stay held for another pass, the others are let go.
pub(crate) async fn leave(engine: &Engine, lease: &Lease, mut share: Share) -> Result<(), EngineError> {
    let coming = share.going.len() + share.soon(engine.clock().now());
    let mass = share.count().mass(coming, COMPANY_HOLD);
    decided(engine, lease, &mut share, mass).await
}

async fn decided(engine: &Engine, lease: &Lease, share: &mut Share, mass: Mass) -> Result<(), EngineError> {
    let now = engine.clock().now();
    if share.held.is_empty() || mass == Mass::Open {
        return Ok(());
    }
    let held = std::mem::take(&mut share.held);
    if mass == Mass::Single {
        let ids: Vec<String> = held.keys().cloned().collect();
        let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
            let told = rows.into_iter().filter_map(|row| {
                let seen = &held.get(&row.id)?.seen;
                Some(record::let_go(row, seen, now))
            });
            Ok(told.flatten().collect())
        };
        engine.parts.store.commit_tests(Some(lease), &ids, decide).await?;
    }
    Ok(())
}

/// The share is over: what the pass says of the whole provider.
pub(crate) async fn conclude(engine: &Engine, lease: &Lease, mut share: Share) -> Result<(), EngineError> {
    share.going.clear();
    settle(engine, lease, &mut share).await?;
    let subject = format!("provider:{}", share.provider);
    let before: ProviderHealth = engine.parts.store.memory_or_anew(&subject).await?;
    let count = share.count();
    let (after, tells) = before.pass(count, engine.clock().now());
    if after == before && tells.is_empty() {
        return Ok(());
    }
    let mut changes = vec![Change::Remember { subject, doc: json!(after) }];
    changes.extend(tells.iter().map(|tell| incident::provider_change(&share.provider, *tell, count)));
    Ok(engine.parts.store.commit(lease, &changes).await?)
}
