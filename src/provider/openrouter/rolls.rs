//! Guardrails and the allow-lists of own vendor keys (wire-facts.md, "What names keys by their hash").

use async_trait::async_trait;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::refusal::Asked;
use super::{OpenRouter, Request, checked, wire};
use crate::domain::inherit::AllowList;
use crate::domain::outcome::{Called, Failure, FailureKind, Reply};
use crate::net::Deadline;
use crate::provider::{Assignment, Credential, Cursor, RollKeeper, Rows};

impl OpenRouter {
    /// One page; only an empty one is the last: a short one may have been cut.
    async fn rows<T: DeserializeOwned, R>(
        &self,
        path: &[&str],
        at: Option<&Cursor>,
        read: impl Fn(T) -> R,
        deadline: Deadline,
    ) -> Called<Option<Rows<R>>> {
        let offset = at.map_or(Ok(0), |at| at.as_str().parse::<usize>());
        let offset = offset.map_err(|_| Failure::new(FailureKind::NotSent, "no place in a list"))?;
        let from = offset.to_string();
        let mut query = vec![("offset", from.as_str())];
        if path.first() == Some(&"byok") {
            query.extend(self.workspace.as_deref().map(|workspace| ("workspace_id", workspace)));
        }
        let answer = self.manage(Request::get(path).query(&query), deadline).await?;
        let date = answer.date;
        let page = (answer.status == 200).then(|| wire::counted::<T>(&answer.body)).flatten();
        let Some((rows, total)) = page else {
            let refused = self.refused(&answer, Asked::Manage, None);
            let has_none = says_none(&refused);
            return if has_none { Ok(Reply { value: None, date }) } else { Err(refused) };
        };
        let next = (!rows.is_empty()).then(|| Cursor::new((offset + rows.len()).to_string()));
        let rows = rows.into_iter().map(read).collect();
        Ok(Reply { value: Some(Rows { rows, total, next }), date })
    }
}

/// 403 or 404 in OpenRouter's own form: the account has no such thing. A 401 is about the key that asks.
fn says_none(refused: &Failure) -> bool {
    let own = matches!(refused.kind, FailureKind::Forbidden | FailureKind::NotFound);
    own && matches!(refused.status, Some(403 | 404))
}

fn credential(row: wire::Byok) -> Credential {
    Credential { id: row.id, keys: row.allowed_api_key_hashes }
}

/// An id goes into a URL only when nothing in it could address something else.
fn plain(id: &str) -> Result<&str, Failure> {
    let is_plain =
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let no = || Failure::new(FailureKind::NotSent, "an id is letters, digits, - and _");
    is_plain.then_some(id).ok_or_else(no)
}

#[async_trait]
impl RollKeeper for OpenRouter {
    async fn assignments(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Assignment>>> {
        let read = |row: wire::Assigned| Assignment { hash: row.key_hash, guardrail: row.guardrail_id };
        self.rows(&["guardrails", "assignments", "keys"], at, read, deadline).await
    }

    async fn credentials(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Credential>>> {
        self.rows(&["byok"], at, credential, deadline).await
    }

    async fn assign(&self, guardrail: &str, hash: &str, deadline: Deadline) -> Called<()> {
        let path = ["guardrails", plain(guardrail)?, "assignments", "keys"];
        let body = json!({"key_hashes": [checked(hash)?]});
        let answer = self.manage(Request::new(Method::POST, &path).body(body), deadline).await?;
        if answer.is_success() && wire::says_assigned(&answer.body) {
            return Ok(Reply { value: (), date: answer.date });
        }
        Err(self.refused(&answer, Asked::Manage, None))
    }

    async fn allow(&self, credential: &str, list: &AllowList, deadline: Deadline) -> Called<()> {
        let hashes: Vec<&str> = list.keys().iter().map(|hash| checked(hash)).collect::<Result<_, _>>()?;
        let body = json!({"allowed_api_key_hashes": hashes});
        let path = ["byok", plain(credential)?];
        let answer = self.manage(Request::new(Method::PATCH, &path).body(body), deadline).await?;
        let row: wire::Byok = self.data(&answer, Asked::Manage, None)?;
        if row.id == credential {
            return Ok(Reply { value: (), date: answer.date });
        }
        Err(answer.failure(FailureKind::Unclear, "OpenRouter answered about another credential"))
    }
}
