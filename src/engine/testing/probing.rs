//! Many tests at once, without crowding anybody: so many in all, so many at one provider, and the starts at one
//! host apart from each other. Every look is given out when it is over, whatever else is on its way.
//!
//! Four lanes lead to a host. Only the starts are shared: what is slow or hangs in one lane takes no place in
//! another, so a second look at production's key starts at once beside hundreds of keys that wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};

use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::domain::verdict::{Judgement, Observation};
use crate::engine::testing::endpoint::Endpoint;
use crate::engine::{Engine, TestPolicy};
use crate::net::Deadline;
use crate::provider::Tester;
use crate::store::KeyRow;

/// Looks that are given out together, at most: the transaction that takes them in stays short.
const TOGETHER: usize = 32;

/// A key to be tested, opened.
pub(crate) struct Subject {
    pub(crate) row: KeyRow,
    pub(crate) kind: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) secret: Secret,
}

/// How urgent a look is; the last is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The turn of any key.
    Ordinary,
    /// A second look at any key.
    Again,
    /// The turn of a rotation's current key.
    Current,
    /// A second look at a rotation's current key.
    CurrentAgain,
}

/// A look that is over. Without an observation its test died with its task.
pub(crate) struct Look {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) seen: Option<Asked>,
}

/// What a key showed, and when it was asked: a proof is as old as its question (R19).
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Stamp,
    pub(crate) seen: Observation,
}

/// When the last test at a host began.
type Gate = Arc<Mutex<Option<Span>>>;

/// The places of one lane.
struct Places {
    everywhere: Arc<Semaphore>,
    providers: BTreeMap<String, Arc<Semaphore>>,
    /// Who is next at a host: one of each lane stands at its gate.
    next: BTreeMap<String, Arc<Mutex<()>>>,
}

struct Errand {
    tester: Arc<dyn Tester>,
    clock: Arc<dyn Clock>,
    policy: TestPolicy,
    next: Arc<Mutex<()>>,
    gate: Gate,
    everywhere: Arc<Semaphore>,
    here: Arc<Semaphore>,
}

impl Errand {
    async fn run(self, subject: Subject) -> Asked {
        let unasked = |clock: &dyn Clock, why: &str| {
            let at = Stamp { ours: clock.now(), theirs: None };
            Asked { at, seen: Observation::new(Judgement::UNEXPECTED, why) }
        };
        let base = match subject.endpoint.base() {
            Ok(base) => base,
            Err(why) => return unasked(&*self.clock, why),
        };
        let next = self.next.lock().await;
        let permits = (self.here.acquire().await, self.everywhere.acquire().await);
        if let (Err(_), _) | (_, Err(_)) = permits {
            return unasked(&*self.clock, "the tests were stopped");
        }
        let mut last = self.gate.lock().await;
        if let Some(last) = *last {
            let apart = jittered(self.policy.host_spacing, self.clock.fraction());
            let wait = Span(last.0 + apart.0 - self.clock.monotonic().0);
            self.clock.sleep(Span(wait.0.max(0))).await;
        }
        *last = Some(self.clock.monotonic());
        drop(last);
        drop(next);
        let deadline = Deadline::after(self.policy.timeout.to_std());
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

/// Once to 1.4 times the spacing: ±20 % around the middle, and never less than was asked for.
fn jittered(spacing: Span, fraction: f64) -> Span {
    Span(spacing.0 + spacing.portion(0.4 * fraction).0)
}

/// Tests on their way.
pub(crate) struct Probes {
    tester: Arc<dyn Tester>,
    clock: Arc<dyn Clock>,
    policy: TestPolicy,
    lanes: BTreeMap<Lane, Places>,
    gates: BTreeMap<String, Gate>,
    tasks: JoinSet<Asked>,
    /// Key and provider of each.
    going: HashMap<Id, (String, String)>,
}

impl Probes {
    /// None yet.
    pub(crate) fn new(engine: &Engine) -> Self {
        Self {
            tester: Arc::clone(&engine.parts.tester),
            clock: Arc::clone(&engine.parts.clock),
            policy: engine.parts.tests,
            lanes: BTreeMap::new(),
            gates: BTreeMap::new(),
            tasks: JoinSet::new(),
            going: HashMap::new(),
        }
    }

    /// True when all are over and given out.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The keys that are being looked at.
    pub(crate) fn going(&self) -> BTreeSet<&str> {
        self.going.values().map(|(id, _)| id.as_str()).collect()
    }

    /// Begins a look.
    pub(crate) fn send(&mut self, subject: Subject, lane: Lane) {
        let host = match &subject.endpoint {
            Endpoint::At(url) | Endpoint::Given(url) => {
                format!("{}:{:?}", url.host_str().unwrap_or_default(), url.port_or_known_default())
            }
            Endpoint::Catalog | Endpoint::Nowhere(_) => subject.kind.clone(),
        };
        let policy = self.policy;
        let places = self.lanes.entry(lane).or_insert_with(|| Places::new(policy));
        let provider = subject.row.provider.clone();
        let errand = Errand {
            tester: Arc::clone(&self.tester),
            clock: Arc::clone(&self.clock),
            policy,
            here: places.here(&provider, policy),
            everywhere: Arc::clone(&places.everywhere),
            next: Arc::clone(places.next.entry(host.clone()).or_default()),
            gate: Arc::clone(self.gates.entry(host).or_default()),
        };
        let key = subject.row.id.clone();
        let task = self.tasks.spawn(errand.run(subject));
        self.going.insert(task.id(), (key, provider));
    }

    /// Waits until a look is over; answers it, and those that are over at the same moment. None when none is on
    /// its way. Nothing is lost when this is dropped.
    pub(crate) async fn over(&mut self) -> Vec<Look> {
        let Some(first) = self.tasks.join_next_with_id().await else { return Vec::new() };
        let mut looks = vec![self.look(first)];
        while looks.len() < TOGETHER
            && let Some(next) = self.tasks.try_join_next_with_id()
        {
            looks.push(self.look(next));
        }
        looks
    }

    fn look(&mut self, done: Result<(Id, Asked), JoinError>) -> Look {
        let (task, seen) = match done {
            Ok((task, seen)) => (task, Some(seen)),
            Err(error) => {
                tracing::warn!(%error, "a test died");
                (error.id(), None)
            }
        };
        let (id, provider) = self.going.remove(&task).unwrap_or_default();
        Look { id, provider, seen }
    }
}

impl Places {
    fn new(policy: TestPolicy) -> Self {
        let everywhere = Arc::new(Semaphore::new(policy.concurrency.max(1)));
        Self { everywhere, providers: BTreeMap::new(), next: BTreeMap::new() }
    }

    fn here(&mut self, provider: &str, policy: TestPolicy) -> Arc<Semaphore> {
        let all = || Arc::new(Semaphore::new(policy.per_provider_concurrency.max(1)));
        Arc::clone(self.providers.entry(provider.to_owned()).or_insert_with(all))
    }
}
