//! Whether a write could work, as far as GitHub tells without one.
//!
//! An installation lists its permissions, a classic token its scopes; what a fine-grained token may write
//! shows only at the first write. What the place itself refuses (a name, a repository) shows in any read.

use serde_json::{Map, Value};

use super::api::header;
use super::secret_address::{Permission, Visibility};
use super::sharing::Sharing;
use super::{Current, Github, PublicKey};
use crate::destination::Remark;
use crate::domain::outcome::{Failure, FailureKind};
use crate::net::{Answer, Deadline};

impl Github {
    /// The reads that a publish makes, and what they show; one line each.
    pub(super) async fn check(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        let path = self.place.public_key_path();
        let answer = self.get(path.clone(), &self.advice, deadline).await?;
        answer.json::<PublicKey>()?;
        let readable = format!("GET {} with {}: readable", self.url(&path), self.read_with(&answer));
        let permission = self.check_permission(&answer, deadline).await?;
        let mut seen = vec![Remark::plain(readable), Remark::plain(permission)];
        if let Some(expiry) = header(&answer, "github-authentication-token-expiration") {
            seen.push(Remark::plain(format!("the token expires {expiry}")));
        }
        let current = self.current(deadline).await?;
        seen.push(Remark::plain(self.describe(current.as_ref())));
        if let Some(sharing) = self.sharing(current.as_ref(), deadline).await? {
            seen.push(describe_sharing(&sharing, current.as_ref()));
        }
        Ok(seen)
    }

    /// Whether the credential may write, as far as GitHub tells without a write: an installation lists its
    /// permissions, a classic token its scopes, a fine-grained one nothing.
    async fn check_permission(&self, answer: &Answer, deadline: Deadline) -> Result<String, Failure> {
        let Permission { fine, classic, app } = self.place.permission();
        if let Some(granted) = self.api.permissions(deadline).await? {
            return check_installation(&granted, app, fine);
        }
        let Some(scopes) = header(answer, "x-oauth-scopes").filter(|scopes| !scopes.is_empty()) else {
            return Ok(format!("a write needs {fine}; GitHub does not say whether this token has it"));
        };
        let has = |wanted: &str| scopes.split(',').any(|scope| scope.trim() == wanted);
        if has(classic) || (classic == "repo" && has("public_repo")) {
            return Ok(format!("classic token with the scopes {scopes}"));
        }
        let text = format!("the token's scopes are {scopes}: `{classic}` is missing");
        Err(answer
            .failure(FailureKind::Forbidden, text)
            .hint(format!("give the token the scope `{classic}`")))
    }

    /// The permission of a read: as GitHub says it, else as its documentation does.
    fn read_with(&self, answer: &Answer) -> String {
        let accepted = header(answer, "x-accepted-github-permissions").filter(|text| !text.is_empty());
        match (accepted, header(answer, "x-oauth-scopes").filter(|scopes| !scopes.is_empty())) {
            (Some(accepted), _) => accepted.to_owned(),
            (None, Some(scopes)) => format!("the scopes {scopes}"),
            (None, None) => self.place.permission().fine.replace("read and write", "read"),
        }
    }

    /// What a write would do to what is there.
    pub(super) fn replaces(&self, current: Option<&Current>) -> String {
        let secret = &self.place.secret;
        match current {
            Some(Current { created_at, updated_at, .. }) => format!(
                "replaces {secret}, there since {created_at} and last changed {updated_at}; what sees it now still does"
            ),
            None => format!("creates {secret}, which is not there yet"),
        }
    }

    fn describe(&self, current: Option<&Current>) -> String {
        let url = self.url(&self.place.secret_path());
        match current {
            Some(Current { created_at, updated_at, .. }) => format!(
                "GET {url}: {} exists since {created_at}, last changed {updated_at}",
                self.place.secret
            ),
            None => format!("GET {url}: {} does not exist yet", self.place.secret),
        }
    }
}

fn check_installation(granted: &Map<String, Value>, name: &str, fine: &str) -> Result<String, Failure> {
    /// GitHub's schema of an installation's permissions lists these; of others, absence proves nothing.
    const LISTED: [&str; 4] = ["secrets", "environments", "organization_secrets", "contents"];
    match granted.get(name).and_then(Value::as_str) {
        None if !LISTED.contains(&name) => {
            Ok(format!("a write needs {fine}; the App's installation does not list it"))
        }
        Some("write") => Ok(format!("the App's installation has {name}: write")),
        other => {
            let text = format!("the App's installation has {name}: {}", other.unwrap_or("no access"));
            Err(Failure::new(FailureKind::Forbidden, text).hint(format!("give the App the {fine}")))
        }
    }
}

fn describe_sharing(sharing: &Sharing, current: Option<&Current>) -> Remark {
    let after = match sharing.visibility {
        Visibility::Selected => format!("selected, {} repositories", sharing.repositories.len()),
        other => other.name().to_owned(),
    };
    match current.and_then(Current::visibility) {
        Some(now) if now != sharing.visibility => {
            Remark::warning(format!("visibility is {} now and becomes {after}", now.name()))
        }
        _ => Remark::plain(format!("visibility: {after}")),
    }
}
