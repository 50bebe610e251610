//! One page of the account's keys. Pages are cut by offset from a list that others change meanwhile: a new key
//! makes the next page repeat a row, a deleted one makes it skip a row. Whoever reads all of them reads them again
//! (`engine/session/reading.rs`).

use super::refusal::Asked;
use super::{OpenRouter, Request, wire};
use crate::domain::outcome::{Called, Failure, FailureKind, Reply};
use crate::net::Deadline;
use crate::provider::{Cursor, Page};

impl OpenRouter {
    /// The keys from an offset on, newest first. Only an empty page is the last: a short one may have been cut.
    pub(super) async fn page(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Page> {
        let offset = at.map_or(Ok(0), |at| at.as_str().parse::<usize>());
        let offset = offset.map_err(|_| Failure::new(FailureKind::NotSent, "no place in a list of keys"))?;
        let from = offset.to_string();
        let mut query =
            vec![("offset", from.as_str()), ("include_disabled", "true"), ("include_expired", "true")];
        query.extend(self.workspace.as_deref().map(|workspace| ("workspace_id", workspace)));
        let answer = self.manage(Request::get(&["keys"]).query(&query), deadline).await?;
        let rows: Vec<wire::Key> = self.data(&answer, Asked::Manage, None)?;
        let next = (!rows.is_empty()).then(|| Cursor::new((offset + rows.len()).to_string()));
        let keys = rows.into_iter().map(wire::Key::into_remote).collect();
        Ok(Reply { value: Page { keys, next }, date: answer.date })
    }
}
