//! One worker an account and process (rotation.md, R22): who of this process waits for the account stands in one line,
//! and whose turn it is says `domain::turn`. Between processes the lease decides, see `session::waiting`.
//!
//! It stands below `session/`, because a session is what it is taken with, and passes and commands alike stand in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::domain::time::Span;
use crate::domain::turn::{Class, Waiter, first};

/// The workers of all accounts.
pub(crate) struct Workers {
    clock: Arc<dyn Clock>,
    of: Mutex<BTreeMap<String, Arc<Worker>>>,
}

/// Who works on one account, and who wants to.
pub(crate) struct Worker {
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
    changed: Notify,
}

#[derive(Default)]
struct Line {
    tickets: u64,
    /// Those that hold no account yet; the holder stands here, too, until it has the lease.
    waiting: Vec<Waiter>,
    holder: Option<u64>,
}

impl Workers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, of: Mutex::default() }
    }

    /// The worker of an account.
    pub(crate) fn of(&self, account: &str) -> Arc<Worker> {
        let mut workers = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let anew =
            || Worker { clock: Arc::clone(&self.clock), line: Mutex::default(), changed: Notify::new() };
        Arc::clone(workers.entry(account.to_owned()).or_insert_with(|| Arc::new(anew())))
    }
}

impl Worker {
    fn with<R>(&self, change: impl FnOnce(&mut Line, Span) -> R) -> R {
        let now = self.clock.monotonic();
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut line, now);
        if line.holder.is_none() {
            line.holder = first(&line.waiting, now).map(|next| next.ticket);
            self.changed.notify_waiters();
        }
        result
    }

    /// Stands in the line until the place is dropped.
    pub(crate) fn enter(self: &Arc<Self>, class: Class) -> Place {
        let ticket = self.with(|line, since| {
            line.tickets += 1;
            line.waiting.push(Waiter { ticket: line.tickets, class, since });
            line.tickets
        });
        Place { worker: Arc::clone(self), ticket, class, since: self.clock.monotonic() }
    }

    /// The highest of what those are who wait and do not hold the account.
    fn highest_but(&self, ticket: u64, of: impl Fn(&Waiter, Span) -> Class) -> Option<Class> {
        self.with(|line, now| {
            let others = line.waiting.iter().filter(|one| one.ticket != ticket);
            others.map(|one| of(one, now)).max()
        })
    }
}

/// A place in the line of an account; first the wait for it, then the right to it.
pub(crate) struct Place {
    worker: Arc<Worker>,
    ticket: u64,
    class: Class,
    since: Span,
}

impl Place {
    /// True when it is this one's turn.
    pub(crate) fn is_first(&self) -> bool {
        self.worker.with(|line, _| line.holder == Some(self.ticket))
    }

    /// Waits until it is this one's turn.
    pub(crate) async fn first(&self) {
        loop {
            let changed = self.worker.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_first() {
                return;
            }
            changed.await;
        }
    }

    /// Another process has the account: somebody else of this one may have come meanwhile who goes first.
    pub(crate) fn step_back(&self) {
        self.worker.with(|line, _| line.holder = line.holder.filter(|holder| *holder != self.ticket));
    }

    /// It has the account, and waits no more.
    pub(crate) fn settle(&self) {
        self.worker.with(|line, _| line.waiting.retain(|one| one.ticket != self.ticket));
    }

    /// In which class it stands by now.
    pub(crate) fn standing(&self) -> Class {
        self.class.after(Span(self.worker.clock.monotonic().0 - self.since.0))
    }

    /// What it was entered for.
    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// The highest class in which somebody else of this process waits.
    pub(crate) fn waited_for_by(&self) -> Option<Class> {
        self.worker.highest_but(self.ticket, Waiter::standing)
    }

    /// The highest class that somebody else of this process came for, however long ago.
    pub(crate) fn come_for(&self) -> Option<Class> {
        self.worker.highest_but(self.ticket, |one, _| one.class)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.with(|line, _| {
            line.waiting.retain(|one| one.ticket != self.ticket);
            line.holder = line.holder.filter(|holder| *holder != self.ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn worker() -> Arc<Worker> {
        Workers::new(Arc::new(SystemClock::default())).of("main")
    }

    #[tokio::test]
    async fn the_account_goes_to_the_most_urgent_when_it_is_given_back() {
        let worker = worker();
        let holder = worker.enter(Class::Runs);
        holder.first().await;
        holder.settle();
        assert_eq!(holder.waited_for_by(), None);
        let drift = worker.enter(Class::Drift);
        let leak = worker.enter(Class::Leak);
        let healing = worker.enter(Class::Healing);
        assert_eq!(holder.waited_for_by(), Some(Class::Leak));
        assert!(!leak.is_first(), "nobody is broken off");
        drop(holder);
        leak.first().await;
        assert!(!healing.is_first() && !drift.is_first());
        drop(leak);
        healing.first().await;
        drop(healing);
        drift.first().await;
    }

    #[tokio::test]
    async fn who_waits_for_another_process_lets_the_more_urgent_go_first() {
        let worker = worker();
        let runs = worker.enter(Class::Runs);
        runs.first().await;
        let leak = worker.enter(Class::Leak);
        assert!(!leak.is_first());
        runs.step_back();
        leak.first().await;
        assert!(!runs.is_first());
        drop(leak);
        runs.first().await;
    }

    #[tokio::test]
    async fn who_goes_away_while_it_is_its_turn_holds_up_nobody() {
        let worker = worker();
        let gone = worker.enter(Class::Person);
        gone.first().await;
        let next = worker.enter(Class::Watching);
        let waits = tokio::spawn(async move { next.first().await });
        tokio::task::yield_now().await;
        drop(gone);
        waits.await.unwrap();
    }
}
