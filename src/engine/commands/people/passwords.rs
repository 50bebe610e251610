//! What is a password, and how many are looked at at once: each look takes a core and 64 MiB, by choice, so that guessing
//! is dear to whoever stole the hashes, and must not be dear to us.

use std::sync::OnceLock;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::crypto::{bearer, password};
use crate::domain::secret::Secret;
use crate::engine::EngineError;

/// Two at once over the process; others wait in the order in which they came.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// So many may wait: whoever comes after them would wait for longer than a browser does.
static QUEUE: Semaphore = Semaphore::const_new(32);
/// What the password of nobody is compared with, so that the time taken tells nobody who is known here.
static DECOY: OnceLock<Secret> = OnceLock::new();

/// Characters, at least.
const SHORTEST: usize = 12;
/// Bytes, at most.
const LONGEST: usize = 1024;

/// The right to hash one password.
pub(super) struct Turn(SemaphorePermit<'static>);

impl Turn {
    /// Waits for it, unless too many do already.
    pub(super) async fn wait() -> Result<Self, EngineError> {
        let _place = QUEUE.try_acquire().map_err(|_| EngineError::Crowded)?;
        Ok(Self(LOOKS.acquire().await.expect("nobody closes it")))
    }

    /// Whether this password has this hash. Nobody's takes as long as somebody's.
    pub(super) async fn verify(self, password: Secret, hash: Option<Secret>) -> bool {
        let known = hash.is_some() && password.expose().len() <= LONGEST;
        self.work(move || {
            let hash =
                hash.unwrap_or_else(|| DECOY.get_or_init(|| password::hash(&bearer::new_session())).clone());
            password::verify(&password, &hash) && known
        })
        .await
    }

    /// The turn lasts as long as the work, even when nobody waits for it any more.
    async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let done = tokio::task::spawn_blocking(move || {
            let _turn = self.0;
            work()
        });
        done.await.expect("hashing does not panic")
    }
}

/// The hash of a new password, if it is one.
pub(super) async fn hashed(password: Secret) -> Result<Secret, EngineError> {
    acceptable(&password)?;
    Ok(Turn::wait().await?.work(move || password::hash(&password)).await)
}

/// Whether this may be somebody's password: long enough to be worth guessing at, and not endless.
pub fn acceptable(password: &Secret) -> Result<(), EngineError> {
    let (characters, bytes) = (password.expose().chars().count(), password.expose().len());
    if characters < SHORTEST {
        return Err(EngineError::usage(
            format!("a password has {SHORTEST} characters or more"),
            "several words in a row are easy to keep in mind",
        ));
    }
    if bytes > LONGEST {
        return Err(EngineError::usage(
            format!("a password has at most {LONGEST} bytes"),
            "choose a shorter one",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_neither_short_nor_endless() {
        let fits = |text: String| acceptable(&Secret::new(text)).is_ok();
        assert!(!fits("x".repeat(11)) && fits("x".repeat(12)) && fits("ü".repeat(12)));
        assert!(!fits("ü".repeat(11)), "characters are counted, not bytes");
        assert!(fits("x".repeat(LONGEST)) && !fits("x".repeat(LONGEST + 1)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_s_password_is_nobody_s() {
        let password = Secret::new("not-a-password-1");
        let hash = hashed(password.clone()).await.unwrap();
        assert!(Turn::wait().await.unwrap().verify(password.clone(), Some(hash.clone())).await);
        assert!(!Turn::wait().await.unwrap().verify(Secret::new("not-a-password-2"), Some(hash)).await);
        assert!(!Turn::wait().await.unwrap().verify(password, None).await);
    }
}
