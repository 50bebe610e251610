//! What a person does by hand: keys in the store, keys at the provider. The same guard, the same journal.

use serde_json::json;

use crate::crypto::EncryptionKeyId;
use crate::domain::guard::Kill;
use crate::domain::key::{KeySpec, MicroUsd, RemoteKey};
use crate::domain::outcome::FailureKind;
use crate::domain::rotation::facts::Remote;
use crate::domain::turn::Class;
use crate::engine::commands::given::provider_of;
use crate::engine::commands::kept::{belongs_to_no_rotation, number_of, numbered, tables_follow, with_id};
use crate::engine::commands::view::PausedView;
use crate::engine::passes::mirror;
use crate::engine::retire::kill;
use crate::engine::retire::kill::{KillTarget, Killed};
use crate::engine::session::{Session, again, keys, listing};
use crate::engine::{Engine, EngineError, error, session};
use crate::store::{Change, EffectKind, EffectStatus, KeyRow, NewEffect, Origin, Pause, new_id};

/// Removes a key from the store, and says nothing to the provider unless `at_provider`.
///
/// # Errors
/// Refused for a generation of a rotation (R15) and for the last usable regular key of a configured account. With
/// `at_provider` absent when no account of the configuration lists the key: then nothing is removed.
pub async fn delete_key(
    engine: &Engine,
    provider: &str,
    number: i64,
    at_provider: bool,
) -> Result<KeyRow, EngineError> {
    let key = numbered(engine, provider, number).await?;
    belongs_to_no_rotation(&key)?;
    let taken_back = at_provider && hand_out_no_longer(engine, &key).await?;
    let let_go = let_go_everywhere(engine, &key, at_provider).await;
    if taken_back && !matches!(let_go, Ok(true)) {
        set_active(engine, &key, true).await?;
    }
    let listed = let_go?;
    if at_provider && !listed {
        return Err(EngineError::Absent {
            text:
                "no account of the configuration lists this key, so rekeyd cannot delete it at the provider: \
                   nothing was removed"
                    .to_owned(),
            hint: Some(format!(
                "delete it in the provider's dashboard; `rekeyd keys delete {provider} {number}` removes it from the store"
            )),
        });
    }
    let entry = engine.entry("key.removed", format!("provider {provider} number {number}"), key.mask.clone());
    // One that was ended at its provider is buried already.
    if !engine.parts.store.remove_key(&key.id, &entry).await? && !at_provider {
        return Err(EngineError::Refused(format!(
            "refused: {provider} number {number} was deleted or taken into a rotation meanwhile"
        )));
    }
    tables_follow(engine, std::slice::from_ref(&key.id)).await?;
    Ok(key)
}

/// The same by the id of the key. What an account says no to, or cannot say, is in the way of it.
pub async fn delete_key_by_id(engine: &Engine, id: &str, at_provider: bool) -> Result<(), EngineError> {
    let key = with_id(engine, id).await?;
    match delete_key(engine, &key.provider, number_of(&key)?, at_provider).await {
        Ok(_) => Ok(()),
        Err(error @ (EngineError::Absent { .. } | EngineError::Outside { .. })) => {
            Err(EngineError::Conflict { text: error.to_string(), hint: error.hint() })
        }
        Err(error) => Err(error),
    }
}

/// Holds new runs and kill steps of a rotation, its healing too, or lets all of them go.
pub async fn pause(engine: &Engine, name: &str, pause: Pause) -> Result<PausedView, EngineError> {
    engine.rotation(name)?;
    engine.parts.store.ensure_rotation(name, None).await?;
    let action = if pause == Pause::Over { "rotation.resumed" } else { "rotation.paused" };
    let detail = if pause == Pause::AndHealing { "healing too" } else { "" };
    let entry = engine.entry(action, format!("rotation {name}"), detail);
    engine.parts.store.set_paused(name, pause, &entry).await?;
    Ok(PausedView {
        paused: pause != Pause::Over,
        healing_paused: pause == Pause::AndHealing,
        rotation: name.to_owned(),
    })
}

/// Lets go of a key at every account of its provider. False when none of them lists it.
pub(super) async fn let_go_everywhere(
    engine: &Engine,
    key: &KeyRow,
    at_provider: bool,
) -> Result<bool, EngineError> {
    let mut listed = false;
    let kind = provider_of(engine, &key.provider).await?.kind;
    for account in engine.parts.accounts.values().filter(|account| account.provider == kind) {
        listed |= not_the_last(engine, account.name.as_str(), key, at_provider).await?;
    }
    Ok(listed)
}

/// Refuses to let go of a key that the account could not do without. False when the account does not list it.
async fn not_the_last(
    engine: &Engine,
    account: &str,
    key: &KeyRow,
    at_provider: bool,
) -> Result<bool, EngineError> {
    let Some(hash) = &key.hash else { return Ok(false) };
    let mut session = session::wait_for_session(engine, account, Class::Person).await?;
    let outcome = let_go(&mut session, hash, at_provider).await;
    session.close().await?;
    outcome
}

/// Refuses for the last usable key; with `at_provider` disables and deletes it there, through the guard. False when
/// the account does not list it.
async fn let_go(session: &mut Session<'_>, hash: &str, at_provider: bool) -> Result<bool, EngineError> {
    listed(session).await?;
    let Some(target) = session.listing.as_ref().and_then(|listing| listing.key(hash).cloned()) else {
        return Ok(false);
    };
    let others = count_usable_but(session, &[hash.to_owned()]);
    if target.is_live(session.now().ours) && others == 0 {
        return Err(crate::domain::guard::Refusal::LastRegularKey {
            label: target.label,
            name: target.name,
            account: session.account.name.clone(),
        }
        .into());
    }
    if at_provider {
        if session.account.issuer.can_disable() {
            kill_by_hand(session, &target.hash, Kill::Disable).await?;
        }
        kill_by_hand(session, &target.hash, Kill::Delete).await?;
    }
    Ok(true)
}

/// Takes a key out of every table that hands it out, before it is ended. What refuses its end gives it back.
async fn hand_out_no_longer(engine: &Engine, key: &KeyRow) -> Result<bool, EngineError> {
    let tables = mirror::mirrored_at(engine, &key.id).await?;
    if tables.is_empty() || !key.is_active {
        return Ok(false);
    }
    set_active(engine, key, false).await?;
    Ok(true)
}

async fn set_active(engine: &Engine, key: &KeyRow, is_active: bool) -> Result<(), EngineError> {
    let what = if is_active { "key.activated" } else { "key.deactivated" };
    let number = key.number.unwrap_or_default();
    let entry = engine.entry(what, format!("provider {} number {number}", key.provider), key.mask.clone());
    engine.parts.store.set_active(&key.id, is_active, &entry).await?;
    tables_follow(engine, std::slice::from_ref(&key.id)).await
}

pub(super) async fn listed(session: &mut Session<'_>) -> Result<(), EngineError> {
    let listed = listing::list(session).await?;
    listed.map_err(|failure| EngineError::outside("the account could not be listed", failure))
}

/// Nothing is journalled for a key that is not there. A stored key that is gone may still be buried.
async fn is_there(session: &mut Session<'_>, hash: &str, kill: Option<Kill>) -> Result<(), EngineError> {
    if session.listing.is_none() {
        listed(session).await?;
    }
    let keys = || session.listing.iter().flat_map(|listing| &listing.keys);
    if keys().any(|key| key.hash == hash) {
        return Ok(());
    }
    if kill == Some(Kill::Delete) && keys::stored_key(session, hash).await?.is_some() {
        return Ok(());
    }
    let account = &session.account.name;
    let hint = match error::nearest(hash, keys().map(|key| key.hash.as_str())) {
        Some(nearest) => format!("the nearest hash is {nearest}; `rekeyd accounts keys {account}` shows all"),
        None => format!("`rekeyd accounts keys {account}` shows its keys"),
    };
    Err(EngineError::Absent {
        text: format!("account {account} has no key with this hash: nothing was done"),
        hint: Some(hint),
    })
}

/// How many keys of the account somebody may work with, but for these.
pub(super) fn count_usable_but(session: &Session<'_>, let_go: &[String]) -> usize {
    let now = session.now();
    let now = now.theirs.unwrap_or(now.ours);
    let provisioning = session.account.issuer.provisioning_hash();
    let keys = session.listing.iter().flat_map(|listing| listing.but_strays(""));
    let others = keys.filter(|key| !let_go.contains(&key.hash));
    others.filter(|key| key.hash != provisioning && key.is_live(now)).count()
}

/// Disables or deletes a key at the provider because a person says so: the same guard as everybody.
pub async fn kill_by_hand(session: &mut Session<'_>, hash: &str, kill: Kill) -> Result<(), EngineError> {
    not_a_generation(session, hash).await?;
    is_there(session, hash, Some(kill)).await?;
    let target = KillTarget { hash, kill, urgent: false, stray: false, run: None };
    match kill::try_kill(session, &target).await? {
        Killed::Done | Killed::Already(Remote::Gone) => {}
        Killed::Already(_) if kill == Kill::Disable => {}
        Killed::Already(_) | Killed::EnabledAgain => {
            return Err(EngineError::Refused("the key is still there".to_owned()));
        }
        Killed::Refused(refusal) => {
            if let Some(alert) = kill::refusal_alert(session, &refusal) {
                session.commit(&[Change::Alert(alert)]).await?;
            }
            return Err(refusal.into());
        }
        Killed::Later(failure) => {
            return Err(EngineError::outside(format!("the key could not be {}d", kill.word()), failure));
        }
    }
    if kill == Kill::Delete
        && let Some(row) = keys::stored_key(session, hash).await?
    {
        session.commit(&[Change::Bury { id: row.id }]).await?;
    }
    Ok(())
}

/// R15: a generation changes only through its rotation.
async fn not_a_generation(session: &Session<'_>, hash: &str) -> Result<(), EngineError> {
    match keys::stored_key(session, hash).await?.and_then(|key| key.rotation) {
        Some(rotation) => Err(EngineError::Refused(format!(
            "refused: this key is a generation of rotation {rotation}: it changes only through its rotation"
        ))),
        None => Ok(()),
    }
}

/// The account as it is now.
pub async fn account_keys(session: &mut Session<'_>) -> Result<Vec<RemoteKey>, EngineError> {
    listed(session).await?;
    Ok(session.listing.as_ref().map(|listing| listing.keys.clone()).unwrap_or_default())
}

/// Issues a key that belongs to no rotation, and stores it. Journalled like any other create.
pub async fn create_by_hand(
    session: &mut Session<'_>,
    limit: Option<MicroUsd>,
) -> Result<KeyRow, EngineError> {
    listed(session).await?;
    session.not_frozen().await?;
    let name = session.names().by_hand(&session.engine.clock().nonce());
    let spec = KeySpec { limit, workspace: session.account.workspace.clone(), ..KeySpec::default() };
    let effect = NewEffect {
        id: new_id(),
        run: None,
        account: session.identity.clone(),
        kind: EffectKind::Create,
        target: name.clone(),
        address: None,
    };
    let sealing = session.engine.sealing_key().await?;
    let deadline = session.deadline().await?;
    let entry = session.engine.entry("key.create", format!("account {}", session.account.name), name.clone());
    let may_seal = Change::MaySeal { by: sealing.clone() };
    session.commit(&[may_seal, Change::Intend(effect.clone()), Change::Audit(entry)]).await?;
    let called = session.account.issuer.create(&name, &spec, deadline).await;
    match session.noting(called) {
        Ok(issued) => store_by_hand(session, &effect.id, &name, issued, sealing).await,
        Err(failure) => {
            let unclear = failure.kind == FailureKind::Unclear;
            let status = if unclear { EffectStatus::Unknown } else { EffectStatus::Failed };
            let evidence = json!({ "status": failure.status, "answer": failure.message });
            session.commit(&[Change::Settle { id: effect.id, status, evidence }]).await?;
            let what = "the provider did not issue a key; if one surfaces it is removed as a stray";
            Err(EngineError::outside(what, failure))
        }
    }
}

async fn store_by_hand(
    session: &Session<'_>,
    effect: &str,
    name: &str,
    issued: crate::provider::IssuedKey,
    mut sealing: EncryptionKeyId,
) -> Result<KeyRow, EngineError> {
    let row = keys::issued_row(session, name, &issued);
    let id = row.id.clone();
    let evidence = json!({ "hash": issued.remote.hash, "key": row.mask });
    let settled = Change::Settle { id: effect.to_owned(), status: EffectStatus::Done, evidence };
    loop {
        let row = session.engine.with_secrets(&sealing, row.clone(), Some(&issued.secret), None)?;
        let new = Change::NewKey { provider: keys::provider_row(session), key: Box::new(row) };
        let stored = session.commit(&[new, settled.clone()]).await;
        if !again::is_worth_it(session, &stored, &mut sealing).await {
            break stored?;
        }
    }
    let row = session.engine.parts.store.key(&id).await?;
    row.ok_or_else(|| EngineError::Refused("the new key vanished from the store".to_owned()))
}

/// Enables a key that rekeyd created, because a person says so.
pub async fn enable_by_hand(session: &mut Session<'_>, hash: &str) -> Result<(), EngineError> {
    not_a_generation(session, hash).await?;
    is_there(session, hash, None).await?;
    journalled(session, EffectKind::Enable, hash, None).await
}

/// Sets or clears the spending limit of a key that rekeyd created.
pub async fn limit_by_hand(
    session: &mut Session<'_>,
    hash: &str,
    limit: Option<MicroUsd>,
) -> Result<(), EngineError> {
    not_a_generation(session, hash).await?;
    is_there(session, hash, None).await?;
    journalled(session, EffectKind::Limit, hash, limit).await
}

async fn journalled(
    session: &mut Session<'_>,
    kind: EffectKind,
    hash: &str,
    limit: Option<MicroUsd>,
) -> Result<(), EngineError> {
    let ours = keys::stored_key(session, hash).await?.is_some_and(|row| row.origin != Origin::Given);
    if !ours {
        return Err(crate::domain::guard::Refusal::NotOurs.into());
    }
    let effect = NewEffect {
        id: new_id(),
        run: None,
        account: session.identity.clone(),
        kind,
        target: hash.to_owned(),
        address: None,
    };
    let deadline = session.deadline().await?;
    let entry = session.engine.entry(
        format!("key.{}", kind.word()),
        format!("account {}", session.account.name),
        "by hand",
    );
    session.commit(&[Change::Intend(effect.clone()), Change::Audit(entry)]).await?;
    let called = match kind {
        EffectKind::Limit => session.account.issuer.set_limit(hash, limit, deadline).await,
        _ => session.account.issuer.set_disabled(hash, false, deadline).await,
    };
    let answered = session.noting(called);
    let status = match &answered {
        Ok(Some(_)) => EffectStatus::Done,
        Err(failure) if failure.kind == FailureKind::Unclear => EffectStatus::Unknown,
        Ok(None) | Err(_) => EffectStatus::Failed,
    };
    session.commit(&[Change::Settle { id: effect.id, status, evidence: json!({}) }]).await?;
    match answered {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(EngineError::Usage { text: "the provider has no such key".to_owned(), hint: None }),
        Err(failure) => Err(EngineError::outside(format!("{} failed", kind.word()), failure)),
    }
}
