//! The model checker: the real `next`, `apply` and `permit` in every interleaving of a small world.
//!
//! - `world`: the true state of provider and destinations, the store, the processes; coarse time
//! - `shell`, `deliver`, `kill`: what the engine does around the pure core
//! - `outside`: what may happen: lost answers, crashes, stalls, persons, failing destinations, clocks
//! - `laws`: product.md, I1–I10, as properties of every state
//! - `switches`: one defence taken away at a time
//! - `stories`: the models and their bounds
//! - this file: the model, what "the run can end" means, and the tests
//!
//! Each test writes one line to a file of its own in `target/tmp/model`: `model | NAME | N states | N transitions |
//! depth N`, or `without | DEFENCE | breaks: LAW | in N steps`.

#![expect(clippy::unused_self, reason = "every step of the shell is called alike")]
#![expect(clippy::struct_excessive_bools, reason = "they are what a small world consists of")]

mod deliver;
mod kill;
mod laws;
mod outside;
mod shell;
mod stories;
mod switches;
mod world;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use rekeyd::domain::rotation::facts::Request;
use rekeyd::domain::rotation::{Level, Policy, State};
use stateright::{Model, Property};

use outside::Act;
use switches::Without;
use world::*;

/// One model: where it starts, what may go wrong, and how often.
struct Story {
    name: &'static str,
    without: Option<Without>,
    start: World,
    policy: Policy,
    requests: Vec<Request>,
    heals: bool,
    max_kills: u32,
    max_keys: usize,
    /// Worlds from which the run is known to come to an end.
    ending: Mutex<HashSet<u64>>,
}

impl Model for Story {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.start.clone()]
    }

    fn actions(&self, w: &World, acts: &mut Vec<Act>) {
        if w.broken.is_empty() {
            self.possible(w, acts);
        }
    }

    fn next_state(&self, w: &World, act: Act) -> Option<World> {
        let mut after = w.clone();
        self.happen(&mut after, &act);
        (after != *w).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::properties()
    }

    fn within_boundary(&self, w: &World) -> bool {
        w.keys.len() <= self.max_keys && usize::from(w.store.names) < self.max_keys
    }
}

/// More steps than any run takes that nothing disturbs.
const STEPS: usize = 800;

impl Story {
    /// I10: when nothing more goes wrong, the run ends or asks for a person, and no effect is left unknown.
    fn can_end(&self, w: &World) -> bool {
        let (mut w, mut seen) = (w.clone(), Vec::new());
        if !w.idle() || !w.broken.is_empty() {
            return true;
        }
        w.places.iter_mut().for_each(|place| place.down = false);
        w.rolls_down = false;
        for _ in 0..STEPS {
            if w.idle() {
                let mut hasher = DefaultHasher::new();
                w.hash(&mut hasher);
                seen.push(hasher.finish());
                let known = self.ending.lock().unwrap().contains(&hasher.finish());
                if known || self.over(&w) {
                    self.ending.lock().unwrap().extend(seen);
                    return true;
                }
            }
            self.undisturbed(&mut w);
        }
        false
    }

    fn undisturbed(&self, w: &mut World) {
        if let Some(p) = w.replicas.iter().position(Option::is_some) {
            match w.replicas[p].as_ref().unwrap().doing {
                Doing::Calling { landed, over, .. } => {
                    if !landed && !over {
                        self.land(w, p, true);
                    }
                    self.answer(w, p);
                }
                _ => self.step(w, p),
            }
            return;
        }
        if w.ahead {
            w.jump();
        }
        w.pass(LONG);
        self.open(w, 0);
    }

    fn over(&self, w: &World) -> bool {
        let run = &w.store.run;
        let drifted = w.store.holdings.iter().any(|(row, out)| row.drift.is_some() && !out);
        let asks = matches!(run.state, State::Parked { .. })
            || w.store.frozen
            || w.store.paused
            || drifted
            || (self.inherits() && w.lacks());
        let ended = run.state.is_terminal() && w.store.toggles.is_empty();
        asks && w.store.request.is_none() || ended || !self.within_boundary(w)
    }
}

/// The place as a run's policy has it.
fn confirmed(place: usize) -> (rekeyd::domain::rotation::facts::Holding, bool) {
    (deliver::holding(place, FIRST, Level::Confirmed), false)
}
