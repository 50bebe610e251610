//! The only caller of the provider's disable and delete. Every path comes through here: rotation, abort,
//! rollback, emergency, strays, and what a person asks for by hand.
//!
//! Proofs are gathered first, the account is listed, then one transaction lets the guard decide on its own rows
//! and commits the intent (I2). Only then the provider is called; what it says is believed only after a read.

use serde_json::json;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::guard::{Case, Kill, Refusal, max_kills, permit};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Failure, FailureKind, Reply};
use crate::domain::rotation::facts::Remote;
use crate::domain::rotation::{Directive, Event, KeyRef, Phase, Run, apply};
use crate::domain::time::{Span, Timestamp};
use crate::engine::EngineError;
use crate::engine::publish::inherit;
use crate::engine::retire::holders;
use crate::engine::session::commit::Performed;
use crate::engine::session::{Session, commit, keys, listing, remote_of, witness};
use crate::net::Deadline;
use crate::store::{Change, EffectKind, EffectStatus, Guarded, KillRows, NewEffect, new_id};

/// What came of trying to disable or delete a key.
#[derive(Debug)]
pub(crate) enum Killed {
    /// Read back: disabled, or gone.
    Done,
    /// To be deleted, but somebody enabled it again; nothing was sent.
    EnabledAgain,
    /// It was so already, and not by us.
    Already(Remote),
    /// The guard said no; nothing was sent.
    Refused(Refusal),
    /// Nobody knows, or it could not be tried; look again later.
    Later(Failure),
}

/// Whose kill it is.
pub(crate) struct KillTarget<'a> {
    pub(crate) hash: &'a str,
    pub(crate) kill: Kill,
    pub(crate) urgent: bool,
    /// A journalled name without generation: ours although no row says so.
    pub(crate) stray: bool,
    /// The run it belongs to; its intent event is committed with the effect.
    pub(crate) run: Option<&'a Run>,
}

impl KillTarget<'_> {
    /// Known to strangers: it waits for nobody but the destinations that are required now (guard, rule 2).
    fn is_leaked(&self) -> bool {
        let retirees = self.run.map(|run| run.retirees.as_slice()).unwrap_or_default();
        retirees.iter().any(|retiree| retiree.key.hash == self.hash && retiree.leaked.is_some())
    }
}

/// One kill step of a run.
pub(crate) async fn kill(
    session: &mut Session<'_>,
    run: &Run,
    key: &KeyRef,
    kill: Kill,
    urgent: bool,
) -> Result<Performed, EngineError> {
    let target = KillTarget { hash: &key.hash, kill, urgent, stray: false, run: Some(run) };
    let killed = try_kill(session, &target).await?;
    // The intent may have been committed with the run: go on from what the store has.
    let run = session.engine.parts.store.run(&run.id).await?.map_or_else(|| run.clone(), |row| row.run);
    let hash = key.hash.clone();
    let (event, did) = match killed {
        Killed::Done => {
            let did = format!("{}d generation {}", kill.word(), key.generation);
            (
                if kill == Kill::Disable {
                    Event::Disabled { hash, at: session.now() }
                } else {
                    Event::Deleted { hash }
                },
                did,
            )
        }
        Killed::Already(Remote::Gone) => {
            (Event::FoundGone { hash }, format!("generation {} is gone already", key.generation))
        }
        Killed::EnabledAgain => (
            Event::FoundEnabled { hash, at: session.now() },
            format!("somebody enabled generation {} again", key.generation),
        ),
        Killed::Already(_) => (
            Event::FoundDisabled { hash, at: session.now() },
            format!("generation {} was disabled by somebody", key.generation),
        ),
        Killed::Refused(refusal) => {
            return kill_refused(session, &run, key, directive(key, kill, urgent), &refusal).await;
        }
        Killed::Later(failure) => {
            let reason = format!("generation {} could not be {}d: {failure}", key.generation, kill.word());
            let call = directive(key, kill, urgent);
            return commit::postpone(session, &run, &call, reason, failure.retry_after, Vec::new()).await;
        }
    };
    Ok(Performed { run: commit::record(session, &run, &event, Vec::new()).await?, did })
}

fn directive(key: &KeyRef, kill: Kill, urgent: bool) -> Directive {
    let key = key.clone();
    match kill {
        Kill::Disable => Directive::Disable { key, urgent },
        Kill::Delete => Directive::Delete { key, urgent },
    }
}

async fn kill_refused(
    session: &mut Session<'_>,
    run: &Run,
    key: &KeyRef,
    call: Directive,
    refusal: &Refusal,
) -> Result<Performed, EngineError> {
    let what = if matches!(call, Directive::Delete { .. }) { "deleted" } else { "disabled" };
    let reason = format!("generation {} is not {what} yet: {refusal}", key.generation);
    let left = Event::LeftForNow { until: session.until(run.pause_between_keys()) };
    if matches!(refusal, Refusal::LastRegularKey { .. }) && apply(run, &left).is_ok() {
        // Like a stray that is the only usable key: the run goes on without waiting for it.
        return Ok(Performed { run: commit::record(session, run, &left, Vec::new()).await?, did: reason });
    }
    if matches!(refusal, Refusal::Breaker { .. }) {
        let changes = breaker_waits(session, refusal).await?;
        return commit::hold_back(session, run, &call, reason, changes).await;
    }
    let changes = refusal_alert(session, refusal).into_iter().map(Change::Alert).collect();
    let at_least = match refusal {
        Refusal::MayLand { left, .. } => *left,
        _ => Span::seconds(1),
    };
    commit::postpone(session, run, &call, reason, Some(at_least), changes).await
}

/// R12: what the breaker holds back waits in silence for an hour; then people are told.
async fn breaker_waits(session: &Session<'_>, refusal: &Refusal) -> Result<Vec<Change>, EngineError> {
    let subject = breaker(&session.identity);
    let since: Option<Timestamp> = session.engine.parts.store.memory(&subject).await?;
    let now = session.engine.clock().now();
    Ok(match since {
        None => vec![Change::Remember { subject, doc: json!(Some(now)) }],
        Some(since) if now.since(since) >= Span::hours(1) => {
            let detail = format!("{refusal}. It waits; raise max_deletes_per_hour if this is wanted.");
            vec![Change::Alert(session.account_alert(Kind::BreakerWaiting, detail))]
        }
        Some(_) => Vec::new(),
    })
}

pub(crate) fn refusal_alert(session: &Session<'_>, refusal: &Refusal) -> Option<NewAlert> {
    matches!(refusal, Refusal::LastRegularKey { .. }).then(|| {
        let detail = format!("{refusal}. It stays alive. Issue another key first.");
        session.account_alert(Kind::LastKeyRefused, detail)
    })
}

/// Proofs, listing, guard and intent in one transaction, call, read back.
pub(crate) async fn try_kill(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
) -> Result<Killed, EngineError> {
    holders::prove(session, target.hash, target.is_leaked()).await?;
    if let Err(failure) = witness::list_before_kill(session, target.hash).await? {
        return Ok(Killed::Later(failure));
    }
    let effect = kill_effect(session, target).await?;
    if let Some(known) = already(session, target, &effect).await? {
        return Ok(known);
    }
    let deadline = session.deadline().await?;
    match commit_intent(session, target, &effect).await? {
        Guarded::Refused(refusal) => return Ok(Killed::Refused(refusal)),
        Guarded::Committed => {}
    }
    let deadline = match may_delete(session, target).await? {
        Ok(again) => again.unwrap_or(deadline),
        Err(failure) => return not_sent(session, target, &effect, failure).await,
    };
    let called = match target.kill {
        Kill::Disable => {
            session.account.issuer.set_disabled(target.hash, true, deadline).await.map(|reply| reply.date)
        }
        Kill::Delete => session.account.issuer.delete(target.hash, deadline).await.map(|reply| reply.date),
    };
    let answered = session.noting(called.map(|date| Reply { value: (), date }));
    settle_kill(session, target, &effect, answered).await
}

/// R23: before a delete the hash leaves the lists that name it. A leaked key waits for none of them: what names a dead
/// key harms nobody, and is left out by the next who writes there. The deadline of the delete, where that took time.
async fn may_delete(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
) -> Result<Result<Option<Deadline>, Failure>, EngineError> {
    if target.kill == Kill::Disable || target.stray {
        return Ok(Ok(None));
    }
    let engine = session.engine;
    let run = target.run.map(|run| run.id.as_str());
    // The guard has looked: what it saw must not grow old.
    let left = tokio::select! {
        left = inherit::leave(session, run, target.hash) => left?,
        () = engine.clock().sleep(engine.parts.call_timeout) => {
            Err(Failure::new(FailureKind::Unclear, "the lists that name the key could not be read in time"))
        }
    };
    match left {
        Err(failure) if !target.urgent => Ok(Err(failure)),
        _ => Ok(Ok(Some(session.deadline().await?))),
    }
}

/// The unsettled effect of the same kind on the same key, or a new one.
async fn kill_effect(session: &Session<'_>, target: &KillTarget<'_>) -> Result<NewEffect, EngineError> {
    let kind = match target.kill {
        Kill::Disable => EffectKind::Disable,
        Kill::Delete => EffectKind::Delete,
    };
    let open = session.engine.parts.store.open_toggles(&session.identity).await?;
    let known = open.into_iter().find(|effect| effect.kind == kind && effect.target == target.hash);
    Ok(NewEffect {
        id: known.map_or_else(new_id, |effect| effect.id),
        run: target.run.map(|run| run.id.clone()),
        account: session.identity.clone(),
        kind,
        target: target.hash.to_owned(),
        address: None,
    })
}

/// What the fresh listing says already: gone, or disabled. Ours when an intent of ours is in the journal.
async fn already(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
    effect: &NewEffect,
) -> Result<Option<Killed>, EngineError> {
    let seen = session.listing.as_ref().and_then(|listing| listing.key(target.hash)).map(|key| key.disabled);
    let phase =
        target.run.and_then(|run| run.retirees.iter().find(|r| r.key.hash == target.hash)).map(|r| &r.phase);
    let (remote, ours) = match (target.kill, seen) {
        (Kill::Delete, None) => (Remote::Gone, matches!(phase, Some(Phase::Deleting))),
        (Kill::Disable, None) => (Remote::Gone, false),
        (Kill::Disable, Some(true)) => (Remote::Disabled, matches!(phase, Some(Phase::Disabling))),
        // Somebody enabled it since it was last read: it is in use, and is not deleted (I8, fault 22).
        (Kill::Delete, Some(false)) if matches!(phase, Some(Phase::Disabled { .. })) => {
            return Ok(Some(Killed::EnabledAgain));
        }
        _ => return Ok(None),
    };
    let evidence =
        json!({ "settled_by": "looking", "seen": if remote == Remote::Gone { "gone" } else { "disabled" } });
    session.commit(&[Change::Settle { id: effect.id.clone(), status: EffectStatus::Done, evidence }]).await?;
    let listed = session.listing.as_ref().map_or_else(|| session.now(), |listing| listing.at);
    session.remember(target.hash, remote.clone(), listed);
    Ok(Some(if ours { Killed::Done } else { Killed::Already(remote) }))
}

/// The guard decides on the rows of the transaction that commits the intent.
async fn commit_intent(
    session: &Session<'_>,
    target: &KillTarget<'_>,
    effect: &NewEffect,
) -> Result<Guarded<Refusal>, EngineError> {
    let listing = session.listing.as_ref().expect("listed just before");
    let now = session.now();
    let provisioning_hash = session.account.issuer.provisioning_hash();
    let keys = listing.but_strays(target.hash);
    let check = |rows: &KillRows| {
        permit(&Case {
            account: &session.account.name,
            target: target.hash,
            kill: target.kill,
            urgent: target.urgent,
            leaked: target.is_leaked(),
            now,
            clock: session.clock(),
            listed: listing.at,
            keys: &keys,
            provisioning_hash: &provisioning_hash,
            open_kills: &rows.open_kills,
            in_doubt: &rows.in_doubt,
            holders: &holders::of(session, rows),
            ours: rows.ours || target.stray,
            frozen: rows.frozen,
            recent_kills: rows.recent_kills,
            max_kills: max_kills(session.account.max_deletes_per_hour, listing.keys.len()),
        })
    };
    let mut changes = vec![
        Change::Intend(effect.clone()),
        Change::Remember { subject: breaker(&session.identity), doc: json!(null) },
    ];
    if let Some(run) = target.run {
        let hash = target.hash.to_owned();
        let event = match target.kill {
            Kill::Disable => Event::DisableIntended { hash },
            Kill::Delete => Event::DeleteIntended { hash },
        };
        changes.push(commit::run_change(&apply(run, &event)?, None));
        if target.is_leaked() && target.kill == Kill::Disable {
            changes.extend(holders::will_stop(session, run, target.hash).await?);
        }
    }
    let subject = format!("key {} of account {}", label(&listing.keys, target.hash), session.account.name);
    changes.push(Change::Audit(session.engine.entry(
        format!("key.{}", target.kill.word()),
        subject,
        "intended",
    )));
    // The guard let it pass: what held back an earlier one is over.
    let subject = Subject::Account(session.account.name.clone());
    changes.push(Change::Resolve { kind: Kind::BreakerWaiting, subject });
    let of = (session.identity.as_str(), target.hash);
    Ok(session.engine.parts.store.commit_guarded(&session.lease, of, check, &changes).await?)
}

/// Read back: only what the provider shows afterwards counts.
async fn settle_kill(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
    effect: &NewEffect,
    answered: Result<(), Failure>,
) -> Result<Killed, EngineError> {
    let settle = |status, evidence| Change::Settle { id: effect.id.clone(), status, evidence };
    if let Err(failure) = &answered
        && failure.kind == FailureKind::OverBudget
    {
        return not_sent(session, target, effect, failure.clone()).await;
    }
    // A call that was refused, or never answered, and a 404: the listing has a word in it, too.
    let seen = match &answered {
        Ok(()) => session.read_remote(target.hash).await?,
        Err(_) => listing::look_up(session, target.hash).await?.map(|shown| remote_of(shown.as_ref())),
    };
    let proved = match seen {
        Ok(remote) => match (target.kill, remote) {
            (_, Remote::Gone) | (Kill::Disable, Remote::Disabled) => true,
            (Kill::Delete, Remote::Disabled) | (_, Remote::Enabled(_)) => false,
        },
        Err(failure) => {
            let evidence = json!({ "answer": failure.message, "read_back": "failed" });
            session.commit(&[settle(EffectStatus::Unknown, evidence)]).await?;
            return Ok(Killed::Later(failure));
        }
    };
    if proved {
        let refused = refused_now(session, target).await?;
        let evidence = json!({ "read_back": target.kill.word(), "secret_refused": refused });
        session.commit(&[settle(EffectStatus::Done, evidence)]).await?;
        let fact = format!("{} {}", target.kill.word(), target.hash);
        session.engine.budgets.proved_of(&session.account.name, &fact);
        return Ok(Killed::Done);
    }
    let failure = answered.err().unwrap_or_else(|| {
        Failure::new(FailureKind::Unclear, "the provider said yes, but the key is unchanged")
    });
    let certain =
        failure.is_permanent() || matches!(failure.kind, FailureKind::RateLimited | FailureKind::NotSent);
    let status = if certain { EffectStatus::Failed } else { EffectStatus::Unknown };
    session.commit(&[settle(status, json!({ "status": failure.status, "answer": failure.message }))]).await?;
    Ok(Killed::Later(failure))
}

/// Nothing went out, so there is nothing to look at: the key is as it was, and its run is as it was before the intent.
/// Otherwise there were no way back from a delete that nobody sent, and a key that a person enables meanwhile would be
/// deleted while it is in use (I8).
async fn not_sent(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
    effect: &NewEffect,
    failure: Failure,
) -> Result<Killed, EngineError> {
    let evidence = json!({ "sent": false, "answer": failure.message });
    let mut changes = vec![Change::Settle { id: effect.id.clone(), status: EffectStatus::Failed, evidence }];
    changes.extend(target.run.map(|run| commit::run_change(run, None)));
    session.commit(&changes).await?;
    Ok(Killed::Later(failure))
}

/// Where the secret is held: does the provider refuse it now? Evidence only; refusal may lag.
async fn refused_now(
    session: &mut Session<'_>,
    target: &KillTarget<'_>,
) -> Result<Option<bool>, EngineError> {
    let Some(row) = keys::stored_key(session, target.hash).await? else { return Ok(None) };
    let Some(secret) = session.engine.open(&row)? else { return Ok(None) };
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami(&secret, deadline).await;
    Ok(match session.noting(called) {
        Ok(_) => Some(false),
        Err(failure) if failure.kind == FailureKind::Unauthorized => Some(true),
        Err(_) => None,
    })
}

/// Enables the previous key of a rollback: read (by the decision), set, read.
pub(crate) async fn enable(
    session: &mut Session<'_>,
    run: &Run,
    key: &KeyRef,
) -> Result<Performed, EngineError> {
    let open = session.engine.parts.store.open_toggles(&session.identity).await?;
    let known = open.iter().find(|effect| effect.kind == EffectKind::Enable && effect.target == key.hash);
    let effect = NewEffect {
        id: known.map_or_else(new_id, |effect| effect.id.clone()),
        run: Some(run.id.clone()),
        account: session.identity.clone(),
        kind: EffectKind::Enable,
        target: key.hash.clone(),
        address: None,
    };
    let deadline = session.deadline().await?;
    session.commit(&[Change::Intend(effect.clone())]).await?;
    let called = session.account.issuer.set_disabled(&key.hash, false, deadline).await;
    let answered = session.noting(called);
    let enabled = matches!(session.read_remote(&key.hash).await?, Ok(Remote::Enabled(_)));
    if enabled {
        // A disable of ours that was never settled is undone by this.
        let undone = open.iter().filter(|e| e.kind == EffectKind::Disable && e.target == key.hash);
        let mut changes: Vec<Change> = undone
            .map(|e| Change::Settle {
                id: e.id.clone(),
                status: EffectStatus::Done,
                evidence: json!({ "settled_by": "enabled again" }),
            })
            .collect();
        changes.push(Change::Settle {
            id: effect.id,
            status: EffectStatus::Done,
            evidence: json!({ "read_back": "enabled" }),
        });
        let event = Event::Enabled { hash: key.hash.clone(), at: session.now() };
        return Ok(Performed {
            run: commit::record(session, run, &event, changes).await?,
            did: format!("enabled generation {} again", key.generation),
        });
    }
    let failure = answered
        .err()
        .unwrap_or_else(|| Failure::new(FailureKind::Unclear, "the provider does not show it as enabled"));
    let settle = Change::Settle {
        id: effect.id,
        status: EffectStatus::Unknown,
        evidence: json!({ "status": failure.status, "answer": failure.message }),
    };
    let reason = format!("generation {} could not be enabled: {failure}", key.generation);
    let call = Directive::Enable(key.clone());
    commit::postpone(session, run, &call, reason, failure.retry_after, vec![settle]).await
}

/// Where the store remembers since when the breaker holds kills of an account back.
fn breaker(identity: &str) -> String {
    format!("breaker:{identity}")
}

fn label(keys: &[RemoteKey], hash: &str) -> String {
    keys.iter().find(|key| key.hash == hash).map_or_else(|| "unknown".to_owned(), |key| key.label.clone())
}
