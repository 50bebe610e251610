//! What the engine does around the pure core: sessions, facts, intents before calls, outcomes after them, each
//! write under the fence. The decisions are the real [`next`] and [`apply`].

use std::collections::BTreeSet;

use rekeyd::domain::guard::Kill;
use rekeyd::domain::inherit::Roll;
use rekeyd::domain::key::{KeySpec, MicroUsd};
use rekeyd::domain::rotation::facts::{
    Facts, Holding, KeyFacts, Remote, RemoteFacts, TestResult, proved_now,
};
use rekeyd::domain::rotation::{Directive, Event, Figures, Issuing, KeyRef, State, Trigger, Usage, apply};
use rekeyd::domain::time::{Span, Until};

use super::Story;
use super::laws::EXPOSED;
use super::outside::take_lease;
use super::switches::Without;
use super::world::*;

impl Story {
    /// Takes the lease, and settles what an earlier process left open (R5).
    pub(super) fn open(&self, w: &mut World, p: usize) {
        // A fence only ever differs from older ones; numbers that grow would make the space infinite.
        take_lease(w);
        w.store.leased = true;
        let session =
            Session { fence: FENCE, strays: None, remote: Vec::new(), lacks: None, doing: Doing::Deciding };
        w.replicas[p] = Some(session);
        let World { keys, store, .. } = w;
        store.toggles.retain(|toggle| {
            let life = keys[toggle.key].life;
            let settled = match (toggle.kill, life) {
                (_, Life::Gone(_)) | (Some(Kill::Disable), Life::Disabled(_)) | (None, Life::Enabled) => true,
                // It cannot land any more.
                _ => toggle.since.theirs < NOW.theirs,
            };
            !settled
        });
    }

    /// Gives the lease back.
    pub(super) fn close(w: &mut World, p: usize) {
        if w.replicas[p].take().is_some_and(|session| session.fence == FENCE) {
            w.store.leased = false;
        }
    }

    /// True when this process may write (I6); else its session is over.
    pub(super) fn fenced(&self, w: &mut World, p: usize) -> bool {
        let ours = w.replicas[p].as_ref().is_some_and(|session| session.fence == FENCE);
        if !ours && self.lacks(Without::Fence) {
            w.break_law("I6 no write without the lease");
            return true;
        }
        if !ours {
            w.replicas[p] = None;
        }
        ours
    }

    /// Commits an event with what follows from it.
    pub(super) fn recorded(&self, w: &mut World, p: usize, event: &Event) -> bool {
        if !self.fenced(w, p) {
            return false;
        }
        if matches!(event, Event::GraceOver) {
            self.law_of_grace(w);
        }
        let Ok(mut after) = apply(&w.store.run, event) else {
            w.break_law("every event of the shell is legal");
            return false;
        };
        // Counters and sentences would make the space infinite, and decide nothing.
        for wait in after.waits.values_mut() {
            (wait.attempts, wait.reason) = (wait.attempts.min(2), String::new());
        }
        (after.unclear, after.failures) = (0, 0);
        Self::follow(w, event);
        w.store.run = after;
        true
    }

    /// The same, where the end of the session is all that a refusal means.
    pub(super) fn record(&self, w: &mut World, p: usize, event: &Event) {
        self.recorded(w, p, event);
    }

    fn follow(w: &mut World, event: &Event) {
        let candidate = w.store.run.candidate.as_ref().map(|key| index(&key.id));
        let predecessor = w.store.run.predecessor.as_ref().map(|key| index(&key.id));
        match event {
            Event::PublishIntended | Event::PublishedEverywhere { .. }
                if !w.store.run.published && !matches!(w.store.run.state, State::RollingBack { .. }) =>
            {
                promote(w, candidate);
                if let Event::PublishedEverywhere { .. } = event {
                    w.store.everywhere = Some(NOW);
                }
            }
            Event::AbortAsked { .. } if w.store.run.published => promote(w, predecessor),
            Event::Revived { .. } => promote(w, predecessor),
            Event::Deleted { hash } | Event::FoundGone { hash } => {
                let key = index(hash);
                w.store.rows.iter_mut().filter(|row| row.key == key).for_each(|row| row.role = Role::Dead);
            }
            Event::PublishedEverywhere { .. } => w.store.everywhere = Some(NOW),
            Event::FoundEnabled { .. } if w.store.run.state == State::Observing => {
                w.store.everywhere = Some(NOW);
            }
            Event::Resumed { .. } => w.store.holdings.iter_mut().for_each(|(row, _)| {
                (row.permanent, row.error, row.until) = (false, None, Until::OVER);
            }),
            Event::Released { destination, .. } => {
                let place = place_of(destination);
                let exposed = |key: &Key| key.enabled() && key.leaked.is_some_and(|at| at != NOW);
                if place == MUST && w.store.dropped != Some(MUST) && !w.keys.iter().any(exposed) {
                    w.break_law(EXPOSED);
                }
                let rows = w.store.holdings.iter_mut().filter(|(row, _)| place_of(&row.address) == place);
                rows.for_each(|(_, released)| *released = true);
            }
            _ => {}
        }
        if matches!(
            event,
            Event::AbortAsked { .. }
                | Event::RollbackAsked { .. }
                | Event::Resumed { .. }
                | Event::Released { .. }
                | Event::RequestRefused { .. }
        ) {
            w.store.request = None;
        }
    }

    pub(super) fn postpone(&self, w: &mut World, p: usize, call: &Directive) {
        let event =
            Event::Postponed { call: call.call(), reason: "later".into(), until: SOON, by_policy: false };
        self.record(w, p, &event);
    }

    pub(super) fn facts(&self, w: &World, session: &Session) -> Facts {
        let run = &w.store.run;
        let known = |key: &Option<KeyRef>| {
            let row = key.as_ref().and_then(|key| w.row(index(&key.id)));
            row.map_or_else(KeyFacts::default, |row| row.facts.clone())
        };
        let keys: Vec<&String> = run
            .candidate
            .iter()
            .chain(&run.predecessor)
            .chain(run.retirees.iter().map(|r| &r.key))
            .map(|key| &key.id)
            .collect();
        let rows = proved_now(w.store.holdings.iter().map(|(row, _)| row.clone()));
        let released = |fact: &Holding| {
            w.store
                .holdings
                .iter()
                .any(|(row, out)| *out && row.address == fact.address && row.key == fact.key)
        };
        let counts = |fact: &Holding| keys.contains(&&fact.key) && !released(fact);
        let dropped = |place: &usize| run.policy.targets.iter().any(|t| t.address == address(*place));
        Facts {
            now: NOW,
            clock: T0,
            frozen: w.store.frozen,
            paused: w.store.paused,
            detached: w.store.dropped.filter(dropped).map(|_| "dropped".to_owned()),
            dropped: w.store.dropped.map(address).into_iter().collect(),
            request: w.store.request.clone().map(|request| ("q".to_owned(), request)),
            strays: session.strays,
            candidate: known(&run.candidate),
            predecessor: known(&run.predecessor),
            disable_in_doubt: run.predecessor.as_ref().is_some_and(|old| {
                w.store.toggles.iter().any(|t| t.kill == Some(Kill::Disable) && t.key == index(&old.id))
            }),
            remote: session.remote.clone(),
            lacking: session.lacks.map(|lacks| (Vec::from_iter(lacks.then(|| Roll::Byok("b".into()))), NOW)),
            holdings: rows.into_iter().filter(counts).collect(),
            handed_out: BTreeSet::new(),
        }
    }

    /// One directive, up to the call that it makes, if any.
    pub(super) fn decide(&self, w: &mut World, p: usize) {
        let session = w.replicas[p].clone().unwrap();
        let facts = self.facts(w, &session);
        match self.next(&w.store.run, &facts) {
            Directive::Apply(event) => self.record(w, p, &event),
            Directive::Preflight => self.preflight(w, p),
            Directive::Create => self.create(w, p),
            Directive::Reconcile => self.reconcile(w, p),
            Directive::CheckProvisioning => {
                self.record(w, p, &Event::ProvisioningWorks { until: SOON });
            }
            Directive::Test(key) => self.test(w, p, index(&key.id)),
            Directive::Publish { address, key } => self.publish(w, p, place_of(&address), index(&key.id)),
            Directive::Check { address, key } => {
                self.look(w, p, place_of(&address), index(&key.id));
            }
            Directive::Read(key) => drop(Self::read(w, p, index(&key.id))),
            Directive::Inherit => self.inherit(w, p),
            Directive::Compare => self.compare(w, p),
            Directive::Enable(key) => self.enable(w, p, index(&key.id)),
            Directive::Disable { key, urgent } => {
                self.doom(w, p, (index(&key.id), Kill::Disable), urgent, false);
            }
            Directive::Delete { key, urgent } => {
                self.doom(w, p, (index(&key.id), Kill::Delete), urgent, false);
            }
            Directive::Supersede { reason } => self.supersede(w, p, &reason),
            Directive::Wait { .. } | Directive::Finished => Self::close(w, p),
        }
    }

    fn preflight(&self, w: &mut World, p: usize) {
        if self.list(w, p).is_none() {
            return;
        }
        let emergency = w.store.run.trigger.is_emergency();
        let down = w.places[MUST].down && !emergency;
        let event = match w.store.frozen || w.ahead || down {
            true if emergency => return self.postpone(w, p, &Directive::Preflight),
            true => Event::PreflightFailed { reason: "x".into() },
            false => Event::PreflightPassed,
        };
        self.record(w, p, &event);
    }

    /// The new key is named wherever the old one is, or was when it was last seen.
    fn inherit(&self, w: &mut World, p: usize) {
        self.law_of_inheriting(w);
        if w.rolls_down {
            return self.postpone(w, p, &Directive::Inherit);
        }
        let (old, new) = (w.store.run.predecessor.clone(), w.store.run.candidate.clone());
        if self.recorded(w, p, &Event::Inherited) {
            w.keys[index(&new.unwrap().id)].named |= w.keys[index(&old.unwrap().id)].named;
        }
    }

    fn compare(&self, w: &mut World, p: usize) {
        if w.rolls_down {
            return self.postpone(w, p, &Directive::Compare);
        }
        let lacks = w.lacks();
        w.replicas[p].as_mut().unwrap().lacks = Some(lacks);
    }

    /// R1, I4: a name is committed alone, then the provider is asked once.
    fn create(&self, w: &mut World, p: usize) {
        let call = Call::Create(w.store.names);
        if !self.lacks(Without::IntentFirst) && !self.intend_create(w, p) {
            return;
        }
        call_out(w, p, call, false);
    }

    fn intend_create(&self, w: &mut World, p: usize) -> bool {
        self.law_of_create(w);
        let name = format!("n{}", w.store.names);
        if !self.recorded(w, p, &Event::CreateIntended { name, spec: KeySpec::default() }) {
            return false;
        }
        w.store.names += 1;
        true
    }

    /// The account, unless a copy of this database is at work there (R9).
    pub(super) fn list(&self, w: &mut World, p: usize) -> Option<Vec<(usize, bool)>> {
        let unknown = w.keys.iter().any(|key| key.kind == Kind::Cloned && !key.gone());
        if unknown && !w.store.frozen {
            if !self.fenced(w, p) {
                return None;
            }
            w.store.frozen = true;
        }
        let keys = w.keys.iter().enumerate();
        Some(keys.filter(|(_, key)| !key.gone()).map(|(i, key)| (i, key.enabled())).collect())
    }

    /// Lists; strays go through the guard one after the other; when none is left the run goes on.
    fn reconcile(&self, w: &mut World, p: usize) {
        let Some(listing) = self.list(w, p) else { return };
        let urgent = w.store.run.trigger.is_emergency();
        let strays = listing.iter().filter(|(key, _)| w.is_stray(*key) && !self.lacks(Without::LookFirst));
        let strays: Vec<usize> = strays.map(|(key, _)| *key).collect();
        for key in strays {
            let kill = if w.keys[key].enabled() { Kill::Disable } else { Kill::Delete };
            if self.only_usable(w, key) {
                continue;
            }
            if kill == Kill::Delete && self.fenced(w, p) {
                // Disabled already: what was open of that is settled by the listing.
                w.store.toggles.retain(|toggle| toggle.key != key || toggle.kill != Some(Kill::Disable));
            }
            return self.doom(w, p, (key, kill), urgent, true);
        }
        let until = match &w.store.run.state {
            State::Issuing { issuing: Issuing::Ready { until } } => *until,
            _ => SOON,
        };
        if self.recorded(w, p, &Event::Listed { at: NOW, until }) {
            w.replicas[p].as_mut().unwrap().strays = Some(0);
        }
    }

    /// Tests a key with the bytes of the store.
    pub(super) fn test(&self, w: &mut World, p: usize, key: usize) {
        if !self.fenced(w, p) {
            return;
        }
        let works = w.keys[key].enabled() && w.keys[key].works;
        let Some(row) = w.store.rows.iter_mut().find(|row| row.key == key) else { return };
        let known = &mut row.facts;
        known.refused_since = if works { None } else { known.refused_since.or(Some(NOW)) };
        let result = if works { TestResult::Valid } else { TestResult::Unauthorized };
        known.tested = Some((result, NOW));
    }

    pub(super) fn read(w: &mut World, p: usize, key: usize) -> Remote {
        let seen = &w.keys[key];
        let remote = match seen.life {
            Life::Gone(_) => Remote::Gone,
            Life::Disabled(_) => Remote::Disabled,
            Life::Enabled => Remote::Enabled(Usage::Figures(Figures {
                usage: MicroUsd(seen.usage),
                byok_usage: MicroUsd(0),
                last_used_at: None,
            })),
        };
        if let Some(session) = &mut w.replicas[p] {
            session.remote.retain(|known| known.hash != hash(key));
            session.remote.push(RemoteFacts { hash: hash(key), remote: remote.clone(), at: NOW });
        }
        remote
    }

    fn enable(&self, w: &mut World, p: usize, key: usize) {
        if !self.fenced(w, p) {
            return;
        }
        w.store.toggles.retain(|toggle| toggle.kill.is_some() || toggle.key != key);
        w.store.toggles.push(Toggle { kill: None, key, since: NOW });
        call_out(w, p, Call::Enable(key), false);
    }

    fn supersede(&self, w: &mut World, p: usize, reason: &str) {
        let current = w.store.rows.iter().find(|row| row.role == Role::Current).map(|row| row.key);
        match current.filter(|_| !w.store.healed && !w.store.frozen) {
            Some(target) if self.fenced(w, p) => {
                self.emergency(w, Trigger::Heal, target);
                w.store.healed = true;
            }
            Some(_) => {}
            None => self.record(w, p, &Event::Parked { reason: reason.to_owned() }),
        }
    }

    /// The answer of a call, and what it is committed as.
    pub(super) fn answered(&self, w: &mut World, p: usize, call: Call, ok: bool) {
        match call {
            Call::Create(name) if ok => self.store_issued(w, p, name),
            Call::Create(_) => self.record(w, p, &Event::CreateUnclear { reason: "x".into() }),
            Call::Publish { place, key } => self.published(w, p, place, key, ok),
            Call::Enable(key) => self.enabled(w, p, key),
            Call::Kill { kill, key, run } => self.settle_kill(w, p, kill, key, run),
        }
    }

    fn store_issued(&self, w: &mut World, p: usize, name: u8) {
        if self.lacks(Without::IntentFirst) && !self.intend_create(w, p) {
            return;
        }
        let key = w.keys.iter().rposition(|key| key.kind == Kind::Named(name)).unwrap();
        if self.recorded(w, p, &Event::Created { key: key_ref(key), at: NOW }) {
            w.store.rows.push(Row { key, role: Role::Candidate, facts: KeyFacts::default() });
        }
    }

    fn enabled(&self, w: &mut World, p: usize, key: usize) {
        if !self.fenced(w, p) {
            return;
        }
        if matches!(Self::read(w, p, key), Remote::Enabled(_)) {
            w.store.toggles.retain(|toggle| toggle.key != key || toggle.kill == Some(Kill::Delete));
            self.record(w, p, &Event::Enabled { hash: hash(key), at: NOW });
        } else {
            self.postpone(w, p, &Directive::Enable(key_ref(key)));
        }
    }

    /// What becomes of a rotation's key that is leaked or dead: the shell's `start_emergency`.
    pub(super) fn emergency(&self, w: &mut World, trigger: Trigger, target: usize) {
        let mut by = w.store.run.id.clone();
        by.push('e');
        self.take_over(w, by, trigger, target);
    }
}

fn promote(w: &mut World, key: Option<usize>) {
    for row in &mut w.store.rows {
        if Some(row.key) == key {
            row.role = Role::Current;
        } else if row.role == Role::Current {
            row.role = Role::Retiring;
        }
    }
}

/// From here on the outside may change.
pub(super) fn call_out(w: &mut World, p: usize, call: Call, raced: bool) {
    if let Some(session) = &mut w.replicas[p] {
        // The deadline of a call is taken from a lease that was renewed for it (R4).
        w.store.leased |= session.fence == FENCE;
        session.doing = Doing::Calling { call, landed: false, raced, over: false };
    }
}

pub(super) const DAY: Span = Span::hours(24);
