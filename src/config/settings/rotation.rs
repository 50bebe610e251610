//! `[[rotations]]`

use chrono::{NaiveTime, Weekday};
use chrono_tz::Tz;

use super::at::{At, Read};
use super::values::{BadValue, CronExpr, span_text};
use super::whole::Known;
use crate::config::file::{self, Day, DurationText, Holds, NameText};
use crate::domain::key::MicroUsd;
use crate::domain::name::Name;
use crate::domain::time::Span;

pub use crate::config::file::{LimitReset, OnInvalid, Probe};

/// `[[rotations]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Its name, unique among rotations.
    pub name: Name,
    /// An existing account.
    pub account: Name,
    /// When a run is due.
    pub schedule: Schedule,
    /// The zone of a cron schedule and of the window.
    pub timezone: Tz,
    /// When a run should start; a preference.
    pub window: Option<Window>,
    /// A key never gets older than this, window or not.
    pub max_age: Span,
    /// A run starts up to this much later than it is due.
    pub jitter: Span,
    /// Existing destinations that hold regular keys, each named once, in no other rotation.
    pub destinations: Vec<Name>,
    /// Least time between publishing and disabling.
    pub grace: Span,
    /// The old key must not have been used for this long.
    pub quiet: Span,
    /// Time between disabling and deleting.
    pub observe: Span,
    /// An alert opens when both keys are alive for longer than this; at least `grace`.
    pub max_overlap: Span,
    /// A leaked key that lives longer than this is told as critical.
    pub max_exposure: Span,
    /// How long a new key may answer 401.
    pub propagation: Span,
    /// Wait before the second listing after a creation of unknown outcome.
    pub settle: Span,
    /// What to do when the current key is dead.
    pub on_invalid: OnInvalid,
    /// Least time between two healing runs.
    pub heal_cooldown: Span,
    /// How a new key is proved.
    pub probe: Probe,
    /// Limits of new keys.
    pub key: KeyPolicy,
}

/// When runs are due.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// `schedule`: at these times.
    Cron {
        /// In the rotation's zone.
        expr: CronExpr,
    },
    /// `every`: this long after the last key was issued.
    Every(Span),
}

/// A maintenance window in the rotation's zone. When `end` is before `start` it ends on the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// First minute, wall clock.
    pub start: NaiveTime,
    /// First minute after it, wall clock; never equal to `start`.
    pub end: NaiveTime,
    /// Days on which it starts, Monday first; at least one.
    pub days: Vec<Weekday>,
}

/// What a successor is issued with; `None` is inherited from its predecessor (R10).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPolicy {
    /// Spending limit.
    pub limit: Option<MicroUsd>,
    /// How often the limit starts anew.
    pub limit_reset: Option<LimitReset>,
    /// Whether own-vendor-key usage counts against the limit.
    pub include_byok_in_limit: Option<bool>,
}

impl Rotation {
    pub(super) fn read(file: &file::Rotation, known: &Known<'_>, at: &At<'_>) -> Read<Self> {
        let name = at.field("name").name(&file.name);
        let account = at.field("account").known(&file.account, "account", &known.accounts);
        let timezone = at.field("timezone").zone(&file.timezone);
        let window = file.window.as_ref().map(|window| Window::read(window, &at.field("window"))).transpose();
        let destinations = at
            .field("destinations")
            .each(&file.destinations, |name, at| regular_destination(name, known, at));
        let times = Times::read(file, at);
        let probe = read_probe(&file.probe, &at.field("probe"));
        let key = KeyPolicy::read(&file.key, &at.field("key"));
        let times = times?;
        Ok(Self {
            name: name?,
            account: account?,
            schedule: times.schedule,
            timezone: timezone?,
            window: window?,
            max_age: times.max_age,
            jitter: times.jitter,
            destinations: destinations?,
            grace: times.grace,
            quiet: times.quiet,
            observe: times.observe,
            max_overlap: times.max_overlap,
            max_exposure: times.max_exposure,
            propagation: times.propagation,
            settle: times.settle,
            on_invalid: file.on_invalid,
            heal_cooldown: times.heal_cooldown,
            probe: probe?,
            key: key?,
        })
    }
}

fn regular_destination(text: &NameText, known: &Known<'_>, at: &At<'_>) -> Read<Name> {
    let name = at.known(text, "destination", &known.destinations)?;
    if known.holds(text.as_str()) == Some(Holds::Provisioning) {
        return Err(at.problem(
            format!("destination {:?} holds provisioning keys", text.as_str()),
            "a rotation publishes regular keys: name a destination with holds = \"regular\"",
        ));
    }
    Ok(name)
}

/// Everything of a rotation that is measured in time.
struct Times {
    schedule: Schedule,
    max_age: Span,
    jitter: Span,
    grace: Span,
    quiet: Span,
    observe: Span,
    max_overlap: Span,
    max_exposure: Span,
    propagation: Span,
    settle: Span,
    heal_cooldown: Span,
}

impl Times {
    fn read(file: &file::Rotation, at: &At<'_>) -> Read<Self> {
        let schedule = Schedule::read(file, at);
        let max_age = at.field("max_age").positive_span(filled(file.max_age.as_ref()));
        let jitter = at.field("jitter").span(filled(file.jitter.as_ref()));
        let grace = at.field("grace").span(&file.grace);
        let quiet = at.field("quiet").span(&file.quiet);
        let observe = at.field("observe").span(&file.observe);
        let max_overlap = at.field("max_overlap").positive_span(filled(file.max_overlap.as_ref()));
        let max_exposure = at.field("max_exposure").span(&file.max_exposure);
        let propagation = at.field("propagation").span(&file.propagation);
        let settle = at.field("settle").span(&file.settle);
        let heal_cooldown = at.field("heal_cooldown").span(&file.heal_cooldown);
        let times = Self {
            schedule: schedule?,
            max_age: max_age?,
            jitter: jitter?,
            grace: grace?,
            quiet: quiet?,
            observe: observe?,
            max_overlap: max_overlap?,
            max_exposure: max_exposure?,
            propagation: propagation?,
            settle: settle?,
            heal_cooldown: heal_cooldown?,
        };
        times.agree(at)
    }

    /// No two of them contradict each other; where one is a default, it gave way already.
    fn agree(self, at: &At<'_>) -> Read<Self> {
        for (span, field) in [(self.grace, "grace"), (self.quiet, "quiet")] {
            if self.max_overlap < span {
                return Err(at.field("max_overlap").problem(
                    format!(
                        "it is shorter than {field} ({}), so every run would raise an alert",
                        span_text(span)
                    ),
                    "make it longer than grace and quiet, or leave it out",
                ));
            }
        }
        let Schedule::Every(every) = self.schedule else { return Ok(self) };
        if self.max_age < every {
            let hint = "make it longer than every, or leave it out";
            return Err(at
                .field("max_age")
                .problem("it is shorter than every, so every key would get too old", hint));
        }
        if self.jitter >= every {
            let hint = "make it a small part of every, or leave it out";
            return Err(at.field("jitter").problem("it is not shorter than every", hint));
        }
        Ok(self)
    }
}

fn filled(text: Option<&DurationText>) -> &DurationText {
    text.expect("ConfigFile::complete filled in what was left out")
}

impl Schedule {
    fn read(file: &file::Rotation, at: &At<'_>) -> Read<Self> {
        match (&file.schedule, &file.every) {
            (Some(expr), None) => at.field("schedule").cron(expr).map(|expr| Self::Cron { expr }),
            (None, Some(every)) => at.field("every").positive_span(every).map(Self::Every),
            (Some(_), Some(_)) => Err(at
                .field("every")
                .problem("schedule and every contradict each other", "keep one of the two")),
            (None, None) => Err(at.problem(
                "neither schedule nor every says when a new key is due",
                "write schedule = \"0 0 3 1 * *\" or every = \"30d\"",
            )),
        }
    }
}

impl Window {
    fn read(file: &file::Window, at: &At<'_>) -> Read<Self> {
        let start = at.field("start").value(clock_time(&file.start));
        let end = at.field("end").value(clock_time(&file.end));
        let mut days = file.days.clone();
        days.sort();
        days.dedup();
        let window = Self { start: start?, end: end?, days: days.into_iter().map(weekday).collect() };
        if window.start == window.end {
            let hint = "make it longer, or leave the window out for any time";
            return Err(at.field("end").problem("the window ends when it starts", hint));
        }
        Ok(window)
    }
}

fn clock_time(text: &str) -> Result<NaiveTime, BadValue> {
    let two_and_two = text.len() == 5 && text.as_bytes()[2] == b':';
    let time = NaiveTime::parse_from_str(text, "%H:%M").ok().filter(|_| two_and_two);
    time.ok_or_else(|| {
        BadValue::new(format!("{text:?} is not a time of day"), "write it like \"02:00\", up to \"23:59\"")
    })
}

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Mon,
        Day::Tue => Weekday::Tue,
        Day::Wed => Weekday::Wed,
        Day::Thu => Weekday::Thu,
        Day::Fri => Weekday::Fri,
        Day::Sat => Weekday::Sat,
        Day::Sun => Weekday::Sun,
    }
}

fn read_probe(probe: &Probe, at: &At<'_>) -> Read<Probe> {
    if let Probe::Chat(model) = probe {
        at.field("chat").word(model)?;
    }
    Ok(probe.clone())
}

impl KeyPolicy {
    fn read(file: &file::KeyPolicy, at: &At<'_>) -> Read<Self> {
        let limit = file.limit.map(MicroUsd::from_usd);
        if limit.is_some_and(|limit| limit.0 <= 0) {
            let hint = "write a limit in USD above 0, or leave it out to inherit the predecessor's";
            return Err(at.field("limit").problem("a key with such a limit could not be used", hint));
        }
        Ok(Self { limit, limit_reset: file.limit_reset, include_byok_in_limit: file.include_byok_in_limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{ACCOUNT, assert_table, settings};

    const EVERY: &str = "every = \"30d\"\n";

    /// A rotation with these lines, after an account.
    fn rotation(lines: &str) -> String {
        format!("{ACCOUNT}[[rotations]]\nname = \"production\"\naccount = \"main\"\n{lines}")
    }

    fn read(lines: &str) -> Rotation {
        settings(&rotation(lines)).rotations.remove(0)
    }

    #[test]
    fn has_the_defaults_of_the_interface() {
        let rotation = read(EVERY);
        let day = Span::hours(24);
        assert_eq!(rotation.schedule, Schedule::Every(Span::hours(30 * 24)));
        assert_eq!((rotation.timezone, rotation.window), (Tz::UTC, None));
        assert_eq!((rotation.max_age, rotation.jitter), (Span::hours(45 * 24), Span::minutes(10)));
        assert_eq!((rotation.grace, rotation.quiet, rotation.observe), (day, day, day));
        assert_eq!((rotation.max_overlap, rotation.propagation), (Span::hours(7 * 24), Span::minutes(2)));
        assert_eq!((rotation.settle, rotation.heal_cooldown), (Span::seconds(15), Span::hours(1)));
        assert_eq!((rotation.on_invalid, rotation.probe), (OnInvalid::Rotate, Probe::Key));
        assert_eq!((rotation.key, rotation.destinations), (KeyPolicy::default(), Vec::new()));
    }

    #[test]
    fn defaults_give_way_to_what_is_given() {
        assert_eq!(read("every = \"60d\"").max_age, Span::hours(90 * 24));
        assert_eq!(read("every = \"60d\"\nmax_age = \"60d\"").max_age, Span::hours(60 * 24));
        assert_eq!(read("every = \"5m\"").jitter, Span::seconds(30));
        assert_eq!(read("every = \"30d\"\ngrace = \"8d\"").max_overlap, Span::hours(16 * 24));
        assert_eq!(read("every = \"30d\"\nquiet = \"8d\"").max_overlap, Span::hours(16 * 24));
    }

    #[test]
    fn reads_schedules_windows_probes_and_limits() {
        let rotation = read(
            "schedule = \"0 0 3 1 * *\"\ntimezone = \"Europe/Berlin\"\n\
             window = { start = \"22:00\", end = \"06:00\", days = [\"Tue\", \"Mon\", \"Tue\"] }\n\
             probe = { chat = \"model/name\" }\nkey = { limit = 100, limit_reset = \"monthly\" }\n",
        );
        assert!(matches!(&rotation.schedule, Schedule::Cron { expr } if expr.as_str() == "0 0 3 1 * *"));
        assert_eq!(rotation.timezone, Tz::Europe__Berlin);
        let window = rotation.window.unwrap();
        assert_eq!(
            (window.start.to_string(), window.end.to_string()),
            ("22:00:00".to_owned(), "06:00:00".to_owned())
        );
        assert_eq!(window.days, [Weekday::Mon, Weekday::Tue]);
        assert_eq!(rotation.probe, Probe::Chat("model/name".to_owned()));
        let limit = Some(MicroUsd::from_usd(100.0));
        assert_eq!(
            rotation.key,
            KeyPolicy { limit, limit_reset: Some(LimitReset::Monthly), include_byok_in_limit: None }
        );
    }

    #[test]
    fn a_window_without_days_is_open_every_day() {
        let window =
            read(&format!("{EVERY}window = {{ start = \"02:00\", end = \"06:00\" }}")).window.unwrap();
        assert_eq!(window.days.len(), 7);
    }

    #[test]
    fn refuses_contradictions() {
        let files = [
            rotation(""),
            rotation("schedule = \"0 0 3 1 * *\"\nevery = \"30d\""),
            rotation("every = \"30d\"\nmax_age = \"20d\""),
            rotation("every = \"1h\"\njitter = \"1h\""),
            rotation("every = \"30d\"\nmax_overlap = \"1h\""),
            rotation("every = \"30d\"\nquiet = \"8d\"\nmax_overlap = \"7d\""),
            rotation("every = \"30d\"\nwindow = { start = \"02:00\", end = \"02:00\" }"),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_values_all_at_once() {
        let files = [
            rotation(
                "every = \"0d\"\ntimezone = \"Mars\"\nmax_age = \"0s\"\njitter = \"x\"\ngrace = \"x\"\nquiet = \"x\"\nobserve = \"x\"\nmax_overlap = \"0s\"\npropagation = \"x\"\nsettle = \"x\"\nheal_cooldown = \"x\"\nkey = { limit = 0.0000001 }\nprobe = { chat = \"\" }\n",
            ),
            rotation("schedule = \"0 3 1 * *\"\nwindow = { start = \"2:00\", end = \"24:00\" }"),
            rotation("every = \"30d\"\nkey = { limit = -1 }"),
            rotation("every = \"30d\"\nkey = { limit_reset = \"yearly\" }"),
            rotation("every = \"30d\"\non_invalid = \"page\""),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn accounts_and_destinations_exist_and_hold_regular_keys() {
        let destinations = "[[destinations]]\nname = \"github-production\"\ntype = \"github\"\nrepository = \"a/b\"\nsecret = \"A\"\ntoken = \"env:T\"\nholds = \"provisioning\"";
        let files = [
            rotation(EVERY).replace("account = \"main\"", "account = \"mian\""),
            rotation(EVERY).replace("production", "Production"),
            format!("[[rotations]]\nname = \"a\"\naccount = \"main\"\n{EVERY}"),
            rotation(&format!(
                "{EVERY}destinations = [\n  \"github-prod\",\n  \"vercel\",\n]\n{destinations}"
            )),
            rotation(&format!("{EVERY}destinations = [\"github-production\"]\n{destinations}")),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }
}
