//! `rotations plan`: every call that a rotation would make, in order, with what it would replace.

use crate::destination::PlannedCall;
use crate::domain::key::{KeySpec, RemoteKey};
use crate::domain::rotation::{Level, Policy, Target};
use crate::engine::EngineError;
use crate::engine::commands::view::{PlanView, PlannedStep};
use crate::engine::publish::address;
use crate::engine::session::{Session, listing};
use crate::provider::CHAT_TOKENS;
use crate::store::{KeyRow, Role};

/// Looks everywhere, changes nothing.
pub async fn plan(session: &mut Session<'_>, name: &str) -> Result<PlanView, EngineError> {
    let policy = session.engine.rotation(name)?.policy.clone();
    listing::list(session)
        .await?
        .map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
    let generations = session.engine.parts.store.generations(name).await?;
    let current = generations.iter().find(|key| key.role == Role::Current);
    let remote = current
        .and_then(|key| key.hash.as_deref())
        .and_then(|hash| session.listing.as_ref().and_then(|listing| listing.key(hash).cloned()));
    let known = session.engine.parts.store.rotation(name).await?.and_then(|row| row.spec);
    let spec = policy.spec.resolve(remote.as_ref().map(RemoteKey::spec).or(known));
    let mut calls =
        steps(None, issue_calls(session.names().prefix(), name, &spec, policy.chat_model.as_deref()));
    let mut warnings = warnings(session, name, current, remote.as_ref()).await?;
    for target in &policy.targets {
        let (planned, said) = survey_destination(session, target, &generations).await?;
        calls.extend(steps(Some(&target.name), planned));
        warnings.extend(said.into_iter().map(|text| format!("destination {}: {text}", target.name)));
    }
    calls.extend(steps(None, current.map(|key| retire_calls(key, &policy)).unwrap_or_default()));
    Ok(PlanView { rotation: name.to_owned(), calls, warnings })
}

/// The calls at one destination and what to know about it. One that cannot be asked still shows its calls.
async fn survey_destination(
    session: &mut Session<'_>,
    target: &Target,
    generations: &[KeyRow],
) -> Result<(Vec<PlannedCall>, Vec<String>), EngineError> {
    let place = session.engine.destination(&target.name)?.clone();
    let deadline = session.deadline_for(&place).await?;
    let (calls, mut said) = match place.adapter.survey(deadline).await {
        Ok(survey) => (survey.calls, survey.warnings),
        Err(failure) => (place.adapter.plan(), vec![address::with_hint(&failure)]),
    };
    let rows = session.engine.parts.store.holdings_at(&target.address).await?;
    match rows.iter().find(|row| row.fact.level > Level::Pending) {
        None => said.push("rekeyd never wrote there: what is there now is replaced".to_owned()),
        Some(row) => {
            let held = generations.iter().find(|key| key.id == row.fact.key);
            let retiring = held.filter(|key| key.role != Role::Current);
            said.extend(
                retiring
                    .map(|key| format!("it still holds generation {}", key.generation.unwrap_or_default())),
            );
            said.extend(row.fact.drift.iter().map(|how| format!("somebody else changed it: {how}")));
        }
    }
    Ok((calls, said))
}

async fn warnings(
    session: &Session<'_>,
    name: &str,
    current: Option<&KeyRow>,
    remote: Option<&RemoteKey>,
) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    if let Some(reason) = session.engine.parts.store.freeze_of(&session.identity).await? {
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
    if let Some(open) = session.engine.parts.store.open_run(name).await? {
        warnings.push(format!("a run is open: {}", open.run.id));
    }
    warnings.extend(session.clocks_differ().map(str::to_owned));
    Ok(warnings)
}

fn steps(destination: Option<&str>, calls: Vec<PlannedCall>) -> Vec<PlannedStep> {
    let step = |planned: PlannedCall| PlannedStep {
        destination: destination.map(str::to_owned),
        call: planned.call,
        effect: planned.effect,
    };
    calls.into_iter().map(step).collect()
}

fn call(call: impl Into<String>, effect: impl Into<String>) -> PlannedCall {
    PlannedCall { call: call.into(), effect: effect.into() }
}

fn issue_calls(prefix: &str, name: &str, spec: &KeySpec, chat_model: Option<&str>) -> Vec<PlannedCall> {
    let limit =
        spec.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {:.2} USD", limit.usd()));
    let reset = spec.limit_reset.as_ref().map(|reset| format!(", reset {reset}")).unwrap_or_default();
    let mut calls = vec![
        call("GET /keys", "list the account, all pages: strays, unknown keys, at least one usable key"),
        call("POST /keys", format!("issue a key named {prefix}{name}/N-… with {limit}{reset}")),
        call("GET /key", "prove the new key with the bytes read back from the store"),
    ];
    calls.extend(chat_model.map(|model| {
        let bound =
            format!("billed: one completion of {model} with the new key, at most {CHAT_TOKENS} tokens");
        call("POST /chat/completions", format!("{bound}; again only while its answer proves nothing"))
    }));
    calls
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
