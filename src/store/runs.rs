//! Runs, and what persons ask of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::damaged::readable;
use super::leases::Lease;
use super::listing::{Of, Source};
use super::pool::Tx;
use super::{Store, StoreError, from_json, new_id, to_json};
use crate::domain::listing::{Page, Wanted};
use crate::domain::rotation::facts::Request;
use crate::domain::rotation::{Blocker, Cause, Run, Trigger, Waiting};
use crate::domain::time::{CLOCK_SLACK, Timestamp, Until};

/// A run to insert.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The run itself.
    pub run: Run,
    /// The due time it stands for; one run per rotation and due time.
    pub due_at: Option<Timestamp>,
    /// The generation that was current when it began.
    pub previous_generation: Option<i64>,
}

/// A stored run.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// The run itself.
    pub run: Run,
    /// False once terminal.
    pub is_open: bool,
    /// Nothing to do before this is over (on the database's clock), unless somebody asks.
    pub wake: Until,
    /// The generation it brings in, once made.
    pub generation: Option<i64>,
    /// The generation that was current when it began.
    pub previous_generation: Option<i64>,
    /// What it waits for. While it is awake in the state in which it waited: what it waited for last.
    pub blockers: Vec<Waiting>,
    /// The last failure of a step.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

pub(super) fn run_row(row: &AnyRow) -> Result<RunRow, StoreError> {
    let waits_since = Timestamp(row.try_get("wake_set_at")?);
    Ok(RunRow {
        run: from_json(&row.try_get::<String, _>("doc")?, "runs.doc")?,
        is_open: row.try_get::<i64, _>("is_open")? != 0,
        wake: Until { set_at: waits_since, at: Timestamp(row.try_get("wake_at")?) },
        generation: row.try_get("generation")?,
        previous_generation: row.try_get("previous_generation")?,
        blockers: blockers(&row.try_get::<String, _>("blockers")?, waits_since)?,
        error: row.try_get("error")?,
        started_at: Timestamp(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(Timestamp),
    })
}

/// A wait as any version wrote it: the first one stored sentences alone, those after it no beginnings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(Waiting),
    Caused { text: String, cause: Option<Cause> },
    Plain(String),
}

fn blockers(text: &str, since: Timestamp) -> Result<Vec<Waiting>, StoreError> {
    let whole = |written| match written {
        Written::Whole(waiting) => waiting,
        Written::Caused { text, cause } => Waiting { text, cause, since, until: None },
        Written::Plain(text) => Waiting { text, cause: None, since, until: None },
    };
    let written: Vec<Written> = from_json(text, "runs.blockers")?;
    Ok(written.into_iter().map(whole).collect())
}

/// The list of runs.
const LIST: Source = Source {
    table: "runs",
    always: "1 = 1",
    sorts: &[
        ("started_at", Of::Number("started_at")),
        ("rotation", Of::Text("rotation")),
        ("state", Of::Text("state")),
    ],
    filters: &[
        ("q", "LOWER(rotation || ' ' || state || ' ' || COALESCE(error, '')) LIKE $? ESCAPE '\\'"),
        ("rotation", "rotation = $?"),
        ("state", "state = $?"),
        ("trigger", "cause = $?"),
        ("open", "is_open = $?"),
        ("since", "started_at >= $?"),
        ("until", "started_at < $?"),
    ],
};

impl Store {
    /// A page of the runs.
    pub async fn run_page(&self, wanted: &Wanted) -> Result<Page<RunRow>, StoreError> {
        self.page(&LIST, wanted, run_row).await
    }

    /// The newest runs first, as far as their rows can be read.
    pub async fn runs(&self, limit: i64) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM runs ORDER BY started_at DESC, id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(self.pools.reader())
            .await?;
        Ok(readable(&rows, run_row))
    }

    /// One run by id.
    pub async fn run(&self, id: &str) -> Result<Option<RunRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = $1")
            .bind(id)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(run_row).transpose()
    }

    /// The open run of a rotation.
    pub async fn open_run(&self, rotation: &str) -> Result<Option<RunRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE rotation = $1 AND is_open = 1")
            .bind(rotation)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(run_row).transpose()
    }

    /// The last run of a rotation that ended.
    pub async fn last_run(&self, rotation: &str) -> Result<Option<RunRow>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM runs WHERE rotation = $1 AND is_open = 0 ORDER BY finished_at DESC, id DESC LIMIT 1",
        )
        .bind(rotation)
        .fetch_optional(self.pools.reader())
        .await?;
        row.as_ref().map(run_row).transpose()
    }

    /// The newest runs of a rotation that ended, the last one first.
    pub async fn ended_runs(&self, rotation: &str, limit: i64) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE rotation = $1 AND is_open = 0 ORDER BY finished_at DESC, id DESC LIMIT $2",
        )
        .bind(rotation)
        .bind(limit)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(run_row).collect()
    }

    /// Runs of an account that this started since then, the oldest first.
    pub async fn runs_since(
        &self,
        account: &str,
        trigger: Trigger,
        since: Timestamp,
    ) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE account = $1 AND started_at >= $2 AND cause = $3 ORDER BY started_at, id",
        )
        .bind(account)
        .bind(since.0)
        .bind(trigger.word())
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, run_row).into_iter().map(|row| row.run).collect())
    }

    /// The run that stands for this due time.
    pub async fn run_for_due(&self, rotation: &str, due: Timestamp) -> Result<Option<RunRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE rotation = $1 AND due_at = $2")
            .bind(rotation)
            .bind(due.0)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(run_row).transpose()
    }

    /// Open runs with something to do, the one that woke first at the front: their wait is over, or was set in the future
    /// (R18), or a person asked something of them that nobody handled.
    pub async fn runs_awake(&self) -> Result<Vec<RunRow>, StoreError> {
        let now = self.now().await?;
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE is_open = 1 AND (wake_at <= $1 OR wake_set_at > $2
               OR EXISTS (SELECT 1 FROM requests q WHERE q.run = runs.id AND q.handled_at IS NULL))
             ORDER BY wake_at, id",
        )
        .bind(now.0)
        .bind(now.plus(CLOCK_SLACK).0)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, run_row))
    }

    /// Every open run whose row can be read, the one that woke first at the front.
    pub async fn open_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM runs WHERE is_open = 1 ORDER BY wake_at, id")
            .fetch_all(self.pools.reader())
            .await?;
        Ok(readable(&rows, run_row))
    }

    /// Starts a run. [`StoreError::Conflict`] `runs_one_open` when one is open, `runs_due` when this due time had
    /// its run already.
    pub async fn start_run(&self, new: &NewRun, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        insert(&mut tx, new, 0).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// A person asks something of a run; it wakes at once.
    pub async fn ask(
        &self,
        run: &str,
        request: &Request,
        actor: &str,
        entry: &AuditEntry,
    ) -> Result<String, StoreError> {
        let mut tx = self.pools.begin().await?;
        let id = new_id();
        sqlx::query("INSERT INTO requests (id, run, request, actor, asked_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(&id)
            .bind(run)
            .bind(to_json(request))
            .bind(actor)
            .bind(tx.now.0)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("UPDATE runs SET wake_at = 0 WHERE id = $1 AND is_open = 1")
            .bind(run)
            .execute(&mut *tx.inner)
            .await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The oldest request of a run that nobody handled.
    pub async fn open_request(&self, run: &str) -> Result<Option<(String, Request)>, StoreError> {
        let row = sqlx::query(
            "SELECT id, request FROM requests WHERE run = $1 AND handled_at IS NULL ORDER BY asked_at, id LIMIT 1",
        )
        .bind(run)
        .fetch_optional(self.pools.reader())
        .await?;
        row.map(|row| {
            let text: String = row.try_get("request")?;
            Ok((row.try_get("id")?, from_json(&text, "requests.request")?))
        })
        .transpose()
    }

    /// Runs of which a person asked something that nobody handled.
    pub async fn asked_runs(&self) -> Result<BTreeSet<String>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT run FROM requests WHERE handled_at IS NULL")
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("run")?)).collect()
    }

    /// The answer to a request, once it was handled.
    pub async fn request_answer(&self, id: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT answer FROM requests WHERE id = $1 AND handled_at IS NOT NULL")
            .bind(id)
            .fetch_optional(self.pools.reader())
            .await?;
        Ok(row
            .map(|row| row.try_get::<Option<String>, _>("answer"))
            .transpose()?
            .map(Option::unwrap_or_default))
    }
}

pub(super) async fn insert(tx: &mut Tx, new: &NewRun, fence: i64) -> Result<(), StoreError> {
    let run = &new.run;
    sqlx::query(
        "INSERT INTO runs (id, rotation, account, cause, due_at, state, is_open, doc, wake_at, fence, generation,
           previous_generation, blockers, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, '[]', $12)",
    )
    .bind(&run.id)
    .bind(&run.rotation)
    .bind(&run.account)
    .bind(run.trigger.word())
    .bind(new.due_at.map(|at| at.0))
    .bind(run.state.word())
    .bind(i64::from(!run.state.is_terminal()))
    .bind(to_json(run))
    .bind(fence)
    .bind(run.candidate.as_ref().map(|key| key.generation))
    .bind(new.previous_generation)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

/// Gives the run to the holder of the lease: from now on only writes under this fence count.
pub(super) async fn claim(tx: &mut Tx, id: &str, lease: &Lease) -> Result<(), StoreError> {
    sqlx::query("UPDATE runs SET fence = $1 WHERE id = $2 AND is_open = 1")
        .bind(lease.fence)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// Writes the run. Zero rows means that the lease is lost (I6).
pub(super) async fn update(
    tx: &mut Tx,
    run: &Run,
    wake: Until,
    blockers: &[Blocker],
    error: Option<&str>,
    fence: i64,
) -> Result<(), StoreError> {
    let finished = run.state.is_terminal().then_some(tx.now.0);
    let waits = if blockers.is_empty() {
        Vec::new()
    } else {
        Waiting::carried(blockers, &waited(tx, &run.id).await?, tx.now)
    };
    // What wakes in the state in which it waited may wait for the same in a moment.
    let done = sqlx::query(
        "UPDATE runs SET state = $1, is_open = $2, doc = $3, wake_at = $4, error = $6,
           blockers = CASE WHEN $5 = '[]' AND state = $1 THEN blockers ELSE $5 END,
           generation = COALESCE($7, generation), finished_at = $8, wake_set_at = $9
         WHERE id = $10 AND fence = $11 AND is_open = 1",
    )
    .bind(run.state.word())
    .bind(i64::from(!run.state.is_terminal()))
    .bind(to_json(run))
    .bind(wake.at.0)
    .bind(to_json(&waits))
    .bind(error)
    .bind(run.candidate.as_ref().map(|key| key.generation))
    .bind(finished)
    .bind(wake.set_at.0)
    .bind(&run.id)
    .bind(fence)
    .execute(&mut *tx.inner)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::fence_lost());
    }
    if finished.is_none() {
        return Ok(());
    }
    // Nobody is left to handle what was asked of it meanwhile.
    sqlx::query("UPDATE requests SET handled_at = $1, answer = $2 WHERE run = $3 AND handled_at IS NULL")
        .bind(tx.now.0)
        .bind(format!("refused: the run is over ({})", run.state.word()))
        .bind(&run.id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// What the run waited for last; what cannot be read begins anew.
async fn waited(tx: &mut Tx, run: &str) -> Result<Vec<Waiting>, StoreError> {
    let row = sqlx::query("SELECT blockers, wake_set_at FROM runs WHERE id = $1")
        .bind(run)
        .fetch_optional(&mut *tx.inner)
        .await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let since = Timestamp(row.try_get("wake_set_at")?);
    Ok(blockers(&row.try_get::<String, _>("blockers")?, since).unwrap_or_default())
}

/// Notes what came of a person's request.
pub(super) async fn answer(tx: &mut Tx, id: &str, answer: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE requests SET handled_at = $1, answer = $2 WHERE id = $3")
        .bind(tx.now.0)
        .bind(answer)
        .bind(id)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}
