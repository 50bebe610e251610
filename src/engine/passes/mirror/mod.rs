//! Tables of applications follow the store ([`Ledger`]): rows mirror manually kept keys, and each row says how its
//! key is, so that a dead key is not handed out.
//!
//! One look: rows first, then the store, then what is to be written (pure, [`plan()`]). In that order, because a
//! write is fenced by the row it was read after: what another process has written meanwhile is not undone by what
//! we knew before. What was seen last stands in the store; while nothing changed there, the table is left in
//! peace, but for a look every [`ANYWAY`].
//!
//! - A key is written where its number is, if it was tested valid just now (R13), and never over a key that
//!   somebody else put there, unless `on_drift` says so: that one may be in nobody's hands but the table's.
//! - A key that was replaced stays until its successor is tested valid, and no longer than it works ([`replaced`]).
//! - A key that left the store, or is inactive, becomes inactive there. Rows of rotations belong to their runs;
//!   only their status is carried over.

mod ours;
pub(crate) mod plan;
mod replaced;

use std::collections::{BTreeMap, BTreeSet};

use self::ours::{Intent, Looked, Record};
use self::plan::{Plan, Seen, Wanted, Wish, Write, plan, status};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::destination::{Ledger, LedgerEntry};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::OnDrift;
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Stamp, Timestamp, Until};
use crate::domain::verdict::{Observation, Occasion};
use crate::engine::publish::address;
use crate::engine::session::commit::LONGEST_WAIT;
use crate::engine::session::keys;
use crate::engine::testing::probing::Moment;
use crate::engine::testing::record::Sighting;
use crate::engine::testing::{endpoint, record};
use crate::engine::{ConfiguredDestination, Engine, EngineError};
use crate::net::Deadline;
use crate::store::{Change, HoldingRow, KeyRow, Lease, Role, StoreError};

/// A table is looked at this often although nothing changed here: somebody may have changed it there.
const ANYWAY: Span = Span::minutes(5);

/// What is remembered of one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Digest of what the store wanted when it was looked at last.
    wanted: String,
    looked_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    #[serde(default)]
    until: Until,
    /// Why the last look did not bring everything there.
    pub(crate) error: Option<String>,
    /// Replaced keys that are still handed out and were refused, by their fingerprints, and since when.
    #[serde(default)]
    refused: BTreeMap<String, Timestamp>,
}

/// One look at every table whose keys changed here, or that was not looked at for a while.
pub async fn mirror(engine: &Engine, stop: &CancellationToken) -> Result<(), EngineError> {
    for place in engine.destinations() {
        let Some(ledger) = place.adapter.ledger() else { continue };
        if stop.is_cancelled() {
            return Ok(());
        }
        match mirror_if_due(engine, place, ledger).await {
            Err(error) if error.concerns_one() => {
                tracing::warn!(destination = %place.target.name, %error, "its table does not follow the store");
            }
            done => done?,
        }
    }
    Ok(())
}

/// What the last look at a table left undone.
pub(crate) async fn mirror_trouble(
    engine: &Engine,
    place: &ConfiguredDestination,
) -> Result<Option<String>, EngineError> {
    let memory: Memory = engine.parts.store.memory(&subject(place)).await?;
    Ok(memory.error)
}

/// Destinations of this configuration whose tables may hand a stored key out, with its number there.
pub(crate) async fn mirrored_at<'e>(
    engine: &'e Engine,
    key: &str,
) -> Result<Vec<(&'e ConfiguredDestination, i64)>, EngineError> {
    let rows = engine.parts.store.holdings_of(key).await?;
    let mut found = Vec::new();
    for place in engine.destinations() {
        let Some(ledger) = place.adapter.ledger() else { continue };
        let table = ledger.table();
        let numbers = rows.iter().filter_map(|row| row.fact.address.strip_prefix(&table)?.parse().ok());
        found.extend(numbers.map(|number| (place, number)));
    }
    Ok(found)
}

async fn mirror_if_due(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
) -> Result<(), EngineError> {
    let memory: Memory = engine.parts.store.memory(&subject(place)).await?;
    let wish = wish(engine, place, ledger).await?;
    let nothing = wish.keys.is_empty() && wish.statuses.is_empty();
    let idle = nothing && Record::read(engine, ledger).await?.is_empty();
    if idle || !memory.is_due(&wish, engine.store().now().await?, engine.parts.confirm_after) {
        return Ok(());
    }
    let held = engine.parts.store.acquire(&subject(place), &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = held else { return Ok(()) };
    let done = mirror_now(engine, place, ledger, memory, &lease).await;
    engine.parts.store.release(&lease).await?;
    done
}

pub(crate) async fn mirror_now(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
    mut memory: Memory,
    lease: &Lease,
) -> Result<(), EngineError> {
    let now = engine.store().now().await?;
    memory.looked_at = Some(now);
    let asked = engine.clock().now();
    // What is written after this is not what the look shows (R19).
    let before = Record::read(engine, ledger).await?;
    let outcome = match ledger.entries(engine.deadline()).await {
        Err(failure) => Err(failure),
        Ok(entries) => {
            let mut wish = wish(engine, place, ledger).await?;
            memory.wanted = wish.digest();
            let seen = entries.into_iter().map(|entry| seen(engine, entry)).collect::<Vec<_>>();
            bury(engine, ledger, &mut wish, &seen).await?;
            let looked = Looked { at: Stamp { ours: asked, theirs: None }, clock: now };
            let proved = before.seen(&wish, &seen, &place.target.name, looked);
            engine.parts.store.commit(lease, &proved).await?;
            let record = Record::read(engine, ledger).await?;
            let mut plan = plan(&wish, &seen, &record.ours());
            replaced::test(engine, &mut plan, &seen, &mut memory, (lease, now)).await?;
            carry_out(engine, place, ledger, &record, plan, lease).await?
        }
    };
    let changes = looked(engine, place, &mut memory, outcome, now);
    Ok(engine.parts.store.commit(lease, &changes).await?)
}

fn seen(engine: &Engine, entry: LedgerEntry) -> Seen {
    let print = engine.parts.fingerprints.of(&entry.secret);
    (entry, print)
}

/// Writes what is to be written; a row that fails does not keep the others waiting. Answers the numbers at which what
/// somebody else put there is held.
async fn carry_out(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
    record: &Record,
    plan: Plan,
    lease: &Lease,
) -> Result<Result<Vec<i64>, Failure>, EngineError> {
    let mut held = plan.foreign;
    let mut failed = None;
    for write in plan.writes {
        let number = write.number();
        let written = match write {
            Write::Same(entry) => say(engine, place, ledger, record, &entry, lease).await?,
            Write::Key { id, entry } => match allowed(engine, place, record, &id, entry, lease).await? {
                Allowed::Yes(entry, intent) => {
                    hand_out(engine, place, ledger, &entry, *intent, lease).await?
                }
                Allowed::NotYet => Ok(()),
                Allowed::Held => {
                    held.push(number);
                    Ok(())
                }
            },
        };
        failed = written.err().or(failed);
    }
    engine.parts.store.commit(lease, &record.foreign(&held)).await?;
    Ok(failed.map_or(Ok(held), Err))
}

/// What a row says of the key that it has already.
async fn say(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
    record: &Record,
    entry: &LedgerEntry,
    lease: &Lease,
) -> Result<Result<(), Failure>, EngineError> {
    let deadline = leased_deadline(engine, lease).await?;
    if let Err(failure) = ledger.put(entry, deadline).await {
        return Ok(Err(failure));
    }
    let mut changes = vec![mirrored(engine, place, entry)];
    if !entry.is_active {
        let print = engine.parts.fingerprints.of(&entry.secret);
        changes.extend(record.inactive(entry.number, &print, &place.target.name));
    }
    engine.parts.store.commit(lease, &changes).await?;
    Ok(Ok(()))
}

/// Puts a key there: its intent is on record already.
async fn hand_out(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
    entry: &LedgerEntry,
    intent: Intent,
    lease: &Lease,
) -> Result<Result<(), Failure>, EngineError> {
    let deadline = leased_deadline(engine, lease).await?;
    let asked = Stamp { ours: engine.clock().now(), theirs: None };
    let written = ledger.put(entry, deadline).await;
    let changes = match &written {
        // It was read back in the transaction that wrote it.
        Ok(()) => vec![mirrored(engine, place, entry), intent.done(&place.target.name, asked)],
        // It may be there: a look after its end tells.
        Err(failure) if failure.kind == FailureKind::Unclear => Vec::new(),
        Err(_) => vec![intent.undone()],
    };
    engine.parts.store.commit(lease, &changes).await?;
    Ok(written)
}

fn mirrored(engine: &Engine, place: &ConfiguredDestination, entry: &LedgerEntry) -> Change {
    let detail = format!("number {}: {} ({})", entry.number, entry.status, entry.secret.mask());
    let subject = format!("destination {}", place.target.name);
    Change::Audit(engine.entry("destination.mirrored", subject, detail))
}

/// Whether a key may be written now.
enum Allowed {
    /// The row, and the intent to write it, which is committed.
    Yes(LedgerEntry, Box<Intent>),
    NotYet,
    /// Somebody else changed the address, and `on_drift` holds it, whoever writes there (R20).
    Held,
}

/// The row as it may be written now: a key only just after a valid test, and noted as ours before.
async fn allowed(
    engine: &Engine,
    place: &ConfiguredDestination,
    record: &Record,
    id: &str,
    mut entry: LedgerEntry,
    lease: &Lease,
) -> Result<Allowed, EngineError> {
    let (row, drift) = record.row(engine, entry.number, id, place).await?;
    if drift.is_some() && entry.seq.is_some() && place.target.on_drift == OnDrift::Hold {
        return Ok(Allowed::Held);
    }
    let key = match engine.parts.store.key(id).await {
        Ok(Some(key)) => key,
        Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(Allowed::NotYet),
        Err(error) => return Err(error.into()),
    };
    if is_frozen(engine, &key).await? {
        return Ok(Allowed::NotYet);
    }
    let Some(secret) = engine.open_or_pass_by(&key) else { return Ok(Allowed::NotYet) };
    let Some(tested) = proved_at(engine, &key, lease).await? else { return Ok(Allowed::NotYet) };
    let landing = Until::after(engine.store().now().await?, engine.may_land(place));
    let print = engine.parts.fingerprints.of(&secret);
    let intended = ours::intended(row.clone(), print.clone(), landing);
    let Some(seq) = engine.parts.store.intend_mirrored(lease, &intended, tested).await? else {
        return Ok(Allowed::NotYet);
    };
    entry.secret = secret;
    Ok(Allowed::Yes(entry, Box::new(Intent { before: HoldingRow { seq, ..row }, print })))
}

/// R9: nothing of a frozen account is published.
async fn is_frozen(engine: &Engine, row: &KeyRow) -> Result<bool, EngineError> {
    let Some(identity) = &row.account else { return Ok(false) };
    Ok(engine.parts.store.freeze_of(identity).await?.is_some())
}

/// R13: when it was tested valid, at most five minutes ago; now when it was not.
async fn proved_at(engine: &Engine, row: &KeyRow, lease: &Lease) -> Result<Option<Timestamp>, EngineError> {
    let now = Stamp { ours: engine.clock().now(), theirs: None };
    if let (true, Some((_, at))) = (row.facts.valid_now(now), &row.facts.tested) {
        return Ok(Some(at.ours));
    }
    let Some(secret) = engine.open_or_pass_by(row) else { return Ok(None) };
    let Some((now, seen, kind)) = ask(engine, row, &secret, lease).await? else { return Ok(None) };
    let look = Sighting::new(seen, Occasion::Extra).of_kind(&kind);
    let valid = record::meaning(&look.seen) == crate::domain::rotation::facts::TestResult::Valid;
    let asked_with = row.fingerprint.as_ref();
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let folded = rows.into_iter().filter_map(|row| record::fold(engine, row, asked_with, &look, now));
        Ok(folded.flat_map(|folded| record::tested(engine, folded)).collect())
    };
    engine.parts.store.commit_tests(Some(lease), std::slice::from_ref(&row.id), decide).await?;
    Ok(valid.then_some(now.ours))
}

/// What the provider says of a secret that stands, or stood, in this row, when, and of which kind it is; `None` where it
/// cannot be asked.
async fn ask(
    engine: &Engine,
    row: &KeyRow,
    secret: &Secret,
    lease: &Lease,
) -> Result<Option<(Stamp, Observation, String)>, EngineError> {
    let providers = engine.parts.store.providers().await?;
    let Some(provider) = providers.iter().find(|provider| provider.name == row.provider) else {
        return Ok(None);
    };
    let endpoint = endpoint::endpoint(engine, provider, row.account.as_deref()).await?;
    let Ok(base) = endpoint.base() else { return Ok(None) };
    let deadline = leased_deadline(engine, lease).await?;
    let asked = Moment::now(engine.clock());
    let seen = engine.parts.tester.test(&provider.kind, base, secret, &row.settings, deadline).await;
    Ok(Some((asked.stamp(engine.clock(), &seen), seen, provider.kind.clone())))
}

/// The deadline of one call, with a lease that outlives it.
async fn leased_deadline(engine: &Engine, lease: &Lease) -> Result<Deadline, EngineError> {
    engine.parts.store.renew(lease, engine.parts.lease).await?;
    Ok(engine.deadline())
}

/// What a look changes in the store, and what people hear of it.
fn looked(
    engine: &Engine,
    place: &ConfiguredDestination,
    memory: &mut Memory,
    outcome: Result<Vec<i64>, Failure>,
    now: Timestamp,
) -> Vec<Change> {
    let (name, about) = (&place.target.name, Subject::Mirror(place.target.name.clone()));
    let over = |kind| Change::Resolve { kind, subject: about.clone() };
    let alert = |kind, detail: String| Change::Alert(NewAlert::new(kind, about.clone(), detail));
    let mut changes = Vec::new();
    match outcome {
        Ok(foreign) => {
            (memory.attempts, memory.until) = (0, Until::OVER);
            memory.error = (!foreign.is_empty()).then(|| drifted(&foreign));
            let drift = memory.error.as_ref().map(|how| format!("Destination {name}: {how}"));
            changes.push(over(Kind::DestinationFailed));
            changes
                .push(drift.map_or(over(Kind::DestinationDrift), |how| alert(Kind::DestinationDrift, how)));
        }
        Err(failure) => {
            memory.attempts += 1;
            let wait = failure.retry_after.unwrap_or_else(|| engine.backoff(memory.attempts));
            memory.until = Until::after(now, wait.min(LONGEST_WAIT));
            let error = address::with_hint(&failure);
            if failure.is_permanent() || memory.attempts >= 3 {
                let what = "does not follow the store, so its application may be handed a dead key";
                changes.push(alert(Kind::DestinationFailed, format!("Destination {name} {what}: {error}")));
            }
            memory.error = Some(error);
        }
    }
    changes.push(memory.change(place));
    changes
}

/// Keys that may stand in this table: those of the provider that it mirrors, and the generations of the rotation that
/// publishes there.
async fn candidates(
    engine: &Engine,
    ledger: &dyn Ledger,
    rotation: Option<&str>,
) -> Result<Vec<KeyRow>, EngineError> {
    let mut rows = match ledger.mirrors() {
        Some(provider) => engine.parts.store.living_keys(provider).await?,
        None => Vec::new(),
    };
    if let Some(rotation) = rotation {
        rows.extend(engine.parts.store.generations(rotation).await?);
    }
    Ok(rows)
}

/// A tombstone of the mirrored provider that still stands there: its row says so.
async fn bury(
    engine: &Engine,
    ledger: &dyn Ledger,
    wish: &mut Wish,
    seen: &[Seen],
) -> Result<(), EngineError> {
    let Some(provider) = ledger.mirrors() else { return Ok(()) };
    for (_, print) in seen {
        if wish.statuses.contains_key(print) {
            continue;
        }
        let rows = engine.parts.store.keys_with_fingerprint(print).await?;
        if let Some(row) = rows.iter().find(|row| row.provider == provider) {
            wish.statuses.insert(print.clone(), status(row));
        }
    }
    Ok(())
}

/// What the store wants of this table.
async fn wish(
    engine: &Engine,
    place: &ConfiguredDestination,
    ledger: &dyn Ledger,
) -> Result<Wish, EngineError> {
    let rotation =
        keys::rotation_of_destination(engine, &place.target.name).map(|rotation| rotation.name.as_str());
    let rotation_row = rotation.map(|_| ledger.own_number());
    let mut wish = Wish {
        keys: BTreeMap::new(),
        taken: BTreeSet::new(),
        statuses: BTreeMap::new(),
        rotation_row,
        overwrite: place.target.on_drift == OnDrift::Overwrite,
    };
    for row in candidates(engine, ledger, rotation).await? {
        let Some(fingerprint) = row.fingerprint.clone() else { continue };
        let mirrored = ledger.mirrors() == Some(row.provider.as_str());
        if mirrored || rotation.is_some() && row.rotation.as_deref() == rotation {
            wish.statuses.insert(fingerprint.clone(), status(&row));
        }
        let Some(number) = row.number.filter(|_| mirrored) else { continue };
        wish.taken.insert(number);
        if row.role == Role::Manual && row.secret.is_some() && rotation_row != Some(number) {
            wish.keys.insert(number, Wanted::of(&row, fingerprint));
        }
    }
    // A key whose row cannot be read is there all the same: its table is left as it is.
    if let Some(provider) = ledger.mirrors() {
        wish.taken.extend(engine.parts.store.damaged_numbers(provider).await?);
    }
    wish.taken.extend(rotation_row);
    Ok(wish)
}

fn drifted(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!(
        "a key that rekeyd does not know stands at number {}. It is left as it is (on_drift = \"hold\"). Delete \
         the row there, or set on_drift = \"overwrite\".",
        numbers.join(", ")
    )
}

pub(crate) fn subject(place: &ConfiguredDestination) -> String {
    format!("mirror:{}", place.target.address)
}

impl Memory {
    fn is_due(&self, wish: &Wish, now: Timestamp, confirm_after: Span) -> bool {
        if self.until.left(now).is_some() {
            return false;
        }
        let age = self.looked_at.map(|at| now.since(at));
        let again = if self.refused.is_empty() { ANYWAY } else { ANYWAY.min(confirm_after) };
        self.wanted != wish.digest()
            || self.attempts > 0
            || age.is_none_or(|age| age >= again || age < Span::ZERO)
    }

    fn change(&self, place: &ConfiguredDestination) -> Change {
        Change::Remember { subject: subject(place), doc: json!(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(overwrite: bool) -> Wish {
        let (keys, taken, statuses) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Wish { keys, taken, statuses, rotation_row: None, overwrite }
    }

    #[test]
    fn a_table_is_left_in_peace_while_nothing_changes() {
        let all = wish(false);
        let now = Timestamp(1_000_000_000);
        let mut memory = Memory { wanted: all.digest(), looked_at: Some(now), ..Memory::default() };
        assert!(!memory.is_due(&all, now.plus(Span::minutes(4)), Span::minutes(1)));
        assert!(memory.is_due(&all, now.plus(ANYWAY), Span::minutes(1)));
        assert!(memory.is_due(&wish(true), now, Span::minutes(1)));
        memory.refused.insert("a".to_owned(), now);
        let minute = now.plus(Span::minutes(1));
        assert!(memory.is_due(&all, minute, Span::minutes(1)), "a replaced key waits for its second look");
        memory.until = Until::after(now, Span::minutes(1));
        assert!(!memory.is_due(&wish(true), now, Span::minutes(1)));
    }
}
