//! Disable and delete, as the engine's `kill` does them: proofs, listing, the real guard and the intent in one
//! transaction, the call, and only what a look shows afterwards. And the emergency that inherits the keys.

use rekeyd::domain::guard::{Case, Holder, Kill, Proof, Refusal, permit};
use rekeyd::domain::key::RemoteKey;
use rekeyd::domain::rotation::facts::{Remote, TestResult};
use rekeyd::domain::rotation::{Directive, Emergency, Event, Level, Phase, Trigger, apply};
use rekeyd::domain::time::{Span, Stamp, Until};

use super::Story;
use super::shell::call_out;
use super::switches::Without;
use super::world::*;
use crate::support::remote_key;

impl Story {
    /// Proofs and a listing; what the listing settles needs no guard.
    pub(super) fn doom(
        &self,
        w: &mut World,
        p: usize,
        (key, kill): (usize, Kill),
        urgent: bool,
        stray: bool,
    ) {
        self.prove_holders(w, p, key);
        let Some(listing) = self.list(w, p) else { return };
        let run = !stray;
        if self.already(w, p, (key, kill), run, &listing) {
            return;
        }
        let doomed = Doomed { key, kill, urgent, stray, run, listing, listed: NOW, raced: false };
        if let Some(session) = &mut w.replicas[p] {
            session.doing = Doing::Guarding(doomed);
        }
    }

    /// Fresh proof from every place that may have received the key.
    fn prove_holders(&self, w: &mut World, p: usize, key: usize) {
        let held: Vec<usize> = w
            .store
            .holdings
            .iter()
            .filter(|(row, out)| index(&row.key) == key && !out && row.level > Level::Pending)
            .map(|(row, _)| place_of(&row.address))
            .collect();
        for place in held {
            let at = |row: &&(_, bool)| {
                let row: &(rekeyd::domain::rotation::facts::Holding, bool) = row;
                place_of(&row.0.address) == place && index(&row.0.key) != key
            };
            let newest = w.store.holdings.iter().find(at).map(|(row, _)| row.clone());
            if let Some(row) = newest.filter(|row| row.level >= Level::Confirmed) {
                self.look(w, p, place, index(&row.key));
                self.test(w, p, index(&row.key));
            }
        }
    }

    fn already(
        &self,
        w: &mut World,
        p: usize,
        (key, kill): (usize, Kill),
        run: bool,
        listing: &[(usize, bool)],
    ) -> bool {
        let seen = listing.iter().find(|(listed, _)| *listed == key).map(|(_, enabled)| *enabled);
        let retiree = w.store.run.retirees.iter().find(|r| r.key.hash == hash(key));
        let phase = retiree.filter(|_| run).map(|r| r.phase.clone());
        let hash = hash(key);
        let event = match (kill, seen) {
            (Kill::Delete, None) if phase == Some(Phase::Deleting) => Event::Deleted { hash },
            (_, None) => Event::FoundGone { hash },
            (Kill::Disable, Some(false)) if phase == Some(Phase::Disabling) => {
                Event::Disabled { hash, at: NOW }
            }
            (Kill::Disable, Some(false)) => Event::FoundDisabled { hash, at: NOW },
            (Kill::Delete, Some(true)) if matches!(phase, Some(Phase::Disabled { .. })) => {
                Event::FoundEnabled { hash, at: NOW }
            }
            _ => return false,
        };
        if self.fenced(w, p) {
            w.store.toggles.retain(|toggle| toggle.key != key || toggle.kill != Some(kill));
            if run {
                self.record(w, p, &event);
            }
        }
        true
    }

    /// The guard decides on the rows of the transaction that commits the intent (I2).
    pub(super) fn guard(&self, w: &mut World, p: usize, doomed: &Doomed) {
        if let Some(session) = &mut w.replicas[p] {
            session.doing = Doing::Deciding;
        }
        if !self.fenced(w, p) {
            return;
        }
        if let Err(refusal) = self.permitted(w, doomed) {
            return self.refused(w, p, doomed, &refusal);
        }
        self.law_of_kill(w, doomed);
        let (hash, key) = (hash(doomed.key), doomed.key);
        let intent = match doomed.kill {
            Kill::Disable => Event::DisableIntended { hash },
            Kill::Delete => Event::DeleteIntended { hash },
        };
        if doomed.run && !self.recorded(w, p, &intent) {
            return;
        }
        w.store.toggles.retain(|toggle| toggle.key != key || toggle.kill != Some(doomed.kill));
        w.store.toggles.push(Toggle { kill: Some(doomed.kill), key, since: NOW });
        w.store.kills.retain(|(known, _)| *known != key);
        w.store.kills.push((key, NOW));
        let call = Call::Kill { kill: doomed.kill, key, run: doomed.run };
        call_out(w, p, call, doomed.raced);
    }

    fn refused(&self, w: &mut World, p: usize, doomed: &Doomed, refusal: &Refusal) {
        let left = Event::LeftForNow { until: SOON };
        if matches!(refusal, Refusal::LastRegularKey { .. })
            && apply(&w.store.run, &left).is_ok()
            && doomed.run
        {
            self.record(w, p, &left);
        } else if doomed.stray {
            self.postpone(w, p, &Directive::Reconcile);
        } else if doomed.run {
            self.postpone(w, p, &step_of(doomed.key, doomed.kill, doomed.urgent));
        } else {
            Self::close(w, p);
        }
    }

    /// The real guard on the rows of the store. A switch edits what it is shown.
    fn permitted(&self, w: &World, doomed: &Doomed) -> Result<(), Refusal> {
        let key = doomed.key;
        // On the provider's clock a year less has passed, when ours is ahead.
        let skewed = |at: Stamp| {
            let ahead = w.ahead && !self.lacks(Without::Clocks);
            let skew = Span(if ahead { -YEAR.0 } else { 0 });
            Stamp { theirs: at.theirs.map(|at| at.plus(skew)), ..at }
        };
        let keys: Vec<RemoteKey> = doomed
            .listing
            .iter()
            .filter(|(listed, _)| *listed == key || !w.is_stray(*listed))
            .map(|(listed, enabled)| listed_key(*listed, *enabled))
            .collect();
        let open: Vec<String> =
            w.store.toggles.iter().filter(|t| t.kill.is_some()).map(|t| hash(t.key)).collect();
        let mut holders = holders(w, key, &skewed);
        if self.lacks(Without::Landing) {
            for holder in &mut holders {
                holder.landing = Until::OVER;
            }
        }
        let others = w.store.kills.iter().filter(|(killed, _)| *killed != key).count();
        let stored = w.row(key).is_some();
        let mut case = Case {
            account: "a",
            target: &hash(key),
            kill: doomed.kill,
            urgent: doomed.urgent,
            leaked: w.store.run.retirees.iter().any(|r| r.key.hash == hash(key) && r.leaked.is_some()),
            now: skewed(NOW),
            clock: T0,
            listed: skewed(doomed.listed),
            keys: &keys,
            provisioning_hash: &hash(PROVISIONING),
            open_kills: &open,
            in_doubt: &[],
            holders: &holders,
            ours: stored || doomed.stray,
            frozen: w.store.frozen,
            recent_kills: u32::try_from(others).unwrap(),
            max_kills: self.max_kills,
        };
        let more: Vec<RemoteKey> = keys.iter().cloned().chain([listed_key(99, true)]).collect();
        match self.without {
            Some(Without::LastKey) => case.keys = &more,
            Some(Without::Holders | Without::Required) => case.holders = &[],
            Some(Without::Leaked) => case.leaked = true,
            Some(Without::OpenKill) => case.open_kills = &[],
            Some(Without::Ours) => case.ours = true,
            Some(Without::Frozen) => case.frozen = false,
            Some(Without::Breaker) => case.max_kills = u32::MAX,
            Some(Without::FreshListing) => case.listed = case.now,
            Some(Without::Provisioning) => case.provisioning_hash = "",
            _ => {}
        }
        permit(&case)
    }

    /// True when the guard would keep this key as the last one of the account.
    pub(super) fn only_usable(&self, w: &World, key: usize) -> bool {
        !usable(w).iter().any(|other| *other != key)
    }

    /// Read back: only what the provider shows now counts.
    pub(super) fn settle_kill(&self, w: &mut World, p: usize, kill: Kill, key: usize, run: bool) {
        let proved = match (kill, Self::read(w, p, key)) {
            (_, Remote::Gone) | (Kill::Disable, Remote::Disabled) => true,
            (Kill::Delete, Remote::Disabled) | (_, Remote::Enabled(_)) => false,
        };
        if !self.fenced(w, p) {
            return;
        }
        if proved {
            w.store.toggles.retain(|toggle| toggle.key != key || toggle.kill != Some(kill));
        }
        let hash = hash(key);
        let event = match kill {
            Kill::Disable => Event::Disabled { hash, at: NOW },
            Kill::Delete => Event::Deleted { hash },
        };
        match (proved, run) {
            (true, true) => self.record(w, p, &event),
            (false, true) => self.postpone(w, p, &step_of(key, kill, false)),
            (false, false) => self.postpone(w, p, &Directive::Reconcile),
            (true, false) => {}
        }
    }

    /// As `start_emergency`: the open run is superseded, its keys are inherited.
    pub(super) fn take_over(&self, w: &mut World, id: String, trigger: Trigger, target: usize) {
        let open = (!w.store.run.state.is_terminal()).then(|| w.store.run.clone());
        w.store.request = None;
        let retiring = w.row(target).unwrap().role == Role::Retiring;
        let current = w.store.rows.iter().find(|row| row.role == Role::Current);
        let candidate = open.as_ref().and_then(|run| run.candidate.as_ref());
        let emergency = Emergency {
            id,
            rotation: "r",
            account: "a",
            trigger,
            policy: &self.policy,
            target: key_ref(target),
            retiring,
            living: w
                .store
                .rows
                .iter()
                .filter(|row| row.role != Role::Dead)
                .map(|row| key_ref(row.key))
                .collect(),
            current: current.map(|row| key_ref(row.key)),
            open: open.as_ref(),
            candidate: candidate.and_then(|key| w.row(index(&key.id))).map(|row| &row.facts),
            now: NOW,
        };
        w.store.run = emergency.run();
    }
}

/// The step of a run that a kill is.
fn step_of(key: usize, kill: Kill, urgent: bool) -> Directive {
    let key = key_ref(key);
    match kill {
        Kill::Disable => Directive::Disable { key, urgent },
        Kill::Delete => Directive::Delete { key, urgent },
    }
}

/// The guard's view of the destinations that may have received the target.
fn holders(w: &World, target: usize, skewed: &dyn Fn(Stamp) -> Stamp) -> Vec<Holder> {
    let rows = &w.store.holdings;
    let may_hold = rows.iter().filter(|(row, _)| index(&row.key) == target && row.level > Level::Pending);
    let proof = |(row, _): &(rekeyd::domain::rotation::facts::Holding, bool)| {
        let facts = &w.row(index(&row.key)).filter(|row| row.role != Role::Dead)?.facts;
        let checked = row.checked.filter(|_| row.level >= Level::Confirmed && row.drift.is_none())?;
        let valid = facts.tested.as_ref().filter(|(result, _)| *result == TestResult::Valid);
        let valid = valid.map(|(_, at)| skewed(*at));
        Some(Proof { hash: hash(index(&row.key)), checked: skewed(checked), valid })
    };
    let holder = |(row, released): &(rekeyd::domain::rotation::facts::Holding, bool)| Holder {
        destination: row.address.clone(),
        required: place_of(&row.address) == MUST && w.store.dropped != Some(MUST),
        released: *released,
        landing: row.landing,
        now_holds: rows
            .iter()
            .find(|(other, _)| other.address == row.address && other.key != row.key)
            .and_then(proof),
    };
    may_hold.map(holder).collect()
}

fn listed_key(key: usize, enabled: bool) -> RemoteKey {
    RemoteKey { disabled: !enabled, ..remote_key(&hash(key)) }
}

/// Regular keys that somebody may work with.
pub(super) fn usable(w: &World) -> Vec<usize> {
    let regular = |key: &usize| *key != PROVISIONING && w.keys[*key].enabled() && !w.is_stray(*key);
    (0..w.keys.len()).filter(regular).collect()
}
