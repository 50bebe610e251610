//! What must never happen (product.md, I1–I10), over the true world. Laws of a moment are checked on every
//! state; laws of an act are noted in the world when the act breaks them.

use rekeyd::domain::guard::Kill;
use rekeyd::domain::rotation::{Phase, Retiree, State};
use rekeyd::domain::time::Stamp;
use stateright::Property;

use super::Story;
use super::kill::usable;
use super::world::*;

pub(super) const SERVED: &str = "I1 no destination holds a key that we disabled or deleted";
pub(super) const JOURNALLED: &str = "I2 no disable or delete without a committed intent";
pub(super) const FINDABLE: &str = "I3 every key of ours is stored or its name is journalled";
pub(super) const ONCE: &str = "I4 each name is created at most once";
pub(super) const ONE_KILL: &str = "I5 at most one kill intent an account";
pub(super) const FENCED: &str = "I6 no write without the lease";
pub(super) const PROVED: &str =
    "I7 the old key is not disabled before every required destination let go of it";
pub(super) const WAITED: &str = "I7 the old key is not disabled before grace and quiet are over";
pub(super) const OBSERVED: &str = "I8 delete implies disabled for the observation time";
pub(super) const FOREIGN: &str = "I9 keys of others are never changed";
pub(super) const FEW: &str = "I10 at most two live keys, three in an emergency";
pub(super) const ENDS: &str = "I10 from every state the run can end";
pub(super) const CLOCK: &str = "I13 no destructive act while the clocks disagree";
pub(super) const LAST: &str = "the last regular key is never disabled or deleted";
pub(super) const LOOKED: &str = "R5 no new key while a stray of ours lives";
pub(super) const FROZEN: &str = "R9 nothing is destroyed while the account is frozen";
pub(super) const BREAKER: &str = "R12 not more destructive acts an hour than allowed";
pub(super) const TESTED: &str = "R13 what is published was tested now";
pub(super) const DETACHED: &str = "R14 a run of a dropped destination waits for a person";
pub(super) const EXPOSED: &str =
    "a required destination is let go of only when a leaked key has lived for too long";
pub(super) const NAMED: &str = "R23 an ordinary run gives nobody a key that lacks what names the old one";
pub(super) const HASTE: &str = "R23 an emergency waits for that a minute at most";
pub(super) const COMPARED: &str = "R23 an old key that differs from the new one is held";
pub(super) const LEGAL: &str = "every event of the shell is legal";

/// All laws, each an `always` property.
pub(super) fn properties() -> Vec<Property<Story>> {
    vec![
        Property::always(SERVED, |_, w: &World| served(w)),
        Property::always(JOURNALLED, |_, w: &World| kept(w, JOURNALLED)),
        Property::always(FINDABLE, |_, w: &World| findable(w)),
        Property::always(ONCE, |_, w: &World| once(w)),
        Property::always(ONE_KILL, |_, w: &World| {
            w.store.toggles.iter().filter(|t| t.kill.is_some()).count() < 2
        }),
        Property::always(FENCED, |_, w: &World| kept(w, FENCED)),
        Property::always(PROVED, |_, w: &World| kept(w, PROVED)),
        Property::always(WAITED, |_, w: &World| kept(w, WAITED)),
        Property::always(OBSERVED, |_, w: &World| kept(w, OBSERVED)),
        Property::always(FOREIGN, |_, w: &World| kept(w, FOREIGN)),
        Property::always(FEW, |story: &Story, w: &World| few(story, w)),
        Property::always(ENDS, |story: &Story, w: &World| story.can_end(w)),
        Property::always(CLOCK, |_, w: &World| kept(w, CLOCK)),
        Property::always(LAST, |_, w: &World| kept(w, LAST)),
        Property::always(LOOKED, |_, w: &World| kept(w, LOOKED)),
        Property::always(FROZEN, |_, w: &World| kept(w, FROZEN)),
        Property::always(BREAKER, |_, w: &World| kept(w, BREAKER)),
        Property::always(TESTED, |_, w: &World| kept(w, TESTED)),
        Property::always(NAMED, |_, w: &World| kept(w, NAMED)),
        Property::always(HASTE, |_, w: &World| kept(w, HASTE)),
        Property::always(COMPARED, |_, w: &World| kept(w, COMPARED)),
        Property::always(DETACHED, |_, w: &World| kept(w, DETACHED)),
        Property::always(EXPOSED, |_, w: &World| kept(w, EXPOSED)),
        Property::always(LEGAL, |_, w: &World| kept(w, LEGAL)),
    ]
}

fn kept(w: &World, law: &str) -> bool {
    !w.broken.contains(&law)
}

/// No key is ended before a write of it somewhere can no longer land (R19); a released destination no longer counts.
fn served(w: &World) -> bool {
    (0..w.places.len()).all(|place| {
        let truth = &w.places[place];
        let ended = matches!(w.keys[truth.holds].life, Life::Disabled(By::Us) | Life::Gone(By::Us));
        let no_longer_counts = w
            .store
            .holdings
            .iter()
            .any(|(row, out)| *out && place_of(&row.address) == place && index(&row.key) == truth.holds);
        // What strangers have is taken from everybody but those that must not stop.
        let taken = place != MUST && w.keys[truth.holds].leaked.is_some();
        !ended || no_longer_counts || taken
    })
}

fn findable(w: &World) -> bool {
    (0..w.keys.len()).all(|key| match w.keys[key].kind {
        Kind::Named(name) => w.row(key).is_some() || name < w.store.names,
        _ => true,
    })
}

fn once(w: &World) -> bool {
    let names: Vec<Kind> =
        w.keys.iter().map(|key| key.kind).filter(|kind| matches!(kind, Kind::Named(_))).collect();
    (1..names.len()).all(|n| !names[..n].contains(&names[n]))
}

/// Keys that surfaced late are not counted: no look could have shown them.
fn few(story: &Story, w: &World) -> bool {
    let ours = |key: &&Key| matches!(key.kind, Kind::Ours | Kind::Named(_)) && key.enabled() && !key.late;
    let most = if w.store.run.trigger.is_emergency() { 3 } else { 2 };
    // Those that a person brought back are on the person.
    let revived = usize::from(story.start.left.enables - w.left.enables);
    w.keys.iter().filter(ours).count() <= most + revived
}

fn a_day_ago(at: Stamp) -> bool {
    at.theirs <= ago(DAY).theirs
}

const DAY: rekeyd::domain::time::Span = super::shell::DAY;

impl Story {
    pub(super) fn law_of_create(&self, w: &mut World) {
        let found = |key: &usize| w.is_stray(*key) && w.keys[*key].enabled() && !w.keys[*key].late;
        let strays = (0..w.keys.len()).filter(found).count();
        // A stray that was the only usable key when the account was listed is left alone.
        let revived = w.left.enables < self.start.left.enables;
        if strays > 0 && !usable(w).is_empty() && !revived {
            w.break_law(LOOKED);
        }
        law_of_acts(w);
    }

    pub(super) fn law_of_publish(&self, w: &mut World, key: usize) {
        let fresh = w.row(key).is_some_and(|row| row.facts.valid_now(NOW));
        if !fresh {
            w.break_law(TESTED);
        }
        let new = w.store.run.candidate.as_ref().is_some_and(|new| index(&new.id) == key);
        if new && self.inherits() && w.lacks() && w.store.run.state == State::Publishing {
            let emergency = w.store.run.trigger.is_emergency();
            if !emergency {
                w.break_law(NAMED);
            }
        }
        law_of_acts(w);
    }

    pub(super) fn inherits(&self) -> bool {
        self.policy.inherit.names_keys()
    }

    /// What must hold when grace ends.
    pub(super) fn law_of_grace(&self, w: &mut World) {
        let lives = w.store.run.predecessor.as_ref().is_some_and(|old| w.keys[index(&old.id)].enabled());
        let patient = w.store.run.retirees.iter().any(|retiree| !retiree.urgent && retiree.is_enabled());
        if self.inherits() && w.lacks() && lives && patient {
            w.break_law(COMPARED);
        }
    }

    /// An emergency asks for its inheritance for a minute at most: less than time passes here at once.
    pub(super) fn law_of_inheriting(&self, w: &mut World) {
        let run = &w.store.run;
        if let (State::Verifying { since }, true) = (&run.state, run.trigger.is_emergency())
            && since.ours != NOW.ours
        {
            w.break_law(HASTE);
        }
    }

    /// What must hold when the intent to disable or delete is committed.
    pub(super) fn law_of_kill(&self, w: &mut World, doomed: &Doomed) {
        if doomed.run {
            law_of_acts(w);
        }
        if w.store.frozen {
            w.break_law(FROZEN);
        }
        if w.ahead {
            w.break_law(CLOCK);
        }
        let others = w.store.kills.iter().filter(|(killed, _)| *killed != doomed.key).count();
        if !doomed.urgent && others >= usize::try_from(self.max_kills).unwrap() {
            w.break_law(BREAKER);
        }
        let retiree = w.store.run.retirees.iter().find(|r| r.key.hash == hash(doomed.key)).cloned();
        let Some(retiree) = retiree.filter(|_| doomed.run) else { return };
        match doomed.kill {
            Kill::Disable => self.law_of_disable(w, doomed, &retiree),
            Kill::Delete => {
                let key = &w.keys[doomed.key];
                // Between two looks nobody sees that a person enabled the key and disabled it again.
                let revived = w.left.enables < self.start.left.enables;
                let observed = key.disabled.is_some_and(a_day_ago) || !key.held || doomed.raced || revived;
                if !observed && !retiree.urgent && retiree.phase != Phase::Deleting {
                    w.break_law(OBSERVED);
                }
            }
        }
    }

    fn law_of_disable(&self, w: &mut World, doomed: &Doomed, retiree: &Retiree) {
        let held = |t: &&rekeyd::domain::rotation::Target| {
            let place = &w.places[place_of(&t.address)];
            t.required && place.holds == doomed.key
        };
        if w.store.run.policy.targets.iter().any(|t| held(&t)) {
            w.break_law(PROVED);
        }
        let forward = matches!(w.store.run.state, State::Grace { .. } | State::Observing);
        let first = matches!(retiree.phase, Phase::Live { .. });
        if !forward || retiree.urgent || !first {
            return;
        }
        let used = w.keys[doomed.key].used;
        let quiet = used == NOW || a_day_ago(used) || self.policy.quiet < DAY;
        if !quiet || !w.store.everywhere.is_some_and(a_day_ago) {
            w.break_law(WAITED);
        }
    }
}

fn law_of_acts(w: &mut World) {
    let dropped = |place: usize| w.store.run.policy.targets.iter().any(|t| t.address == address(place));
    if w.store.dropped.is_some_and(dropped) && !matches!(w.store.run.state, State::Aborting { .. }) {
        w.break_law(DETACHED);
    }
    if w.store.frozen {
        w.break_law(FROZEN);
    }
}

/// A disable or delete takes effect at the provider.
pub(super) fn law_of_landing(w: &mut World, kill: Kill, key: usize, excused: bool) {
    if matches!(w.keys[key].kind, Kind::Foreign | Kind::Provisioning | Kind::Cloned) {
        w.break_law(FOREIGN);
    }
    if !excused && !w.store.toggles.iter().any(|toggle| toggle.kill == Some(kill) && toggle.key == key) {
        w.break_law(JOURNALLED);
    }
    if !excused && usable(w) == [key] {
        w.break_law(LAST);
    }
}
