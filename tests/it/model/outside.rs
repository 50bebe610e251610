//! What happens to rekeyd: calls that land or are lost, crashes, stalls, time, persons, failing destinations.

use rekeyd::domain::guard::Kill;
use rekeyd::domain::rotation::facts::Request;
use rekeyd::domain::rotation::{State, Trigger, gives_way_to_healing};

use super::Story;
use super::laws::law_of_landing;
use super::switches::Without;
use super::world::*;

/// One thing that may happen next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Open(usize),
    Step(usize),
    Land {
        replica: usize,
        works: bool,
    },
    Answer(usize),
    LoseAnswer(usize),
    Crash(usize),
    /// A process stands still until its lease is over.
    Stall(usize),
    LandLate {
        call: usize,
        works: bool,
    },
    Minutes,
    Day,
    ClockJumps,
    PersonKills(Kill, usize),
    PersonEnables(usize),
    /// The old key is still used.
    Used(usize),
    Asks(Request),
    Leaked(usize),
    Heals,
    /// A copy of this database makes a key.
    Clone,
    DropsPlace(usize),
    /// `keys disable --at-provider`.
    Manual(Kill, usize),
    Breaks(usize),
    Mends(usize),
    /// What names keys cannot be reached, and can be again.
    RollsBreak,
    RollsMend,
    /// A person takes the new key off what names it.
    Unnames(usize),
}

impl Story {
    /// Everything that may happen in this world, in a fixed order.
    pub(super) fn possible(&self, w: &World, acts: &mut Vec<Act>) {
        for p in 0..w.replicas.len() {
            self.of_replica(w, p, acts);
        }
        for (call, late) in w.late.iter().enumerate() {
            acts.push(Act::LandLate { call, works: true });
            if matches!(late, Call::Create(_)) && w.left.duds > 0 {
                acts.push(Act::LandLate { call, works: false });
            }
        }
        let open = !w.store.run.state.is_terminal();
        if open && (w.idle() || w.left.stalls > 0) {
            acts.extend([Act::Minutes, Act::Day]);
        }
        if w.left.jumps > 0 || w.ahead {
            acts.push(Act::ClockJumps);
        }
        if open || self.heals {
            self.of_persons(w, acts);
        }
        if w.rolls_down {
            acts.push(Act::RollsMend);
        } else if w.left.snags > 0 && open {
            acts.push(Act::RollsBreak);
        }
        for place in 0..w.places.len() {
            if w.places[place].down {
                acts.push(Act::Mends(place));
            } else if w.left.outages > 0 && open {
                acts.push(Act::Breaks(place));
            }
        }
    }

    fn of_replica(&self, w: &World, p: usize, acts: &mut Vec<Act>) {
        let Some(session) = &w.replicas[p] else {
            let parked = matches!(w.store.run.state, State::Parked { .. }) && w.store.request.is_none();
            let work = !(w.store.run.state.is_terminal() || parked) || !w.store.toggles.is_empty();
            // Idle processes are alike: the first of them is the one to start.
            let first = w.replicas.iter().position(Option::is_none) == Some(p);
            if work && first && !w.store.leased {
                acts.push(Act::Open(p));
            }
            return;
        };
        match &session.doing {
            Doing::Calling { call, landed, over, .. } => {
                if !landed && (!over || self.lacks(Without::Deadline)) {
                    acts.push(Act::Land { replica: p, works: true });
                    if matches!(call, Call::Create(_)) && w.left.duds > 0 {
                        acts.push(Act::Land { replica: p, works: false });
                    }
                }
                if *landed || *over {
                    acts.push(Act::Answer(p));
                }
                if w.left.lost > 0 && !over {
                    acts.push(Act::LoseAnswer(p));
                }
            }
            _ => acts.push(Act::Step(p)),
        }
        if w.left.crashes > 0 {
            acts.push(Act::Crash(p));
        }
        if w.left.stalls > 0 && w.replicas.len() > 1 && w.store.leased && session.fence == FENCE {
            acts.push(Act::Stall(p));
        }
    }

    fn of_persons(&self, w: &World, acts: &mut Vec<Act>) {
        let run = &w.store.run;
        for key in FIRST..w.keys.len() {
            let known = &w.keys[key];
            if w.left.kills > 0 && known.enabled() {
                acts.extend([Kill::Disable, Kill::Delete].map(|kill| Act::PersonKills(kill, key)));
            }
            if w.left.enables > 0 && matches!(known.life, Life::Disabled(_)) {
                acts.push(Act::PersonEnables(key));
            }
        }
        if w.left.uses > 0 && w.keys[FIRST].enabled() {
            acts.push(Act::Used(FIRST));
        }
        if w.left.requests > 0 && w.store.request.is_none() && !run.state.is_terminal() {
            acts.extend(self.requests.iter().cloned().map(Act::Asks));
        }
        let free = !w.store.leased && !w.store.frozen;
        for row in w.store.rows.iter().filter(|row| row.role != Role::Dead) {
            if w.left.leaks > 0 && free && matches!(row.role, Role::Current | Role::Retiring) {
                acts.push(Act::Leaked(row.key));
            }
        }
        let at_work = !(run.state.is_terminal() || gives_way_to_healing(run));
        let current = w.store.rows.iter().find(|row| row.role == Role::Current);
        let dead = current.is_some_and(|row| !w.keys[row.key].enabled());
        if self.heals && free && !at_work && dead && !w.store.healed {
            acts.push(Act::Heals);
        }
        if w.left.unnames > 0 && w.idle() && matches!(run.state, State::Grace { .. }) {
            let new = run.candidate.as_ref().map(|key| index(&key.id));
            acts.extend(new.filter(|key| w.keys[*key].named).map(Act::Unnames));
        }
        if w.left.clones > 0 {
            acts.push(Act::Clone);
        }
        if w.left.drops > 0 && w.store.dropped.is_none() && w.idle() {
            acts.extend([Act::DropsPlace(0), Act::DropsPlace(1)]);
        }
        if w.left.manual > 0 && free {
            let foreign = (FIRST..w.keys.len()).filter(|key| w.row(*key).is_none() && !w.keys[*key].gone());
            foreign.for_each(|key| acts.push(Act::Manual(Kill::Disable, key)));
        }
    }

    /// The world after an act.
    pub(super) fn happen(&self, w: &mut World, act: &Act) {
        match act {
            Act::Open(p) => self.open(w, *p),
            Act::Step(p) => self.step(w, *p),
            Act::Land { replica, works } => self.land(w, *replica, *works),
            Act::Answer(p) => self.answer(w, *p),
            Act::LoseAnswer(p) => self.lose(w, *p),
            Act::Crash(p) => {
                w.left.crashes -= 1;
                orphan(w, *p);
                w.replicas[*p] = None;
                w.store.leased = false;
            }
            Act::Stall(p) => {
                w.left.stalls -= 1;
                orphan(w, *p);
                w.store.leased = false;
            }
            Act::LandLate { call, works } => {
                let call = w.late.remove(*call);
                self.effect(w, call, *works, Some(By::Late));
            }
            Act::Minutes | Act::Day => {
                w.left.stalls -= u8::from(!w.idle());
                w.pass(if *act == Act::Day { LONG } else { SHORT });
            }
            Act::ClockJumps => {
                w.left.jumps -= u8::from(!w.ahead);
                w.jump();
            }
            Act::Breaks(place) => {
                w.left.outages -= 1;
                w.places[*place].down = true;
            }
            Act::Mends(place) => w.places[*place].down = false,
            Act::RollsBreak => {
                w.left.snags -= 1;
                w.rolls_down = true;
            }
            Act::RollsMend => w.rolls_down = false,
            Act::Unnames(key) => {
                w.left.unnames -= 1;
                w.keys[*key].named = false;
            }
            person => self.person(w, person),
        }
    }

    fn person(&self, w: &mut World, act: &Act) {
        match act {
            Act::PersonKills(kill, key) => {
                w.left.kills -= 1;
                w.keys[*key].end(*kill, By::Person);
                race(w);
            }
            Act::PersonEnables(key) => {
                w.left.enables -= 1;
                (w.keys[*key].life, w.keys[*key].disabled) = (Life::Enabled, None);
                race(w);
            }
            Act::Used(key) => {
                w.left.uses -= 1;
                w.keys[*key].usage += 1;
                w.keys[*key].used = NOW;
            }
            Act::Asks(request) => {
                w.left.requests -= 1;
                w.store.request = Some(request.clone());
            }
            Act::Leaked(key) => {
                w.left.leaks -= 1;
                w.keys[*key].leaked = Some(NOW);
                take_lease(w);
                self.emergency(w, Trigger::Leak, *key);
            }
            Act::Heals => {
                take_lease(w);
                let current = w.store.rows.iter().find(|row| row.role == Role::Current).map(|row| row.key);
                self.emergency(w, Trigger::Heal, current.unwrap());
                w.store.healed = true;
            }
            Act::Clone => {
                w.left.clones -= 1;
                w.keys.push(Key::new(Kind::Cloned));
            }
            Act::DropsPlace(place) => {
                w.left.drops -= 1;
                w.store.dropped = Some(*place);
            }
            Act::Manual(kill, key) => {
                w.left.manual -= 1;
                self.open(w, 0);
                self.ask(w, *key, *kill);
            }
            _ => {}
        }
    }

    /// By hand: the same way to the guard, for no run.
    fn ask(&self, w: &mut World, key: usize, kill: Kill) {
        let Some(listing) = self.list(w, 0) else { return };
        let (urgent, stray, run) = (false, false, false);
        let doomed = Doomed { key, kill, urgent, stray, run, listing, listed: NOW, raced: false };
        w.replicas[0].as_mut().unwrap().doing = Doing::Guarding(doomed);
    }

    pub(super) fn step(&self, w: &mut World, p: usize) {
        match w.replicas[p].as_ref().unwrap().doing.clone() {
            Doing::Guarding(doomed) => self.guard(w, p, &doomed),
            _ => self.decide(w, p),
        }
    }

    pub(super) fn land(&self, w: &mut World, p: usize, works: bool) {
        let Some(Session { doing: Doing::Calling { call, landed, raced, over }, .. }) = &mut w.replicas[p]
        else {
            return;
        };
        *landed = true;
        // Only within its deadline a call may be surprised.
        let (call, raced) = (*call, *raced && !*over);
        self.effect(w, call, works, raced.then_some(By::Person));
    }

    /// `excuse`: a person or a dead process had a hand in it.
    fn effect(&self, w: &mut World, call: Call, works: bool, excuse: Option<By>) {
        let late = excuse == Some(By::Late);
        match call {
            Call::Create(name) => {
                w.left.duds -= u8::from(!works);
                w.keys.push(Key { works, late, ..Key::new(Kind::Named(name)) });
            }
            Call::Publish { place, key } => {
                w.places[place].holds = key;
                w.keys[key].held = true;
            }
            Call::Enable(key) if !w.keys[key].gone() => {
                (w.keys[key].life, w.keys[key].disabled) = (Life::Enabled, None);
            }
            Call::Kill { kill, key, .. } if !w.keys[key].gone() => {
                law_of_landing(w, kill, key, excuse.is_some());
                w.keys[key].end(kill, if late { By::Late } else { By::Us });
            }
            Call::Enable(_) | Call::Kill { .. } => {}
        }
    }

    pub(super) fn answer(&self, w: &mut World, p: usize) {
        let session = w.replicas[p].as_mut().unwrap();
        let Doing::Calling { call, landed, .. } = session.doing else { return };
        session.doing = Doing::Deciding;
        self.answered(w, p, call, landed);
    }

    fn lose(&self, w: &mut World, p: usize) {
        w.left.lost -= 1;
        let session = w.replicas[p].as_mut().unwrap();
        let Doing::Calling { call, landed, .. } = session.doing else { return };
        if !landed {
            w.late.push(call);
        }
        let session = w.replicas[p].as_mut().unwrap();
        if self.lacks(Without::CreateOnce) && matches!(call, Call::Create(_)) {
            session.doing = Doing::Calling { call, landed: false, raced: false, over: false };
            return;
        }
        session.doing = Doing::Deciding;
        self.answered(w, p, call, false);
    }
}

/// The call of a process that is no longer there may still arrive.
fn orphan(w: &mut World, p: usize) {
    if let Some(Session { doing: Doing::Calling { call, landed: false, over, .. }, .. }) = &mut w.replicas[p]
        && !*over
    {
        *over = true;
        let call = *call;
        w.late.push(call);
    }
}

/// Another process had the lease for a moment.
pub(super) fn take_lease(w: &mut World) {
    w.replicas.iter_mut().flatten().for_each(|older| older.fence = 0);
}

/// A look that was just made no longer tells the truth.
fn race(w: &mut World) {
    for session in w.replicas.iter_mut().flatten() {
        match &mut session.doing {
            Doing::Guarding(Doomed { raced, .. }) | Doing::Calling { raced, .. } => *raced = true,
            Doing::Deciding => {}
        }
    }
}
