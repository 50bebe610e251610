//! One directive at a time: load → facts → [`next`] → perform → commit.

use serde_json::json;

use super::session::Session;
use super::{Engine, EngineError};
use crate::domain::rotation::facts::{Facts, Holding, KeyFacts, proved_now};
use crate::domain::rotation::{Directive, Event, KeyRef, Run, Target, apply, next};
use crate::domain::time::{Span, Timestamp};
use crate::store::{Change, EffectKind, EffectRow, EffectStatus, HoldingRow, RunRow};

/// What one step did, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The run's state after the step.
    pub state: &'static str,
    /// What was done, in a few words; `None` when nothing was.
    pub did: Option<String>,
    /// What comes now.
    pub progress: Progress,
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another step, at once.
    Again,
    /// Nothing before this moment on our clock, and why.
    Wait(Timestamp, Vec<String>),
    /// The run is over.
    Finished,
}

/// What a performed directive says of itself, and the run after it.
pub(crate) struct Performed {
    pub(crate) run: Run,
    pub(crate) did: String,
}

impl Session<'_> {
    /// Does the next thing for a run of this account.
    pub async fn step(&mut self, run_id: &str) -> Result<Report, EngineError> {
        if !self.claimed.iter().any(|id| id == run_id) {
            self.engine.parts.store.claim_run(&self.lease, run_id).await?;
            self.claimed.push(run_id.to_owned());
        }
        let row = self.engine.parts.store.run(run_id).await?.ok_or_else(|| EngineError::Usage {
            text: format!("there is no run {run_id}"),
            hint: Some("`rekeyd runs list` shows them".to_owned()),
        })?;
        let facts = self.facts(&row.run).await?;
        let directive = next(&row.run, &facts);
        tracing::debug!(run = run_id, state = row.run.state.word(), directive = ?kind_of(&directive), "step");
        match directive {
            Directive::Finished => {
                Ok(Report { state: row.run.state.word(), did: None, progress: Progress::Finished })
            }
            Directive::Wait { until, blockers } => self.wait(&row, until, blockers).await,
            acting => {
                let done = self.perform(&row.run, acting).await?;
                let progress =
                    if done.run.state.is_terminal() { Progress::Finished } else { Progress::Again };
                Ok(Report { state: done.run.state.word(), did: Some(done.did), progress })
            }
        }
    }

    async fn wait(
        &self,
        row: &RunRow,
        until: Timestamp,
        blockers: Vec<String>,
    ) -> Result<Report, EngineError> {
        if row.wake_at != until || row.blockers != blockers {
            let change = Change::Run {
                run: Box::new(row.run.clone()),
                wake_at: until,
                blockers: blockers.clone(),
                error: row.error.clone(),
            };
            self.commit(&[change]).await?;
        }
        Ok(Report { state: row.run.state.word(), did: None, progress: Progress::Wait(until, blockers) })
    }

    /// Commits an event with all that follows from it and whatever else belongs to the same fact.
    pub(crate) async fn record(
        &self,
        run: &Run,
        event: &Event,
        mut extra: Vec<Change>,
    ) -> Result<Run, EngineError> {
        let after = apply(run, event)?;
        let error = match event {
            Event::Postponed { reason, .. } | Event::Parked { reason } => Some(reason.clone()),
            _ => after.state.reason().map(str::to_owned),
        };
        extra.push(run_change(&after, error));
        extra.extend(self.consequences(run, event, &after));
        if after.state.is_terminal() {
            extra.extend(self.closing(&run.id).await?);
        }
        extra.extend(self.next_due_at_end(&after).await?);
        self.commit(&extra).await?;
        tracing::info!(
            run = %run.id, rotation = %run.rotation, from = run.state.word(), to = after.state.word(),
            event = event_name(event), "run"
        );
        Ok(after)
    }

    /// Nobody repeats or looks up what a run left in doubt once it is over. What a destination may hold stays in its
    /// rows, a created name stays in the journal for ever; toggles are settled by looking, see `session`.
    pub(crate) async fn closing(&self, run: &str) -> Result<Vec<Change>, EngineError> {
        let effects = self.engine.parts.store.effects(run).await?;
        let open = effects.into_iter().filter(|effect| {
            matches!(effect.status, EffectStatus::Intended | EffectStatus::Unknown)
                && matches!(effect.kind, EffectKind::Create | EffectKind::Publish | EffectKind::Deploy)
        });
        let settle = |effect: EffectRow| Change::Settle {
            id: effect.id,
            status: EffectStatus::Failed,
            evidence: json!({ "settled_by": "the end of the run", "before": effect.evidence }),
        };
        Ok(open.map(settle).collect())
    }

    /// Everything that the decision may look at, as this session knows it.
    async fn facts(&self, run: &Run) -> Result<Facts, EngineError> {
        let store = &self.engine.parts.store;
        let rotation = store.rotation(&run.rotation).await?;
        let keys = run_keys(run);
        let holdings = store.holdings(&run.rotation).await?;
        Ok(Facts {
            now: self.now(),
            frozen: store.freeze_of(&self.identity).await?.is_some(),
            paused: rotation.is_some_and(|rotation| rotation.paused),
            detached: self.another_account(&run.account).or_else(|| self.engine.detached(run)),
            dropped: self.engine.dropped(run),
            request: store.open_request(&run.id).await?,
            strays: self.listing.as_ref().map(|listing| listing.strays_left),
            candidate: self.key_facts(run.candidate.as_ref()).await?,
            predecessor: self.key_facts(run.predecessor.as_ref()).await?,
            disable_in_doubt: self.disable_in_doubt(run.predecessor.as_ref()).await?,
            remote: self.remote.clone(),
            // A released destination does not count for the keys it was released for.
            holdings: proved_now(holdings.iter().map(|row| row.fact.clone()))
                .into_iter()
                .filter(|fact| keys.contains(&fact.key) && !released(&holdings, fact))
                .collect(),
        })
    }

    /// R8: why work of `account` must not go on with this session's provisioning key.
    pub(crate) fn another_account(&self, account: &str) -> Option<String> {
        (account != self.identity).then(|| {
            format!(
                "the provisioning key of account {} belongs to another account now ({} instead of {account}): put the \
                 right key back",
                self.account.name, self.identity
            )
        })
    }

    async fn key_facts(&self, key: Option<&KeyRef>) -> Result<KeyFacts, EngineError> {
        let Some(key) = key else { return Ok(KeyFacts::default()) };
        Ok(self.engine.parts.store.key(&key.id).await?.map(|row| row.facts).unwrap_or_default())
    }

    /// Only what was settled by looking, or can no longer land, is out of doubt, see `session`.
    async fn disable_in_doubt(&self, key: Option<&KeyRef>) -> Result<bool, EngineError> {
        let Some(key) = key else { return Ok(false) };
        let open = self.engine.parts.store.open_toggles(&self.identity).await?;
        Ok(open.iter().any(|effect| effect.kind == EffectKind::Disable && effect.target == key.hash))
    }

    /// "Not now": the run waits with backoff and says why.
    pub(crate) async fn postpone(
        &self,
        run: &Run,
        reason: String,
        at_least: Option<Span>,
        extra: Vec<Change>,
    ) -> Result<Run, EngineError> {
        let wait = self.engine.backoff(run.patience.attempts).max(at_least.unwrap_or(Span::ZERO));
        let not_before = self.engine.clock().now().plus(wait);
        self.record(run, &Event::Postponed { reason, not_before }, extra).await
    }
}

impl Engine {
    /// R14: what of a run's snapshot the configuration no longer says.
    fn detached(&self, run: &Run) -> Option<String> {
        let Some(rotation) = self.parts.rotations.get(&run.rotation) else {
            return Some(format!("the configuration no longer has rotation {}", run.rotation));
        };
        run.policy.targets.iter().find_map(|target| {
            let listed = rotation.policy.targets.iter().find(|now| now.name == target.name);
            match listed {
                None => Some(format!(
                    "the configuration no longer publishes to destination {}: put it back, or say \
                     `rekeyd runs release {} {}`",
                    target.name, run.id, target.name
                )),
                Some(now) if now.address != target.address => Some(format!(
                    "destination {} now points somewhere else ({} instead of {}): put it back, or say \
                     `rekeyd runs release {} {}`",
                    target.name, now.address, target.address, run.id, target.name
                )),
                Some(_) => None,
            }
        })
    }
}

impl Engine {
    /// What of a run's snapshot no longer has to be brought to the new key, by the configuration's word.
    fn dropped(&self, run: &Run) -> Vec<String> {
        let Some(rotation) = self.parts.rotations.get(&run.rotation) else { return Vec::new() };
        let listed = |target: &Target| {
            let same = |now: &&Target| now.name == target.name && now.address == target.address;
            rotation.policy.targets.iter().find(same).is_some_and(|now| now.required)
        };
        run.policy.targets.iter().filter(|target| !listed(target)).map(|target| target.name.clone()).collect()
    }
}

/// The run as it is now, awake.
pub(crate) fn run_change(run: &Run, error: Option<String>) -> Change {
    Change::Run { run: Box::new(run.clone()), wake_at: Timestamp(0), blockers: Vec::new(), error }
}

fn released(rows: &[HoldingRow], fact: &Holding) -> bool {
    rows.iter().any(|row| row.released && row.fact.address == fact.address && row.fact.key == fact.key)
}

/// Ids of all keys that a run deals with.
fn run_keys(run: &Run) -> Vec<String> {
    let retirees = run.retirees.iter().map(|retiree| &retiree.key);
    run.candidate.iter().chain(run.predecessor.iter()).chain(retirees).map(|key| key.id.clone()).collect()
}

fn event_name(event: &Event) -> String {
    format!("{event:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

fn kind_of(directive: &Directive) -> String {
    format!("{directive:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
