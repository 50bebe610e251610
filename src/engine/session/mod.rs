//! The right to work on one account: who it is (R8), the lease (R4), and what an earlier process left open.

pub(crate) mod again;
pub(crate) mod commit;
pub(crate) mod consequences;
pub(crate) mod in_doubt;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod provisioning;
pub(crate) mod reading;
pub(crate) mod standing;
pub(crate) mod test_key;
mod trail;
mod waiting;
pub(crate) mod whose;
pub(crate) mod witness;

use std::collections::BTreeSet;

use serde_json::json;

use crate::crypto::{KeyNames, Purpose, Use};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::inherit::Roll;
use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Called, Failure, FailureKind};
use crate::domain::rotation::facts::{Remote, RemoteFacts};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Stamp, Timestamp, Until};
use crate::domain::turn::Class;
use crate::engine::budget::News;
use crate::engine::testing::endpoint;
use crate::engine::worker::Place;
use crate::engine::{Account, ConfiguredDestination, Engine, EngineError, Rotation, budget};
use crate::net::Deadline;
use crate::store::{Change, EffectKind, EffectRow, EffectStatus, Lease, RotationRow};

pub(crate) use waiting::make_room;
pub use waiting::{wait_for_session, wait_for_session_or_stop};

/// So many toggles that cannot be seen end the look at them: the provider does not answer.
const UNSEEN: usize = 3;

/// A call must be over this long before the lease ends (R4).
const MARGIN: Span = Span::seconds(2);

/// What came of opening a session.
pub enum Opened<'e> {
    /// Ours.
    Ready(Box<Session<'e>>),
    /// Another process works on this account; look again later.
    Busy,
}

/// Work on one account under its lease. What was looked at in this session is remembered here, never stored.
pub struct Session<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) account: &'e Account,
    /// R8.
    pub(crate) identity: String,
    pub(crate) lease: Lease,
    granted: Granted,
    theirs: Option<(Timestamp, Span)>,
    /// The last listing of the account.
    pub(crate) listing: Option<Listing>,
    /// Keys that were read one by one.
    pub(crate) remote: Vec<RemoteFacts>,
    /// What named the old key of a run and not the new one.
    pub(crate) lacking: Option<Lacking>,
    /// Runs that this session has claimed.
    pub(crate) claimed: Vec<String>,
    /// In this process.
    place: Place,
    class: Class,
    begun: Span,
}

/// What a comparison of both keys of a run showed (R23).
pub(crate) struct Lacking {
    pub(crate) run: String,
    pub(crate) rolls: Vec<Roll>,
    pub(crate) at: Stamp,
}

/// When the lease was granted: on the database's clock, and between which two moments of the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Granted {
    at: Timestamp,
    asked: Span,
    answered: Span,
}

impl Granted {
    fn new(lease: &Lease, asked: Span, answered: Span) -> Self {
        Self { at: lease.expires_at.plus(Span(-lease.granted.0)), asked, answered }
    }
}

/// A complete listing of the account.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// Nothing that the guard is shown of it is older: when its reading began, or when the close look did.
    pub(crate) at: Stamp,
    /// Every key.
    pub(crate) keys: Vec<RemoteKey>,
    /// Keys that we asked for and never stored: journalled name, no generation.
    pub(crate) strays: Vec<RemoteKey>,
    /// Hashes of keys of which we cannot say whose they are, or which we cannot open: they are left alone, and never
    /// the key that "remains".
    pub(crate) unsure: BTreeSet<String>,
    /// Strays that could not be removed although another key works.
    pub(crate) strays_left: usize,
    /// Keys that were read again because the listing had taken long: then the guard is shown these alone.
    pub(crate) close: Option<BTreeSet<String>>,
}

impl Listing {
    pub(crate) fn key(&self, hash: &str) -> Option<&RemoteKey> {
        self.keys.iter().find(|key| key.hash == hash)
    }

    /// The keys that somebody may work with, and `target`. A stray is enabled, but its secret is gone: it must
    /// never be the key that "remains".
    pub(crate) fn but_strays(&self, target: &str) -> Vec<RemoteKey> {
        let stray = |key: &RemoteKey| self.strays.iter().any(|stray| stray.hash == key.hash);
        let shown = |key: &RemoteKey| self.close.as_ref().is_none_or(|close| close.contains(&key.hash));
        let counts = |key: &RemoteKey| !stray(key) && !self.unsure.contains(&key.hash);
        let keys = self.keys.iter().filter(|key| shown(key));
        keys.filter(|key| key.hash == target || counts(key)).cloned().collect()
    }
}

/// A session for a person, if nobody works on the account or goes first.
///
/// # Errors
/// [`EngineError::Outside`] when the provisioning key is refused or the provider does not answer,
/// [`EngineError::Refused`] when the key is a regular one.
pub async fn open_session<'e>(engine: &'e Engine, account: &str) -> Result<Opened<'e>, EngineError> {
    let place = engine.workers.of(account).enter(Class::Person);
    if !place.is_first() {
        return Ok(Opened::Busy);
    }
    Ok(match open(engine, account, place).await? {
        Opening::Ready(session) => Opened::Ready(session),
        Opening::Busy { .. } => Opened::Busy,
    })
}

/// What came of opening a session at one's turn.
enum Opening<'e> {
    Ready(Box<Session<'e>>),
    /// Another process has this lease; the place in line is kept.
    Busy {
        place: Place,
        resource: String,
    },
}

/// Opens a session at one's turn; its calls are of the class that it is opened for.
async fn open<'e>(engine: &'e Engine, account: &str, place: Place) -> Result<Opening<'e>, EngineError> {
    budget::working_for(place.class(), Box::pin(come_in(engine, account, place))).await
}

/// Asks the provider who the account is, then takes its lease.
async fn come_in<'e>(engine: &'e Engine, account: &str, place: Place) -> Result<Opening<'e>, EngineError> {
    let account = engine.account(account)?;
    if let Some(resource) = taken(engine, &account.name).await? {
        return Ok(Opening::Busy { place, resource });
    }
    let reply = match account.issuer.whoami_provisioning(engine.deadline()).await {
        Ok(reply) => reply,
        Err(failure) => {
            if failure.kind == FailureKind::Unauthorized {
                provisioning::doubt_provisioning(engine, account).await?;
            }
            return Err(provisioning::explain_provisioning(account, failure));
        }
    };
    let identity = provisioning::identity_of(account, &reply.value)?;
    let resource = format!("account:{identity}");
    let asked_at = engine.clock().monotonic();
    let (rank, span) = (place.standing().rank(), engine.parts.lease);
    let lease = engine.parts.store.acquire_as(&resource, &engine.parts.owner, span, rank).await?;
    let Some(lease) = lease else { return Ok(Opening::Busy { place, resource }) };
    place.settle();
    engine.parts.store.note_entry(&account.name, &identity).await?;
    let mut session = Session {
        engine,
        account,
        identity,
        granted: Granted::new(&lease, asked_at, engine.clock().monotonic()),
        lease,
        theirs: None,
        listing: None,
        remote: Vec::new(),
        lacking: None,
        claimed: Vec::new(),
        class: place.class(),
        begun: engine.clock().monotonic(),
        place,
    };
    session.note_date(reply.date);
    session.remember_place().await?;
    session.watch_clocks().await?;
    session.settle_toggles().await?;
    in_doubt::give_up(&session).await?;
    Ok(Opening::Ready(Box::new(session)))
}

/// The lease that the entry last stood for, when somebody holds it: the provider need not be asked who it is, which everybody who
/// comes in vain would do again every second (R16).
async fn taken(engine: &Engine, account: &str) -> Result<Option<String>, EngineError> {
    let store = &engine.parts.store;
    let Some(identity) = store.entry_identity(account).await? else { return Ok(None) };
    let resource = format!("account:{identity}");
    Ok(store.is_held(&resource).await?.then_some(resource))
}

impl Session<'_> {
    /// The present moment on both clocks.
    pub(crate) fn now(&self) -> Stamp {
        let monotonic = self.engine.clock().monotonic();
        let theirs = self.theirs.map(|(date, noted)| date.plus(Span(monotonic.0 - noted.0)));
        Stamp { ours: self.engine.clock().now(), theirs }
    }

    /// The present moment on the database's clock (R18), or a little later: never before it, so that no wait looks as if
    /// it had been set in the future.
    pub(crate) fn clock(&self) -> Timestamp {
        self.granted.at.plus(Span(self.engine.clock().monotonic().0 - self.granted.asked.0))
    }

    /// A wait from now on, see [`Session::clock`].
    pub(crate) fn until(&self, span: Span) -> Until {
        let passed = Span(self.engine.clock().monotonic().0 - self.granted.answered.0);
        Until::after(self.granted.at.plus(passed), span)
    }

    /// Why nothing may be destroyed by what the clocks say (R11).
    pub(crate) fn clocks_differ(&self) -> Option<&'static str> {
        let now = self.now();
        match now.theirs {
            _ if now.clocks_agree() => None,
            Some(_) => Some("our clock and the provider's differ by more than 5 minutes"),
            None => Some("the provider's answers do not tell its time"),
        }
    }

    /// Where this account is, for the day when no entry of the configuration shows it any more.
    async fn remember_place(&self) -> Result<(), EngineError> {
        let here = endpoint::bare(&self.account.base_url);
        if endpoint::last_place(self.engine, &self.identity).await?.as_ref() == Some(&here) {
            return Ok(());
        }
        // Who cannot seal works on: the alert about its keys is open.
        let Ok(sealing) = self.engine.sealing_key().await else { return Ok(()) };
        let purpose = Purpose::of(Use::Place, &self.identity);
        let sealed = self.engine.seal(&sealing, &purpose, &Secret::new(here.as_str()))?;
        self.commit(&[Change::Place { account: self.identity.clone(), sealed }]).await
    }

    /// R11: people are told while the clocks differ, whether something is to be destroyed now or is still waited for.
    async fn watch_clocks(&self) -> Result<(), EngineError> {
        let kind = Kind::ClockSkew;
        let differ = self.clocks_differ();
        let alert = self.account_alert(kind, "");
        let told = self.engine.parts.store.open_subjects(kind).await?.contains(&alert.subject);
        match (differ, told) {
            (Some(reason), false) => {
                let detail = format!("Every destructive act waits: {reason}.");
                self.commit(&[Change::Alert(NewAlert { detail, ..alert })]).await
            }
            (None, true) => self.commit(&[Change::Resolve { kind, subject: alert.subject }]).await,
            _ => Ok(()),
        }
    }

    /// Remembers what the provider's clock said. `Date` has whole seconds: on average half a second late.
    pub(crate) fn note_date(&mut self, date: Option<Timestamp>) {
        if let Some(date) = date {
            self.theirs = Some((date, self.engine.clock().monotonic()));
        }
    }

    /// Remembers the provider's clock of an answer, good or bad.
    pub(crate) fn noting<T>(&mut self, called: Called<T>) -> Result<T, Failure> {
        match called {
            Ok(reply) => {
                self.note_date(reply.date);
                Ok(reply.value)
            }
            Err(failure) => {
                self.note_date(failure.date);
                Err(failure)
            }
        }
    }

    /// Makes sure that the lease outlives one call, and gives that call's deadline (R4).
    pub(crate) async fn deadline(&mut self) -> Result<Deadline, EngineError> {
        let needed = Span(self.engine.parts.call_timeout.0 + MARGIN.0);
        if self.lease_left().0 < needed.0.max(self.engine.parts.lease.0 / 2) {
            self.renew().await?;
        }
        let safe = Span(self.lease_left().0 - MARGIN.0);
        Ok(Deadline::after(self.engine.parts.call_timeout.min(safe).to_std()))
    }

    async fn renew(&mut self) -> Result<(), EngineError> {
        let asked = self.engine.clock().monotonic();
        self.lease = self.engine.parts.store.renew(&self.lease, self.engine.parts.lease).await?;
        self.granted = Granted::new(&self.lease, asked, self.engine.clock().monotonic());
        Ok(())
    }

    /// The deadline of a call to a destination, which may need longer than an ordinary one.
    pub(crate) async fn deadline_for(
        &mut self,
        place: &ConfiguredDestination,
    ) -> Result<Deadline, EngineError> {
        let Some(patience) = place.adapter.patience() else { return self.deadline().await };
        self.renew().await?;
        Ok(Deadline::after(patience.to_std()))
    }

    /// Waits for that call. A long one is broken off when the lease, which is renewed meanwhile, is lost (R4).
    pub(crate) async fn holding<T>(
        &mut self,
        place: &ConfiguredDestination,
        call: impl Future<Output = T>,
    ) -> Result<T, EngineError> {
        if place.adapter.patience().is_none() {
            return Ok(call.await);
        }
        tokio::select! {
            answer = call => Ok(answer),
            lost = self.keep() => Err(lost),
        }
    }

    /// Renews the lease until it is lost.
    async fn keep(&mut self) -> EngineError {
        loop {
            self.engine.clock().sleep(Span(self.engine.parts.lease.0 / 3)).await;
            if let Err(error) = self.renew().await {
                return error;
            }
        }
    }

    /// What keys of this database are called (R6).
    pub(crate) fn names(&self) -> &KeyNames {
        &self.engine.parts.names
    }

    /// Who the account is (R8).
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// By our own clock: the store has the last word.
    pub(crate) fn holds_lease(&self) -> bool {
        self.lease_left() > Span::ZERO
    }

    fn lease_left(&self) -> Span {
        Span(self.granted.asked.0 + self.lease.granted.0 - self.engine.clock().monotonic().0)
    }

    /// Commits under the lease, together with what people must know of budgets that were exceeded meanwhile (R16).
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        let (store, budgets) = (&self.engine.parts.store, &self.engine.budgets);
        let news = budgets.news();
        if news.is_empty() {
            store.commit(&self.lease, changes).await?;
        } else {
            let told = news.iter().flat_map(|news| news.changes(self.clock()));
            let all: Vec<Change> = changes.iter().cloned().chain(told).collect();
            store.commit(&self.lease, &all).await?;
            news.into_iter().for_each(News::told);
        }
        budgets.note(&self.account.name, changes);
        Ok(())
    }

    /// Gives the lease back. Dropping a session without this only makes others wait for the lease's end.
    pub async fn close(self) -> Result<(), EngineError> {
        Ok(self.engine.parts.store.release(&self.lease).await?)
    }

    /// Disables, deletes and enables that an earlier process intended and never settled: ask the provider (R5). One
    /// that cannot be seen holds up no other.
    async fn settle_toggles(&mut self) -> Result<(), EngineError> {
        let mut unseen = 0;
        let mut open = self.engine.parts.store.open_toggles(&self.identity).await?;
        // What was given up waits for those that may hold up others.
        open.sort_by_key(|effect| effect.finished_at.is_some());
        for effect in open {
            let open_for = self.clock().since(effect.started_at);
            if unseen >= UNSEEN {
                self.give_up(&effect, open_for).await?;
                continue;
            }
            let deadline = self.deadline().await?;
            let called = self.account.issuer.read(&effect.target, deadline).await;
            let Ok(seen) = self.noting(called) else {
                self.give_up(&effect, open_for).await?;
                unseen += 1;
                continue;
            };
            let disabled = seen.as_ref().map(|key| key.disabled);
            if let Some((status, seen)) = self.settled(&effect, disabled, open_for) {
                let evidence = json!({ "settled_by": "looking", "seen": seen });
                self.commit(&[Change::Settle { id: effect.id, status, evidence }]).await?;
            }
        }
        Ok(())
    }

    /// A toggle that can no longer land has an end, although nobody saw what came of it; it goes on being looked at.
    async fn give_up(&self, effect: &EffectRow, open_for: Span) -> Result<(), EngineError> {
        if effect.finished_at.is_some() || self.may_land(open_for) {
            return Ok(());
        }
        self.commit(&[Change::GiveUp { id: effect.id.clone() }]).await
    }

    /// A call of this age may still take effect.
    fn may_land(&self, open_for: Span) -> bool {
        open_for.0 < self.engine.parts.lease.0 + self.engine.parts.call_timeout.0
    }

    /// What a look says about an unsettled toggle; `None` while it may still land. Once it cannot land any more it
    /// did not happen, whatever its run wants: an open intent would hold back every kill of the account. A run that
    /// still wants it commits another.
    fn settled(
        &self,
        effect: &EffectRow,
        disabled: Option<bool>,
        open_for: Span,
    ) -> Option<(EffectStatus, &'static str)> {
        let may_land = self.may_land(open_for);
        match (effect.kind, disabled) {
            (EffectKind::Delete, None) => Some((EffectStatus::Done, "gone")),
            (EffectKind::Disable, Some(true)) => Some((EffectStatus::Done, "disabled")),
            (EffectKind::Enable, Some(false)) => Some((EffectStatus::Done, "enabled")),
            (_, None) => Some((EffectStatus::Failed, "gone")),
            _ => (!may_land).then_some((EffectStatus::Failed, "not done")),
        }
    }

    /// A subject line and routes for an alert about this account.
    pub(crate) fn account_alert(&self, kind: Kind, detail: impl Into<String>) -> NewAlert {
        let mut alert = NewAlert::new(kind, Subject::Account(self.account.name.clone()), detail);
        alert.account = Some(self.account.name.clone());
        alert
    }
}

impl Session<'_> {
    /// `GET /keys/{hash}`, remembered for this session.
    pub(crate) async fn read_key(
        &mut self,
        hash: &str,
    ) -> Result<Result<Option<RemoteKey>, Failure>, EngineError> {
        let deadline = self.deadline().await?;
        let asked = self.now();
        let called = self.account.issuer.read(hash, deadline).await;
        let read = self.noting(called);
        if let Ok(shown) = &read {
            self.remember(hash, remote_of(shown.as_ref()), asked);
        }
        Ok(read)
    }

    /// The same, as a decision looks at it.
    pub(crate) async fn read_remote(&mut self, hash: &str) -> Result<Result<Remote, Failure>, EngineError> {
        Ok(self.read_key(hash).await?.map(|shown| remote_of(shown.as_ref())))
    }

    /// What the provider shows of a key, as asked at this moment (R19).
    pub(crate) fn remember(&mut self, hash: &str, remote: Remote, at: Stamp) {
        self.remote.retain(|known| known.hash != hash);
        self.remote.push(RemoteFacts { hash: hash.to_owned(), remote, at });
    }

    /// What was read of a key does not count.
    pub(crate) fn forget(&mut self, hash: &str) {
        self.remote.retain(|known| known.hash != hash);
    }

    pub(crate) fn rotation_of_this_account(&self, name: &str) -> Result<&Rotation, EngineError> {
        let rotation = self.engine.rotation(name)?;
        if rotation.account == self.account.name {
            return Ok(rotation);
        }
        Err(EngineError::Refused(format!("rotation {name} belongs to account {}", rotation.account)))
    }

    /// The rotation's row. Refused when its keys belong to another account than this session's (R8).
    pub(crate) async fn rotation_row(&self, name: &str) -> Result<RotationRow, EngineError> {
        let generations = self.engine.parts.store.generations(name).await?;
        if let Some(reason) = standing::elsewhere(self, &generations) {
            return Err(EngineError::Refused(format!("refused: {reason}")));
        }
        self.engine.parts.store.ensure_rotation(name, Some(&self.identity)).await?;
        let row = self.engine.parts.store.rotation(name).await?;
        row.ok_or_else(|| EngineError::Refused(format!("rotation {name} could not be stored")))
    }

    /// R9: refused while the account is frozen.
    pub(crate) async fn not_frozen(&self) -> Result<(), EngineError> {
        match self.engine.parts.store.freeze_of(&self.identity).await? {
            None => Ok(()),
            Some(reason) => Err(EngineError::Frozen { account: self.account.name.clone(), reason }),
        }
    }
}

/// What a decision sees of a key that was read.
pub(crate) fn remote_of(shown: Option<&RemoteKey>) -> Remote {
    match shown {
        None => Remote::Gone,
        Some(key) if key.disabled => Remote::Disabled,
        Some(key) => Remote::Enabled(key.usage),
    }
}
