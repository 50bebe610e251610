//! What changes, for who waits for it: one question to the store for all of them together.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::time::{Span, Timestamp};
use crate::domain::topic::Topic;
use crate::engine::{Engine, EngineError};
use crate::store::Happened;

/// What began earlier may be committed later: so far back is looked each time.
const LATE: Span = Span::seconds(10);
/// Who was away for longer is told of everything.
const AWAY: Span = Span::minutes(10);

/// What changed between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Up to when, on the database's clock: who asks again says it.
    pub until: Timestamp,
    /// What pages are about.
    pub topics: BTreeSet<Topic>,
    /// Runs that are open, or were at the look before.
    pub runs: BTreeSet<String>,
}

impl Changed {
    /// Whatever can change.
    pub fn everything(until: Timestamp) -> Self {
        Self { until, topics: Topic::ALL.into(), runs: BTreeSet::new() }
    }
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Feed {
    /// When it began, on the database's clock and on our monotonic one.
    began: Option<(Timestamp, Span)>,
    seen: BTreeMap<String, Timestamp>,
    runs: BTreeMap<String, String>,
}

impl Feed {
    /// What changed since the last look; nothing at the first.
    pub async fn look(&mut self, engine: &Engine) -> Result<Changed, EngineError> {
        let clock = engine.clock().monotonic();
        let Some((began, at)) = self.began else {
            let now = engine.store().now().await?;
            self.take(engine.store().happened(now.plus(Span(-LATE.0))).await?, now);
            self.began = Some((now, clock));
            return Ok(Changed { until: now, topics: BTreeSet::new(), runs: BTreeSet::new() });
        };
        let now = began.plus(Span(clock.0 - at.0));
        Ok(self.take(engine.store().happened(now.plus(Span(-LATE.0))).await?, now))
    }

    fn take(&mut self, happened: Vec<Happened>, now: Timestamp) -> Changed {
        let is_much = happened.len() >= Happened::MOST;
        let mut changed = Changed { until: now, topics: BTreeSet::new(), runs: BTreeSet::new() };
        let mut open = BTreeMap::new();
        for one in happened {
            if let Some(stands) = one.stands {
                open.insert(one.id, stands);
            } else if self.seen.insert(one.id, one.at).is_none() {
                changed.topics.extend(Topic::of_action(&one.what));
            }
        }
        if is_much && !changed.topics.is_empty() {
            // What was not read may concern whatever there is.
            changed.topics.extend(Topic::ALL);
        }
        let differs = |id: &&String| self.runs.get(*id) != open.get(*id);
        changed.runs = self.runs.keys().chain(open.keys()).filter(differs).cloned().collect();
        if !changed.runs.is_empty() {
            changed.topics.extend([Topic::Runs, Topic::Rotations]);
        }
        self.runs = open;
        let forgotten = now.plus(Span(-2 * LATE.0));
        self.seen.retain(|_, at| *at >= forgotten);
        changed
    }
}

/// What happened since somebody was told last; everything when that is long ago, or much.
pub async fn missed(engine: &Engine, since: Timestamp) -> Result<Changed, EngineError> {
    let now = engine.store().now().await?;
    if now.since(since).0 > AWAY.0 || since > now {
        return Ok(Changed::everything(now));
    }
    Ok(Feed::default().take(engine.store().happened(since).await?, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, at: i64, what: &str) -> Happened {
        Happened { id: id.to_owned(), at: Timestamp(at), what: what.to_owned(), stands: None }
    }

    fn run(id: &str, stands: &str) -> Happened {
        Happened { stands: Some(stands.to_owned()), ..row(id, 0, Happened::RUN) }
    }

    #[test]
    fn each_thing_is_told_once_however_late_it_is_committed() {
        let mut feed = Feed::default();
        let topics = |changed: Changed| changed.topics.into_iter().map(Topic::word).collect::<Vec<_>>();
        assert_eq!(topics(feed.take(vec![row("a", 1, "user.added")], Timestamp(10))), ["people", "audit"]);
        let second =
            feed.take(vec![row("a", 1, "user.added"), row("b", 9, Happened::ALERT)], Timestamp(1000));
        assert_eq!(topics(second), ["alerts", "audit"]);
        let third = vec![row("b", 9, Happened::ALERT), row("late", 8, "destination.written")];
        assert_eq!(topics(feed.take(third, Timestamp(2000))), ["rotations", "destinations", "audit"]);
        assert!(feed.take(Vec::new(), Timestamp(3000)).topics.is_empty());
    }

    #[test]
    fn a_run_is_told_when_it_stands_otherwise_and_when_it_is_over() {
        let mut feed = Feed::default();
        feed.take(vec![run("r", "grace 1")], Timestamp(1));
        assert!(feed.take(vec![run("r", "grace 1")], Timestamp(2)).runs.is_empty());
        for next in [vec![run("r", "grace 2")], Vec::new()] {
            assert!(feed.take(next, Timestamp(3)).runs.contains("r"));
        }
    }
}
