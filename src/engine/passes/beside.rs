//! Work that goes on beside other work of the same task: each waits for its own, none for another.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

type Going<'w, T> = Pin<Box<dyn Future<Output = T> + Send + 'w>>;

/// What is going on.
pub(crate) struct Beside<'w, T> {
    going: Vec<Going<'w, T>>,
}

impl<'w, T> Beside<'w, T> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self { going: Vec::new() }
    }

    /// True when nothing is going on.
    pub(crate) fn is_empty(&self) -> bool {
        self.going.is_empty()
    }

    /// Begins something; it moves while [`Beside::next`] is waited for.
    pub(crate) fn add(&mut self, work: impl Future<Output = T> + Send + 'w) {
        self.going.push(Box::pin(work));
    }

    /// The next result, whoever has it first. Never comes while nothing is going on; nothing is lost when this is
    /// dropped.
    pub(crate) async fn next(&mut self) -> T {
        poll_fn(|context| {
            for n in 0..self.going.len() {
                if let Poll::Ready(done) = self.going[n].as_mut().poll(context) {
                    drop(self.going.swap_remove(n));
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await
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
}
