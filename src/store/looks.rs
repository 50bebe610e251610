//! Which keys are due to be looked at, who looks, and at which pace: the queue that all processes share.
//!
//! A key is claimed for a while ([`Store::claim`]); a verdict ends the claim in its own transaction
//! ([`Store::commit_looks`]), and a process that dies only lets it run out. Everything here is found by index, so that it
//! costs what is due, not what is stored.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::damaged::readable;
use super::keys::{KeyRow, Role, key_row};
use super::leases::Lease;
use super::pool::Tx;
use super::{Change, Store, StoreError, change, from_json, key_writes, memory};
use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::crowd::{Crowd, ProviderHealth};

/// No claim, and no pace, reaches further: what does is of a clock that went back (R18).
const LONGEST: Span = Span::hours(1);

/// Keys that are looked at beside each other: those of one provider, by role and by occasion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Name of the provider.
    pub provider: String,
    /// A rotation's current key, else one that belongs to no rotation.
    pub current: bool,
    /// Looked at out of turn: a suspicion, or the mass guard, waits for it.
    pub again: bool,
}

/// A lane with keys in it.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which.
    pub lane: Lane,
    /// When the first of its unclaimed keys is due.
    pub first: Timestamp,
    /// When the last of its keys is due.
    pub last: Timestamp,
}

/// Keys that were claimed.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Those that can be read.
    pub keys: Vec<KeyRow>,
    /// Ids of the others.
    pub unreadable: Vec<String>,
}

/// What is known of a provider before its looks are committed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// What is remembered of it.
    pub health: ProviderHealth,
    /// Its keys since the moment that was asked for.
    pub crowd: Crowd,
    /// Its keys since the other moment.
    pub recent: Crowd,
}

/// Whose keys are counted, and since when.
#[derive(Debug, Clone)]
pub struct Counting {
    /// Name of the provider.
    pub provider: String,
    /// For [`Known::crowd`]; `None` when the looks are good ones, which only say something to a provider that is not calm.
    pub since: Option<Timestamp>,
    /// For [`Known::recent`].
    pub recent: Timestamp,
}

impl Lane {
    fn role(&self) -> &'static str {
        if self.current { Role::Current.word() } else { Role::Manual.word() }
    }
}

impl Store {
    /// The lanes with keys in them: four probes of an index for each provider.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let now = self.now().await?;
        let rows = sqlx::query(
            "SELECT * FROM (SELECT p.name, l.role, l.again,
               (SELECT k.next_look_at FROM keys k WHERE k.provider = p.name AND k.role = l.role
                  AND k.look_again = l.again AND k.is_active = 1 AND k.secret IS NOT NULL
                  AND k.role IN ('current', 'manual') AND NOT (k.look_until > $1 AND k.look_until <= $2)
                ORDER BY k.next_look_at LIMIT 1) AS first,
               (SELECT k.next_look_at FROM keys k WHERE k.provider = p.name AND k.role = l.role
                  AND k.look_again = l.again AND k.is_active = 1 AND k.secret IS NOT NULL
                  AND k.role IN ('current', 'manual') ORDER BY k.next_look_at DESC LIMIT 1) AS last
             FROM providers p CROSS JOIN (SELECT 'current' AS role, 1 AS again UNION ALL SELECT 'current', 0
               UNION ALL SELECT 'manual', 1 UNION ALL SELECT 'manual', 0) l) AS lanes
             WHERE first IS NOT NULL",
        )
        .bind(now.0)
        .bind(now.plus(LONGEST).0)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(waiting).collect()
    }

    /// Claims keys of a lane that are due, those that wait longest first; nobody else gets them while the claim lasts.
    pub async fn claim(
        &self,
        lane: &Lane,
        due: Timestamp,
        (owner, span): (&str, Span),
        most: usize,
    ) -> Result<Claimed, StoreError> {
        let mut tx = self.pools.begin().await?;
        let now = tx.now;
        let sql = self.pools.kind.dialect(
            "UPDATE keys SET looked_by = $1, look_until = $2 WHERE id IN (SELECT id FROM keys
             WHERE provider = $3 AND role = $4 AND look_again = $5 AND next_look_at <= $6 AND is_active = 1
               AND secret IS NOT NULL AND role IN ('current', 'manual')
               AND NOT (look_until > $7 AND look_until <= $8)
             ORDER BY next_look_at LIMIT $9 FOR UPDATE SKIP LOCKED) RETURNING *",
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(owner)
            .bind(now.plus(span).0)
            .bind(&lane.provider)
            .bind(lane.role())
            .bind(i64::from(lane.again))
            .bind(due.0)
            .bind(now.0)
            .bind(now.plus(LONGEST).0)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        claimed(&rows)
    }

    /// Claims one key, due or not; `None` while somebody else looks at it.
    pub async fn claim_one(
        &self,
        id: &str,
        (owner, span): (&str, Span),
    ) -> Result<Option<Claimed>, StoreError> {
        let mut tx = self.pools.begin().await?;
        let now = tx.now;
        let rows = sqlx::query(
            "UPDATE keys SET looked_by = $1, look_until = $2
             WHERE id = $3 AND NOT (look_until > $4 AND look_until <= $5) RETURNING *",
        )
        .bind(owner)
        .bind(now.plus(span).0)
        .bind(id)
        .bind(now.0)
        .bind(now.plus(LONGEST).0)
        .fetch_all(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        if rows.is_empty() { Ok(None) } else { claimed(&rows).map(Some) }
    }

    /// Makes claims of this owner last so long from now on.
    pub async fn prolong(&self, ids: &[String], owner: &str, span: Span) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let until = tx.now.plus(span);
        let mut ids: Vec<&String> = ids.iter().collect();
        ids.sort();
        for id in ids {
            sqlx::query("UPDATE keys SET look_until = $1 WHERE id = $2 AND looked_by = $3")
                .bind(until.0)
                .bind(id)
                .bind(owner)
                .execute(&mut *tx.inner)
                .await?;
        }
        tx.commit().await
    }

    /// Gives claims back: nothing was seen. `next`: when these keys are looked at instead; else they stay due.
    pub async fn give_back(
        &self,
        ids: &[String],
        owner: &str,
        next: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let mut ids: Vec<&String> = ids.iter().collect();
        ids.sort();
        for id in ids {
            let sql =
                "UPDATE keys SET looked_by = NULL, look_until = 0, next_look_at = COALESCE($3, next_look_at)
                 WHERE id = $1 AND looked_by = $2";
            let given = sqlx::query(sql).bind(id).bind(owner).bind(next.map(|at| at.0));
            given.execute(&mut *tx.inner).await?;
        }
        tx.commit().await
    }

    /// Keys of a lane whose next look is noted for later than `latest`, a few of them.
    pub async fn put_off(
        &self,
        lane: &Lane,
        latest: Timestamp,
        most: i64,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM keys WHERE provider = $1 AND role = $2 AND look_again = $3 AND next_look_at > $4
               AND is_active = 1 AND secret IS NOT NULL AND role IN ('current', 'manual') LIMIT $5",
        )
        .bind(&lane.provider)
        .bind(lane.role())
        .bind(i64::from(lane.again))
        .bind(latest.0)
        .bind(most)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Keys of a lane that were looked at, and whose next look was never noted, a few of them.
    pub async fn never_scheduled(&self, lane: &Lane, most: i64) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM keys WHERE provider = $1 AND role = $2 AND look_again = $3 AND next_look_at = 0
               AND is_active = 1 AND secret IS NOT NULL AND role IN ('current', 'manual')
               AND health IS NOT NULL AND looked_at IS NULL LIMIT $4",
        )
        .bind(&lane.provider)
        .bind(lane.role())
        .bind(i64::from(lane.again))
        .bind(most)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Notes when keys are looked at next. Who has looked meanwhile, and looks again sooner, is left at that.
    pub async fn look_at(&self, turns: &[(String, Timestamp)]) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let mut turns: Vec<&(String, Timestamp)> = turns.iter().collect();
        turns.sort();
        for (id, at) in turns {
            sqlx::query(
                "UPDATE keys SET next_look_at = $1 WHERE id = $2 AND (next_look_at = 0 OR next_look_at > $1)",
            )
            .bind(at.0)
            .bind(id)
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await
    }

    /// Keeps so much time free at a host, after what is kept already by anybody. Answers how long it is until then.
    pub async fn keep_pace(&self, host: &str, span: Span) -> Result<Span, StoreError> {
        let mut tx = self.pools.begin().await?;
        let now = tx.now;
        let row = sqlx::query(
            "INSERT INTO paces (host, free_at) VALUES ($1, $2) ON CONFLICT (host) DO UPDATE SET free_at =
               CASE WHEN paces.free_at > $3 AND paces.free_at <= $4 THEN paces.free_at + $5 ELSE excluded.free_at END
             RETURNING free_at",
        )
        .bind(host)
        .bind(now.plus(span).0)
        .bind(now.0)
        .bind(now.plus(LONGEST).0)
        .bind(span.0)
        .fetch_one(&mut *tx.inner)
        .await?;
        let free_at = Timestamp(row.try_get("free_at")?);
        tx.commit().await?;
        Ok(Span(free_at.plus(Span(-span.0)).since(now).0.max(0)))
    }

    /// Commits what looks at keys of one provider change, and ends their claims. The rows are locked first, so that
    /// `decide` folds into what is there now; what it must know of the provider is read in the same transaction.
    pub async fn commit_looks<E: From<StoreError>>(
        &self,
        keys: &[String],
        counting: &Counting,
        decide: impl FnOnce(Vec<KeyRow>, Known) -> Result<Vec<Change>, E>,
    ) -> Result<(), E> {
        let mut tx = self.pools.begin().await?;
        let known = known(&mut tx, counting).await?;
        // In one order everywhere: two transactions never wait for each other.
        let mut ids: Vec<&String> = keys.iter().collect();
        ids.sort();
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(key_writes::lock(&mut tx, id).await?);
        }
        let nobody = Lease::nobody();
        for change in decide(rows, known)? {
            change::apply(&mut tx, &nobody, &change).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Brings keys of a provider forward that were not looked at since, a few of them. Not those that somebody looks at right
/// now: whoever commits them waits for nobody who waits for them.
pub(super) async fn bring_forward(
    tx: &mut Tx,
    provider: &str,
    (at, unseen_since): (Timestamp, Timestamp),
    most: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM keys WHERE provider = $1 AND role = 'manual' AND look_again = 0 AND next_look_at > $2
           AND is_active = 1 AND secret IS NOT NULL AND role IN ('current', 'manual')
           AND (looked_at IS NULL OR looked_at < $3) AND look_until <= $4 ORDER BY next_look_at LIMIT $5",
    )
    .bind(provider)
    .bind(at.0)
    .bind(unseen_since.0)
    .bind(tx.now.0)
    .bind(most)
    .fetch_all(&mut *tx.inner)
    .await?;
    let mut ids: Vec<String> = rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?;
    ids.sort();
    for id in ids {
        sqlx::query("UPDATE keys SET next_look_at = $1 WHERE id = $2 AND next_look_at > $1")
            .bind(at.0)
            .bind(id)
            .execute(&mut *tx.inner)
            .await?;
    }
    Ok(())
}

fn waiting(row: &AnyRow) -> Result<Waiting, StoreError> {
    let lane = Lane {
        provider: row.try_get("name")?,
        current: row.try_get::<String, _>("role")? == Role::Current.word(),
        again: row.try_get::<i32, _>("again")? != 0,
    };
    let moment = |column: &str| -> Result<Timestamp, StoreError> { Ok(Timestamp(row.try_get(column)?)) };
    Ok(Waiting { lane, first: moment("first")?, last: moment("last")? })
}

fn claimed(rows: &[AnyRow]) -> Result<Claimed, StoreError> {
    let keys = readable(rows, key_row);
    let mut unreadable = Vec::new();
    for row in rows.iter().filter(|row| key_row(row).is_err()) {
        unreadable.push(row.try_get("id")?);
    }
    Ok(Claimed { keys, unreadable })
}

/// What is known of the provider. Good looks at a calm one wait for nobody; else one transaction at a time counts.
async fn known(tx: &mut Tx, counting: &Counting) -> Result<Known, StoreError> {
    let subject = format!("provider:{}", counting.provider);
    let before = remembered(tx, &subject).await?;
    if counting.since.is_none() && before.is_none_or(ProviderHealth::is_calm) {
        return Ok(Known::default());
    }
    let health = from_json(&memory::lock(tx, &subject).await?, "provider_health.doc").unwrap_or_default();
    let recent = crowd(tx, &counting.provider, counting.recent).await?;
    let crowd = match counting.since {
        Some(since) => crowd(tx, &counting.provider, since).await?,
        None => Crowd { bad: recent.bad, ..Crowd::default() },
    };
    Ok(Known { health, crowd, recent })
}

/// What cannot be read is found out anew.
async fn remembered(tx: &mut Tx, subject: &str) -> Result<Option<ProviderHealth>, StoreError> {
    let row = sqlx::query("SELECT doc FROM provider_health WHERE subject = $1")
        .bind(subject)
        .fetch_optional(&mut *tx.inner)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(from_json(&row.try_get::<String, _>("doc")?, "provider_health.doc").unwrap_or_default()))
}

async fn crowd(tx: &mut Tx, provider: &str, since: Timestamp) -> Result<Crowd, StoreError> {
    let looked = "SELECT COUNT(*) AS n FROM keys WHERE provider = $1 AND looked_at >= $2 AND is_active = 1
         AND role IN ('current', 'manual')";
    let doubted = "SELECT COUNT(*) AS n FROM keys WHERE provider = $1 AND doubted_at >= $2 AND is_active = 1
         AND role IN ('current', 'manual') AND doubted_at IS NOT NULL";
    let turned_bad =
        "SELECT COUNT(*) AS n FROM keys WHERE provider = $1 AND turned_bad_at >= $2 AND is_active = 1
         AND role IN ('current', 'manual') AND turned_bad_at IS NOT NULL";
    let bad =
        "SELECT COUNT(*) AS n FROM keys WHERE provider = $1 AND turned_bad_at IS NOT NULL AND looked_at >= $2
         AND is_active = 1 AND role IN ('current', 'manual')";
    Ok(Crowd {
        looked: count(tx, looked, provider, since).await?,
        doubted: count(tx, doubted, provider, since).await?,
        turned_bad: count(tx, turned_bad, provider, since).await?,
        bad: count(tx, bad, provider, since).await?,
    })
}

async fn count(
    tx: &mut Tx,
    sql: &'static str,
    provider: &str,
    since: Timestamp,
) -> Result<usize, StoreError> {
    let row = sqlx::query(sql).bind(provider).bind(since.0).fetch_one(&mut *tx.inner).await?;
    Ok(usize::try_from(row.try_get::<i64, _>("n")?).unwrap_or_default())
}
