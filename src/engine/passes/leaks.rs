//! Leaked keys: what secret scanning found, and what is done about it.
//!
//! Nothing about a found secret is kept: each look asks for all open alerts anew and compares. What was done stands
//! in our own rows (a run, a tombstone) and at the scanner (resolved), so that a crash, a replica, a second alert
//! of the same key and one that a person opens again are the same code.
//!
//! | the secret is | what is done |
//! |---|---|
//! | a living generation of a rotation | an emergency; nothing new while one is at work |
//! | a generation that the provider no longer has | the alert is resolved with a comment |
//! | another stored key, a provisioning key, an unknown key of an account | people are told; only they can act |
//! | anything else | nothing: it is not ours to know, to keep or to name |

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::destination::{Finding, LeakSource};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::{ASKED, Run, Trigger};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::turn::Class;
use crate::engine::run::start;
use crate::engine::session::{Session, keys};
use crate::engine::testing::alerts;
use crate::engine::{Account, Engine, EngineError, LeakWatch, budget, lease, session};
use crate::net::sentence;
use crate::provider::MAX_PAGES;
use crate::store::{Change, KeyRow, Lease, Role};

/// Looks for leaked keys: one process at a time.
const QUEUE: &str = "queue:leaks";

/// What looks remember.
const MEMORY: &str = "leaks";

/// A scanner that fails for another reason than a refusal may do so this often before people are told.
const FAILURES: u32 = 3;

/// What is remembered from look to look.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    at: Option<Timestamp>,
    /// Looks in a row that a place failed.
    failures: BTreeMap<String, u32>,
}

/// A found secret that nobody has dealt with.
struct Leak<'w> {
    source: &'w dyn LeakSource,
    finding: Finding,
}

impl Leak<'_> {
    fn place(&self) -> String {
        format!("secret-scanning alert {} of {}", self.finding.number, self.source.place())
    }
}

/// What a found secret is to us.
enum Known<'k> {
    Provisioning(&'k Account),
    /// Of a rotation, and not proved to be gone.
    Generation(&'k KeyRow),
    Dead(&'k KeyRow),
    Stored(&'k KeyRow),
    Nothing,
}

/// What comes of one look.
#[derive(Default)]
struct Scan {
    /// Alerts for people.
    standing: Vec<NewAlert>,
    /// By place.
    troubles: BTreeMap<String, Failure>,
    /// Some scanner or account did not say what it has: silence about a key proves nothing.
    partial: bool,
}

/// Looks for leaked keys when that is due, and does what the head of this file says. Several processes may
/// call it at once: one of them looks.
pub async fn look_for_leaks(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    let Some(watch) = &engine.parts.leaks else { return Ok(()) };
    if !leaks_are_due(engine, watch).await? {
        return Ok(());
    }
    let lease = engine.parts.store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    let pass = Box::pin(leak_pass(engine, watch, &lease, stop));
    budget::working_for(Class::Leak, lease::while_held(engine, &lease, pass)).await
}

/// Never looked, a time of the schedule came since, or the clock went back.
async fn leaks_are_due(engine: &Engine, watch: &LeakWatch) -> Result<bool, EngineError> {
    let Memory { at, .. } = engine.parts.store.memory_or_anew(MEMORY).await?;
    let now = engine.clock().now();
    Ok(at.is_none_or(|at| at > now || (watch.next)(at).is_some_and(|due| due <= now)))
}

async fn leak_pass(
    engine: &Engine,
    watch: &LeakWatch,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    // Another replica's look of this very tick counts as ours.
    if !leaks_are_due(engine, watch).await? {
        return Ok(());
    }
    let asked_at = engine.clock().now();
    let mut scan = Scan::default();
    let Some(leaks) = stop.run_until_cancelled(open_leaks(engine, watch, &mut scan)).await else {
        return Ok(());
    };
    let mut unknown = Vec::new();
    for leak in &leaks {
        if stop.is_cancelled() {
            return Ok(());
        }
        let secret = &leak.finding.secret;
        let (keys, whole) = keys_of(engine, secret).await?;
        // Of what cannot be read nobody knows what it is to us: no alert is over then.
        scan.partial |= !whole;
        match known(engine, &keys, leak) {
            Known::Provisioning(account) => {
                scan.standing.push(provisioning_alert(account, &leak.place()));
            }
            Known::Generation(key) => scan.standing.extend(replace(engine, key, &leak.place(), stop).await?),
            Known::Stored(key) => scan.standing.push(stored_alert(key, &leak.place())),
            Known::Dead(key) => close_leak(engine, leak, key, lease, &mut scan).await?,
            Known::Nothing => unknown.push(leak),
        }
    }
    let listed = listed(engine, &unknown, &mut scan);
    let Some(listed) = stop.run_until_cancelled(listed).await else { return Ok(()) };
    scan.standing.extend(listed);
    conclude(engine, lease, asked_at, scan).await
}

/// Stored keys that are this secret, by its fingerprint or by what an account calls it; and whether all could be read.
async fn keys_of(engine: &Engine, secret: &Secret) -> Result<(Vec<KeyRow>, bool), EngineError> {
    let fingerprint = engine.parts.fingerprints.of(secret);
    let mut identities: BTreeSet<String> =
        engine.accounts().filter_map(|account| account.issuer.identity_of(secret)).collect();
    if identities.is_empty() {
        // No key is called nothing: the fingerprint alone finds it.
        identities.insert(String::new());
    }
    let (mut keys, mut whole) = (Vec::<KeyRow>::new(), true);
    for hash in identities {
        let (found, sound) = engine.parts.store.keys_of_secret(&fingerprint, &hash).await?;
        let is_new = |key: &KeyRow| keys.iter().all(|known| known.id != key.id);
        let found: Vec<KeyRow> = found.into_iter().filter(is_new).collect();
        keys.extend(found);
        whole &= sound;
    }
    Ok((keys, whole))
}

/// Every open alert of every scanner that answers.
async fn open_leaks<'w>(engine: &Engine, watch: &'w LeakWatch, scan: &mut Scan) -> Vec<Leak<'w>> {
    let mut leaks = Vec::new();
    for source in &watch.sources {
        match source.open(engine.parts.call_timeout).await {
            Ok(found) => {
                leaks.extend(found.into_iter().map(|finding| Leak { source: source.as_ref(), finding }));
            }
            Err(failure) => {
                scan.partial = true;
                scan.troubles.insert(source.place(), failure);
            }
        }
    }
    leaks
}

/// Of the rows with this secret: a tombstone proves that the key is gone, whoever else stored it; a living generation
/// is believed before anything.
fn known<'k>(engine: &'k Engine, keys: &'k [KeyRow], leak: &Leak<'_>) -> Known<'k> {
    let secret = &leak.finding.secret;
    if let Some(account) = engine.accounts().find(|account| account.provisioning_key == *secret) {
        return Known::Provisioning(account);
    }
    let rank = |row: &&KeyRow| match row.role {
        Role::Current | Role::Candidate | Role::Retiring => 0,
        Role::Dead => 1,
        Role::Manual => 2,
    };
    match keys.iter().min_by_key(rank) {
        None => Known::Nothing,
        Some(row) if row.role == Role::Dead => Known::Dead(row),
        Some(row) if row.role == Role::Manual => Known::Stored(row),
        Some(row) => Known::Generation(row),
    }
}

/// Starts the emergency, unless one is at work. The alert says why it could not.
async fn replace(
    engine: &Engine,
    key: &KeyRow,
    place: &str,
    stop: &CancellationToken,
) -> Result<Option<NewAlert>, EngineError> {
    let name = key.rotation.as_deref().unwrap_or_default();
    let Some(rotation) = engine.parts.rotations.get(name) else {
        return Ok(Some(orphan_alert(key, place)));
    };
    if is_being_killed(engine, name, key).await? {
        return Ok(None);
    }
    let (account, class) = (&rotation.account, Class::Leak);
    let waited = session::wait_for_session_or_stop(engine, account, class, class.patience(), stop).await;
    let started = match waited {
        Ok(mut session) => {
            let started = start_for_leak(&mut session, name, &key.id, place).await;
            session.close().await?;
            started
        }
        Err(error) => Err(error),
    };
    match started {
        Ok(()) => Ok(None),
        Err(error) if !error.concerns_one() => Err(error),
        Err(error) => Ok(Some(waiting_alert(key, place, &error))),
    }
}

/// The open run has it in a hurry already.
async fn is_being_killed(engine: &Engine, rotation: &str, key: &KeyRow) -> Result<bool, EngineError> {
    let open = engine.parts.store.open_run(rotation).await?;
    Ok(open.is_some_and(|row| hurries(&row.run, key)))
}

/// Refused when a person ended the emergency of this very leak: they know more than an alert. One that failed by
/// itself is started again; it waits between its own tries.
async fn nobody_ended_it(engine: &Engine, rotation: &str, key: &KeyRow) -> Result<(), EngineError> {
    let last = engine.parts.store.ended_runs(rotation, 1).await?.pop();
    let ended = last.filter(|row| hurries(&row.run, key) && row.run.state.reason() == Some(ASKED));
    ended.map_or(Ok(()), |row| {
        Err(EngineError::usage(
            format!("a person ended its emergency, run {}", row.run.id),
            format!("`rekeyd rotations run {rotation} --leaked` starts another"),
        ))
    })
}

/// The key is dead, proved by its tombstone: says so at the scanner. What fails is done with the next look.
async fn close_leak(
    engine: &Engine,
    leak: &Leak<'_>,
    key: &KeyRow,
    lease: &Lease,
    scan: &mut Scan,
) -> Result<(), EngineError> {
    let gone = key.updated_at.rfc3339();
    let comment = format!("Revoked by rekeyd: seen at {gone} that its provider no longer has this key.");
    let resolved = leak.source.resolve(leak.finding.number, &comment, engine.parts.call_timeout).await;
    if let Err(failure) = resolved {
        scan.troubles.insert(leak.source.place(), failure);
        return Ok(());
    }
    let entry = engine.entry("leak.resolved", leak.place(), &alerts::subject(key));
    Ok(engine.parts.store.commit(lease, &[Change::Audit(entry)]).await?)
}

/// Alerts about keys that we do not hold and an account has.
async fn listed(engine: &Engine, leaks: &[&Leak<'_>], scan: &mut Scan) -> Vec<NewAlert> {
    if leaks.is_empty() {
        return Vec::new();
    }
    let mut listings = Vec::new();
    for account in engine.accounts() {
        let hashes =
            leaks.iter().filter_map(|leak| account.issuer.identity_of(&leak.finding.secret)).collect();
        match these_of(engine, account, &hashes).await {
            Ok(keys) => listings.push((account, keys)),
            Err(failure) => {
                tracing::warn!(account = %account.name, %failure, "no listing to look for leaked keys in");
                scan.partial = true;
            }
        }
    }
    let find = |leak: &&Leak<'_>| {
        listings.iter().find_map(|(account, keys)| {
            let hash = account.issuer.identity_of(&leak.finding.secret)?;
            let key = keys.iter().find(|key| key.hash == hash)?;
            Some(listed_alert(account, key, leak))
        })
    };
    leaks.iter().filter_map(find).collect()
}

/// Those of these keys that the account lists: one reading of all pages. What it passed over the next look finds.
async fn these_of(
    engine: &Engine,
    account: &Account,
    hashes: &BTreeSet<String>,
) -> Result<Vec<RemoteKey>, Failure> {
    let (mut found, mut at) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let page = account.issuer.list(at.as_ref(), engine.deadline()).await?.value;
        found.extend(page.keys.into_iter().filter(|key| hashes.contains(&key.hash)));
        at = page.next;
        if at.is_none() {
            return Ok(found);
        }
    }
    Err(Failure::new(FailureKind::Unclear, "the list of keys has no end"))
}

/// What people are told, what is over, and when we looked: one commit. Alerts of rotations end with their runs.
async fn conclude(
    engine: &Engine,
    lease: &Lease,
    asked_at: Timestamp,
    scan: Scan,
) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let before: Memory = store.memory_or_anew(MEMORY).await?;
    let mut memory = Memory { at: Some(asked_at), failures: BTreeMap::new() };
    let mut changes = Vec::new();
    for (place, failure) in &scan.troubles {
        tracing::warn!(repository = %place, %failure, hint = failure.hint, "secret scanning");
        let failures = before.failures.get(place).unwrap_or(&0).saturating_add(1);
        memory.failures.insert(place.clone(), failures);
        if failure.is_permanent() || failures >= FAILURES {
            changes.push(Change::Alert(scan_alert(place, failure)));
        }
    }
    for subject in store.open_subjects(Kind::LeakScanFailed).await? {
        if !scan.troubles.keys().any(|place| scan_subject(place) == subject) {
            changes.push(Change::Resolve { kind: Kind::LeakScanFailed, subject });
        }
    }
    for subject in store.open_subjects(Kind::LeakDetected).await? {
        let stands = scan.standing.iter().any(|alert| alert.subject == subject);
        if !stands && !scan.partial && !ends_with_runs(&subject) {
            changes.push(Change::Resolve { kind: Kind::LeakDetected, subject });
        }
    }
    changes.extend(scan.standing.into_iter().map(Change::Alert));
    changes.push(Change::Remember { subject: MEMORY.to_owned(), doc: json!(memory) });
    Ok(store.commit(lease, &changes).await?)
}

/// An alert about the rotation itself: the run that answers the leak ends it.
fn ends_with_runs(subject: &Subject) -> bool {
    matches!(subject, Subject::Rotation(_) | Subject::Generation { .. })
}

/// Looks at the key again under the lease, and starts its emergency.
async fn start_for_leak(
    session: &mut Session<'_>,
    name: &str,
    key: &str,
    place: &str,
) -> Result<(), EngineError> {
    let engine = session.engine;
    let Some(key) = engine.parts.store.key(key).await? else { return Ok(()) };
    if key.role == Role::Dead || is_being_killed(engine, name, &key).await? {
        return Ok(());
    }
    nobody_ended_it(engine, name, &key).await?;
    // After a thaw nobody but a person knows which key production uses.
    keys::wants_adopt(&session.rotation_row(name).await?)?;
    let run = start::start_emergency(session, Trigger::Leak, name, key.generation, place).await?;
    tracing::info!(rotation = name, run = %run.id, "a leaked key is being replaced");
    Ok(())
}

fn hurries(run: &Run, key: &KeyRow) -> bool {
    run.retirees.iter().any(|retiree| retiree.urgent && retiree.key.id == key.id)
}

fn waiting_alert(key: &KeyRow, place: &str, error: &EngineError) -> NewAlert {
    let hint = error.hint().map(|hint| format!(" Next: {hint}.")).unwrap_or_default();
    generation_alert(
        key,
        place,
        &format!("It is not replaced yet: {error}.{hint} The next look tries again."),
    )
}

fn orphan_alert(key: &KeyRow, place: &str) -> NewAlert {
    let what = "That rotation is not in the configuration, so nothing replaces it: put the rotation back, or give \
                whoever uses the key another one and delete it in the provider's dashboard.";
    generation_alert(key, place, what)
}

fn generation_alert(key: &KeyRow, place: &str, what: &str) -> NewAlert {
    let rotation = key.rotation.clone().unwrap_or_default();
    let generation = key.generation.unwrap_or_default();
    let subject = Subject::LeakedGeneration { rotation: rotation.clone(), generation };
    let detail = format!(
        "Generation {generation} ({}) of rotation {rotation} is known to strangers: {place}. {what}",
        key.mask
    );
    NewAlert::new(Kind::LeakDetected, subject, detail).rotation(rotation)
}

fn stored_alert(key: &KeyRow, place: &str) -> NewAlert {
    let subject = alerts::subject(key);
    let detail = format!(
        "Stored {subject} ({}) is known to strangers: {place}. It belongs to no rotation, so nothing replaces it. Make \
         another key at the provider, store it with `rekeyd keys add`, delete this one in the provider's dashboard and \
         with `rekeyd keys delete {} {}`, then close the alert there as revoked.",
        key.mask,
        key.provider,
        key.number.unwrap_or_default()
    );
    NewAlert::new(Kind::LeakDetected, subject, detail)
}

fn provisioning_alert(account: &Account, place: &str) -> NewAlert {
    let name = &account.name;
    let detail = format!(
        "The provisioning key of account {name} ({}) is known to strangers: {place}. Whoever has it can issue and delete \
         every key of the account. Make another one in the provider's dashboard, put it where accounts.provisioning_key \
         points, reload, delete the old one there, and look for keys that nobody of you made.",
        account.provisioning_key.mask()
    );
    account_alert(account, Subject::ProvisioningKey { account: name.clone() }, detail)
}

fn listed_alert(account: &Account, key: &RemoteKey, leak: &Leak<'_>) -> NewAlert {
    let secret = &leak.finding.secret;
    let (name, mask) = (sentence(&key.name, &[secret]), secret.mask());
    let detail = format!(
        "Key {name:?} ({mask}) of account {}, which rekeyd does not hold, is known to strangers: {}. rekeyd leaves it \
         alone. Give whoever uses it another key, then delete it in the provider's dashboard.",
        account.name,
        leak.place()
    );
    account_alert(account, Subject::ForeignKey { mask, account: account.name.clone() }, detail)
}

fn account_alert(account: &Account, subject: Subject, detail: String) -> NewAlert {
    let mut alert = NewAlert::new(Kind::LeakDetected, subject, detail);
    alert.account = Some(account.name.clone());
    alert
}

fn scan_subject(place: &str) -> Subject {
    Subject::Scanning { place: place.to_owned() }
}

fn scan_alert(place: &str, failure: &Failure) -> NewAlert {
    let hint = failure.hint.as_ref().map(|hint| format!(" Next: {hint}.")).unwrap_or_default();
    let detail = format!("Secret-scanning alerts of {place} cannot be read or resolved: {failure}.{hint}");
    NewAlert::new(Kind::LeakScanFailed, scan_subject(place), detail)
}
