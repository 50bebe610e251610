//! Who is connected, and who has to make room: idle and dribbling connections never keep anybody else out.
//!
//! A connection *waits* while nobody works for it: before its request has come whole, head and body, and after its
//! answer was begun. When all seats are taken, whoever has waited longest makes room for the next, strangers before
//! those that have shown a session or token that is in force. Seats of the last eighth are for requests with one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Connections at one time, if the system gives descriptors for them.
const MOST: usize = 512;
/// One seat of so many is for requests with a session or token.
const RESERVED: usize = 8;
/// Of the descriptors of the process one of so many may be a connection: databases, providers and mail need the others.
const SHARE: u64 = 2;

/// Everybody who is connected.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    by_turn: BTreeMap<u64, Seat>,
    /// Counts up, so that the lowest has waited longest.
    turn: u64,
}

#[derive(Debug)]
struct Seat {
    state: State,
    is_known: bool,
    end: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// On one of the seats for everybody, or on one for requests with a session or token.
    Served {
        is_reserved: bool,
    },
}

impl Crowd {
    /// As many seats as the descriptors of this process allow for.
    pub(super) fn for_this_process() -> Arc<Self> {
        let descriptors = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let seats = descriptors.map_or(MOST, |(soft, _)| usize::try_from(soft / SHARE).unwrap_or(MOST));
        if seats < MOST {
            tracing::warn!(seats, "few file descriptors: LimitNOFILE of the unit should be 4096");
        }
        Self::with_seats(seats.clamp(RESERVED, MOST))
    }

    pub(super) fn with_seats(most: usize) -> Arc<Self> {
        Arc::new(Self { most, seats: Mutex::default() })
    }

    /// A seat for a new connection; none while every one is at work.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Guest> {
        let mut seats = self.seats();
        if seats.by_turn.len() >= self.most {
            seats.make_room()?;
        }
        let end = CancellationToken::new();
        let turn = seats.sit(Seat { state: State::Waiting, is_known: false, end: end.clone() });
        Some(Guest { crowd: Arc::clone(self), turn: Mutex::new(turn), end })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn sit(&mut self, seat: Seat) -> u64 {
        self.turn += 1;
        self.by_turn.insert(self.turn, seat);
        self.turn
    }

    /// Ends the connection that can best be done without.
    fn make_room(&mut self) -> Option<()> {
        let waiting = self.by_turn.iter().filter(|(_, seat)| seat.state == State::Waiting);
        let (turn, _) = waiting.min_by_key(|(turn, seat)| (seat.is_known, **turn))?;
        let turn = *turn;
        self.by_turn.remove(&turn)?.end.cancel();
        Some(())
    }

    fn served_on_open_seats(&self) -> usize {
        self.by_turn.values().filter(|seat| seat.state == State::Served { is_reserved: false }).count()
    }
}

/// One connection. It leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    crowd: Arc<Crowd>,
    turn: Mutex<u64>,
    end: CancellationToken,
}

impl Guest {
    /// Until it has to make room for another.
    pub(super) fn sent_away(&self) -> impl Future<Output = ()> + use<> {
        self.end.clone().cancelled_owned()
    }

    /// From now on somebody works for it, and it is left alone. False when so many do already that only requests are taken
    /// whose session or token was looked at and is in force.
    pub(super) fn begin(&self, is_known: bool) -> bool {
        let mut seats = self.crowd.seats();
        let open = self.crowd.most - self.crowd.most / RESERVED;
        let is_reserved = seats.served_on_open_seats() >= open;
        if is_reserved && !is_known {
            return false;
        }
        let turn = *self.turn();
        let seat = seats.by_turn.get_mut(&turn);
        seat.map(|seat| seat.state = State::Served { is_reserved }).is_some()
    }

    /// It has shown a session or token that is in force.
    pub(super) fn is_known(&self) {
        if let Some(seat) = self.crowd.seats().by_turn.get_mut(&self.turn()) {
            seat.is_known = true;
        }
    }

    /// Its answer is on its way: it waits again, behind all others who do.
    pub(super) fn rest(&self) {
        let mut seats = self.crowd.seats();
        let mut turn = self.turn();
        if let Some(mut seat) = seats.by_turn.remove(&turn) {
            seat.state = State::Waiting;
            *turn = seats.sit(seat);
        }
    }

    fn turn(&self) -> MutexGuard<'_, u64> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let turn = *self.turn();
        self.crowd.seats().by_turn.remove(&turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(crowd: &Arc<Crowd>) -> Guest {
        crowd.enter().expect("there is room")
    }

    #[test]
    fn who_has_waited_longest_makes_room() {
        let crowd = Crowd::with_seats(16);
        let mut guests: Vec<Guest> = (0..16).map(|_| enter(&crowd)).collect();
        assert!(guests[0].begin(false));
        guests[1].begin(true);
        guests[1].is_known();
        guests[1].rest();
        guests.push(enter(&crowd));
        let gone = |guests: &[Guest]| -> Vec<usize> {
            (0..guests.len()).filter(|n| guests[*n].end.is_cancelled()).collect()
        };
        assert_eq!(gone(&guests), [2], "not the one at work, nor the one that is known");
        (0..13).for_each(|_| guests.push(enter(&crowd)));
        assert!(!guests[1].end.is_cancelled(), "every stranger before one that is known");
        assert!(!guests[2].begin(true), "it has left");
    }

    #[test]
    fn the_last_seats_are_for_requests_with_a_credential() {
        let crowd = Crowd::with_seats(16);
        let guests: Vec<Guest> = (0..16).map(|_| enter(&crowd)).collect();
        assert!(guests[..14].iter().all(|guest| guest.begin(false)));
        assert!(!guests[14].begin(false) && guests[14].begin(true) && guests[15].begin(true));
        assert!(crowd.enter().is_none(), "everybody is at work");
        guests[3].rest();
        assert!(crowd.enter().is_some() && guests[3].end.is_cancelled());
    }

    #[test]
    fn a_seat_is_free_again_when_its_guest_leaves() {
        let crowd = Crowd::with_seats(8);
        (0..20).for_each(|_| drop(enter(&crowd)));
        let guests: Vec<Guest> = (0..8).map(|_| enter(&crowd)).collect();
        assert!(guests.iter().all(|guest| guest.begin(true)) && crowd.enter().is_none());
        drop(guests);
        assert!(crowd.enter().is_some());
    }
}
