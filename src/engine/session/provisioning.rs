//! The provisioning key of an account: whose it is (R8), whether it still works, what it costs.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::key::{CurrentKey, KeyKind};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::verdict::{Health, Observation, Occasion, Outcome, Reason, Verdict};
use crate::engine::session::Session;
use crate::engine::testing::endpoint::QUEUE;
use crate::engine::testing::endpoint::Why;
use crate::engine::{Account, Engine, EngineError};
use crate::net::Deadline;
use crate::provider::Base;
use crate::store::{Change, Lease};

/// Credits of the account.
pub async fn account_credits(session: &mut Session<'_>) -> Result<crate::provider::Credits, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.credits(deadline).await;
    session.noting(called).map_err(|failure| EngineError::outside("the credits could not be read", failure))
}

/// The account behind a provisioning key (R8): organisation or creator, and workspace.
pub(crate) fn identity_of(account: &Account, key: &CurrentKey) -> Result<String, EngineError> {
    if key.kind == KeyKind::Regular {
        return Err(EngineError::Refused(format!(
            "refused: the provisioning key of account {} is a regular key: it cannot issue keys",
            account.name
        )));
    }
    let who = key.account().ok_or_else(|| {
        EngineError::outside(
            format!("account {}", account.name),
            Failure::new(FailureKind::Unclear, "the provider does not say whose key this is"),
        )
    })?;
    let workspace = account.workspace.clone().or_else(|| key.workspace_id.clone());
    Ok(match workspace {
        Some(workspace) => format!("{}:{who}/{workspace}", account.provider),
        None => format!("{}:{who}", account.provider),
    })
}

pub(crate) fn explain_provisioning(account: &Account, failure: Failure) -> EngineError {
    let what = format!("the provisioning key of account {}", account.name);
    let failure = match failure.kind {
        FailureKind::Unauthorized => failure.hint(
            "make a new provisioning key in the provider's dashboard and put it where accounts.provisioning_key points",
        ),
        _ => failure,
    };
    EngineError::outside(what, failure)
}

/// What is remembered of a provisioning key. Another key in its place begins anew.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watched {
    hash: String,
    pub(crate) health: Health,
    pub(crate) told: bool,
}

pub(crate) fn memory(account: &Account) -> String {
    format!("account:{}", account.name)
}

/// The provider refused the provisioning key in the middle of something: the two looks that make it
/// believable begin now, not with the next pass.
pub(crate) async fn doubt_provisioning(engine: &Engine, account: &Account) -> Result<(), EngineError> {
    let watched: Watched = engine.parts.store.memory_or_anew(&memory(account)).await?;
    let same = watched.hash == account.provisioning_key.sha256_hex();
    if same && (watched.health.suspicion.is_some() || watched.health.verdict == Verdict::Invalid) {
        return Ok(());
    }
    let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    let watched = watch_provisioning(engine, &lease, account, Why::Again).await;
    engine.parts.store.release(&lease).await?;
    watched.map(drop)
}

/// Tests the provisioning key with `GET /key`. True when it is one.
pub(crate) async fn watch_provisioning(
    engine: &Engine,
    lease: &Lease,
    account: &Account,
    why: Why,
) -> Result<bool, EngineError> {
    let key = &account.provisioning_key;
    let deadline = Deadline::after(engine.parts.tests.timeout.to_std());
    let base = Some(Base::configured(&account.base_url));
    let seen = engine.parts.tester.test(&account.provider, base, key, &json!({}), deadline).await;
    let mut watched: Watched = engine.parts.store.memory_or_anew(&memory(account)).await?;
    let replaced = watched.hash != key.sha256_hex();
    if replaced {
        watched = Watched { hash: key.sha256_hex(), told: watched.told, health: Health::default() };
    }
    let occasion = if why == Why::Schedule { Occasion::Pass } else { Occasion::Extra };
    let now = engine.clock().now();
    watched.health = watched.health.observe(&seen, occasion, now, engine.parts.confirm_after).health;
    let mut changes = provisioning_alerts(account, &mut watched, &seen, replaced);
    changes.push(Change::Remember { subject: memory(account), doc: json!(watched) });
    engine.parts.store.commit(lease, &changes).await?;
    Ok(is_provisioning(&seen))
}

/// For a provisioning key this is what a test shows when all is well.
fn is_provisioning(seen: &Observation) -> bool {
    seen.outcome() == Outcome::Restricted && seen.reason() == Some(Reason::WrongKind)
}

fn provisioning_alerts(
    account: &Account,
    watched: &mut Watched,
    seen: &Observation,
    replaced: bool,
) -> Vec<Change> {
    let subject = Subject::Account(account.name.clone());
    let open = |kind, detail: String| {
        let mut alert = NewAlert::new(kind, subject.clone(), detail);
        alert.account = Some(account.name.clone());
        Change::Alert(alert)
    };
    let mut changes = Vec::new();
    if watched.health.verdict == Verdict::Invalid && !watched.told {
        watched.told = true;
        changes.push(open(
            Kind::ProvisioningKeyInvalid,
            format!(
                "The provisioning key of account {} is not accepted by the provider, seen twice: {}. Keys in use go on \
                 working, but nothing can be rotated or healed. Make a new provisioning key in the provider's dashboard \
                 and put it where accounts.provisioning_key points.",
                account.name, seen.detail
            ),
        ));
    }
    if is_provisioning(seen) {
        if watched.told && (replaced || watched.health.good_looks >= 2) {
            watched.told = false;
            changes.push(Change::Resolve { kind: Kind::ProvisioningKeyInvalid, subject: subject.clone() });
        }
        changes.push(Change::Resolve { kind: Kind::WrongKeyKind, subject });
    } else if matches!(seen.outcome(), Outcome::Valid | Outcome::QuotaExhausted) {
        changes.push(open(
            Kind::WrongKeyKind,
            format!(
                "What accounts.provisioning_key of account {} points to is a regular key: it calls models and cannot manage \
                 keys, so nothing can be rotated. Put a provisioning key there.",
                account.name
            ),
        ));
    }
    changes
}
