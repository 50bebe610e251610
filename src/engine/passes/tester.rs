//! The tester: claims keys that are due, looks at them, and commits each verdict when its look is over (R22).
//!
//! Keys wait in lanes, a few of each are claimed at a time, and as many as are looked at: so its memory is that of the looks
//! on their way, several processes share what is due, and what hangs delays only its own lane. Dead current keys are
//! healed beside the looks, each by itself.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::engine::passes::beside::Beside;
use crate::engine::passes::verdicts::Seen;
use crate::engine::passes::{heal, reschedule, verdicts};
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::Why;
use crate::engine::testing::probing::{Look, Probes, Subject};
use crate::engine::{Engine, EngineError};
use crate::store::{Claimed, KeyRow, Lane, ProviderRow};

/// Between two looks at what became due meanwhile.
const LOOK: Span = Span::seconds(1);
/// After this long a pass comes to its end, and the next one goes on.
const SHIFT: Span = Span::minutes(20);
/// A key whose turn at its host is later than this is given back until then: a claim reaches no further than an hour.
const HORIZON: Span = Span::minutes(20);
/// What cannot be opened or read is tried again after this.
const UNREADABLE: Span = Span::seconds(30);

/// Where keys come from.
pub(crate) trait Source: Send {
    /// Claims what may be looked at now, as far as there is room, and sends it off.
    async fn feed(&mut self, tester: &mut Tester<'_>) -> Result<(), EngineError>;
    /// True when nothing more will come.
    fn is_dry(&self) -> bool;
}

/// Looks on their way, and what belongs to them.
pub(crate) struct Tester<'e> {
    pub(crate) engine: &'e Engine,
    why: Why,
    stop: &'e CancellationToken,
    pub(crate) providers: BTreeMap<String, ProviderRow>,
    pub(crate) probes: Probes,
    healing: Beside<'e, heal::Answer>,
    asking: BTreeSet<String>,
    /// When it last asked for the healings that wait, on the monotonic clock.
    waited_at: Option<Span>,
    /// Rotations that are being healed.
    pub(crate) healed: Vec<String>,
}

/// What happens next.
enum Turn {
    Looks(Vec<Look>),
    Healed(heal::Answer),
    Time,
}

impl<'e> Tester<'e> {
    /// One that looks at nothing yet.
    pub(crate) async fn new(
        engine: &'e Engine,
        why: Why,
        stop: &'e CancellationToken,
    ) -> Result<Self, EngineError> {
        let mut tester = Self {
            engine,
            why,
            stop,
            providers: BTreeMap::new(),
            probes: Probes::new(engine),
            healing: Beside::new(),
            asking: BTreeSet::new(),
            waited_at: None,
            healed: Vec::new(),
        };
        tester.know_providers().await?;
        Ok(tester)
    }

    async fn know_providers(&mut self) -> Result<(), EngineError> {
        let providers = self.engine.parts.store.providers().await?;
        self.providers = providers.into_iter().map(|row| (row.name.clone(), row)).collect();
        Ok(())
    }

    /// How long a claim lasts: longer than a look that waits for its place behind another, and the store. One that waits
    /// for its turn at the host lasts longer by that ([`Tester::send_to`]).
    pub(crate) fn claim_span(&self) -> Span {
        let timeout = self.engine.parts.tests.timeout;
        Span(timeout.0.saturating_mul(2).saturating_add(Span::minutes(1).0)).min(Span::minutes(30))
    }

    /// Looks at all that the source has, until it is dry or told to stop.
    pub(crate) async fn work(&mut self, source: &mut impl Source) -> Result<(), EngineError> {
        let mut turn = Turn::Time;
        loop {
            let mut healing = std::mem::replace(&mut self.healing, Beside::new());
            // What stands still in a transaction may hold what is waited for: the healings move meanwhile.
            let done = healing.during(Box::pin(self.one(turn, source))).await;
            self.go_on_with(healing);
            if let Err(error) = done {
                // Healings under way come to their end, and the keys are anybody's again.
                if let Err(also) = self.end().await {
                    tracing::debug!(error = %also, "the looks that were under way were not given back");
                }
                return Err(error);
            }
            let idle = self.probes.is_empty() && self.healing.is_empty() && source.is_dry();
            if idle || self.stop.is_cancelled() {
                break;
            }
            turn = tokio::select! {
                () = self.stop.cancelled() => Turn::Time,
                looks = self.probes.over(), if !self.probes.is_empty() => Turn::Looks(looks),
                answer = self.healing.next() => Turn::Healed(answer),
                () = self.engine.clock().sleep(LOOK) => Turn::Time,
            };
        }
        self.end().await
    }

    /// Healings that were moved beside something else, and those that began meanwhile.
    fn go_on_with(&mut self, mut healing: Beside<'e, heal::Answer>) {
        healing.join(std::mem::replace(&mut self.healing, Beside::new()));
        self.healing = healing;
    }

    async fn one(&mut self, turn: Turn, source: &mut impl Source) -> Result<(), EngineError> {
        match turn {
            Turn::Looks(looks) => self.take_in(looks).await?,
            Turn::Healed(answer) => self.note(answer).await?,
            Turn::Time => {}
        }
        self.heal_those_that_wait().await?;
        if self.stop.is_cancelled() { Ok(()) } else { source.feed(self).await }
    }

    /// Healings that had to wait are asked for again every [`LOOK`], however many looks come in meanwhile.
    async fn heal_those_that_wait(&mut self) -> Result<(), EngineError> {
        let now = self.engine.clock().monotonic();
        if self.waited_at.is_some_and(|at| now.0 - at.0 < LOOK.0) {
            return Ok(());
        }
        self.waited_at = Some(now);
        for rotation in heal::waits(self.engine).await? {
            self.heal(&rotation);
        }
        Ok(())
    }

    /// Asked to stop, it gives up the calls to providers, and the keys are anybody's again; what is being done with
    /// accounts comes to its end.
    async fn end(&mut self) -> Result<(), EngineError> {
        let given_up: Vec<String> = self.probes.going().map(str::to_owned).collect();
        self.probes = Probes::new(self.engine);
        if !given_up.is_empty() {
            let given_back = self.engine.parts.store.give_back(&given_up, &self.engine.parts.owner, None);
            self.healing.during(given_back).await?;
        }
        while !self.healing.is_empty() {
            let answer = self.healing.next().await;
            let mut healing = std::mem::replace(&mut self.healing, Beside::new());
            let noted = healing.during(Box::pin(self.note(answer))).await;
            self.go_on_with(healing);
            noted?;
        }
        Ok(())
    }

    /// Sends claimed keys off, at the pace of their hosts; those that cannot be opened are passed by.
    pub(crate) async fn send(&mut self, lane: &Lane, claimed: Claimed) -> Result<(), EngineError> {
        let (mut hosts, mut closed) = (BTreeMap::<String, Vec<Subject>>::new(), claimed.unreadable);
        for row in claimed.keys {
            let id = row.id.clone();
            match self.subject(row).await? {
                Some(subject) => hosts.entry(subject.host()).or_default().push(subject),
                None => closed.push(id),
            }
        }
        if !closed.is_empty() {
            let later = self.engine.clock().now().plus(UNREADABLE);
            self.engine.parts.store.give_back(&closed, &self.engine.parts.owner, Some(later)).await?;
        }
        for (host, subjects) in hosts {
            self.send_to(&host, lane, subjects).await?;
        }
        Ok(())
    }

    async fn send_to(&mut self, host: &str, lane: &Lane, subjects: Vec<Subject>) -> Result<(), EngineError> {
        let spacing = self.engine.parts.tests.host_spacing;
        if spacing <= Span::ZERO {
            for subject in subjects {
                self.probes.send(subject, lane.clone(), Span::ZERO);
            }
            return Ok(());
        }
        let apart = |_: &Subject| jittered(spacing, self.engine.clock().fraction());
        let apart: Vec<Span> = subjects.iter().map(apart).collect();
        let all = Span(apart.iter().map(|span| span.0).sum());
        let wait = self.engine.parts.store.keep_pace(host, all).await?;
        if wait > HORIZON && self.why != Why::Person {
            let (ids, turn) = (ids(&subjects), self.engine.clock().now().plus(wait));
            return Ok(self.engine.parts.store.give_back(&ids, &self.engine.parts.owner, Some(turn)).await?);
        }
        // Nobody else looks at a key that waits for its turn here.
        let last = Span(self.claim_span().0 + wait.0 + all.0);
        self.engine.parts.store.prolong(&ids(&subjects), &self.engine.parts.owner, last).await?;
        let mut wait = wait;
        for (subject, apart) in subjects.into_iter().zip(apart) {
            self.probes.send(subject, lane.clone(), wait);
            wait = Span(wait.0 + apart.0);
        }
        Ok(())
    }

    /// The key, opened, and where it is tested.
    async fn subject(&mut self, row: KeyRow) -> Result<Option<Subject>, EngineError> {
        let Some(provider) = self.providers.get(&row.provider) else { return Ok(None) };
        let Some(secret) = self.engine.open_or_pass_by(&row) else { return Ok(None) };
        let endpoint = endpoint::endpoint(self.engine, provider, row.account.as_deref()).await?;
        Ok(Some(Subject { kind: provider.kind.clone(), row, endpoint, secret }))
    }

    /// Commits looks that are over, those of one provider together.
    async fn take_in(&mut self, looks: Vec<Look>) -> Result<(), EngineError> {
        let mut by_provider: BTreeMap<String, BTreeMap<String, Seen>> = BTreeMap::new();
        for look in looks {
            let provider = look.lane.provider.clone();
            if let Some((id, seen)) = Seen::of(look, self.why) {
                by_provider.entry(provider).or_default().insert(id, seen);
            }
        }
        for (provider, looks) in by_provider {
            let Some(provider) = self.providers.get(&provider) else { continue };
            for rotation in verdicts::commit(self.engine, provider, &looks, self.why).await? {
                self.heal(&rotation);
            }
        }
        Ok(())
    }

    async fn note(&mut self, answer: heal::Answer) -> Result<(), EngineError> {
        self.asking.remove(&answer.rotation);
        if heal::note(self.engine, &answer).await? {
            self.healed.push(answer.rotation);
        }
        Ok(())
    }

    /// Asks at once for a rotation whose current key is dead, or in doubt.
    fn heal(&mut self, rotation: &str) {
        let (engine, stop) = (self.engine, self.stop);
        let Some(rotation) = engine.parts.rotations.get(rotation).filter(|rotation| rotation.heal) else {
            return;
        };
        if stop.is_cancelled() || !self.asking.insert(rotation.name.clone()) {
            return;
        }
        let patience = self.why.patience(Class::Healing);
        self.healing.add(heal::heal_one(engine, rotation, patience, stop));
    }
}

fn ids(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(|subject| subject.row.id.clone()).collect()
}

/// Once to 1.4 times the spacing: ±20 % around the middle, and never less than was asked for.
fn jittered(spacing: Span, fraction: f64) -> Span {
    Span(spacing.0 + spacing.portion(0.4 * fraction).0)
}

/// What the schedule and second looks make due, claimed lane by lane.
#[derive(Default)]
pub(crate) struct Queue {
    /// Lanes with keys that are due, the most urgent first.
    lanes: Vec<Lane>,
    /// When they were asked for, on the monotonic clock.
    asked_at: Option<Span>,
    /// When it began to work, on the monotonic clock.
    began: Option<Span>,
}

impl Source for Queue {
    async fn feed(&mut self, tester: &mut Tester<'_>) -> Result<(), EngineError> {
        let clock = tester.engine.clock();
        let began = *self.began.get_or_insert(clock.monotonic());
        if self.asked_at.is_none_or(|at| clock.monotonic().0 - at.0 >= LOOK.0) {
            self.asked_at = Some(clock.monotonic());
            self.lanes = due_lanes(tester, clock.now()).await?;
            // A pass that never comes to its end is taken for one that hangs.
            let is_long = clock.monotonic().0 - began.0 >= SHIFT.0;
            self.lanes.retain(|lane| !is_long || lane.current || lane.again);
        }
        for lane in std::mem::take(&mut self.lanes) {
            let room = tester.probes.room(&lane);
            if room == 0 {
                self.lanes.push(lane);
                continue;
            }
            let by = (tester.engine.parts.owner.as_str(), tester.claim_span());
            let claimed = tester.engine.parts.store.claim(&lane, clock.now(), by, room).await?;
            let more = claimed.keys.len() + claimed.unreadable.len() >= room;
            tester.send(&lane, claimed).await?;
            if more {
                self.lanes.push(lane);
            }
        }
        Ok(())
    }

    fn is_dry(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// Lanes with something due, second looks and current keys first. What is noted for later than the schedule can mean is
/// noted anew: the schedule was changed, or a clock went back.
async fn due_lanes(tester: &mut Tester<'_>, now: Timestamp) -> Result<Vec<Lane>, EngineError> {
    tester.know_providers().await?;
    let mut due = Vec::new();
    let mut lanes = tester.engine.parts.store.waiting().await?;
    if reschedule::spread(tester.engine, &lanes, now).await? {
        lanes = tester.engine.parts.store.waiting().await?;
    }
    for waiting in lanes {
        if waiting.first <= now {
            due.push((waiting.lane.clone(), waiting.first));
        }
        let kind = tester.providers.get(&waiting.lane.provider).map_or("", |row| row.kind.as_str());
        reschedule::look(tester.engine, kind, &waiting, now).await?;
    }
    // Of one class the lane that waits longest goes first: those that are never empty keep nobody out.
    let class = |lane: &Lane| std::cmp::Reverse((lane.again && lane.current, lane.current, lane.again));
    due.sort_by_key(|(lane, first)| (class(lane), *first));
    Ok(due.into_iter().map(|(lane, _)| lane).collect())
}
