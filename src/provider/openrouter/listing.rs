//! Reading the whole account. Pages are cut by offset from a list that others change meanwhile: a new key
//! makes the next page repeat a row, a deleted one makes it skip a row. So rows are told apart by hash, and
//! everything is read again until two passes in a row saw the same hashes. Decisions to kill are made on
//! this list: a key that was skipped would be a key that does not count as the last one.

use std::collections::BTreeMap;

use super::refusal::Asked;
use super::{OpenRouter, Request, wire};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Called, Failure, FailureKind, Reply};
use crate::domain::time::Timestamp;
use crate::net::{Answer, Deadline};

/// So many passes at most; an account that changes during each of them is not read, it is being rebuilt.
const PASSES: usize = 6;
/// No account has so many pages of 100; a server that answers every offset would be read for ever.
const PAGES: usize = 1000;

/// So many pages in a row that only repeat rows: the server does not look at the offset. One or two are what
/// keys look like that were made meanwhile.
const REPEATS: usize = 3;

/// One reading of all pages.
struct Pass {
    keys: BTreeMap<String, RemoteKey>,
    /// The rows in the order in which they came, newest first, repetitions included.
    order: Vec<String>,
    /// The vendor's clock at the first page: no row is older than that.
    date: Option<Timestamp>,
}

impl Pass {
    /// Takes a page in; true when it held a key not seen before.
    fn take(&mut self, rows: Vec<wire::Key>) -> bool {
        let known = self.keys.len();
        for row in rows {
            self.order.push(row.hash.clone());
            self.keys.insert(row.hash.clone(), row.into_remote());
        }
        self.keys.len() > known
    }

    fn agrees_with(&self, other: &Self) -> bool {
        self.keys.keys().eq(other.keys.keys())
    }

    fn into_reply(mut self) -> Reply<Vec<RemoteKey>> {
        let value = self.order.iter().filter_map(|hash| self.keys.remove(hash)).collect();
        Reply { value, date: self.date }
    }
}

impl OpenRouter {
    /// All keys of the workspace, seen alike by two passes in a row; newest first.
    pub(super) async fn list_settled(&self, deadline: Deadline) -> Called<Vec<RemoteKey>> {
        let mut before = self.read_pass(deadline).await?;
        for _ in 1..PASSES {
            let pass = self.read_pass(deadline).await?;
            if pass.agrees_with(&before) {
                return Ok(pass.into_reply());
            }
            before = pass;
        }
        let text = "the list of keys changed during each of several readings";
        Err(Failure { date: before.date, ..Failure::new(FailureKind::Unclear, text) })
    }

    async fn read_pass(&self, deadline: Deadline) -> Result<Pass, Failure> {
        let mut pass = Pass { keys: BTreeMap::new(), order: Vec::new(), date: None };
        let (mut offset, mut repeats) = (0, 0);
        for _ in 0..PAGES {
            let (answer, rows) = self.read_page(offset, deadline).await?;
            pass.date = pass.date.or(answer.date);
            if rows.is_empty() {
                return Ok(pass);
            }
            offset += rows.len();
            repeats = if pass.take(rows) { 0 } else { repeats + 1 };
            if repeats == REPEATS {
                let text = "the pages of the list of keys only repeat themselves";
                return Err(answer.failure(FailureKind::Unclear, text));
            }
        }
        Err(Failure::new(FailureKind::Unclear, "the list of keys has no end"))
    }

    async fn read_page(
        &self,
        offset: usize,
        deadline: Deadline,
    ) -> Result<(Answer, Vec<wire::Key>), Failure> {
        let offset = offset.to_string();
        let mut query =
            vec![("offset", offset.as_str()), ("include_disabled", "true"), ("include_expired", "true")];
        query.extend(self.workspace.as_deref().map(|workspace| ("workspace_id", workspace)));
        let answer = self.manage(Request::get(&["keys"]).query(&query), deadline).await?;
        let rows = self.data(&answer, Asked::Manage, None)?;
        Ok((answer, rows))
    }
}
