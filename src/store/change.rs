//! Every write of the engine: a list of changes, committed in one transaction under the lease's fence.
//!
//! One list instead of one method a case, because what belongs together is the engine's knowledge: the outcome
//! of a call, the run after it, the audit row and the alerts are one fact (I12).

use std::collections::BTreeSet;

use super::audit::{self, AuditEntry};
use super::effects::{self, EffectStatus, NewEffect};
use super::holdings::{self, HoldingRow};
use super::keys::{self, AdoptedKey, KeyRow, NewKey, NewProvider, Role};
use super::leases::{self, Lease};
use super::pool::Tx;
use super::runs::{self, NewRun};
use super::{Store, StoreError, accounts, alerts, epochs, gone, key_writes, looks, memory, rotations};
use crate::crypto::{EncryptionKeyId, Sealed};
use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::key::{KeySpec, RemoteKey};
use crate::domain::rotation::facts::KeyFacts;
use crate::domain::rotation::{Blocker, Level, Run};
use crate::domain::time::{Span, Timestamp, Until};
use crate::domain::verdict::{Health, Observation};
use sqlx::Row;

/// One write.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the rows they change")]
pub enum Change {
    /// The run after an event, or only its waiting.
    Run { run: Box<Run>, wake: Until, blockers: Vec<Blocker>, error: Option<String> },
    /// Another run, with its first state.
    StartRun(Box<NewRun>),
    /// An intent; the same id again is another attempt.
    Intend(NewEffect),
    /// What came of it.
    Settle { id: String, status: EffectStatus, evidence: serde_json::Value },
    /// It can no longer land, and nobody knows what came of it: it stays unknown, with an end.
    GiveUp { id: String },
    /// A key at the provider is ours now.
    NewKey { provider: NewProvider, key: Box<NewKey> },
    /// Only if this key seals now (R24): whoever asks for a key must be able to store it.
    MaySeal { by: EncryptionKeyId },
    /// A stored key joins a rotation.
    Adopt(Box<AdoptedKey>),
    /// Where an account is, sealed.
    Place { account: String, sealed: Sealed },
    /// A generation becomes current; whoever was is retiring.
    Promote { rotation: String, id: String },
    /// The provider no longer has it.
    Bury { id: String },
    /// The provider does not have it now, and not by our doing: its secrets are kept for so long.
    FoundGone { id: String, keep: Span },
    /// One that was found gone is there again: it is alive.
    SeenAgain { id: String },
    /// A test of a key, and when the next is due.
    Tested {
        id: String,
        facts: KeyFacts,
        health: Box<Health>,
        seen: Box<Observation>,
        next_look_at: Timestamp,
    },
    /// A few other keys of a provider are due now, that nobody looked at since.
    BringForward { provider: String, at: Timestamp, unseen_since: Timestamp, most: i64 },
    /// What is remembered from one pass to the next: [`Store::memory`].
    Remember { subject: String, doc: serde_json::Value },
    /// The current key of a rotation is dead, or in doubt: its account is to be asked what became of it.
    WantsHealing { rotation: String },
    /// What a destination holds. `fresh_write` puts it last in the order of writes to its address.
    Holding { row: Box<HoldingRow>, fresh_write: bool },
    /// What a look at a destination showed. It says nothing once another write of that address has begun (R19).
    Seen(Box<HoldingRow>),
    /// What a look at a whole table showed of one of its addresses. It says nothing once a write there after number
    /// `known` has begun; what it proves puts the row last in the order of writes.
    Shown { row: Box<HoldingRow>, known: i64 },
    /// How somebody else changed an address, where no row of a write says it.
    Drift { address: String, drift: Option<String> },
    /// A person released a destination.
    Release { rotation: String, destination: String },
    /// What the current key of a rotation is allowed (R10).
    SpecSeen { rotation: String, spec: KeySpec },
    /// A person said "go on".
    RetryNow { rotation: String },
    /// What came of a person's request.
    Answer { request: String, answer: String },
    /// R9.
    Freeze { account: String, reason: String },
    /// A person looked at a frozen account.
    Thaw { account: String, foreign: Vec<RemoteKey>, counters: Vec<(String, i64)>, rotations: Vec<String> },
    /// The rotation has a key of its own again.
    Adopted { rotation: String },
    /// A healing run started.
    Healed { rotation: String, at: Timestamp },
    /// The next due time.
    Due { rotation: String, at: Option<Timestamp> },
    /// Tell the admins.
    Alert(NewAlert),
    /// It is over.
    Resolve { kind: Kind, subject: Subject },
    /// For the record.
    Audit(AuditEntry),
}

/// What the guard looks at inside the transaction that commits the intent.
#[derive(Debug, Clone)]
pub struct KillRows {
    /// Hashes with a kill that may still land.
    pub open_kills: Vec<String>,
    /// Hashes with one that can no longer land, and of which nobody knows what came.
    pub in_doubt: Vec<String>,
    /// Rows of the target at every address, and the newest proved row of another key there.
    pub holders: Vec<(HoldingRow, Option<HoldingRow>)>,
    /// The account is frozen.
    pub frozen: bool,
    /// The target is created by this instance or adopted.
    pub ours: bool,
    /// Destructive acts within the last hour, the target's own aside.
    pub recent_kills: u32,
    /// Id, hash and last valid test of the keys that those addresses show now.
    pub tested: Vec<(String, String, KeyFacts)>,
}

/// What came of a guarded commit.
#[derive(Debug)]
pub enum Guarded<R> {
    /// The intent is committed.
    Committed,
    /// The guard refused; nothing was written.
    Refused(R),
}

impl Store {
    /// Commits all changes or none, if the lease is still ours.
    pub async fn commit(&self, lease: &Lease, changes: &[Change]) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        for change in changes {
            apply(&mut tx, lease, change).await?;
        }
        tx.commit().await
    }

    /// Commits what tests of these keys change: their rows are locked and read first, so that `decide` folds into
    /// what is there now. `lease`: only if it is still ours.
    pub async fn commit_tests<E: From<StoreError>>(
        &self,
        lease: Option<&Lease>,
        keys: &[String],
        decide: impl FnOnce(Vec<KeyRow>) -> Result<Vec<Change>, E>,
    ) -> Result<(), E> {
        let mut tx = self.pools.begin().await?;
        if let Some(lease) = lease {
            leases::hold(&mut tx, lease).await?;
        }
        // In one order everywhere: two transactions never wait for each other.
        let mut ids: Vec<&String> = keys.iter().collect();
        ids.sort();
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(key_writes::lock(&mut tx, id).await?);
        }
        let nobody = Lease::nobody();
        for change in decide(rows)? {
            apply(&mut tx, lease.unwrap_or(&nobody), &change).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes a run for the holder of the lease.
    pub async fn claim_run(&self, lease: &Lease, run: &str) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        runs::claim(&mut tx, run, lease).await?;
        tx.commit().await
    }

    /// The next generation of a rotation. Committed at once: a crash leaves a gap, never a repetition.
    pub async fn take_generation(&self, lease: &Lease, rotation: &str) -> Result<i64, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        let generation = rotations::next_generation(&mut tx, rotation).await?;
        tx.commit().await?;
        Ok(generation)
    }

    /// Commits a kill intent, if `check` lets it pass on the rows of this very transaction (I2).
    pub async fn commit_guarded<R>(
        &self,
        lease: &Lease,
        (account, target): (&str, &str),
        check: impl FnOnce(&KillRows) -> Result<(), R>,
        changes: &[Change],
    ) -> Result<Guarded<R>, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        let rows = kill_rows(&mut tx, account, target).await?;
        if let Err(refusal) = check(&rows) {
            return Ok(Guarded::Refused(refusal));
        }
        for change in changes {
            apply(&mut tx, lease, change).await?;
        }
        tx.commit().await?;
        Ok(Guarded::Committed)
    }
}

async fn kill_rows(tx: &mut Tx, account: &str, target: &str) -> Result<KillRows, StoreError> {
    // Whoever would hand it out anew waits, and sees the intent (`intend_mirrored`).
    sqlx::query("UPDATE keys SET id = id WHERE account = $1 AND hash = $2")
        .bind(account)
        .bind(target)
        .execute(&mut *tx.inner)
        .await?;
    let mut holders = Vec::new();
    for row in holdings::of_hash(tx, account, target).await? {
        let others = holdings::at(tx, &row.fact.address).await?;
        let later = |other: &HoldingRow| other.fact.level > Level::Pending && other.seq > row.seq;
        let newest = others.into_iter().find(later);
        holders.push((row, newest));
    }
    let (open_kills, in_doubt) = unsettled_kills(tx, account).await?;
    let recent_kills = recent_kills(tx, account, target).await?;
    let (frozen, ours) = standing(tx, account, target).await?;
    let tested = tested(tx, account, &holders).await?;
    Ok(KillRows { open_kills, in_doubt, holders, frozen, ours, recent_kills, tested })
}

/// Targets of kills that may still land, and of those that were given up.
async fn unsettled_kills(tx: &mut Tx, account: &str) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let rows = sqlx::query(
        "SELECT target, finished_at FROM effects WHERE account = $1 AND kind IN ('disable', 'delete')
         AND status IN ('intended', 'unknown')",
    )
    .bind(account)
    .fetch_all(&mut *tx.inner)
    .await?;
    let (mut open, mut given_up) = (Vec::new(), Vec::new());
    for row in rows {
        let over = row.try_get::<Option<i64>, _>("finished_at")?.is_some();
        let list = if over { &mut given_up } else { &mut open };
        list.push(row.try_get("target")?);
    }
    Ok((open, given_up))
}

/// R12: destructive acts within the last hour, the target's own aside.
async fn recent_kills(tx: &mut Tx, account: &str, target: &str) -> Result<u32, StoreError> {
    let hour_ago = tx.now.plus(Span::hours(-1));
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM effects WHERE account = $1 AND kind IN ('disable', 'delete')
         AND started_at > $2 AND target <> $3 AND status <> 'failed'",
    )
    .bind(account)
    .bind(hour_ago.0)
    .bind(target)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok(u32::try_from(row.try_get::<i64, _>("n")?).unwrap_or(u32::MAX))
}

/// Is the account frozen; is the target ours: a key that was created or adopted, or a journalled name's stray.
async fn standing(tx: &mut Tx, account: &str, target: &str) -> Result<(bool, bool), StoreError> {
    let row = sqlx::query("SELECT frozen FROM accounts WHERE identity = $1")
        .bind(account)
        .fetch_optional(&mut *tx.inner)
        .await?;
    let frozen = row.map(|row| row.try_get::<i64, _>("frozen")).transpose()?.is_none_or(|frozen| frozen != 0);
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM keys WHERE account = $1 AND hash = $2 AND origin IN ('created', 'adopted')",
    )
    .bind(account)
    .bind(target)
    .fetch_one(&mut *tx.inner)
    .await?;
    Ok((frozen, row.try_get::<i64, _>("n")? > 0))
}

/// The keys that the holders of the target show now, as far as they are living keys of this account.
async fn tested(
    tx: &mut Tx,
    account: &str,
    holders: &[(HoldingRow, Option<HoldingRow>)],
) -> Result<Vec<(String, String, KeyFacts)>, StoreError> {
    let shown: BTreeSet<&String> =
        holders.iter().filter_map(|(_, newest)| Some(&newest.as_ref()?.fact.key)).collect();
    let mut all = Vec::new();
    for id in shown {
        let key = keys::read(tx, id).await?;
        let key = key.filter(|key| key.account.as_deref() == Some(account) && key.role != Role::Dead);
        if let Some(key) = key
            && let Some(hash) = key.hash
        {
            all.push((key.id, hash, key.facts));
        }
    }
    Ok(all)
}

pub(super) async fn apply(tx: &mut Tx, lease: &Lease, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Run { run, wake, blockers, error } => {
            runs::update(tx, run, *wake, blockers, error.as_deref(), lease.fence).await
        }
        Change::StartRun(new) => runs::insert(tx, new, lease.fence).await,
        Change::Intend(effect) => effects::intend(tx, effect).await,
        Change::Settle { id, status, evidence } => effects::settle(tx, id, *status, evidence).await,
        Change::GiveUp { id } => effects::give_up(tx, id).await,
        Change::NewKey { provider, key } => {
            key_writes::ensure_provider(tx, provider).await?;
            key_writes::insert(tx, key).await
        }
        Change::MaySeal { by } => epochs::seals(tx, by).await,
        Change::Adopt(key) => key_writes::adopt(tx, key).await,
        Change::Place { account, sealed } => accounts::place(tx, account, sealed).await,
        Change::Promote { rotation, id } => key_writes::promote(tx, rotation, id).await,
        Change::Bury { id } => key_writes::bury(tx, id).await,
        Change::FoundGone { id, keep } => gone::found_gone(tx, id, *keep).await,
        Change::SeenAgain { id } => gone::seen_again(tx, id).await,
        Change::Tested { id, facts, health, seen, next_look_at } => {
            key_writes::tested(tx, id, facts, health, seen, *next_look_at).await
        }
        Change::BringForward { provider, at, unseen_since, most } => {
            looks::bring_forward(tx, provider, (*at, *unseen_since), *most).await
        }
        Change::Remember { subject, doc } => memory::remember(tx, subject, doc).await,
        Change::WantsHealing { rotation } => memory::wants_healing(tx, rotation).await,
        Change::Holding { row, fresh_write } => holdings::put(tx, row, *fresh_write).await.map(drop),
        Change::Seen(row) => holdings::seen(tx, row, row.seq, false).await,
        Change::Shown { row, known } => {
            holdings::seen(tx, row, *known, row.fact.level >= Level::Confirmed).await
        }
        Change::Drift { address, drift } => holdings::drift(tx, address, drift.as_deref()).await,
        Change::Release { rotation, destination } => holdings::release(tx, rotation, destination).await,
        Change::SpecSeen { rotation, spec } => rotations::spec_seen(tx, rotation, spec).await,
        Change::RetryNow { rotation } => holdings::retry_now(tx, rotation).await,
        Change::Answer { request, answer } => runs::answer(tx, request, answer).await,
        Change::Freeze { account, reason } => accounts::freeze(tx, account, reason).await,
        Change::Thaw { account, foreign, counters, rotations } => {
            accounts::thaw(tx, account, foreign, counters, rotations).await
        }
        Change::Adopted { rotation } => rotations::adopted(tx, rotation).await,
        Change::Healed { rotation, at } => rotations::healed(tx, rotation, *at).await,
        Change::Due { rotation, at } => rotations::due_in(tx, rotation, *at).await,
        Change::Alert(alert) => alerts::open(tx, alert).await,
        Change::Resolve { kind, subject } => alerts::resolve(tx, *kind, subject).await,
        Change::Audit(entry) => audit::write(tx, entry).await,
    }
}
