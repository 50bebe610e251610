//! Tables for the calendar's oddities, properties for the rest.

use std::sync::Arc;

use chrono::{NaiveTime, TimeZone, Timelike, Weekday};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds};
use proptest::prelude::*;

use super::*;

const DAY: Span = Span::hours(24);
const ZONES: [Tz; 5] =
    [Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Asia__Kolkata, Tz::UTC];

fn cron(text: &str) -> Cadence {
    let parser = CronParser::builder().seconds(Seconds::Required).build();
    Cadence::Cron(Arc::new(parser.parse(text).unwrap()))
}

fn schedule(cadence: Cadence, zone: Tz) -> Schedule {
    Schedule { cadence, zone, window: None, max_age: Span(45 * DAY.0), jitter: Span::ZERO }
}

fn nightly(zone: Tz, hour: u32, minute: u32) -> Schedule {
    schedule(cron(&format!("0 {minute} {hour} * * *")), zone)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}

fn window(start: &str, end: &str, days: &[Weekday]) -> Window {
    let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    Window { start: time(start), end: time(end), days: days.to_vec() }
}

const MON_TO_THU: [Weekday; 4] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu];

/// Every due time of a schedule within a span, each counted from the one before.
fn dues(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut now = from;
    while let Some(due) = schedule.next_due(now, None, 0.0).filter(|due| *due < until) {
        found.push(due);
        now = due;
    }
    found
}

#[test]
fn a_time_that_a_day_does_not_have_is_due_once_after_the_gap() {
    for (zone, hour, minute, from, due, then) in [
        (Tz::Europe__Berlin, 2, 30, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"),
        (
            Tz::America__New_York,
            2,
            30,
            "2026-03-07T12:00:00Z",
            "2026-03-08T07:00:00Z",
            "2026-03-09T06:30:00Z",
        ),
        // Lord Howe moves by half an hour: 02:00 becomes 02:30.
        (
            Tz::Australia__Lord_Howe,
            2,
            15,
            "2026-10-03T12:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-04T15:15:00Z",
        ),
        (Tz::Asia__Kolkata, 2, 30, "2026-03-28T12:00:00Z", "2026-03-28T21:00:00Z", "2026-03-29T21:00:00Z"),
    ] {
        let nightly = nightly(zone, hour, minute);
        let first = nightly.next_due(at(from), None, 0.0).unwrap();
        assert_eq!(first.rfc3339(), at(due).rfc3339(), "{zone}");
        let second = nightly.next_due(first, None, 0.0).unwrap();
        assert_eq!(second.rfc3339(), at(then).rfc3339(), "{zone}");
    }
}

#[test]
fn a_time_that_a_day_has_twice_is_due_once() {
    for (zone, hour, minute, from, due, then) in [
        (Tz::Europe__Berlin, 2, 30, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        (
            Tz::America__New_York,
            1,
            30,
            "2026-10-31T12:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-02T06:30:00Z",
        ),
        (
            Tz::Australia__Lord_Howe,
            1,
            45,
            "2026-04-04T12:00:00Z",
            "2026-04-04T14:45:00Z",
            "2026-04-05T15:15:00Z",
        ),
    ] {
        let nightly = nightly(zone, hour, minute);
        let first = nightly.next_due(at(from), None, 0.0).unwrap();
        assert_eq!(first.rfc3339(), at(due).rfc3339(), "{zone}");
        let second = nightly.next_due(first, None, 0.0).unwrap();
        assert_eq!(second.rfc3339(), at(then).rfc3339(), "{zone}");
    }
}

#[test]
fn missed_due_times_are_caught_up_once() {
    let daily = nightly(Tz::UTC, 3, 0);
    let stored = at("2026-11-01T03:00:00Z");
    let now = at("2026-11-21T12:00:00Z");
    let issued = Some(at("2026-10-31T03:00:00Z"));
    assert_eq!(daily.look(Some(stored), now, issued, 0.0), Decision::Start);
    let next = daily.next_due(now, issued, 0.0).unwrap();
    assert_eq!(next.rfc3339(), "2026-11-22T03:00:00.000Z");
    assert_eq!(daily.look(Some(next), now, issued, 0.0), Decision::Wait);
}

#[test]
fn every_counts_from_the_last_key_and_waits_for_a_first() {
    let monthly = schedule(Cadence::Every(Span(30 * DAY.0)), Tz::UTC);
    let now = at("2026-11-21T12:00:00Z");
    assert_eq!(monthly.look(None, now, None, 0.5), Decision::Wait, "no key: a person runs the first");
    let issued = at("2026-11-01T00:00:00Z");
    assert_eq!(monthly.look(None, now, Some(issued), 0.0), Decision::Move(Some(at("2026-12-01T00:00:00Z"))));
    let old = at("2026-09-01T00:00:00Z");
    let due = monthly.next_due(now, Some(old), 0.0).unwrap();
    assert_eq!(monthly.look(Some(due), now, Some(old), 0.0), Decision::Start, "long due: at once");
}

#[test]
fn the_drawn_jitter_stays() {
    let mut daily = nightly(Tz::UTC, 3, 0);
    daily.jitter = Span::minutes(10);
    let now = at("2026-11-21T12:00:00Z");
    let Decision::Move(Some(due)) = daily.look(None, now, None, 0.7) else { panic!("no due time") };
    assert_eq!(due.rfc3339(), "2026-11-22T03:07:00.000Z");
    // Looks with other fractions leave it alone, also between the scheduled moment and the jittered one.
    for later in ["2026-11-21T12:00:05Z", "2026-11-22T03:00:01Z", "2026-11-22T03:06:59Z"] {
        assert_eq!(daily.look(Some(due), at(later), None, 0.1), Decision::Wait, "{later}");
    }
    assert_eq!(daily.look(Some(due), at("2026-11-22T03:07:00Z"), None, 0.1), Decision::Start);
}

#[test]
fn jitter_never_reaches_the_following_time() {
    let mut often = schedule(cron("*/10 * * * * *"), Tz::UTC);
    often.jitter = Span::hours(1);
    let now = at("2026-11-21T12:00:00Z");
    let due = often.next_due(now, None, 0.999).unwrap();
    assert!(due < now.plus(Span::seconds(20)), "{}", due.rfc3339());
}

#[test]
fn a_window_moves_the_start_but_never_beyond_the_greatest_age() {
    let mut daily = nightly(Tz::Europe__Berlin, 12, 0);
    daily.window = Some(window("02:00", "06:00", &MON_TO_THU));
    // Saturday noon; the next due time, Sunday noon, moves to Monday 02:00 in Berlin.
    let now = at("2026-11-21T11:30:00Z");
    let issued = at("2026-11-20T00:00:00Z");
    let due = daily.next_due(now, Some(issued), 0.0).unwrap();
    assert_eq!(due.rfc3339(), "2026-11-23T01:00:00.000Z");
    // The key would get too old until then: due when the schedule says.
    daily.max_age = Span::hours(48);
    let due = daily.next_due(now, Some(issued), 0.0).unwrap();
    assert_eq!(due.rfc3339(), "2026-11-21T11:00:00.000Z".replace("21T", "22T"));
}

#[test]
fn a_missed_start_waits_for_the_window_unless_the_key_gets_too_old() {
    let mut daily = nightly(Tz::UTC, 3, 0);
    daily.window = Some(window("02:00", "06:00", &MON_TO_THU));
    let stored = at("2026-11-19T03:00:00Z");
    let now = at("2026-11-21T12:00:00Z");
    let issued = Some(at("2026-11-18T04:00:00Z"));
    let moved = Decision::Move(Some(at("2026-11-23T02:00:00Z")));
    assert_eq!(daily.look(Some(stored), now, issued, 0.0), moved);
    daily.max_age = Span::hours(96);
    assert_eq!(daily.look(Some(stored), now, issued, 0.0), Decision::Start);
}

#[test]
fn a_due_time_of_the_last_second_of_a_window_is_not_put_off() {
    let mut daily = nightly(Tz::UTC, 5, 59);
    daily.window = Some(window("02:00", "06:00", &MON_TO_THU));
    let due = at("2026-11-19T05:59:00Z");
    let issued = Some(at("2026-11-18T04:00:00Z"));
    assert_eq!(daily.look(Some(due), at("2026-11-19T06:00:01Z"), issued, 0.0), Decision::Start);
}

#[test]
fn windows_over_midnight_and_over_a_change_of_the_clock() {
    let night = window("22:00", "06:00", &[Weekday::Sat]);
    let berlin = Tz::Europe__Berlin;
    for (moment, open) in [
        ("2026-11-21T20:59:00Z", false),
        ("2026-11-21T21:00:00Z", true),
        ("2026-11-22T04:59:00Z", true),
        ("2026-11-22T05:00:00Z", false),
        ("2026-11-22T21:30:00Z", false),
        // The night of the change back is an hour longer.
        ("2026-10-24T20:00:00Z", true),
        ("2026-10-25T04:59:00Z", true),
        ("2026-10-25T05:00:00Z", false),
    ] {
        assert_eq!(night.is_open(at(moment), berlin), open, "{moment}");
    }
    // A window inside the gap opens after it.
    let gap = window("02:15", "04:00", &[Weekday::Sun]);
    assert!(!gap.is_open(at("2026-03-29T00:59:00Z"), berlin));
    assert!(gap.is_open(at("2026-03-29T01:15:00Z"), berlin));
}

#[test]
fn impossible_due_times_are_counted_anew() {
    let daily = nightly(Tz::UTC, 3, 0);
    let now = at("2026-11-21T12:00:00Z");
    let issued = Some(at("2026-11-10T03:00:00Z"));
    let next = Decision::Move(Some(at("2026-11-22T03:00:00Z")));
    for (what, stored) in [
        ("set while the clock was a year ahead", "2027-11-22T03:00:00Z"),
        ("set while the clock stood at its beginning", "1970-01-02T03:00:00Z"),
        ("older than the key that it asked for", "2026-11-09T03:00:00Z"),
    ] {
        assert_eq!(daily.look(Some(at(stored)), now, issued, 0.0), next, "{what}");
    }
    // A key from the future says nothing, and does not keep the schedule from coming.
    let future = Some(at("2027-11-10T03:00:00Z"));
    assert_eq!(daily.look(Some(at("2026-11-21T03:00:00Z")), now, future, 0.0), Decision::Start);
    // A schedule that was changed to a much shorter one does not wait for the old due time.
    let hourly = schedule(cron("0 0 * * * *"), Tz::UTC);
    let moved = Decision::Move(Some(at("2026-11-21T13:00:00Z")));
    assert_eq!(hourly.look(Some(at("2026-12-01T00:00:00Z")), now, issued, 0.0), moved);
}

#[test]
fn failed_starts_are_tried_again_within_six_hours() {
    let now = at("2026-11-21T12:00:00Z");
    let wait = |failures, fraction| Schedule::retry(now, failures, fraction).since(now);
    assert_eq!((wait(1, 0.0), wait(1, 1.0)), (Span::seconds(150), Span::minutes(5)));
    assert_eq!(wait(3, 1.0), Span::minutes(20));
    assert_eq!(wait(60, 1.0), LONGEST_RETRY);
    let monthly = schedule(cron("0 0 3 1 * *"), Tz::UTC);
    let retry = Schedule::retry(now, 60, 1.0);
    assert_eq!(
        monthly.look(Some(retry), now, None, 0.0),
        Decision::Wait,
        "a retry is no impossible due time"
    );
}

proptest! {
    /// One due time a day, every day of a year, in every zone: none lost, none doubled, each at its wall clock
    /// or right after a gap.
    #[test]
    fn a_nightly_job_runs_once_a_day(zone in 0..ZONES.len(), hour in 0u32..24, minute in 0u32..60) {
        let zone = ZONES[zone];
        let nightly = nightly(zone, hour, minute);
        let start = Timestamp(zone.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap().timestamp_millis() - 1000);
        let end = Timestamp(zone.with_ymd_and_hms(2027, 1, 1, 0, 0, 0).unwrap().timestamp_millis());
        let dues = dues(&nightly, start, end);
        prop_assert_eq!(dues.len(), 365);
        let mut days = std::collections::BTreeSet::new();
        for due in dues {
            let wall = local(due, zone).unwrap();
            prop_assert!(days.insert(wall.date_naive()), "twice on {}", wall);
            let late = i64::from(wall.time().num_seconds_from_midnight()) - i64::from(hour * 3600 + minute * 60);
            prop_assert!((0..=3600).contains(&late), "{}", wall);
        }
    }

    /// Whatever is stored and whatever the clock says: after one look and what it asks for, the rotation waits
    /// for a moment in the future or starts; a moved due time is stable and never in the past for cron.
    #[test]
    fn one_look_settles_it(
        zone in 0..ZONES.len(),
        now in 0i64..4_000_000_000_000,
        stored in proptest::option::of(-1_000_000_000_000i64..6_000_000_000_000),
        issued in proptest::option::of(0i64..5_000_000_000_000),
        fraction in 0.0..1.0f64,
        again in 0.0..1.0f64,
        windowed in any::<bool>(),
    ) {
        let mut daily = nightly(ZONES[zone], 2, 30);
        daily.jitter = Span::minutes(10);
        daily.window = windowed.then(|| window("22:00", "06:00", &MON_TO_THU));
        let (now, issued) = (Timestamp(now), issued.map(Timestamp));
        match daily.look(stored.map(Timestamp), now, issued, fraction) {
            Decision::Move(moved) => {
                let due = moved.unwrap();
                prop_assert!(due > now);
                prop_assert!(due.since(now) < Span::hours(8 * 24));
                prop_assert_eq!(daily.look(Some(due), now, issued, again), Decision::Wait);
                prop_assert_eq!(daily.look(Some(due), due, issued, again), Decision::Start);
            }
            Decision::Wait => prop_assert!(stored.unwrap() > now.0),
            Decision::Start => prop_assert!(stored.unwrap() <= now.0),
        }
    }
}
