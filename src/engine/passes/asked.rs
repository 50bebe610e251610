//! Keys that a person asked for: each is looked at now, due or not, by this process or by one that looks at it already.

use std::collections::VecDeque;

use crate::domain::time::{Span, Timestamp};
use crate::engine::EngineError;
use crate::engine::passes::tester::{Source, Tester};
use crate::store::{Claimed, Lane};

/// A person waits this long for another process that looks at a key.
const PATIENCE: Span = Span::seconds(60);
/// Between two looks at what others do.
const PAUSE: Span = Span(200);

/// Keys that are not looked at yet.
pub(crate) struct Asked {
    /// Provider and id of each.
    keys: VecDeque<(String, String)>,
    /// When the person asked.
    since: Timestamp,
    /// When the last of them got further, on the monotonic clock.
    moved_at: Option<Span>,
    /// Another process did not come to its end.
    pub(crate) is_busy: bool,
}

impl Asked {
    /// All of these, by provider and id.
    pub(crate) fn new(keys: &[(String, String)], since: Timestamp) -> Self {
        Self { keys: keys.iter().cloned().collect(), since, moved_at: None, is_busy: false }
    }

    /// The key, when nobody looks at it and nobody did since the person asked. While somebody does it is asked for again;
    /// one that was deleted meanwhile is not.
    async fn claim_one(
        &mut self,
        tester: &mut Tester<'_>,
        (provider, id): (String, String),
    ) -> Result<Option<Claimed>, EngineError> {
        let (store, owner) = (&tester.engine.parts.store, tester.engine.parts.owner.as_str());
        let now = tester.engine.clock().now();
        let Some(claimed) = store.claim_one(&id, (owner, tester.claim_span())).await? else {
            if store.key(&id).await?.is_some() {
                self.keys.push_back((provider, id));
            }
            return Ok(None);
        };
        let row = claimed.keys.first();
        if row.and_then(|row| row.health.looked_at).is_some_and(|at| at >= self.since && at <= now) {
            store.give_back(&[id], owner, None).await?;
            return Ok(None);
        }
        Ok(Some(claimed))
    }

    /// Nothing more is waited for when others were at it for too long.
    async fn wait(&mut self, tester: &mut Tester<'_>) {
        let clock = tester.engine.clock();
        let moved_at = *self.moved_at.get_or_insert(clock.monotonic());
        if clock.monotonic().0 - moved_at.0 >= PATIENCE.0 {
            self.is_busy = true;
            self.keys.clear();
        } else {
            clock.sleep(PAUSE).await;
        }
    }
}

impl Source for Asked {
    async fn feed(&mut self, tester: &mut Tester<'_>) -> Result<(), EngineError> {
        let waiting = self.keys.len();
        for _ in 0..waiting {
            let Some(key) = self.keys.pop_front() else { break };
            // What a person asked for has a lane of its own: the tester is this person's.
            let lane = Lane { provider: key.0.clone(), current: false, again: true };
            if tester.probes.room(&lane) == 0 {
                self.keys.push_front(key);
                break;
            }
            if let Some(claimed) = self.claim_one(tester, key).await? {
                tester.send(&lane, claimed).await?;
            }
        }
        if self.keys.len() < waiting || !tester.probes.is_empty() {
            self.moved_at = None;
        } else if waiting > 0 {
            self.wait(tester).await;
        }
        Ok(())
    }

    fn is_dry(&self) -> bool {
        self.keys.is_empty()
    }
}
