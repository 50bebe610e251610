//! Many tests at once, without crowding anybody: so many in all, so many at one provider, and the starts at one
//! host apart from each other. Every host has a lane of its own, so providers are interleaved.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use url::Url;

use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::{Judgement, Observation};
use crate::engine::testing::endpoint;
use crate::engine::{Engine, TestPolicy};
use crate::net::Deadline;
use crate::provider::Tester;
use crate::store::KeyRow;

/// A key to be tested, opened.
pub(crate) struct Subject {
    pub(crate) row: KeyRow,
    pub(crate) kind: String,
    pub(crate) base_url: Option<Url>,
    pub(crate) secret: Secret,
}

/// The way to one host: when the last test there began.
type Gate = Arc<Mutex<Option<Span>>>;

struct Errand {
    tester: Arc<dyn Tester>,
    clock: Arc<dyn Clock>,
    policy: TestPolicy,
    gate: Gate,
    everywhere: Arc<Semaphore>,
    here: Arc<Semaphore>,
}

impl Errand {
    async fn run(self, subject: Subject) -> (Subject, Observation) {
        if endpoint::is_nowhere(&subject.row, subject.base_url.as_ref()) {
            return (subject, Observation::new(Judgement::UNEXPECTED, endpoint::NOWHERE));
        }
        let mut last = self.gate.lock().await;
        let permits = (self.here.acquire().await, self.everywhere.acquire().await);
        if let (Err(_), _) | (_, Err(_)) = permits {
            return (subject, Observation::new(Judgement::UNEXPECTED, "the tests were stopped"));
        }
        if let Some(last) = *last {
            let apart = jittered(self.policy.host_spacing, self.clock.fraction());
            let wait = Span(last.0 + apart.0 - self.clock.monotonic().0);
            self.clock.sleep(Span(wait.0.max(0))).await;
        }
        *last = Some(self.clock.monotonic());
        drop(last);
        let deadline = Deadline::after(self.policy.timeout.to_std());
        let base = subject.base_url.as_ref();
        let settings = &subject.row.settings;
        let seen = self.tester.test(&subject.kind, base, &subject.secret, settings, deadline).await;
        (subject, seen)
    }
}

/// Once to 1.4 times the spacing: ±20 % around the middle, and never less than was asked for.
fn jittered(spacing: Span, fraction: f64) -> Span {
    Span(spacing.0 + spacing.portion(0.4 * fraction).0)
}

/// Tests all of them. A test that dies with its task is missing in the answer.
pub(crate) async fn probe_all(engine: &Engine, subjects: Vec<Subject>) -> Vec<(Subject, Observation)> {
    let policy = engine.parts.tests;
    let everywhere = Arc::new(Semaphore::new(policy.concurrency.max(1)));
    let mut hosts: BTreeMap<String, Gate> = BTreeMap::new();
    let mut providers: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for subject in subjects {
        let host = subject.base_url.as_ref().map_or_else(
            || subject.kind.clone(),
            |url| format!("{}:{:?}", url.host_str().unwrap_or_default(), url.port_or_known_default()),
        );
        let here = providers
            .entry(subject.row.provider.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(policy.per_provider_concurrency.max(1))));
        let errand = Errand {
            tester: Arc::clone(&engine.parts.tester),
            clock: Arc::clone(&engine.parts.clock),
            policy,
            gate: Arc::clone(hosts.entry(host).or_default()),
            everywhere: Arc::clone(&everywhere),
            here: Arc::clone(here),
        };
        tasks.spawn(errand.run(subject));
    }
    let mut seen = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(one) => seen.push(one),
            Err(error) => tracing::warn!(%error, "a test died"),
        }
    }
    seen
}
