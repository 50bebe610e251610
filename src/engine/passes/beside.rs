//! Work that goes on beside other work of the same task: each waits for its own, none for another.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

type Going<'w, T> = Pin<Box<dyn Future<Output = T> + Send + 'w>>;

/// What is going on.
pub(crate) struct Beside<'w, T> {
    going: Vec<Going<'w, T>>,
    /// What came of those that ended while something else was waited for.
    over: VecDeque<T>,
}

impl<'w, T> Beside<'w, T> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self { going: Vec::new(), over: VecDeque::new() }
    }

    /// True when nothing is going on, and every result was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.going.is_empty() && self.over.is_empty()
    }

    /// Takes in what another has.
    pub(crate) fn join(&mut self, other: Self) {
        self.going.extend(other.going);
        self.over.extend(other.over);
    }

    /// Begins something; it moves while [`Beside::next`] is waited for.
    pub(crate) fn add(&mut self, work: impl Future<Output = T> + Send + 'w) {
        self.going.push(Box::pin(work));
    }

    /// The next result, whoever has it first. Never comes while nothing is going on; nothing is lost when this is
    /// dropped.
    pub(crate) async fn next(&mut self) -> T {
        poll_fn(|context| {
            if self.over.is_empty() {
                self.move_on(context);
            }
            self.over.pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits for `work` while everything here moves: what stands still in the middle of a transaction may hold the very
    /// thing that `work` waits for.
    pub(crate) async fn during<R>(&mut self, work: impl Future<Output = R>) -> R {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.move_on(context);
            work.as_mut().poll(context)
        })
        .await
    }

    fn move_on(&mut self, context: &mut Context<'_>) {
        let mut n = 0;
        while n < self.going.len() {
            match self.going[n].as_mut().poll(context) {
                Poll::Ready(done) => {
                    drop(self.going.swap_remove(n));
                    self.over.push_back(done);
                }
                Poll::Pending => n += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_delays_nothing() {
        let mut beside = Beside::new();
        beside.add(std::future::pending());
        for n in 0..3 {
            beside.add(std::future::ready(n));
        }
        let mut seen = vec![beside.next().await, beside.next().await, beside.next().await];
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert!(!beside.is_empty());
    }

    /// A look holds the database's only writer, and the pass wants to commit.
    #[tokio::test]
    async fn what_holds_a_thing_goes_on_while_somebody_waits_for_it() {
        let writer = tokio::sync::Mutex::new(());
        let mut beside = Beside::new();
        beside.add(async {
            let _held = writer.lock().await;
            tokio::task::yield_now().await;
            1
        });
        tokio::select! {
            biased;
            _ = beside.next() => panic!("it holds the writer"),
            () = std::future::ready(()) => {}
        }
        assert!(writer.try_lock().is_err());
        let patience = std::time::Duration::from_mins(1);
        let committed = async {
            let _mine = writer.lock().await;
            2
        };
        assert_eq!(tokio::time::timeout(patience, beside.during(committed)).await, Ok(2));
        assert!(!beside.is_empty(), "its result waits to be taken");
        assert_eq!(beside.next().await, 1);
        assert!(beside.is_empty());
    }
}
