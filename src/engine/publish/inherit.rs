//! The new key is named wherever the old one is named by its hash (R23): before it is verified, after an emergency went on
//! without it, and compared before grace ends; and a key that is deleted leaves the lists first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::inherit::{Inherit, Kept, Roll, Rolls, difference, said, wanted};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::{Directive, Event, KeyRef, Run, State};
use crate::domain::time::{Span, Until};
use crate::engine::publish::rolls::{Way, look, write};
use crate::engine::session::commit::Performed;
use crate::engine::session::{Lacking, Session, commit, listing};
use crate::engine::{Account, Engine, EngineError};
use crate::store::Change;

/// An emergency goes on without it after this.
const EMERGENCY_PATIENCE: Span = Span::seconds(60);

/// What named the current key of each rotation of an account when it was last looked at.
type Memory = BTreeMap<String, Kept>;

/// What new keys of an account still lack, by rotation.
type Owing = BTreeMap<String, Owed>;

/// When the watch of an account is not for the tests' sake, but for what its keys lack.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Pace {
    attempts: u32,
    until: Until,
}

/// One new key that was published without what named the old one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Owed {
    old: String,
    new: String,
    rolls: BTreeSet<Roll>,
}

fn memory_of(session: &Session<'_>) -> String {
    format!("rolls:{}", session.identity)
}

fn owing_of(account: &Account) -> String {
    format!("owed:{}", account.name)
}

fn pace_of(account: &Account) -> String {
    format!("owed-look:{}", account.name)
}

async fn owing(session: &Session<'_>) -> Result<Owing, EngineError> {
    Ok(session.engine.parts.store.memory_or_anew(&owing_of(session.account)).await?)
}

async fn memory(session: &Session<'_>) -> Result<Memory, EngineError> {
    Ok(session.engine.parts.store.memory_or_anew(&memory_of(session)).await?)
}

/// Names the new key of a run wherever the old one is named.
pub(crate) async fn inherit(session: &mut Session<'_>, run: &Run) -> Result<Performed, EngineError> {
    let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) else {
        return inherited(session, run, &BTreeSet::new()).await;
    };
    let engine = session.engine;
    let tried = match patience(run, engine) {
        None => hand_on(session, run, old, new).await?,
        Some(left) => tokio::select! {
            tried = hand_on(session, run, old, new) => tried?,
            () = engine.clock().sleep(left) => {
                Err(Failure::new(FailureKind::Unclear, "the provider did not answer within a minute"))
            }
        },
    };
    match tried {
        Ok(rolls) => inherited(session, run, &rolls).await,
        Err(failure) => {
            let reason =
                format!("what names the old key by its hash could not be given to the new one: {failure}");
            let call = Directive::Inherit;
            commit::postpone(session, run, &call, reason, failure.retry_after, Vec::new()).await
        }
    }
}

/// What an emergency has left for it.
fn patience(run: &Run, engine: &Engine) -> Option<Span> {
    let State::Verifying { since } = &run.state else { return None };
    let age = engine.clock().now().since(since.ours);
    run.trigger.is_emergency().then(|| Span((EMERGENCY_PATIENCE.0 - age.0).max(0)))
}

async fn inherited(
    session: &Session<'_>,
    run: &Run,
    rolls: &BTreeSet<Roll>,
) -> Result<Performed, EngineError> {
    let forgiven = forgive(session, &run.rotation).await?;
    let after = commit::record(session, run, &Event::Inherited, forgiven).await?;
    let did = if rolls.is_empty() {
        "nothing names the old key by its hash".to_owned()
    } else {
        format!("the new key is named by {}", said(rolls))
    };
    Ok(Performed { run: after, did })
}

/// One after the other; the first that cannot be ends the try.
async fn hand_on(
    session: &mut Session<'_>,
    run: &Run,
    old: &KeyRef,
    new: &KeyRef,
) -> Result<Result<BTreeSet<Roll>, Failure>, EngineError> {
    if session.account.issuer.rolls().is_none() {
        return Ok(Ok(BTreeSet::new()));
    }
    if session.listing.is_none()
        && let Err(failure) = listing::list(session).await?
    {
        return Ok(Err(failure));
    }
    let inherit = run.policy.inherit;
    let rolls = match look(session, inherit).await? {
        Ok(rolls) => rolls,
        Err(failure) => return Ok(Err(failure)),
    };
    let mut kept = memory(session).await?;
    let seen = seen(session, &old.hash, &rolls, kept.get(&run.rotation)).await?;
    let is_listed = seen.is_some();
    let seen = seen.map(|seen| (run.rotation.clone(), seen)).into_iter().collect();
    note(session, &mut kept, seen).await?;
    let kept: Vec<Kept> = kept.remove(&run.rotation).into_iter().collect();
    let mut wanted = wanted(inherit, &rolls, &old.hash, is_listed, &kept);
    wanted.extend(owed_to(session, &run.rotation, &old.hash).await?);
    let has = rolls.of(&new.hash);
    for roll in wanted.iter().filter(|roll| !has.contains(*roll)) {
        if let Err(failure) = write(session, Some(&run.id), roll, &new.hash, Way::Join).await? {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(wanted))
}

/// What the old key itself should have been named by and never was.
async fn owed_to(session: &Session<'_>, rotation: &str, hash: &str) -> Result<BTreeSet<Roll>, EngineError> {
    let mut owing = owing(session).await?;
    Ok(owing.remove(rotation).filter(|owed| owed.new == hash).map(|owed| owed.rolls).unwrap_or_default())
}

/// An emergency goes on without it: what its key lacks is remembered, for it may soon be seen nowhere else.
pub(crate) async fn waive(session: &Session<'_>, run: &Run, event: &Event) -> Result<Performed, EngineError> {
    let mut owing = owing(session).await?;
    if let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) {
        let kept = memory(session).await?.remove(&run.rotation).filter(|kept| kept.hash == old.hash);
        let mut rolls = owed_to(session, &run.rotation, &old.hash).await?;
        rolls.extend(kept.map(|kept| kept.rolls).unwrap_or_default());
        let owed = Owed { old: old.hash.clone(), new: new.hash.clone(), rolls };
        owing.insert(run.rotation.clone(), owed);
    }
    let anew = Change::Remember { subject: pace_of(session.account), doc: json!(Pace::default()) };
    let extra = vec![Change::Remember { subject: owing_of(session.account), doc: json!(owing) }, anew];
    let after = commit::record(session, run, event, extra).await?;
    Ok(Performed { run: after, did: "an emergency goes on without its inheritance".to_owned() })
}

/// What a rotation owed is settled, or nobody waits for it any more.
async fn forgive(session: &Session<'_>, rotation: &str) -> Result<Vec<Change>, EngineError> {
    let mut owing = owing(session).await?;
    if owing.remove(rotation).is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![
        Change::Remember { subject: owing_of(session.account), doc: json!(owing) },
        Change::Resolve { kind: Kind::InheritanceFailed, subject: Subject::Rotation(rotation.to_owned()) },
    ])
}

/// True when a new key of this account lacks something and may be tried again between two tests.
pub(crate) async fn is_owing(engine: &Engine, account: &Account) -> Result<bool, EngineError> {
    let store = &engine.parts.store;
    let owing: Owing = store.memory_or_anew(&owing_of(account)).await?;
    if owing.is_empty() {
        return Ok(false);
    }
    let pace: Pace = store.memory_or_anew(&pace_of(account)).await?;
    Ok(pace.until.left(store.now().await?).is_none())
}

/// Whatever becomes of the look that begins now, the next one comes later than this one did (R16).
pub(crate) async fn put_off(engine: &Engine, account: &Account) -> Result<(), EngineError> {
    if !is_owing(engine, account).await? {
        return Ok(());
    }
    let store = &engine.parts.store;
    let before: Pace = store.memory_or_anew(&pace_of(account)).await?;
    let attempts = before.attempts.saturating_add(1);
    let pace = Pace { attempts, until: Until::after(store.now().await?, engine.backoff(attempts)) };
    Ok(store.note(&pace_of(account), &json!(pace)).await?)
}

/// The watch of an account goes on trying what an emergency went on without.
pub(crate) async fn pay(session: &mut Session<'_>) -> Result<(), EngineError> {
    let owing = owing(session).await?;
    let frozen = session.engine.parts.store.freeze_of(&session.identity).await?.is_some();
    for (rotation, owed) in owing.iter().filter(|_| !frozen) {
        let mut over = forgive(session, rotation).await?;
        // Nobody waits for a key that is gone.
        if session.listing.as_ref().is_some_and(|listing| listing.key(&owed.new).is_some()) {
            if let Err(failure) = paid(session, owed).await? {
                tracing::warn!(account = %session.account.name, rotation, %failure, "inheritance");
                continue;
            }
            let subject = format!("rotation {rotation}");
            over.push(Change::Audit(session.engine.entry("key.inherited", subject, said(&owed.rolls))));
        }
        session.commit(&over).await?;
    }
    Ok(())
}

async fn paid(session: &mut Session<'_>, owed: &Owed) -> Result<Result<(), Failure>, EngineError> {
    let inherit = session.account.inherit;
    let rolls = match look(session, inherit).await? {
        Ok(rolls) => rolls,
        Err(failure) => return Ok(Err(failure)),
    };
    let kept = [Kept { hash: owed.old.clone(), rolls: owed.rolls.clone() }];
    let has = rolls.of(&owed.new);
    for roll in wanted(inherit, &rolls, &owed.old, false, &kept).iter().filter(|roll| !has.contains(*roll)) {
        if let Err(failure) = write(session, None, roll, &owed.new, Way::Join).await? {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

/// Remembers what names the current keys that the account lists, for the day when one is gone.
pub(crate) async fn remember(session: &mut Session<'_>) -> Result<(), EngineError> {
    if !session.account.inherit.names_keys() || session.account.issuer.rolls().is_none() {
        return Ok(());
    }
    let current = session.engine.parts.store.current_specs(&session.identity).await?;
    if current.is_empty() {
        return Ok(());
    }
    let rolls = match look(session, session.account.inherit).await? {
        Ok(rolls) => rolls,
        Err(failure) => {
            tracing::warn!(account = %session.account.name, %failure, "what names its keys cannot be read");
            return Ok(());
        }
    };
    let mut kept = memory(session).await?;
    let mut found = Vec::new();
    for key in current {
        let seen = seen(session, &key.hash, &rolls, kept.get(&key.rotation)).await?;
        found.extend(seen.map(|seen| (key.rotation, seen)));
    }
    note(session, &mut kept, found).await
}

/// What names a key that lives; `None` of one that is gone. It may have died after the account was listed, and what named
/// it with it: so what is there no more counts only when the key itself still is.
async fn seen(
    session: &mut Session<'_>,
    hash: &str,
    rolls: &Rolls,
    before: Option<&Kept>,
) -> Result<Option<Kept>, EngineError> {
    if session.listing.as_ref().is_none_or(|listing| listing.key(hash).is_none()) {
        return Ok(None);
    }
    let seen = Kept::seen(hash, rolls, before);
    let known = before.filter(|before| before.hash == hash);
    if known.is_none_or(|known| known.rolls.is_subset(&seen.rolls)) {
        return Ok(Some(seen));
    }
    Ok(matches!(session.read_key(hash).await?, Ok(Some(_))).then_some(seen))
}

/// Keeps what is new of it.
async fn note(
    session: &Session<'_>,
    kept: &mut Memory,
    seen: Vec<(String, Kept)>,
) -> Result<(), EngineError> {
    let before = kept.clone();
    kept.extend(seen);
    if *kept == before {
        return Ok(());
    }
    session.commit(&[Change::Remember { subject: memory_of(session), doc: json!(kept) }]).await
}

/// Looks what names the old key and not the new one; a difference is told.
pub(crate) async fn compare(session: &mut Session<'_>, run: &Run) -> Result<Performed, EngineError> {
    let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) else {
        return Ok(Performed { run: run.clone(), did: "nothing".to_owned() });
    };
    let at = session.now();
    let rolls = match look(session, run.policy.inherit).await? {
        Ok(rolls) => rolls,
        Err(failure) => {
            let reason = format!("what names the keys could not be compared: {failure}");
            let call = Directive::Compare;
            return commit::postpone(session, run, &call, reason, failure.retry_after, Vec::new()).await;
        }
    };
    let lacking = difference(run.policy.inherit, &rolls, &old.hash, &new.hash);
    let (kind, subject) = (Kind::InheritanceFailed, Subject::Rotation(run.rotation.clone()));
    let told = session.engine.parts.store.open_subjects(kind).await?.contains(&subject);
    let did = format!("compared both keys: {} lacking", lacking.len());
    if !lacking.is_empty() && !told {
        let detail = format!(
            "The new key of rotation {} (generation {}) lacks what names the old one (generation {}) by its hash: {}. \
             The old key is not disabled as long as they differ.",
            run.rotation,
            new.generation,
            old.generation,
            said(&lacking)
        );
        let alert = NewAlert::new(kind, subject, detail).rotation(run.rotation.clone());
        session.commit(&[Change::Alert(alert)]).await?;
    } else if lacking.is_empty() && told {
        let mut over = forgive(session, &run.rotation).await?;
        over.push(Change::Resolve { kind, subject });
        session.commit(&over).await?;
    }
    session.lacking = Some(Lacking { run: run.id.clone(), rolls: lacking, at });
    Ok(Performed { run: run.clone(), did })
}

/// Takes a key that is about to be deleted off the lists, unless it is the last one there.
pub(crate) async fn leave(
    session: &mut Session<'_>,
    run: Option<&str>,
    hash: &str,
) -> Result<Result<(), Failure>, EngineError> {
    if !session.account.inherit.byok || session.account.issuer.rolls().is_none() {
        return Ok(Ok(()));
    }
    let kinds = Inherit { limits: false, guardrails: false, byok: true };
    let rolls = match look(session, kinds).await? {
        Ok(rolls) => rolls,
        Err(failure) => return Ok(Err(failure)),
    };
    for roll in rolls.of(hash) {
        if let Err(failure) = write(session, run, &roll, hash, Way::Leave).await? {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}
