//! `rotations plan`: every call that a rotation would make, in order, with what it would replace.

use super::EngineError;
use super::session::Session;
use super::view::PlanView;
use crate::destination::PlannedCall;
use crate::domain::key::{KeySpec, RemoteKey};
use crate::domain::rotation::Policy;
use crate::store::{KeyRow, Role};

impl Session<'_> {
    /// Looks everywhere, changes nothing.
    pub async fn plan(&mut self, name: &str) -> Result<PlanView, EngineError> {
        let policy = self.engine.rotation(name)?.policy.clone();
        self.list()
            .await?
            .map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        let generations = self.engine.parts.store.generations(name).await?;
        let current = generations.iter().find(|key| key.role == Role::Current);
        let remote = current
            .and_then(|key| key.hash.as_deref())
            .and_then(|hash| self.listing.as_ref().and_then(|listing| listing.key(hash).cloned()));
        let known = self.engine.parts.store.rotation(name).await?.and_then(|row| row.spec);
        let spec = policy.spec.resolve(remote.as_ref().map(RemoteKey::spec).or(known));
        let mut calls = issue_calls(&self.prefix(), name, &spec);
        let mut warnings = self.warnings(name, current, remote.as_ref()).await?;
        for target in &policy.targets {
            let deadline = self.deadline().await?;
            let place = self.engine.place(&target.name)?.clone();
            calls.extend(place.adapter.plan());
            if let Err(failure) = place.adapter.preflight(deadline).await {
                let hint = failure.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                warnings.push(format!("destination {}: {failure}{hint}", target.name));
            }
        }
        calls.extend(current.map(|key| retire_calls(key, &policy)).unwrap_or_default());
        Ok(PlanView { rotation: name.to_owned(), calls, warnings })
    }

    async fn warnings(
        &self,
        name: &str,
        current: Option<&KeyRow>,
        remote: Option<&RemoteKey>,
    ) -> Result<Vec<String>, EngineError> {
        let mut warnings = Vec::new();
        if let Some(reason) = self.engine.parts.store.account(&self.identity).await?.and_then(|a| a.frozen) {
            warnings.push(format!("the account is frozen: {reason}"));
        }
        match (current, remote) {
            (None, _) => warnings.push(
                "there is no current key: adopt the one that production uses, or it will never be retired"
                    .to_owned(),
            ),
            (Some(key), None) => warnings.push(format!("{} is not in the account's listing", key.mask)),
            (Some(key), Some(_)) => warnings.push(format!(
                "BYOK filters and guardrails that name the hash of {} do not pass to its successor",
                key.mask
            )),
        }
        if let Some(open) = self.engine.parts.store.open_run(name).await? {
            warnings.push(format!("a run is open: {}", open.run.id));
        }
        if !self.now().clocks_agree() {
            warnings.push("our clock and the provider's differ by more than 5 minutes".to_owned());
        }
        Ok(warnings)
    }
}

fn call(call: impl Into<String>, effect: impl Into<String>) -> PlannedCall {
    PlannedCall { call: call.into(), effect: effect.into() }
}

fn issue_calls(prefix: &str, name: &str, spec: &KeySpec) -> Vec<PlannedCall> {
    let limit =
        spec.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {:.2} USD", limit.usd()));
    let reset = spec.limit_reset.as_ref().map(|reset| format!(", reset {reset}")).unwrap_or_default();
    vec![
        call("GET /keys", "list the account, all pages: strays, unknown keys, at least one usable key"),
        call("POST /keys", format!("issue a key named {prefix}{name}/N-… with {limit}{reset}")),
        call("GET /key", "prove the new key with the bytes read back from the store"),
    ]
}

fn retire_calls(key: &KeyRow, policy: &Policy) -> Vec<PlannedCall> {
    let hash = key.hash.clone().unwrap_or_default();
    let span = |span: crate::domain::time::Span| humantime::format_duration(span.to_std()).to_string();
    vec![
        call(
            format!("GET /keys/{hash}"),
            format!("watch {} until it is quiet for {}", key.mask, span(policy.quiet)),
        ),
        call(
            format!("PATCH /keys/{hash}"),
            format!("disable {} after {} of grace, through the guard", key.mask, span(policy.grace)),
        ),
        call(
            format!("DELETE /keys/{hash}"),
            format!("delete {} after {} of observation, through the guard", key.mask, span(policy.observe)),
        ),
    ]
}
