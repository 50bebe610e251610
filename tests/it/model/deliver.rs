//! Publishing and looking, as the engine's `deliver` does them: never blindly over somebody else's change, an
//! intent before the call, and only what a look shows counts as held.

use rekeyd::domain::rotation::facts::{Holding, Request};
use rekeyd::domain::rotation::{Event, Level};
use rekeyd::domain::time::Until;

use super::Story;
use super::shell::call_out;
use super::world::*;

impl Story {
    /// The intent to write, unless somebody else changed the place.
    pub(super) fn publish(&self, w: &mut World, p: usize, place: usize, key: usize) {
        if !self.fenced(w, p) {
            return;
        }
        let rows = w.store.holdings.iter().filter(|(row, _)| place_of(&row.address) == place);
        let last = rows.map(|(row, _)| row).find(|row| row.level > Level::Pending);
        let theirs = last.filter(|row| index(&row.key) != key);
        let drifted = theirs.is_some_and(|row| match row.level {
            Level::Confirmed | Level::Effective if !w.places[place].down => {
                index(&row.key) != w.places[place].holds
            }
            _ => row.drift.is_some(),
        });
        if drifted && !w.store.run.trigger.is_emergency() {
            row_at(w, place, key);
            drift(w, place, true);
            return;
        }
        self.law_of_publish(w, key);
        if !self.recorded(w, p, &Event::PublishIntended) {
            return;
        }
        for (row, _) in &mut w.store.holdings {
            if place_of(&row.address) == place && index(&row.key) != key && row.level > Level::Pending {
                (row.level, row.checked) = (Level::Intended, None);
            }
        }
        drift(w, place, false);
        let at = row_at(w, place, key);
        let (mut row, _) = w.store.holdings.remove(at);
        let refused = row.level.min(Level::Intended);
        (row.level, row.checked) = (Level::Intended, None);
        w.store.holdings.insert(0, (row, false));
        w.store.holdings.sort_by_key(|(row, _)| place_of(&row.address));
        if w.places[place].down {
            // A refusal proves that nothing was written.
            let at = row_at(w, place, key);
            let row = &mut w.store.holdings[at].0;
            (row.level, row.error, row.until) = (refused, Some("down".into()), SOON);
            return;
        }
        let at = row_at(w, place, key);
        w.store.holdings[at].0.landing = SOON;
        call_out(w, p, Call::Publish { place, key }, false);
    }

    /// Looks whether a place holds the key, and notes what it proved.
    pub(super) fn look(&self, w: &mut World, p: usize, place: usize, key: usize) {
        if !self.fenced(w, p) {
            return;
        }
        let at = row_at(w, place, key);
        let truth = w.places[place].clone();
        let row = &mut w.store.holdings[at].0;
        match (truth.down, truth.holds == key) {
            (true, _) => (row.error, row.until) = (Some("down".into()), SOON),
            (_, true) => {
                (row.level, row.checked) = (Level::Confirmed, Some(NOW));
                (row.error, row.until) = (None, Until::OVER);
                drift(w, place, false);
            }
            _ => drift(w, place, true),
        }
    }

    pub(super) fn published(&self, w: &mut World, p: usize, place: usize, key: usize, ok: bool) {
        if !self.fenced(w, p) {
            return;
        }
        let at = row_at(w, place, key);
        // An earlier write of it may be on its way as well.
        let in_doubt = w.late.contains(&Call::Publish { place, key });
        let row = &mut w.store.holdings[at].0;
        if ok {
            (row.level, row.error, row.until) = (Level::Accepted, None, Until::OVER);
            row.landing = if in_doubt { row.landing } else { Until::OVER };
        } else {
            (row.error, row.until) = (Some("x".into()), SOON);
        }
    }
}

/// Drift is the address's, whichever key waits for it.
fn drift(w: &mut World, place: usize, is: bool) {
    let rows = w.store.holdings.iter_mut().filter(|(row, _)| place_of(&row.address) == place);
    rows.for_each(|(row, _)| row.drift = is.then(|| "x".to_owned()));
}

pub(super) fn row_at(w: &mut World, place: usize, key: usize) -> usize {
    let same = |row: &Holding| place_of(&row.address) == place && index(&row.key) == key;
    if let Some(at) = w.store.holdings.iter().position(|(row, _)| same(row)) {
        return at;
    }
    let known = w.store.holdings.iter().find(|(row, _)| place_of(&row.address) == place);
    let drift = known.and_then(|(row, _)| row.drift.clone());
    w.store.holdings.push((Holding { drift, ..holding(place, key, Level::Pending) }, false));
    w.store.holdings.sort_by_key(|(row, _)| place_of(&row.address));
    w.store.holdings.iter().position(|(row, _)| same(row)).unwrap()
}

pub(super) fn holding(place: usize, key: usize, level: Level) -> Holding {
    Holding { level, ..Holding::pending(address(place), address(place), key_ref(key).id) }
}

/// A destination of the policy is named by its address.
pub(super) fn release(place: usize) -> Request {
    Request::Release { destination: address(place) }
}
