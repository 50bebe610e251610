//! What the model knows: the true world (provider, destinations), the store, and the processes at work.
//!
//! The store holds real [`Run`]s, [`Holding`]s and [`KeyFacts`]. Time is coarse so that the space is finite: the
//! present is always [`NOW`], and a moment is now, eleven minutes ago (older than every "fresh"), a day ago
//! (older than every wait), or, after a jump of our clock, a year ahead.

use rekeyd::domain::guard::Kill;
use rekeyd::domain::rotation::facts::{Holding, KeyFacts, RemoteFacts, Request};
use rekeyd::domain::rotation::{Issuing, KeyRef, Phase, Rollback, Run, State};
use rekeyd::domain::time::{Span, Stamp, Timestamp, Until};

/// The present moment on both clocks.
pub(super) const T0: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const NOW: Stamp = Stamp { ours: T0, theirs: Some(T0) };
/// Every backoff ends here, until time passes.
pub(super) const SOON: Until = Until { set_at: T0, at: Timestamp(T0.0 + 5000) };
pub(super) const SHORT: Span = Span::minutes(11);
pub(super) const LONG: Span = Span::hours(25);
pub(super) const YEAR: Span = Span::hours(24 * 365);
/// The account's provisioning key and the first generation.
pub(super) const PROVISIONING: usize = 0;
pub(super) const FIRST: usize = 1;
/// The fence of whoever took the lease last.
pub(super) const FENCE: u8 = 1;
/// The destinations: one that is required, one that is not.
pub(super) const MUST: usize = 0;

/// Who ended a key's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum By {
    Us,
    /// A call of ours that came after its process was dead or its lease gone (R4).
    Late,
    Person,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Enabled,
    Disabled(By),
    Gone(By),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Provisioning,
    /// Somebody else's.
    Foreign,
    /// The generation that was there before the first run.
    Ours,
    /// Made under this name of ours.
    Named(u8),
    /// Made under our prefix by a copy of this database.
    Cloned,
}

/// A key as it really is at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) life: Life,
    /// The provider accepts it.
    pub(super) works: bool,
    pub(super) usage: i64,
    /// Surfaced after its process was dead.
    pub(super) late: bool,
    /// A destination held it at some time.
    pub(super) held: bool,
    /// Since when strangers have it.
    pub(super) leaked: Option<Stamp>,
    /// Something of the account names it by its hash.
    pub(super) named: bool,
    pub(super) disabled: Option<Stamp>,
    pub(super) used: Stamp,
}

/// A destination as it really is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) holds: usize,
    pub(super) down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Candidate,
    Current,
    Retiring,
    Dead,
}

/// A stored key; the index of the key at the provider is in `key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) key: usize,
    pub(super) role: Role,
    pub(super) facts: KeyFacts,
}

/// An unsettled disable, enable or delete.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Toggle {
    pub(super) kill: Option<Kill>,
    pub(super) key: usize,
    pub(super) since: Stamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) run: Run,
    pub(super) rows: Vec<Row>,
    /// How many names were journalled.
    pub(super) names: u8,
    pub(super) toggles: Vec<Toggle>,
    /// Newest write of an address first, with "released".
    pub(super) holdings: Vec<(Holding, bool)>,
    /// Somebody holds the lease.
    pub(super) leased: bool,
    pub(super) frozen: bool,
    pub(super) paused: bool,
    pub(super) healed: bool,
    /// The configuration no longer has this destination.
    pub(super) dropped: Option<usize>,
    pub(super) request: Option<Request>,
    /// Intents of the last hour: key and when.
    pub(super) kills: Vec<(usize, Stamp)>,
    /// When every required destination held the new key.
    pub(super) everywhere: Option<Stamp>,
}

/// A change at the outside that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Create(u8),
    Publish { place: usize, key: usize },
    Enable(usize),
    Kill { kill: Kill, key: usize, run: bool },
}

/// What a disable or delete is about to be judged by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Doomed {
    pub(super) key: usize,
    pub(super) kill: Kill,
    pub(super) urgent: bool,
    pub(super) stray: bool,
    pub(super) run: bool,
    /// The listing: which keys were enabled, and when that was.
    pub(super) listing: Vec<(usize, bool)>,
    pub(super) listed: Stamp,
    /// A person changed another key since.
    pub(super) raced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Deciding,
    Guarding(Doomed),
    Calling { call: Call, landed: bool, raced: bool, over: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// [`FENCE`], or 0 once another process took over.
    pub(super) fence: u8,
    pub(super) strays: Option<usize>,
    pub(super) remote: Vec<RemoteFacts>,
    /// Both keys were compared: whether the new one lacks what names the old one.
    pub(super) lacks: Option<bool>,
    pub(super) doing: Doing,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Budget {
    pub(super) crashes: u8,
    pub(super) stalls: u8,
    pub(super) lost: u8,
    pub(super) duds: u8,
    pub(super) outages: u8,
    pub(super) uses: u8,
    pub(super) kills: u8,
    pub(super) enables: u8,
    pub(super) requests: u8,
    pub(super) leaks: u8,
    pub(super) clones: u8,
    pub(super) drops: u8,
    pub(super) jumps: u8,
    pub(super) manual: u8,
    pub(super) snags: u8,
    pub(super) unnames: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) keys: Vec<Key>,
    pub(super) places: Vec<Place>,
    pub(super) store: Store,
    pub(super) replicas: Vec<Option<Session>>,
    /// Calls whose process no longer waits for the answer.
    pub(super) late: Vec<Call>,
    pub(super) left: Budget,
    /// What names keys can be neither read nor written.
    pub(super) rolls_down: bool,
    /// Our clock is a year ahead.
    pub(super) ahead: bool,
    /// Laws that an act broke.
    pub(super) broken: Vec<&'static str>,
}

pub(super) fn key_ref(key: usize) -> KeyRef {
    KeyRef {
        id: format!("k{key}"),
        generation: i64::try_from(key).unwrap(),
        hash: hash(key),
        has_secret: true,
    }
}

pub(super) fn hash(key: usize) -> String {
    format!("h{key}")
}

/// The key behind an id or a hash.
pub(super) fn index(text: &str) -> usize {
    text[1..].parse().unwrap()
}

pub(super) fn address(place: usize) -> String {
    format!("at{place}")
}

pub(super) fn place_of(address: &str) -> usize {
    address[2..].parse().unwrap()
}

impl Key {
    pub(super) fn new(kind: Kind) -> Self {
        let life = Life::Enabled;
        Self {
            kind,
            life,
            works: true,
            usage: 0,
            late: false,
            held: false,
            leaked: None,
            named: false,
            disabled: None,
            used: ago(LONG),
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.life == Life::Enabled
    }

    pub(super) fn gone(&self) -> bool {
        matches!(self.life, Life::Gone(_))
    }

    pub(super) fn end(&mut self, kill: Kill, by: By) {
        self.disabled = self.disabled.or(Some(NOW));
        self.life = match kill {
            Kill::Disable => Life::Disabled(by),
            Kill::Delete => Life::Gone(by),
        };
    }
}

pub(super) fn ago(span: Span) -> Stamp {
    let then = T0.plus(Span(-span.0));
    Stamp { ours: then, theirs: Some(then) }
}

impl World {
    pub(super) fn break_law(&mut self, law: &'static str) {
        if !self.broken.contains(&law) {
            self.broken.push(law);
        }
    }

    pub(super) fn row(&self, key: usize) -> Option<&Row> {
        self.store.rows.iter().find(|row| row.key == key)
    }

    /// Ours by its name, and nobody has its secret.
    pub(super) fn is_stray(&self, key: usize) -> bool {
        matches!(self.keys[key].kind, Kind::Named(name) if name < self.store.names) && self.row(key).is_none()
    }

    /// Something names the old key and not the new one.
    pub(super) fn lacks(&self) -> bool {
        let run = &self.store.run;
        let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) else { return false };
        self.keys[index(&old.id)].named && !self.keys[index(&new.id)].named
    }

    pub(super) fn idle(&self) -> bool {
        self.replicas.iter().all(Option::is_none)
    }

    /// Both clocks go on.
    pub(super) fn pass(&mut self, span: Span) {
        let older = |at: &mut Timestamp| *at = bucket(at.plus(Span(-span.0)));
        self.stamps(&mut |stamp| {
            older(&mut stamp.ours);
            stamp.theirs.iter_mut().for_each(older);
        });
        self.waits();
        self.store.kills.retain(|(_, at)| *at != ago(LONG));
        // A request that is older than its deadline is never written (R4); what a provider took in, it may still do.
        self.late.retain(|call| matches!(call, Call::Create(_)));
        for replica in self.replicas.iter_mut().flatten() {
            match &mut replica.doing {
                Doing::Calling { over, .. } => *over = true,
                Doing::Guarding(doomed) => doomed.raced = false,
                Doing::Deciding => {}
            }
        }
    }

    /// Our clock alone jumps a year ahead, or back again.
    pub(super) fn jump(&mut self) {
        let ahead = !self.ahead;
        self.ahead = ahead;
        self.stamps(&mut |stamp| {
            stamp.ours = match (ahead, stamp.ours == T0) {
                (true, _) => T0.plus(Span(-LONG.0)),
                (false, true) => T0.plus(YEAR),
                (false, false) => stamp.ours,
            };
        });
        self.waits();
    }

    /// Every backoff is over.
    fn waits(&mut self) {
        let run = &mut self.store.run;
        run.waits.clear();
        if let State::Issuing { issuing: Issuing::Ready { until } } = &mut run.state {
            *until = Until::OVER;
        }
        let over = (Until::OVER, Until::OVER);
        self.store.holdings.iter_mut().for_each(|(row, _)| (row.until, row.landing) = over);
    }

    fn stamps(&mut self, f: &mut dyn FnMut(&mut Stamp)) {
        self.keys.iter_mut().for_each(|key| {
            key.disabled.iter_mut().for_each(&mut *f);
            key.leaked.iter_mut().for_each(&mut *f);
            f(&mut key.used);
        });
        let store = &mut self.store;
        store.rows.iter_mut().for_each(|row| {
            row.facts.tested.iter_mut().for_each(|(_, at)| f(at));
            row.facts.refused_since.iter_mut().for_each(&mut *f);
        });
        store.toggles.iter_mut().for_each(|toggle| f(&mut toggle.since));
        store.holdings.iter_mut().for_each(|(row, _)| row.checked.iter_mut().for_each(&mut *f));
        store.kills.iter_mut().for_each(|(_, at)| f(at));
        store.everywhere.iter_mut().for_each(&mut *f);
        run_stamps(&mut store.run, f);
        for session in self.replicas.iter_mut().flatten() {
            session.remote.iter_mut().for_each(|seen| f(&mut seen.at));
            if let Doing::Guarding(doomed) = &mut session.doing {
                f(&mut doomed.listed);
            }
        }
    }
}

pub(super) fn run_stamps(run: &mut Run, f: &mut dyn FnMut(&mut Stamp)) {
    state_stamps(&mut run.state, f);
    for retiree in &mut run.retirees {
        retiree.leaked.iter_mut().for_each(&mut *f);
        match &mut retiree.phase {
            Phase::Live { quiet: Some((_, at)) }
            | Phase::Disabled { since: at, .. }
            | Phase::Revived { since: Some(at), .. } => f(at),
            _ => {}
        }
    }
}

fn state_stamps(state: &mut State, f: &mut dyn FnMut(&mut Stamp)) {
    match state {
        State::Issuing {
            issuing:
                Issuing::Recover { looked: Some(at), .. } | Issuing::Doubt { refused_since: Some(at), .. },
        }
        | State::Verifying { since: at }
        | State::Grace { since: at, .. }
        | State::RollingBack { stage: Rollback::Retiring { since: at }, .. } => f(at),
        State::Parked { from, .. } => state_stamps(from, f),
        _ => {}
    }
}

/// A day and more is a day, some minutes are eleven.
fn bucket(at: Timestamp) -> Timestamp {
    let age = T0.since(at);
    match age.0 {
        age if age < -Span::hours(48).0 => T0.plus(YEAR),
        age if age <= 0 => T0,
        age if age < Span::hours(24).0 => T0.plus(Span(-SHORT.0)),
        _ => T0.plus(Span(-LONG.0)),
    }
}
