//! What many looks at a key come to, small enough to be kept for a year: how many there were, how many were answered, and a
//! histogram of how long the answers took. A page has the tallies of a day's hours, or of so many days.

use std::collections::BTreeMap;
use std::fmt;

use super::history::{Summary, part};
use crate::domain::time::{Span, Timestamp};

/// Upper bounds of the histogram, in milliseconds; what takes longer counts to the last.
const BOUNDS: [i64; 28] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000,
    7_000, 10_000, 15_000, 20_000, 30_000, 60_000,
];

/// Looks of some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    looks: u32,
    answered: u32,
    /// Answers by the place of their bound.
    latencies: BTreeMap<u8, u32>,
}

impl Tally {
    /// One look more. How long somebody waited for nothing is no latency.
    pub fn look(&mut self, outcome: &str, latency_ms: i64) {
        self.looks = self.looks.saturating_add(1);
        if outcome == "unreachable" {
            return;
        }
        self.answered = self.answered.saturating_add(1);
        let place = BOUNDS.partition_point(|bound| *bound < latency_ms).min(BOUNDS.len() - 1);
        let count = self.latencies.entry(u8::try_from(place).unwrap_or(u8::MAX)).or_default();
        *count = count.saturating_add(1);
    }

    /// The looks of another time, too.
    pub fn add(&mut self, other: &Self) {
        self.looks = self.looks.saturating_add(other.looks);
        self.answered = self.answered.saturating_add(other.answered);
        for (place, more) in &other.latencies {
            let count = self.latencies.entry(*place).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// Its figures; latencies are the bounds that they stayed within.
    pub fn summary(&self) -> Summary {
        Summary {
            looks: self.looks as usize,
            uptime: (self.looks > 0).then(|| part(self.answered as usize, self.looks as usize)),
            latency_ms_p50: self.percentile(50),
            latency_ms_p95: self.percentile(95),
        }
    }

    /// The bound within which so many of a hundred answers came.
    fn percentile(&self, percent: u64) -> Option<i64> {
        let all: u64 = self.latencies.values().map(|count| u64::from(*count)).sum();
        let rank = (all * percent).div_ceil(100);
        let mut seen = 0;
        for (place, count) in &self.latencies {
            seen += u64::from(*count);
            if seen >= rank {
                return BOUNDS.get(usize::from(*place)).copied();
            }
        }
        None
    }

    /// `96-2/8:80,9:14`: of 96 looks 2 were not answered, 80 within the ninth bound. `None` for another text.
    fn parse(text: &str) -> Option<Self> {
        let (looks, pairs) = text.split_once('/')?;
        let (looks, silent) = looks.split_once('-').unwrap_or((looks, "0"));
        let looks: u32 = looks.parse().ok()?;
        let answered = looks.checked_sub(silent.parse().ok()?)?;
        let pairs = pairs.split(',').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (place, count) = pair.split_once(':')?;
            Some((place.parse().ok()?, count.parse().ok()?))
        };
        Some(Self { looks, answered, latencies: pairs.map(pair).collect::<Option<_>>()? })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> =
            self.latencies.iter().map(|(place, count)| format!("{place}:{count}")).collect();
        write!(f, "{}", self.looks)?;
        if self.answered < self.looks {
            write!(f, "-{}", self.looks - self.answered)?;
        }
        write!(f, "/{}", pairs.join(","))
    }
}

/// How long the tallies of a page are, and how many it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sheet {
    /// The hours of a day.
    Hours,
    /// The days of 32.
    Days,
}

impl Sheet {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hours => "hours",
            Self::Days => "days",
        }
    }

    fn unit(self) -> i64 {
        match self {
            Self::Hours => Span::hours(1).0,
            Self::Days => Span::hours(24).0,
        }
    }

    fn units(self) -> i64 {
        match self {
            Self::Hours => 24,
            Self::Days => 32,
        }
    }

    /// When the page that this moment is on begins.
    pub fn begin(self, at: Timestamp) -> Timestamp {
        let length = self.unit() * self.units();
        Timestamp(at.0.div_euclid(length) * length)
    }

    fn place(self, at: Timestamp) -> u8 {
        u8::try_from(at.0.div_euclid(self.unit()).rem_euclid(self.units())).unwrap_or_default()
    }
}

/// The tallies of one page, by their place on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page(BTreeMap<u8, Tally>);

impl Page {
    /// Reads a page; what cannot be read begins anew.
    pub fn parse(text: &str) -> Self {
        let entry = |entry: &str| {
            let (place, tally) = entry.split_once('=')?;
            Some((place.parse().ok()?, Tally::parse(tally)?))
        };
        Self(text.split(';').filter_map(entry).collect())
    }

    /// One look more, at this moment.
    pub fn look(&mut self, sheet: Sheet, at: Timestamp, outcome: &str, latency_ms: i64) {
        self.0.entry(sheet.place(at)).or_default().look(outcome, latency_ms);
    }

    /// All of the page, which begins at `begin`, that is not over before `since`.
    pub fn since(&self, sheet: Sheet, begin: Timestamp, since: Timestamp) -> Tally {
        let mut all = Tally::default();
        for (place, tally) in &self.0 {
            let ends = begin.plus(Span((i64::from(*place) + 1) * sheet.unit()));
            if ends > since {
                all.add(tally);
            }
        }
        all
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.0.iter().map(|(place, tally)| format!("{place}={tally}")).collect();
        f.write_str(&entries.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_tally_says_what_its_looks_would() {
        let mut tally = Tally::default();
        for n in 1..=20 {
            tally.look("valid", n * 10);
        }
        tally.look("unreachable", 10_000);
        let summary = tally.summary();
        assert_eq!(
            (summary.looks, summary.latency_ms_p50, summary.latency_ms_p95),
            (21, Some(100), Some(200))
        );
        assert!((summary.uptime.unwrap() - 20.0 / 21.0).abs() < 1e-9);
        tally.look("invalid", 999_999);
        assert_eq!(Tally::parse(&tally.to_string()), Some(tally), "it comes back as it was written");
        assert_eq!(Tally::default().summary().uptime, None);
    }

    #[test]
    fn a_page_finds_its_hours_and_days() {
        let (mut hours, mut days) = (Page::default(), Page::default());
        for (moment, outcome) in [
            ("2026-11-28T00:00:00Z", "valid"),
            ("2026-11-28T13:59:59Z", "valid"),
            ("2026-11-28T14:00:00Z", "unreachable"),
        ] {
            hours.look(Sheet::Hours, at(moment), outcome, 80);
            days.look(Sheet::Days, at(moment), outcome, 80);
        }
        let begin = Sheet::Hours.begin(at("2026-11-28T14:30:00Z"));
        assert_eq!(begin, at("2026-11-28T00:00:00Z"));
        let since = |page: &Page, sheet, begin, since| page.since(sheet, begin, at(since)).summary().looks;
        assert_eq!(since(&hours, Sheet::Hours, begin, "2026-11-28T13:30:00Z"), 2);
        assert_eq!(since(&hours, Sheet::Hours, begin, "2026-11-28T14:00:00Z"), 1);
        let begin = Sheet::Days.begin(at("2026-11-28T14:30:00Z"));
        assert_eq!(since(&days, Sheet::Days, begin, "2026-11-28T23:59:59Z"), 3);
        assert_eq!(since(&days, Sheet::Days, begin, "2026-11-29T00:00:00Z"), 0);
        assert_eq!(Page::parse(&hours.to_string()), hours);
        assert_eq!(Page::parse("1=2/3:2;rubbish;x=1/;4=1;5=1-2/"), Page::parse("1=2/3:2"));
    }

    /// The figures of interface.md, [retention]: a year of 10,000 keys has 20 KB for each.
    #[test]
    fn a_year_of_looks_is_small() {
        let mut days = Page::default();
        for look in 0..32 * 96 {
            let moment = at("2026-01-01T00:00:00Z").plus(Span::minutes(look * 15));
            days.look(Sheet::Days, moment, "valid", 80 + look % 300);
        }
        let length = days.to_string().len();
        assert!(length < 32 * 31, "{length}");
    }
}
