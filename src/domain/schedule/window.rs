//! A maintenance window: hours of the wall clock in a zone, on some days of the week.

use chrono::{Datelike, MappedLocalTime};
use chrono::{Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Weekday};
use chrono_tz::Tz;

use super::local;
use crate::domain::time::{Span, Timestamp};

/// When runs should start. When `end` is before `start` it ends on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// First minute, wall clock.
    pub start: NaiveTime,
    /// First minute after it, wall clock; never equal to `start`.
    pub end: NaiveTime,
    /// Days on which it starts; at least one.
    pub days: Vec<Weekday>,
}

impl Window {
    /// True when a run may start at this moment.
    pub fn is_open(&self, at: Timestamp, zone: Tz) -> bool {
        self.around(at, zone).is_some()
    }

    /// `at` when the window is open then; else its next opening, `delay` later where it is long enough for that.
    pub(super) fn at_or_after(&self, at: Timestamp, delay: Span, zone: Tz) -> Option<Timestamp> {
        if self.is_open(at, zone) {
            return Some(at);
        }
        let today = local(at, zone)?.date_naive();
        let mut days = (0..9).filter_map(|ahead| today.checked_add_days(Days::new(ahead)));
        let (open, close) = days.find_map(|day| self.on(day, zone).filter(|(open, _)| *open >= at))?;
        let delayed = open.plus(delay);
        let spread = close.since(open).portion(0.5);
        Some(if delayed < close { delayed } else { open.plus(spread) })
    }

    /// Opening and end of the window that contains this moment.
    fn around(&self, at: Timestamp, zone: Tz) -> Option<(Timestamp, Timestamp)> {
        let today = local(at, zone)?.date_naive();
        let candidates = [today.pred_opt(), Some(today)];
        candidates
            .into_iter()
            .flatten()
            .filter_map(|day| self.on(day, zone))
            .find(|(open, close)| *open <= at && at < *close)
    }

    /// The window that begins on this day; `None` when it does not, or when the clock jumps over all of it.
    fn on(&self, day: NaiveDate, zone: Tz) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.end > self.start { day } else { day.succ_opt()? };
        let open = instant(day, self.start, zone, false)?;
        let close = instant(last, self.end, zone, true)?;
        (open < close).then_some((open, close))
    }
}

/// The moment of a wall clock; the first after a gap; of two the earlier, or the later when `late`.
fn instant(day: NaiveDate, time: NaiveTime, zone: Tz, late: bool) -> Option<Timestamp> {
    let wall = day.and_time(time);
    let found = (0..=8).find_map(|quarters| {
        match zone.from_local_datetime(&(wall + TimeDelta::minutes(15 * quarters))) {
            MappedLocalTime::Single(at) => Some(at),
            MappedLocalTime::Ambiguous(earlier, later) => Some(if late { later } else { earlier }),
            MappedLocalTime::None => None,
        }
    })?;
    Some(Timestamp(found.timestamp_millis()))
}
