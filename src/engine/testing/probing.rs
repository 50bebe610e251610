//! Many tests at once, without crowding anybody: so many in all, and so many at one provider. Every look is given out when
//! it is over, whatever else is on its way.
//!
//! Keys wait in lanes ([`Lane`]): what is slow or hangs in one lane takes no place in another, so that a second look at
//! production's key starts at once beside hundreds of keys that wait. Only the pace at a host is common to all, and to
//! all processes; it is kept in the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};

use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::domain::verdict::{Judgement, Observation};
use crate::engine::testing::endpoint::Endpoint;
use crate::engine::{Engine, TestPolicy};
use crate::net::Deadline;
use crate::provider::Tester;
use crate::store::{KeyRow, Lane};

/// Looks that are given out together, at most: the transaction that takes them in stays short.
const TOGETHER: usize = 32;

/// A key to be tested, opened.
pub(crate) struct Subject {
    pub(crate) row: KeyRow,
    pub(crate) kind: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) secret: Secret,
}

impl Subject {
    /// Which host is asked: tests there keep a common pace.
    pub(crate) fn host(&self) -> String {
        match &self.endpoint {
            Endpoint::At(url) | Endpoint::Given(url) => {
                format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0))
            }
            Endpoint::Catalog | Endpoint::Nowhere(_) => self.kind.clone(),
        }
    }
}

/// A look that is over. Without an observation its test died with its task.
pub(crate) struct Look {
    pub(crate) row: KeyRow,
    pub(crate) lane: Lane,
    pub(crate) seen: Option<Asked>,
}

/// What a key showed, and when it was asked: a proof is as old as its question (R19).
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Stamp,
    pub(crate) seen: Observation,
}

struct Errand {
    tester: Arc<dyn Tester>,
    clock: Arc<dyn Clock>,
    timeout: Span,
    /// Its place in the pace of the host.
    wait: Span,
    /// Where it stands in line: its lane, then all lanes beside it.
    lines: [Arc<Semaphore>; 2],
}

impl Errand {
    async fn run(self, subject: Subject) -> Asked {
        let base = match subject.endpoint.base() {
            Ok(base) => base,
            Err(why) => {
                let at = Stamp { ours: self.clock.now(), theirs: None };
                return Asked { at, seen: Observation::new(Judgement::UNEXPECTED, why) };
            }
        };
        let mut places = Vec::new();
        for line in self.lines {
            places.push(line.acquire_owned().await);
        }
        if self.wait > Span::ZERO {
            self.clock.sleep(self.wait).await;
        }
        let deadline = Deadline::after(self.timeout.to_std());
        let settings = &subject.row.settings;
        let asked = Moment::now(&*self.clock);
        let seen = self.tester.test(&subject.kind, base, &subject.secret, settings, deadline).await;
        Asked { at: asked.stamp(&*self.clock, &seen), seen }
    }
}

/// When a key is asked, on our clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    ours: Timestamp,
    monotonic: Span,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { ours: clock.now(), monotonic: clock.monotonic() }
    }

    /// The same moment on both clocks, once the answer told the provider's: it told that of the answer, and the question
    /// was earlier by as long as it took.
    pub(crate) fn stamp(self, clock: &dyn Clock, seen: &Observation) -> Stamp {
        let took = Span(clock.monotonic().0 - self.monotonic.0);
        Stamp { ours: self.ours, theirs: seen.date.map(|date| date.plus(Span(-took.0))) }
    }
}

/// What lies beside each other and shares the places of a process: second looks at current keys, and so on.
type Class = (bool, bool);

fn class(lane: &Lane) -> Class {
    (lane.current, lane.again)
}

/// Tests on their way, or in line.
pub(crate) struct Probes {
    tester: Arc<dyn Tester>,
    clock: Arc<dyn Clock>,
    policy: TestPolicy,
    tasks: JoinSet<Asked>,
    going: HashMap<Id, (KeyRow, Lane)>,
    /// How many are on their way in each lane.
    lanes: BTreeMap<Lane, usize>,
    /// As many places as may be asked at one time.
    lane_places: BTreeMap<Lane, Arc<Semaphore>>,
    class_places: BTreeMap<Class, Arc<Semaphore>>,
}

impl Probes {
    /// None yet.
    pub(crate) fn new(engine: &Engine) -> Self {
        Self {
            tester: Arc::clone(&engine.parts.tester),
            clock: Arc::clone(&engine.parts.clock),
            policy: engine.parts.tests.clone(),
            tasks: JoinSet::new(),
            going: HashMap::new(),
            lanes: BTreeMap::new(),
            lane_places: BTreeMap::new(),
            class_places: BTreeMap::new(),
        }
    }

    /// True when all are over and given out.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The keys that are being looked at.
    pub(crate) fn going(&self) -> impl Iterator<Item = &str> {
        self.going.values().map(|(row, _)| row.id.as_str())
    }

    /// How many more looks may be sent in a lane. Where no pace is kept, as many again stand in line, so that a place
    /// which becomes free is taken at once, and not after the verdict of its last look is committed.
    pub(crate) fn room(&self, lane: &Lane) -> usize {
        let ahead = if self.policy.host_spacing > Span::ZERO { 1 } else { 2 };
        let beside = |other: &&Lane| class(other) == class(lane);
        let all: usize = self.lanes.iter().filter(|(other, _)| beside(other)).map(|(_, count)| count).sum();
        let here = self.lanes.get(lane).copied().unwrap_or_default();
        let (whole, own) = self.places();
        (whole * ahead).saturating_sub(all).min((own * ahead).saturating_sub(here))
    }

    /// How many looks may be on their way at one time in a class, and in a lane.
    fn places(&self) -> (usize, usize) {
        (self.policy.concurrency.max(1), self.policy.per_provider_concurrency.max(1))
    }

    fn lines(&mut self, lane: &Lane) -> [Arc<Semaphore>; 2] {
        let (whole, own) = self.places();
        let of = |places| Arc::new(Semaphore::new(places));
        let lane_line = self.lane_places.entry(lane.clone()).or_insert_with(|| of(own));
        let class_line = self.class_places.entry(class(lane)).or_insert_with(|| of(whole));
        [Arc::clone(lane_line), Arc::clone(class_line)]
    }

    /// Begins a look, as soon as there is a place for it, after its wait.
    pub(crate) fn send(&mut self, subject: Subject, lane: Lane, wait: Span) {
        let lines = self.lines(&lane);
        let errand = Errand {
            tester: Arc::clone(&self.tester),
            clock: Arc::clone(&self.clock),
            timeout: self.policy.timeout,
            wait,
            lines,
        };
        let row = subject.row.clone();
        *self.lanes.entry(lane.clone()).or_default() += 1;
        let task = self.tasks.spawn(errand.run(subject));
        self.going.insert(task.id(), (row, lane));
    }

    /// Waits until a look is over; answers it, and those that are over at the same moment. None when none is on
    /// its way. Nothing is lost when this is dropped.
    pub(crate) async fn over(&mut self) -> Vec<Look> {
        let Some(first) = self.tasks.join_next_with_id().await else { return Vec::new() };
        let mut looks: Vec<Look> = self.look(first).into_iter().collect();
        while looks.len() < TOGETHER
            && let Some(next) = self.tasks.try_join_next_with_id()
        {
            looks.extend(self.look(next));
        }
        looks
    }

    fn look(&mut self, done: Result<(Id, Asked), JoinError>) -> Option<Look> {
        let (task, seen) = match done {
            Ok((task, seen)) => (task, Some(seen)),
            Err(error) => {
                tracing::warn!(%error, "a test died");
                (error.id(), None)
            }
        };
        let (row, lane) = self.going.remove(&task)?;
        if let Some(count) = self.lanes.get_mut(&lane) {
            *count = count.saturating_sub(1);
        }
        self.lanes.retain(|_, count| *count > 0);
        Some(Look { row, lane, seen })
    }
}
