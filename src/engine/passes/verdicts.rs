//! Looks that are over: their verdicts, what they say of the whole provider, and what people hear of both, in one
//! transaction (R22), whichever process looked.
//!
//! What people hear of one key waits while it may be one of many ([`Mass`]): the hold is in the key's health, which asks for
//! another look then. So a process that dies delays an alert and never loses it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::crowd::{Crowd, Mass, ProviderHealth, ProviderTell, WINDOW, WITNESSES};
use crate::domain::verdict::{Health, Occasion, Outcome};
use crate::engine::passes::{egress, incident};
use crate::engine::testing::endpoint::Why;
use crate::engine::testing::probing::{Asked, Look};
use crate::engine::testing::record;
use crate::engine::testing::record::{Folded, Sighting};
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Counting, KeyRow, Known, ProviderRow, StoreError};

/// One look that is over.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    asked: Asked,
    /// Of the secret that was asked with.
    fingerprint: Option<String>,
    occasion: Occasion,
    /// From when on others say something about this key, if they do.
    since: Option<Timestamp>,
}

impl Seen {
    /// The key's id, and what was seen; `None` when its test died.
    pub(crate) fn of(look: Look, why: Why) -> Option<(String, Self)> {
        let asked = look.seen?;
        let occasion = if look.lane.again || why == Why::Person { Occasion::Extra } else { Occasion::Pass };
        let since = counts_since(&look.row.health, &asked);
        Some((look.row.id, Self { asked, fingerprint: look.row.fingerprint, occasion, since }))
    }
}

/// A good look at a key that nothing is held of says nothing about others.
fn counts_since(health: &Health, asked: &Asked) -> Option<Timestamp> {
    let good = matches!(asked.seen.outcome(), Outcome::Valid | Outcome::Unverified | Outcome::RateLimited);
    if good && health.untold_since().is_none() {
        return None;
    }
    let began = health.doubted_at().or_else(|| health.untold_since());
    Some(began.filter(|at| *at <= asked.at.ours).unwrap_or(asked.at.ours))
}

/// What the transaction decides about.
struct Round<'r> {
    engine: &'r Engine,
    provider: &'r ProviderRow,
    why: Why,
    now: Timestamp,
    counting: Counting,
    /// Nothing gets out of this machine.
    cut_off: bool,
}

/// Commits looks at keys of one provider. Answers the rotations whose current key they leave for dead, or in doubt. One
/// row that cannot be read does not keep the others waiting.
pub(crate) async fn commit(
    engine: &Engine,
    provider: &ProviderRow,
    looks: &BTreeMap<String, Seen>,
    why: Why,
) -> Result<Vec<String>, EngineError> {
    match commit_together(engine, provider, looks, why).await {
        Err(EngineError::Store(StoreError::Corrupt(_))) => {}
        done => return done,
    }
    let mut in_doubt = Vec::new();
    for (id, seen) in looks {
        let one = BTreeMap::from([(id.clone(), seen.clone())]);
        match commit_together(engine, provider, &one, why).await {
            Err(EngineError::Store(StoreError::Corrupt(_))) => {}
            done => in_doubt.extend(done?),
        }
    }
    Ok(in_doubt)
}

async fn commit_together(
    engine: &Engine,
    provider: &ProviderRow,
    looks: &BTreeMap<String, Seen>,
    why: Why,
) -> Result<Vec<String>, EngineError> {
    let now = engine.clock().now();
    let recent = now.plus(Span(-WINDOW.0));
    let since = looks.values().filter_map(|seen| seen.since).min().map(|at| at.max(recent));
    let counting = Counting { provider: provider.name.clone(), since, recent };
    let is_silent = |seen: &Seen| seen.asked.seen.outcome() == Outcome::Unreachable;
    let cut_off = looks.values().any(is_silent) && egress::is_open(engine).await?;
    let round = Round { engine, provider, why, now, counting: counting.clone(), cut_off };
    let ids: Vec<String> = looks.keys().cloned().collect();
    let mut in_doubt = Vec::new();
    let decide = |rows: Vec<KeyRow>, known: Known| -> Result<Vec<Change>, EngineError> {
        let folded = round.fold(rows, looks);
        in_doubt.extend(folded.iter().filter_map(Folded::current_in_doubt).map(str::to_owned));
        Ok(round.changes(folded, looks, known))
    };
    engine.parts.store.commit_looks(&ids, &counting, decide).await?;
    Ok(in_doubt)
}

impl Round<'_> {
    fn fold(&self, rows: Vec<KeyRow>, looks: &BTreeMap<String, Seen>) -> Vec<Folded> {
        let folded = rows.into_iter().filter_map(|row| {
            let seen = looks.get(&row.id)?;
            let look = Sighting::new(seen.asked.seen.clone(), seen.occasion).of_kind(&self.provider.kind);
            record::fold(self.engine, row, seen.fingerprint.as_ref(), &look, seen.asked.at)
        });
        folded.collect()
    }

    fn changes(&self, folded: Vec<Folded>, looks: &BTreeMap<String, Seen>, known: Known) -> Vec<Change> {
        let mut known = known;
        let mut changes = self.of_provider(&folded, looks, &mut known);
        let refused = folded.iter().any(Folded::is_refused_first);
        if refused
            && known.recent.doubted + known.recent.turned_bad <= usize::try_from(WITNESSES).unwrap_or(0)
        {
            changes.push(Change::BringForward {
                provider: self.provider.name.clone(),
                at: self.now,
                unseen_since: self.now,
                most: WITNESSES,
            });
        }
        for mut one in folded {
            if let Some(turned) = one.step.health.untold_since() {
                one.hold(self.mass(&one, known).hold(turned, self.now));
            }
            changes.extend(record::tested(self.engine, one));
        }
        changes.sort_by_key(|change| !matches!(change, Change::WantsHealing { .. }));
        changes
    }

    /// Counts these looks, and says what they change for the whole provider.
    fn of_provider(
        &self,
        folded: &[Folded],
        looks: &BTreeMap<String, Seen>,
        known: &mut Known,
    ) -> Vec<Change> {
        let counted = self.counting.since.is_some() || !known.health.is_calm();
        let (mut health, mut tells) = (known.health, Vec::new());
        for one in folded {
            let (before, after) = (one.before(), &one.step.health);
            known.crowd = known.crowd.after(before, after, self.counting.since.unwrap_or(self.now));
            known.recent = known.recent.after(before, after, self.counting.recent);
            let outcome = looks[one.id()].asked.seen.outcome();
            let (heard, tell) =
                health.heard(outcome, self.now, self.engine.parts.tests.interval, self.cut_off);
            health = heard;
            tells.extend(tell);
        }
        if counted {
            let (seen, tell) = health.seen(known.crowd, known.recent);
            health = seen;
            tells.extend(tell);
        }
        let mut changes = self.remember(known.health, health);
        changes.extend(tells.into_iter().map(|tell| self.tell(tell, known.crowd)));
        // While an incident is open, a key that turns bad is one of it.
        known.health.told_incident |= health.told_incident;
        changes
    }

    fn remember(&self, before: ProviderHealth, after: ProviderHealth) -> Vec<Change> {
        let subject = format!("provider:{}", self.provider.name);
        let changed = (after != before).then(|| Change::Remember { subject, doc: json!(after) });
        changed.into_iter().collect()
    }

    fn tell(&self, tell: ProviderTell, crowd: Crowd) -> Change {
        incident::provider_change(&self.provider.name, tell, crowd)
    }

    /// What a key that turned bad is. One that is refused with the first look, with others beside it, waits for what the
    /// others show; a person who asks sees it all.
    fn mass(&self, one: &Folded, known: Known) -> Mass {
        if known.health.told_incident {
            return Mass::Incident;
        }
        let alone = self.why == Why::Person || known.recent.looked < 2;
        match known.crowd.mass() {
            Mass::Single if one.is_refused_first() && !alone => Mass::Open,
            mass => mass,
        }
    }
}
