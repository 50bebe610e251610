//! Reading the whole account, page by page, each with a deadline of its own and the lease renewed between them. Pages
//! are cut from a list that others change meanwhile: a new key makes the next page repeat a row, a deleted one makes
//! it skip a row. So rows are told apart by hash, and everything is read again until two readings in a row saw the
//! same keys of ours. Decisions to kill are made on this list: a key that was skipped would be a key that does not
//! count as the last one, or one that seems to be gone.
//!
//! Keys that are not ours may differ: others make and delete keys all the time on a large account, which would never
//! be listed. Ours are those with our names (R6) and those whose hash the store knows.

use std::collections::BTreeMap;

use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::time::{Span, Stamp};
use crate::engine::EngineError;
use crate::engine::session::{Session, whose};
use crate::provider::MAX_PAGES;

/// So many readings at most; an account that changes during each of them is being rebuilt.
const READINGS: usize = 6;
/// So many pages in a row that only repeat rows: the server does not look at where they begin. One or two are what
/// keys look like that were made meanwhile.
const REPEATS: usize = 3;
/// What took longer is a picture of no moment.
const LONGEST: Span = Span::minutes(10);
/// So many keys of ours that a listing lacks are asked for one by one; more are a reason to read it again.
const ASKED_FOR: usize = 20;

/// One reading of all pages.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Nothing in it is older.
    pub(crate) began: Stamp,
    keys: BTreeMap<String, RemoteKey>,
    /// The rows in the order in which they came, newest first, repetitions included.
    order: Vec<String>,
    pages: usize,
    repeats: usize,
}

impl Reading {
    fn new(began: Stamp) -> Self {
        Self { began, keys: BTreeMap::new(), order: Vec::new(), pages: 0, repeats: 0 }
    }

    /// Takes a page in, unless the pages have no end.
    fn take(&mut self, page: Vec<RemoteKey>) -> Result<(), Failure> {
        let known = self.keys.len();
        for key in page {
            self.order.push(key.hash.clone());
            self.keys.insert(key.hash.clone(), key);
        }
        self.pages += 1;
        self.repeats = if self.keys.len() > known { 0 } else { self.repeats + 1 };
        let unclear = |text: &str| Err(Failure::new(FailureKind::Unclear, text));
        match (self.repeats, self.pages) {
            (REPEATS.., _) => unclear("the pages of the list of keys only repeat themselves"),
            (_, MAX_PAGES..) => unclear("the list of keys has no end"),
            _ => Ok(()),
        }
    }

    /// Keys that only one of the two readings saw.
    fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a RemoteKey> {
        let only = |one: &'a Self, other: &'a Self| {
            one.keys.values().filter(|key| !other.keys.contains_key(&key.hash))
        };
        only(self, other).chain(only(other, self)).collect()
    }

    /// Every key, newest first.
    pub(crate) fn into_keys(mut self) -> Vec<RemoteKey> {
        self.order.iter().filter_map(|hash| self.keys.remove(hash)).collect()
    }
}

/// All keys of the workspace, ours seen alike by two readings in a row.
pub(crate) async fn settled(session: &mut Session<'_>) -> Result<Result<Reading, Failure>, EngineError> {
    let mut before: Option<Reading> = None;
    for _ in 0..READINGS {
        let mut reading = match read(session).await? {
            Ok(reading) => reading,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Some(before) = &before {
            match agree(session, before, &mut reading).await? {
                Ok(true) => return Ok(Ok(reading)),
                Ok(false) => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
        before = Some(reading);
    }
    let text = "the list of keys changed during each of several readings";
    Ok(Err(Failure::new(FailureKind::Unclear, text)))
}

async fn read(session: &mut Session<'_>) -> Result<Result<Reading, Failure>, EngineError> {
    let began = session.engine.clock().monotonic();
    let mut reading = Reading::new(session.now());
    let mut next = None;
    loop {
        let deadline = session.deadline().await?;
        let called = session.account.issuer.list(next.as_ref(), deadline).await;
        let page = match session.noting(called) {
            Ok(page) => page,
            Err(failure) => return Ok(Err(failure)),
        };
        next = page.next;
        if next.is_none() && page.keys.is_empty() {
            return Ok(Ok(reading));
        }
        if let Err(failure) = reading.take(page.keys) {
            return Ok(Err(failure));
        }
        if next.is_none() {
            return Ok(Ok(reading));
        }
        if session.engine.clock().monotonic().0 - began.0 > LONGEST.0 {
            let text = "the list of keys could not be read within 10 minutes";
            return Ok(Err(Failure::new(FailureKind::Unclear, text)));
        }
    }
}

/// Whether two readings differ by keys of others at most. Then one of ours may have been skipped by both: what the
/// second one lacks is asked for.
async fn agree(
    session: &mut Session<'_>,
    before: &Reading,
    reading: &mut Reading,
) -> Result<Result<bool, Failure>, EngineError> {
    let differing = reading.differing(before);
    if differing.is_empty() {
        return Ok(Ok(true));
    }
    let differing: Vec<RemoteKey> = differing.into_iter().cloned().collect();
    if whose::without_row(session, &differing).await?.any_of_ours() {
        return Ok(Ok(false));
    }
    let store = &session.engine.parts.store;
    let hashes: Vec<String> = differing.iter().map(|key| key.hash.clone()).collect();
    if !store.known_hashes(&hashes).await?.is_empty() {
        return Ok(Ok(false));
    }
    let living = store.living_hashes(&session.identity).await?;
    let lacking: Vec<String> = living.into_iter().filter(|hash| !reading.keys.contains_key(hash)).collect();
    if lacking.len() > ASKED_FOR {
        return Ok(Ok(false));
    }
    for hash in lacking {
        let deadline = session.deadline().await?;
        let called = session.account.issuer.read(&hash, deadline).await;
        match session.noting(called) {
            Ok(Some(key)) => {
                reading.order.push(hash.clone());
                reading.keys.insert(hash, key);
            }
            Ok(None) => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn reading(pages: &[&[&str]]) -> Result<Reading, Failure> {
        let mut reading = Reading::new(Stamp { ours: Timestamp(0), theirs: None });
        for page in pages {
            reading.take(page.iter().map(|hash| RemoteKey::sample(hash)).collect())?;
        }
        Ok(reading)
    }

    #[test]
    fn rows_that_pages_repeat_are_one_key() {
        let keys = reading(&[&["a", "b"], &["b"], &["b", "c"]]).unwrap().into_keys();
        assert_eq!(keys.iter().map(|key| key.hash.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn pages_without_an_end_are_given_up() {
        let failure = reading(&[&["a"][..]; 4]).unwrap_err();
        assert!(failure.message.contains("only repeat themselves"), "{failure}");
        let hashes: Vec<String> = (0..=MAX_PAGES).map(|n| n.to_string()).collect();
        let pages: Vec<[&str; 1]> = hashes.iter().map(|hash| [hash.as_str()]).collect();
        let pages: Vec<&[&str]> = pages.iter().map(<[&str; 1]>::as_slice).collect();
        assert!(reading(&pages[..MAX_PAGES - 1]).is_ok());
        assert!(reading(&pages).unwrap_err().message.contains("has no end"));
    }

    #[test]
    fn readings_differ_in_what_one_of_them_saw() {
        let (one, other) = (reading(&[&["a", "b"]]).unwrap(), reading(&[&["b", "c"]]).unwrap());
        let differing: Vec<&str> = one.differing(&other).iter().map(|key| key.hash.as_str()).collect();
        assert_eq!(differing, ["a", "c"]);
        assert!(one.differing(&reading(&[&["b"], &["a"]]).unwrap()).is_empty());
    }
}
