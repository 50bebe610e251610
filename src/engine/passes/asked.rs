//! Keys that a person asked for: each is looked at now, due or not, by this process or by one that looks at it already.

use std::collections::VecDeque;

use crate::domain::time::{Span, Timestamp};
use crate::engine::EngineError;
use crate::engine::passes::tester::{Source, Tester};
use crate::store::{Claimed, KeyRow, Lane, Role};

/// A person waits this long for another process that looks at a key.
const PATIENCE: Span = Span::seconds(60);
/// Between two looks at what others do.
const PAUSE: Span = Span(200);

/// Keys that are not looked at yet.
pub(crate) struct Asked {
    ids: VecDeque<String>,
    asked_at: Timestamp,
    /// When the last of them got further, on the monotonic clock.
    moved_at: Option<Span>,
    /// Another process did not come to its end.
    pub(crate) is_busy: bool,
}

impl Asked {
    /// All of these.
    pub(crate) fn new(ids: &[String], asked_at: Timestamp) -> Self {
        Self { ids: ids.iter().cloned().collect(), asked_at, moved_at: None, is_busy: false }
    }

    async fn claim_one(
        &mut self,
        tester: &mut Tester<'_>,
        id: String,
    ) -> Result<Option<(Lane, Claimed)>, EngineError> {
        let (store, owner) = (&tester.engine.parts.store, tester.engine.parts.owner.as_str());
        let now = tester.engine.clock().now();
        let Some(claimed) = store.claim_one(&id, (owner, tester.claim_span())).await? else {
            self.ids.push_back(id);
            return Ok(None);
        };
        let row = claimed.keys.first();
        // Somebody looked at it since the person asked.
        if row.and_then(|row| row.health.looked_at).is_some_and(|at| at >= self.asked_at && at <= now) {
            store.give_back(&[id], owner, None).await?;
            return Ok(None);
        }
        Ok(row.map(lane).map(|lane| (lane, claimed)))
    }
}

impl Source for Asked {
    async fn claim(&mut self, tester: &mut Tester<'_>) -> Result<Vec<(Lane, Claimed)>, EngineError> {
        let clock = tester.engine.clock();
        let moved_at = *self.moved_at.get_or_insert(clock.monotonic());
        let (mut all, waiting) = (Vec::new(), self.ids.len());
        for _ in 0..waiting {
            if tester.probes.is_full(all.len()) {
                return Ok(all);
            }
            let Some(id) = self.ids.pop_front() else { break };
            all.extend(self.claim_one(tester, id).await?);
        }
        if self.ids.len() < waiting {
            self.moved_at = Some(clock.monotonic());
        } else if waiting > 0 && clock.monotonic().0 - moved_at.0 >= PATIENCE.0 {
            self.is_busy = true;
            self.ids.clear();
        } else if waiting > 0 && all.is_empty() {
            clock.sleep(PAUSE).await;
        }
        Ok(all)
    }

    fn is_dry(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What a person asked for waits beside nothing else, a process of its own aside.
fn lane(row: &KeyRow) -> Lane {
    Lane { provider: row.provider.clone(), current: row.role == Role::Current, again: true }
}
