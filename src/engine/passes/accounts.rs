//! The accounts themselves, once a period: is the provisioning key alive and of the right kind, is there a usable
//! regular key, is there credit, is one account entered twice.

use std::collections::BTreeSet;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::alert::{Kind, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::domain::verdict::{Reason, Verdict};
use crate::engine::passes::beside::Beside;
use crate::engine::passes::{behind, egress, unreadable};
use crate::engine::publish::{inherit, provisioning_copy};
use crate::engine::retire::sweep;
use crate::engine::session::provisioning::Watched;
use crate::engine::session::{Session, listing, provisioning, standing};
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::{QUEUE, WATCHED, Why};
use crate::engine::{Account, Engine, EngineError, lease, session};
use crate::store::{Change, KeyRow, Lease};

/// Between two looks at what waits meanwhile.
const LOOK: Span = Span::seconds(1);

/// Watches the accounts when a period of the schedule began, and those that wait for a second look; rows that cannot be
/// read are told of. One process at a time does so.
pub async fn watch_tick(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    let round = endpoint::watch_is_due(engine).await?;
    if !round && !unreadable::is_due(engine).await? && to_watch(engine, Why::Again).await?.is_empty() {
        return Ok(());
    }
    let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    lease::while_held(engine, &lease, pass(engine, &lease, stop)).await
}

async fn pass(engine: &Engine, lease: &Lease, stop: &CancellationToken) -> Result<(), EngineError> {
    // Again, under the lease: another replica may just have looked.
    let round = endpoint::watch_is_due(engine).await?;
    let began = engine.clock().now();
    if round || unreadable::is_due(engine).await? {
        unreadable::tell(engine, lease).await?;
        behind::tell(engine, lease).await?;
        egress::tell(engine, lease).await?;
    }
    watch(engine, lease, if round { Why::Schedule } else { Why::Again }, stop).await?;
    if !round || stop.is_cancelled() {
        return Ok(());
    }
    let mark = Change::Remember { subject: WATCHED.to_owned(), doc: json!(Some(began)) };
    engine.parts.store.commit(lease, &[mark]).await?;
    engine.parts.store.wipe_gone().await?;
    engine.parts.store.forget_pastes().await?;
    Ok(())
}

/// For a person: all accounts, now. Waits for a process that watches them already.
pub(crate) async fn watch_now(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    let until = engine.clock().monotonic().0 + Class::Watching.patience().0;
    let lease = loop {
        let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
        if lease.is_some() || engine.clock().monotonic().0 >= until {
            break lease;
        }
        engine.clock().sleep(Span(200)).await;
    };
    let Some(lease) = lease else { return Ok(()) };
    let watched = async {
        unreadable::tell(engine, &lease).await?;
        egress::tell(engine, &lease).await?;
        watch(engine, &lease, Why::Person, stop).await
    };
    lease::while_held(engine, &lease, watched).await
}

/// Accounts beside each other, and those that wait for a second look meanwhile.
async fn watch(
    engine: &Engine,
    lease: &Lease,
    why: Why,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    let (mut beside, mut watched) = (Beside::new(), BTreeSet::new());
    let mut wanted = to_watch(engine, why).await?;
    let mut why = why;
    loop {
        for account in wanted.into_iter().filter(|account| watched.insert(account.name.clone())) {
            beside.add(async move {
                watch_one(engine, lease, account, why, stop).await;
                account.name.clone()
            });
        }
        if beside.is_empty() {
            return Ok(());
        }
        tokio::select! {
            name = beside.next() => {
                watched.remove(&name);
                wanted = Vec::new();
            }
            () = engine.clock().sleep(LOOK) => {
                why = Why::Again;
                wanted = beside.during(to_watch(engine, why)).await?;
            }
        }
    }
}

/// The accounts that are watched: all, between periods those that wait for another look.
async fn to_watch(engine: &Engine, why: Why) -> Result<Vec<&Account>, EngineError> {
    let now = engine.clock().now();
    let mut wanted = Vec::new();
    for account in engine.accounts() {
        if why != Why::Again || waits(engine, account, now).await? {
            wanted.push(account);
        }
    }
    Ok(wanted)
}

/// One account, by itself: one that hangs or fails delays no other.
async fn watch_one(engine: &Engine, lease: &Lease, account: &Account, why: Why, stop: &CancellationToken) {
    let watched = async {
        if why == Why::Again {
            inherit::put_off(engine, account).await?;
        }
        if provisioning::watch_provisioning(engine, lease, account, why).await? {
            watch_account(engine, account, why, stop).await?;
        }
        Ok::<(), EngineError>(())
    };
    if let Err(error) = watched.await {
        tracing::warn!(account = %account.name, %error, "watch");
    }
}

/// Its provisioning key waits for a second look, or a new key for what its predecessor had.
async fn waits(engine: &Engine, account: &Account, now: Timestamp) -> Result<bool, EngineError> {
    let watched: Watched = engine.parts.store.memory_or_anew(&provisioning::memory(account)).await?;
    Ok(watched.health.is_due_again(now) || inherit::is_owing(engine, account).await?)
}

async fn watch_account(
    engine: &Engine,
    account: &Account,
    why: Why,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    let (class, patience) = (Class::Watching, why.patience(Class::Watching));
    let mut session = session::wait_for_session_or_stop(engine, &account.name, class, patience, stop).await?;
    for look in [Look::Keys, Look::Credits, Look::Duplicates, Look::Copies] {
        session = session::make_room(session, stop).await?;
        let looked = look_at(&mut session, look).await;
        if !matches!(looked, Ok(true)) {
            session.close().await?;
            return looked.map(drop);
        }
    }
    session.close().await
}

/// The steps of a watch.
#[derive(Debug, Clone, Copy)]
enum Look {
    Keys,
    Credits,
    Duplicates,
    Copies,
}

/// One step; false when there is nothing to watch here.
async fn look_at(session: &mut Session<'_>, look: Look) -> Result<bool, EngineError> {
    if is_a_stranger(session).await? {
        return Ok(false);
    }
    match look {
        Look::Keys => watch_keys(session).await?,
        Look::Credits => watch_credits(session).await?,
        Look::Duplicates => watch_duplicates(session).await?,
        Look::Copies => provisioning_copy::publish_provisioning(session).await?,
    }
    Ok(true)
}

/// A stray may surface long after the run that asked for it (rotation.md, fault 5).
async fn watch_keys(session: &mut Session<'_>) -> Result<(), EngineError> {
    match sweep::reconcile(session, false).await? {
        Ok(()) => {
            listing::count_usable(session).await?;
            inherit::remember(session).await?;
            inherit::pay(session).await?;
        }
        Err(failure) => tracing::warn!(account = %session.account.name, %failure, "listing"),
    }
    Ok(())
}

/// R8: the key works, and belongs to somebody else's account than the keys of our rotations: nothing is done there.
async fn is_a_stranger(session: &Session<'_>) -> Result<bool, EngineError> {
    let kind = Kind::ProvisioningKeyInvalid;
    if let Some(reason) = standing::stranger(session).await? {
        let detail = format!(
            "At present {reason}. Keys in use go on working and are tested, but nothing can be rotated or healed meanwhile."
        );
        session.commit(&[Change::Alert(session.account_alert(kind, detail))]).await?;
        return Ok(true);
    }
    let watched: Watched =
        session.engine.parts.store.memory_or_anew(&provisioning::memory(session.account)).await?;
    let subject = Subject::Account(session.account.name.clone());
    let told = session.engine.parts.store.open_subjects(kind).await?.contains(&subject);
    // One that was refused is over when it was seen to work twice, see `watch_provisioning`.
    if told && !watched.told {
        session.commit(&[Change::Resolve { kind, subject }]).await?;
    }
    Ok(false)
}

async fn watch_credits(session: &mut Session<'_>) -> Result<(), EngineError> {
    let Some(below) = session.account.credits_alert_below else { return Ok(()) };
    let credits = match provisioning::account_credits(session).await {
        Ok(credits) => credits,
        // Not every provisioning key may read them.
        Err(EngineError::Outside { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    let left = credits.total.0 - credits.used.0;
    let change = if left < below.0 {
        let detail = format!(
            "Account {} has ${:.2} of credit left, less than ${:.2}. Keys stop working when it is gone: top up.",
            session.account.name,
            crate::domain::key::MicroUsd(left).usd(),
            below.usd()
        );
        Change::Alert(session.account_alert(Kind::CreditsLow, detail))
    } else {
        Change::Resolve { kind: Kind::CreditsLow, subject: Subject::Account(session.account.name.clone()) }
    };
    session.commit(&[change]).await
}

/// Product.md: one provisioning key per account.
async fn watch_duplicates(session: &mut Session<'_>) -> Result<(), EngineError> {
    let mut found = other_entries(session).await?;
    let Some(stored) = stored_provisioning_keys(session).await? else { return Ok(()) };
    found.extend(stored);
    // By identity: the entry that goes must not take the alert's end with it.
    let subject = Subject::Account(session.identity.clone());
    let change = if found.is_empty() {
        Change::Resolve { kind: Kind::DuplicateProvisioningKey, subject }
    } else {
        let detail = format!(
            "Account {} has more than one provisioning key in rekeyd's hands. {} One is enough; each more is one more that \
             can leak.",
            session.account.name,
            found.join(" ")
        );
        let mut alert = session.account_alert(Kind::DuplicateProvisioningKey, detail);
        alert.subject = subject;
        Change::Alert(alert)
    };
    session.commit(&[change]).await
}

/// Other entries of the configuration that are this account.
async fn other_entries(session: &Session<'_>) -> Result<Vec<String>, EngineError> {
    let own = &session.account.name;
    let entries = session.engine.parts.store.entries_of(&session.identity).await?;
    let others = entries.iter().filter(|name| *name != own);
    let others = others.filter_map(|name| session.engine.parts.accounts.get(name));
    let said = others.map(|other| {
        let name = &other.name;
        if other.provisioning_key == session.account.provisioning_key {
            format!("Entries {own} and {name} of the configuration hold the same key: delete one entry.")
        } else {
            format!(
                "Entries {own} and {name} of the configuration are one account: move the rotations of one to the other, \
                 delete that entry, and delete its provisioning key in the provider's dashboard."
            )
        }
    });
    Ok(said.collect())
}

/// Stored keys that are provisioning keys of this account; `None` when one could not be asked.
async fn stored_provisioning_keys(session: &mut Session<'_>) -> Result<Option<Vec<String>>, EngineError> {
    let mut found = Vec::new();
    let keys = session.engine.parts.store.bad_keys(&session.account.provider).await?;
    let suspects = keys.into_iter().filter(is_stored_provisioning);
    for row in suspects {
        let Some(secret) = session.engine.open_or_pass_by(&row) else { continue };
        let deadline = session.deadline().await?;
        let called = session.account.issuer.whoami(&secret, deadline).await;
        let Ok(key) = session.noting(called) else { return Ok(None) };
        if provisioning::identity_of(session.account, &key).is_ok_and(|identity| identity == session.identity)
        {
            let number = row.number.unwrap_or_default();
            found.push(format!(
                "Stored key {} number {number} ({}) is one: delete it with `rekeyd keys delete {} {number}`, and in the \
                 provider's dashboard unless it is the one of this entry.",
                row.provider, row.mask, row.provider
            ));
        }
    }
    Ok(Some(found))
}

fn is_stored_provisioning(row: &KeyRow) -> bool {
    row.health.verdict == Verdict::Restricted && row.health.reason == Some(Reason::WrongKind)
}
