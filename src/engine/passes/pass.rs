//! One pass over the stored keys, under the queue's lease: select, probe, and commit each look when it is over (R22).
//!
//! While some looks are on their way, the pass goes on serving what becomes due: second looks, and current keys whose
//! turn comes again. Beside the looks, accounts are watched and dead current keys are healed, each by itself: what is
//! slow or hangs delays itself only.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::domain::verdict::Verdict;
use crate::engine::passes::beside::Beside;
use crate::engine::passes::share::Share;
use crate::engine::passes::{accounts, heal, share, unreadable};
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::{Scope, Which, Why};
use crate::engine::testing::probing::{Asked, Lane, Look, Probes, Subject};
use crate::engine::{Account, Engine, EngineError};
use crate::store::{Change, KeyRow, Lease, ProviderRow, Role, StoreError};

/// Between two looks at what became due meanwhile.
const LOOK: Span = Span::seconds(1);
/// An account is watched when the keys of its provider have been looked at, but after this long in any case.
const WATCH_AFTER: Span = Span::seconds(10);

/// What a pass looked at.
pub(crate) struct Seen {
    /// Keys that the pass was about.
    pub(crate) ids: Vec<String>,
    /// Rotations that are being healed.
    pub(crate) healing: Vec<String>,
}

/// What ended beside the looks.
enum Done {
    Watched(String),
    Asked(heal::Answer),
}

/// What the pass does next.
enum Turn {
    Nothing,
    Looks(Vec<Look>),
    Done(Done),
    /// Something may have become due.
    Time,
}

struct Pass<'p> {
    engine: &'p Engine,
    scope: &'p Scope,
    lease: &'p Lease,
    stop: &'p CancellationToken,
    providers: Vec<ProviderRow>,
    /// The keys that may be tested, as they were seen last.
    known: Vec<KeyRow>,
    probes: Probes,
    shares: BTreeMap<String, Share>,
    beside: Beside<'p, Done>,
    accounts: Vec<&'p Account>,
    watching: BTreeSet<String>,
    asking: BTreeSet<String>,
    seen: Seen,
    /// When the round was asked for, until it is marked as done.
    round: Option<Timestamp>,
    /// Keys that were dead before the round are not asked about yet.
    dead_before: bool,
    /// On the monotonic clock.
    began: Span,
    next_look: Span,
}

/// One pass; none when it was told to stop before it saw anything.
pub(crate) async fn look(
    engine: &Engine,
    scope: &Scope,
    asked_at: Timestamp,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<Option<Seen>, EngineError> {
    let now = engine.clock().monotonic();
    let mut pass = Pass {
        engine,
        scope,
        lease,
        stop,
        providers: Vec::new(),
        known: Vec::new(),
        probes: Probes::new(engine),
        shares: BTreeMap::new(),
        beside: Beside::new(),
        accounts: Vec::new(),
        watching: BTreeSet::new(),
        asking: BTreeSet::new(),
        seen: Seen { ids: Vec::new(), healing: Vec::new() },
        round: None,
        dead_before: false,
        began: now,
        next_look: Span(now.0 + LOOK.0),
    };
    pass.begin(asked_at).await?;
    pass.go_on().await?;
    pass.end().await?;
    Ok((!stop.is_cancelled()).then_some(pass.seen))
}

impl Pass<'_> {
    /// Selects what the pass is about, and sends it off.
    async fn begin(&mut self, asked_at: Timestamp) -> Result<(), EngineError> {
        let store = &self.engine.parts.store;
        if self.scope.which == Which::All {
            tell_unreadable(self.engine, self.lease, self.scope.why != Why::Again).await?;
        }
        self.providers = store.providers().await?;
        self.known = store.tested_keys().await?;
        let mut all = store.keys().await?;
        all.retain(|row| self.scope.includes(row));
        let (wanted, done): (Vec<KeyRow>, Vec<KeyRow>) =
            all.into_iter().partition(|row| self.wants(row, asked_at));
        // A key that another process looked at since the person asked needs no second test.
        if self.scope.why == Why::Person {
            self.seen.ids.extend(done.into_iter().map(|row| row.id));
        }
        self.send(wanted, self.scope.why).await?;
        for account in accounts::to_watch(self.engine, self.scope).await? {
            self.watch_later(account);
        }
        self.round = (self.scope.why == Why::Schedule).then_some(asked_at);
        self.dead_before = self.round.is_some();
        self.began = self.engine.clock().monotonic();
        self.ask_again().await
    }

    async fn go_on(&mut self) -> Result<(), EngineError> {
        let mut turn = Turn::Nothing;
        loop {
            self.take(turn).await?;
            let idle = self.probes.is_empty() && self.shares.is_empty();
            if self.stop.is_cancelled() || idle && self.beside.is_empty() && self.accounts.is_empty() {
                return Ok(());
            }
            let wait = Span((self.next_look.0 - self.engine.clock().monotonic().0).max(0));
            turn = tokio::select! {
                () = self.stop.cancelled() => Turn::Nothing,
                looks = self.probes.over(), if !self.probes.is_empty() => Turn::Looks(looks),
                done = self.beside.next() => Turn::Done(done),
                () = self.engine.clock().sleep(wait) => Turn::Time,
            };
        }
    }

    /// One turn, while what goes on beside it moves.
    async fn take(&mut self, turn: Turn) -> Result<(), EngineError> {
        let mut beside = std::mem::replace(&mut self.beside, Beside::new());
        let taken = beside.during(Box::pin(self.one(turn))).await;
        beside.join(std::mem::replace(&mut self.beside, Beside::new()));
        self.beside = beside;
        taken
    }

    async fn one(&mut self, turn: Turn) -> Result<(), EngineError> {
        match turn {
            Turn::Nothing => {}
            Turn::Looks(looks) => self.take_in(looks).await?,
            Turn::Done(done) => self.note(done).await?,
            Turn::Time => self.look_around().await?,
        }
        self.conclude_shares().await?;
        self.watch_accounts();
        if self.stop.is_cancelled() { Ok(()) } else { self.mark().await }
    }

    /// Asked to stop, it gives up the calls to providers, and what they would have shown is looked at by the next
    /// pass; what is being done with accounts comes to its end.
    async fn end(&mut self) -> Result<(), EngineError> {
        self.probes = Probes::new(self.engine);
        for (_, share) in std::mem::take(&mut self.shares) {
            self.beside.during(share::leave(self.engine, self.lease, share)).await?;
        }
        while !self.beside.is_empty() {
            let done = self.beside.next().await;
            self.take(Turn::Done(done)).await?;
        }
        Ok(())
    }

    /// What became due while other looks are on their way.
    async fn look_around(&mut self) -> Result<(), EngineError> {
        self.next_look = Span(self.engine.clock().monotonic().0 + LOOK.0);
        for share in self.shares.values_mut() {
            share::settle(self.engine, self.lease, share).await?;
        }
        let interval = self.engine.parts.tests.interval;
        let next_round = self.scope.why == Why::Schedule && self.round.is_none() && self.probes.is_empty();
        if next_round && endpoint::pass_is_due(self.engine, interval).await? {
            return self.begin(self.engine.clock().now()).await;
        }
        tell_unreadable(self.engine, self.lease, false).await?;
        self.known = self.engine.parts.store.tested_keys().await?;
        let now = self.engine.clock().now();
        let going = self.probes.going();
        let due = self.known.iter().filter(|row| !going.contains(row.id.as_str()));
        let due: Vec<KeyRow> = due.filter(|row| self.does_not_wait(row, now)).cloned().collect();
        self.send(due, Why::Again).await?;
        let again = Scope { why: Why::Again, ..self.scope.clone() };
        for account in accounts::to_watch(self.engine, &again).await? {
            self.watch_later(account);
        }
        self.ask_again().await
    }

    /// Second looks, and current keys that nobody looked at for a whole interval.
    fn does_not_wait(&self, row: &KeyRow, now: Timestamp) -> bool {
        let age = row.health.looked_at.map(|at| now.since(at));
        let turn = age.is_none_or(|age| age >= self.interval_of(row) || age < Span::ZERO);
        row.health.is_due_again(now) || is_current(row) && turn
    }

    fn interval_of(&self, row: &KeyRow) -> Span {
        let provider = self.providers.iter().find(|provider| provider.name == row.provider);
        let least = provider.and_then(|provider| self.engine.parts.tester.min_interval(&provider.kind));
        self.engine.parts.tests.interval.max(Span(least.unwrap_or(Span::ZERO).0 * 2))
    }

    fn wants(&self, row: &KeyRow, asked_at: Timestamp) -> bool {
        let now = self.engine.clock().now();
        match self.scope.why {
            Why::Person => row.health.looked_at.is_none_or(|at| at < asked_at || at > now),
            Why::Again => row.health.is_due_again(now),
            Why::Schedule => row.health.is_due(now, self.interval_of(row)),
        }
    }

    /// Sends keys off to be looked at, the most urgent first.
    async fn send(&mut self, mut rows: Vec<KeyRow>, why: Why) -> Result<(), EngineError> {
        let now = self.engine.clock().now();
        rows.sort_by_key(|row| std::cmp::Reverse(lane(row, now)));
        for row in rows {
            let Some(subject) = subject(self.engine, &self.providers, &row).await? else { continue };
            let provider = row.provider.clone();
            let share = self.shares.entry(provider);
            share.or_insert_with_key(|name| Share::new(name, why, &self.known)).begin(&row.id);
            self.probes.send(subject, lane(&row, now));
        }
        Ok(())
    }

    /// Commits looks that are over, those of one provider together.
    async fn take_in(&mut self, looks: Vec<Look>) -> Result<(), EngineError> {
        let mut by_provider: BTreeMap<String, BTreeMap<String, Asked>> = BTreeMap::new();
        for Look { id, provider, seen } in looks {
            match (seen, self.shares.get_mut(&provider)) {
                (Some(seen), Some(_)) => drop(by_provider.entry(provider).or_default().insert(id, seen)),
                (None, Some(share)) => share.give_up(&id),
                (_, None) => {}
            }
        }
        for (provider, looks) in by_provider {
            let Some(share) = self.shares.get_mut(&provider) else { continue };
            let in_doubt = commit_each(self.engine, self.lease, share, &looks).await?;
            self.seen.ids.extend(looks.into_keys());
            for rotation in in_doubt {
                self.heal(&rotation);
            }
        }
        Ok(())
    }

    async fn note(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Watched(account) => drop(self.watching.remove(&account)),
            Done::Asked(answer) => {
                self.asking.remove(&answer.rotation);
                if heal::note(self.engine, self.lease, &answer).await? {
                    self.seen.healing.push(answer.rotation);
                }
            }
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
        let patience = self.scope.why.patience(Class::Healing);
        self.beside.add(async move { Done::Asked(heal::heal_one(engine, rotation, patience, stop).await) });
    }

    /// Rotations whose healing had to wait.
    async fn ask_again(&mut self) -> Result<(), EngineError> {
        for rotation in heal::waits(self.engine).await? {
            self.heal(&rotation);
        }
        Ok(())
    }

    fn watch_later(&mut self, account: &'_ Account) {
        let waits = self.accounts.iter().any(|known| known.name == account.name);
        if waits || self.watching.contains(&account.name) {
            return;
        }
        let account = self.engine.parts.accounts.get(&account.name);
        self.accounts.extend(account);
    }

    /// Begins to watch the accounts whose turn it is.
    fn watch_accounts(&mut self) {
        let late = self.engine.clock().monotonic().0 - self.began.0 >= WATCH_AFTER.0;
        let ready = |account: &Account| {
            late || self.scope.why == Why::Again || !self.shares.contains_key(&account.provider)
        };
        let (now, later) = std::mem::take(&mut self.accounts).into_iter().partition(|account| ready(account));
        self.accounts = later;
        let now: Vec<&Account> = now;
        for account in now.into_iter().filter(|_| !self.stop.is_cancelled()) {
            let (engine, lease, stop, why) = (self.engine, self.lease, self.stop, self.scope.why);
            self.watching.insert(account.name.clone());
            self.beside.add(async move {
                accounts::watch_one(engine, lease, account, why, stop).await;
                Done::Watched(account.name.clone())
            });
        }
    }

    /// Shares without a look on its way: what they say of their providers.
    async fn conclude_shares(&mut self) -> Result<(), EngineError> {
        let now = self.engine.clock().now();
        let over: Vec<String> = self
            .shares
            .iter()
            .filter(|(_, share)| share.is_over(now))
            .map(|(name, _)| name.clone())
            .collect();
        for share in over.into_iter().filter_map(|provider| self.shares.remove(&provider)) {
            share::conclude(self.engine, self.lease, share).await?;
        }
        Ok(())
    }

    /// The round is done when every key was looked at, and every account as far as it does not hang: a pass that breaks
    /// off before is caught up, without the keys that it came to.
    async fn mark(&mut self) -> Result<(), EngineError> {
        let Some(asked_at) = self.round.filter(|_| self.probes.is_empty()) else { return Ok(()) };
        if std::mem::take(&mut self.dead_before) {
            let dead: Vec<String> = self.known.iter().filter_map(dead_current).collect();
            for rotation in &dead {
                self.heal(rotation);
            }
        }
        let now = self.engine.clock().now();
        let watched = self.accounts.is_empty() && self.watching.is_empty();
        if !watched && now.since(asked_at) < self.engine.parts.tests.interval {
            return Ok(());
        }
        self.round = None;
        let store = &self.engine.parts.store;
        store.prune_observations(now.plus(Span(-self.engine.parts.tests.history.0))).await?;
        let mark = Change::Remember { subject: "pass".to_owned(), doc: json!(Some(asked_at)) };
        Ok(store.commit(self.lease, &[mark]).await?)
    }
}

/// One row that cannot be read does not keep the others waiting.
async fn commit_each(
    engine: &Engine,
    lease: &Lease,
    share: &mut Share,
    looks: &BTreeMap<String, Asked>,
) -> Result<Vec<String>, EngineError> {
    match share::commit(engine, lease, share, looks).await {
        Err(EngineError::Store(StoreError::Corrupt(_))) => {}
        done => return done,
    }
    let mut in_doubt = Vec::new();
    for (id, seen) in looks {
        let one = BTreeMap::from([(id.clone(), seen.clone())]);
        match share::commit(engine, lease, share, &one).await {
            Err(EngineError::Store(StoreError::Corrupt(_))) => share.give_up(id),
            done => in_doubt.extend(done?),
        }
    }
    Ok(in_doubt)
}

/// Rows that cannot be read, now or once in a while.
async fn tell_unreadable(engine: &Engine, lease: &Lease, now: bool) -> Result<(), EngineError> {
    if now || unreadable::is_due(engine).await? {
        unreadable::tell(engine, lease).await?;
    }
    Ok(())
}

/// The key, opened, and where it is tested.
async fn subject(
    engine: &Engine,
    providers: &[ProviderRow],
    row: &KeyRow,
) -> Result<Option<Subject>, EngineError> {
    let Some(provider) = providers.iter().find(|provider| provider.name == row.provider) else {
        return Ok(None);
    };
    let Some(secret) = engine.open_or_pass_by(row) else { return Ok(None) };
    let endpoint = endpoint::endpoint(engine, provider, row.account.as_deref()).await?;
    Ok(Some(Subject { row: row.clone(), kind: provider.kind.clone(), endpoint, secret }))
}

fn is_current(row: &KeyRow) -> bool {
    row.role == Role::Current && row.rotation.is_some()
}

/// The rotation whose current key this is, when it is believed dead.
fn dead_current(row: &KeyRow) -> Option<String> {
    let dead = is_current(row) && row.health.verdict == Verdict::Invalid;
    row.rotation.clone().filter(|_| dead)
}

fn lane(row: &KeyRow, now: Timestamp) -> Lane {
    match (is_current(row), row.health.is_due_again(now)) {
        (false, false) => Lane::Ordinary,
        (false, true) => Lane::Again,
        (true, false) => Lane::Current,
        (true, true) => Lane::CurrentAgain,
    }
}
