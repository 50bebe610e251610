//! A regular key as the world has it: the truth, before lags and formats.

use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};

use super::super::clock::within;

/// Who made a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreatedBy {
    /// `POST /keys`.
    Api,
    /// A person, in the dashboard.
    Person,
}

/// One regular key, or what is left of it. Holds no secret; `hash` is derived from it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    /// The account it belongs to.
    pub account_id: String,
    /// Lowercase hex SHA-256 of the secret.
    pub hash: String,
    /// Its name; not unique.
    pub name: String,
    /// First 12 characters of the secret, `...`, last 3.
    pub label: String,
    /// The workspace it lives in.
    pub workspace_id: String,
    /// Who made it.
    pub created_by: CreatedBy,
    /// Whole milliseconds.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: Option<DateTime<Utc>>,
    /// Switched off.
    pub disabled: bool,
    /// Gone: only this tombstone is left.
    pub deleted: bool,
    /// Spending limit in US dollars.
    pub limit: Option<f64>,
    /// `daily`, `weekly` or `monthly`; `None` is a limit for life.
    pub limit_reset: Option<String>,
    /// Whether use of the account's own provider keys counts against the limit.
    pub include_byok_in_limit: bool,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// US dollars, for life, this UTC day, ISO week and month.
    pub usage: f64,
    /// This UTC day.
    pub usage_daily: f64,
    /// This ISO week.
    pub usage_weekly: f64,
    /// This month.
    pub usage_monthly: f64,
    /// The same for use of the account's own provider keys.
    pub byok_usage: f64,
}

impl KeyRow {
    /// What is left of the limit; negative when it was overdrawn.
    pub fn limit_remaining(&self) -> Option<f64> {
        let used = match self.limit_reset.as_deref() {
            Some("daily") => self.usage_daily,
            Some("weekly") => self.usage_weekly,
            Some("monthly") => self.usage_monthly,
            _ => self.usage,
        };
        let byok = if self.include_byok_in_limit { self.byok_usage } else { 0.0 };
        self.limit.map(|limit| limit - used - byok)
    }

    /// Whether it has expired by `now`.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// A call by an agent, kept until the figures show it.
struct Use {
    at: DateTime<Utc>,
    usd: f64,
    last_used_before: Option<DateTime<Utc>>,
}

/// A row with what the API needs besides to lag behind the truth.
pub(super) struct Stored {
    pub(super) row: KeyRow,
    /// Since when it is disabled or deleted.
    pub(super) dead_since: Option<DateTime<Utc>>,
    pub(super) revived_at: Option<DateTime<Utc>>,
    uses: Vec<Use>,
}

impl Stored {
    pub(super) fn new(row: KeyRow) -> Self {
        Self { row, dead_since: None, revived_at: None, uses: Vec::new() }
    }

    /// Changes the row, and notes when that kills or revives it.
    pub(super) fn change(&mut self, now: DateTime<Utc>, change: impl FnOnce(&mut KeyRow)) {
        let was_dead = self.is_dead();
        change(&mut self.row);
        match (was_dead, self.is_dead()) {
            (false, true) => self.dead_since = Some(now),
            (true, false) => (self.dead_since, self.revived_at) = (None, Some(now)),
            _ => {}
        }
    }

    /// Disabled or deleted, however long ago.
    fn is_dead(&self) -> bool {
        self.row.disabled || self.row.deleted
    }

    /// Whether the edge refuses it by now: it learns of a death late.
    pub(super) fn is_dead_at_the_edge(&self, works_for: Duration, now: DateTime<Utc>) -> bool {
        self.is_dead() && !self.dead_since.is_some_and(|since| within(works_for, since, now))
    }

    /// An agent has used it.
    pub(super) fn record_use(&mut self, usd: f64, now: DateTime<Utc>) {
        self.roll_periods(now);
        self.uses.push(Use { at: now, usd, last_used_before: self.row.last_used_at });
        let row = &mut self.row;
        for figure in [&mut row.usage, &mut row.usage_daily, &mut row.usage_weekly, &mut row.usage_monthly] {
            *figure += usd;
        }
        row.last_used_at = Some(now);
    }

    /// The row with the figures as far as they show by now.
    pub(super) fn shown(&self, lag: Duration, now: DateTime<Utc>) -> KeyRow {
        let mut row = self.row.clone();
        let mut unseen = self.uses.iter().filter(|one| within(lag, one.at, now)).peekable();
        if let Some(first) = unseen.peek() {
            row.last_used_at = first.last_used_before;
        }
        for one in unseen {
            for figure in
                [&mut row.usage, &mut row.usage_daily, &mut row.usage_weekly, &mut row.usage_monthly]
            {
                *figure = (*figure - one.usd).max(0.0);
            }
        }
        row
    }

    /// Empties the figures of periods that have ended since the last use.
    pub(super) fn roll_periods(&mut self, now: DateTime<Utc>) {
        let Some(last) = self.row.last_used_at else { return };
        let month = |time: DateTime<Utc>| (time.year(), time.month());
        if last.date_naive() != now.date_naive() {
            self.row.usage_daily = 0.0;
        }
        if last.iso_week() != now.iso_week() {
            self.row.usage_weekly = 0.0;
        }
        if month(last) != month(now) {
            self.row.usage_monthly = 0.0;
        }
    }
}
