//! Alerts: conditions with a life. One open row per kind and subject.
//!
//! The only file that writes notices, each in the transaction of the event that it tells of: what is rolled
//! back is not told, and what is committed is told (I12).

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::leases::{self, Lease};
use super::listing::{Of, Source};
use super::pool::Tx;
use super::{Store, StoreError, new_id};
use crate::domain::alert::{Event, Kind, NewAlert, Severity, Subject};
use crate::domain::listing::{Page, Wanted};
use crate::domain::time::{Span, Timestamp};

/// One alert.
#[derive(Debug, Clone)]
pub struct AlertRow {
    /// Unique, sorts by time.
    pub id: String,
    /// The word of its kind, see interface.md §5.
    pub kind: String,
    /// `critical`, `warning` or `info`.
    pub severity: String,
    /// What it is about: a rotation, an account, a key, a destination.
    pub subject: String,
    /// The account's name, where it has one.
    pub account: Option<String>,
    /// The rotation's name, where it has one.
    pub rotation: Option<String>,
    /// In whole sentences.
    pub detail: String,
    /// When it opened, RFC 3339 UTC.
    pub opened_at: String,
    /// When somebody acknowledged it.
    pub acked_at: Option<String>,
    /// Who acknowledged it.
    pub acked_by: Option<String>,
    /// When people were last reminded of it.
    pub reminded_at: Option<String>,
    /// When it was over.
    pub resolved_at: Option<String>,
}

fn alert_row(row: &AnyRow) -> Result<AlertRow, StoreError> {
    let time = |at: Option<i64>| at.map(|at| Timestamp(at).rfc3339());
    Ok(AlertRow {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        severity: row.try_get("severity")?,
        subject: row.try_get("subject")?,
        account: row.try_get("account")?,
        rotation: row.try_get("rotation")?,
        detail: row.try_get("detail")?,
        opened_at: Timestamp(row.try_get("opened_at")?).rfc3339(),
        acked_at: time(row.try_get("acked_at")?),
        acked_by: row.try_get("acked_by")?,
        reminded_at: time(row.try_get("reminded_at")?),
        resolved_at: time(row.try_get("resolved_at")?),
    })
}

/// The list of alerts.
const LIST: Source = Source {
    table: "alerts",
    always: "1 = 1",
    sorts: &[
        ("opened_at", Of::Number("opened_at")),
        ("kind", Of::Text("kind")),
        ("severity", Of::Text("severity")),
        ("subject", Of::Text("subject")),
    ],
    filters: &[
        ("q", "LOWER(kind || ' ' || subject || ' ' || detail) LIKE $? ESCAPE '\\'"),
        ("kind", "kind = $?"),
        ("severity", "severity = $?"),
        ("rotation", "rotation = $?"),
        ("account", "account = $?"),
        ("open", "(CASE WHEN resolved_at IS NULL THEN 1 ELSE 0 END) = $?"),
        ("since", "opened_at >= $?"),
        ("until", "opened_at < $?"),
    ],
};

impl Store {
    /// Alerts, newest first; resolved ones only when asked for.
    pub async fn alerts(&self, with_resolved: bool) -> Result<Vec<AlertRow>, StoreError> {
        let sql = if with_resolved {
            "SELECT * FROM alerts ORDER BY opened_at DESC, id DESC"
        } else {
            "SELECT * FROM alerts WHERE resolved_at IS NULL ORDER BY opened_at DESC, id DESC"
        };
        let rows = sqlx::query(sql).fetch_all(self.pools.reader()).await?;
        rows.iter().map(alert_row).collect()
    }

    /// One alert.
    pub async fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM alerts WHERE id = $1").bind(id);
        row.fetch_optional(self.pools.reader()).await?.as_ref().map(alert_row).transpose()
    }

    /// A page of the alerts.
    pub async fn alert_page(&self, wanted: &Wanted) -> Result<Page<AlertRow>, StoreError> {
        self.page(&LIST, wanted, alert_row).await
    }

    /// A person has seen it: no more reminders. `false` when there is no such open alert, or somebody was first.
    pub async fn acknowledge(&self, alert: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        let done = sqlx::query(
            "UPDATE alerts SET acked_at = $1, acked_by = $2
             WHERE id = $3 AND resolved_at IS NULL AND acked_at IS NULL",
        )
        .bind(tx.now.0)
        .bind(&entry.actor.name)
        .bind(alert)
        .execute(&mut *tx.inner)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Writes a reminder of every open alert that nobody acknowledged and that nobody was told of for `every`.
    /// Nobody is reminded of what they were never told: while a mail about the alert is under way, none is due.
    pub async fn remind(&self, lease: &Lease, now: Timestamp, every: Span) -> Result<usize, StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        let cutoff = now.plus(Span(-every.0));
        let rows = sqlx::query(REMIND).bind(now.0).bind(cutoff.0).fetch_all(&mut *tx.inner).await?;
        for row in &rows {
            tell(&mut tx, row, Event::Reminded).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// An open alert is worse than it was when it opened.
    pub async fn escalate(&self, lease: &Lease, alert: &str, severity: Severity) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        leases::hold(&mut tx, lease).await?;
        raise(&mut tx, alert, severity).await?;
        tx.commit().await
    }
}

impl Store {
    /// Opens an alert that belongs to no account, with its audit row. Again while it is open: nothing new.
    pub async fn raise(&self, alert: &NewAlert, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        open(&mut tx, alert).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// The condition is over. Harmless when no such alert is open.
    pub async fn resolve(&self, kind: Kind, subject: &Subject, entry: &AuditEntry) -> Result<(), StoreError> {
        if !self.open_subjects(kind).await?.contains(subject) {
            return Ok(());
        }
        let mut tx = self.pools.begin().await?;
        resolve(&mut tx, kind, subject).await?;
        audit::write(&mut tx, entry).await?;
        tx.commit().await
    }

    /// What open alerts of a kind are about.
    pub async fn open_subjects(&self, kind: Kind) -> Result<Vec<Subject>, StoreError> {
        let rows = sqlx::query("SELECT subject FROM alerts WHERE kind = $1 AND resolved_at IS NULL")
            .bind(kind.word())
            .fetch_all(self.pools.reader())
            .await?;
        rows.iter().map(|row| Ok(Subject::parse(&row.try_get::<String, _>("subject")?))).collect()
    }
}

/// Opens an alert; when it is open already only its text is brought up to date.
/// An alert is due for a reminder when nobody acknowledged it, it is more than information, it was opened and
/// last repeated at or before $2, and every mail about it has arrived or was refused for good.
const REMIND: &str = "UPDATE alerts SET reminded_at = $1
     WHERE resolved_at IS NULL AND acked_at IS NULL AND severity <> 'info'
       AND COALESCE(reminded_at, opened_at) <= $2
       AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.alert = alerts.id AND n.mailed = 0)
       AND NOT EXISTS (SELECT 1 FROM notices n
                       JOIN message_notices c ON c.notice = n.id
                       JOIN messages m ON m.id = c.message AND m.channel = 'mail'
                       JOIN deliveries d ON d.message = c.message
                       WHERE n.alert = alerts.id AND d.sent_at IS NULL AND d.refused = 0)
     RETURNING id, severity, detail";

/// Opens an alert. When it is open already only its text is brought up to date, and its severity rises when it
/// got worse; it never falls, so that one cause that is seen from two sides does not mail for ever.
pub(super) async fn open(tx: &mut Tx, alert: &NewAlert) -> Result<(), StoreError> {
    let fresh = new_id();
    let row = sqlx::query(
        "INSERT INTO alerts (id, kind, severity, subject, account, rotation, detail, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (kind, subject) WHERE resolved_at IS NULL
         DO UPDATE SET detail =
           CASE WHEN $9 = 1 AND alerts.severity = 'critical' THEN alerts.detail ELSE excluded.detail END
         RETURNING id, severity, detail",
    )
    .bind(&fresh)
    .bind(alert.kind.word())
    .bind(alert.severity.word())
    .bind(alert.subject.to_string())
    .bind(&alert.account)
    .bind(&alert.rotation)
    .bind(&alert.detail)
    .bind(tx.now.0)
    .bind(i64::from(alert.yields))
    .fetch_one(&mut *tx.inner)
    .await?;
    let id: String = row.try_get("id")?;
    if id == fresh {
        return tell(tx, &row, Event::Opened).await;
    }
    let before: String = row.try_get("severity")?;
    let before = Severity::parse(&before).ok_or(StoreError::Corrupt("alerts.severity"))?;
    if alert.severity > before { raise(tx, &id, alert.severity).await } else { Ok(()) }
}

/// Raises the severity. Whoever acknowledged the alert did not know how bad it would get: that is over.
async fn raise(tx: &mut Tx, alert: &str, severity: Severity) -> Result<(), StoreError> {
    let row = sqlx::query(
        "UPDATE alerts SET severity = $1, acked_at = NULL, acked_by = NULL
         WHERE id = $2 AND resolved_at IS NULL AND severity <> $1
         RETURNING id, severity, detail",
    )
    .bind(severity.word())
    .bind(alert)
    .fetch_optional(&mut *tx.inner)
    .await?;
    match row {
        Some(row) => tell(tx, &row, Event::Escalated).await,
        None => Ok(()),
    }
}

/// The condition is over. However soon that is, people are told that it began, too: a leak that was answered in
/// seconds is no recovery to skim over. Information has no end worth a mail.
pub(super) async fn resolve(tx: &mut Tx, kind: Kind, subject: &Subject) -> Result<(), StoreError> {
    let row = sqlx::query(
        "UPDATE alerts SET resolved_at = $1 WHERE kind = $2 AND subject = $3 AND resolved_at IS NULL
         RETURNING id, severity, detail",
    )
    .bind(tx.now.0)
    .bind(kind.word())
    .bind(subject.to_string())
    .fetch_optional(&mut *tx.inner)
    .await?;
    let Some(row) = row else { return Ok(()) };
    if row.try_get::<String, _>("severity")? == Severity::Info.word() {
        return Ok(());
    }
    tell(tx, &row, Event::Resolved).await
}

/// Puts a notice into the outbox. `row` holds the alert's id, severity and detail.
async fn tell(tx: &mut Tx, row: &sqlx::any::AnyRow, event: Event) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO notices (id, alert, event, severity, detail, at, mailed, hooked)
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0)",
    )
    .bind(new_id())
    .bind(row.try_get::<String, _>("id")?)
    .bind(event.word())
    .bind(row.try_get::<String, _>("severity")?)
    .bind(row.try_get::<String, _>("detail")?)
    .bind(tx.now.0)
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}
