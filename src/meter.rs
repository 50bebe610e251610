//! What is counted and measured for `/metrics`: the one list of it (interface.md §6, docs/metrics.md), and the counters of
//! this process. What the store knows is read from there at the scrape, and counted nowhere else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One metric.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it is, in one sentence.
    pub help: &'static str,
}

/// How values of a metric behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Seconds, counted by [`BUCKETS`].
    Histogram,
}

impl Kind {
    /// The word in both formats.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A value with what its labels are.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of which metric.
    pub metric: &'static Metric,
    /// In the order of [`Metric::labels`].
    pub labels: Vec<String>,
    /// In the unit that the name says.
    pub value: f64,
}

/// The upper bounds of all histograms, in seconds.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// Every metric.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    KEYS Gauge "rekeyd_keys" ["provider", "status"] "Stored keys by what their last test showed.";
    KEY_TESTS Counter "rekeyd_key_test_total" ["provider", "verdict"] "Tests of stored keys by this process, by what they showed.";
    KEY_TEST_SECONDS Histogram "rekeyd_key_test_seconds" [] "How long tests of stored keys by this process took.";
    KEY_ISSUED Gauge "rekeyd_key_issued_timestamp_seconds" ["rotation"] "When the current key was issued or taken over.";
    ROTATION_DUE Gauge "rekeyd_rotation_due_timestamp_seconds" ["rotation"] "When the next run is due.";
    ROTATION_LAST_SUCCESS Gauge "rekeyd_rotation_last_success_timestamp_seconds" ["rotation"] "When a run last ended well.";
    ROTATION_RUNS Counter "rekeyd_rotation_runs_total" ["rotation", "outcome"] "Runs that are over, of all replicas.";
    RUN_STATE Gauge "rekeyd_run_state" ["rotation", "state"] "1 for the state in which an open run is.";
    EFFECTS Counter "rekeyd_effects_total" ["kind", "outcome"] "Calls that changed something outside, of all replicas.";
    EFFECTS_UNKNOWN Gauge "rekeyd_effects_unknown" [] "Calls of which nobody knows yet whether they did what they should.";
    USABLE_KEYS Gauge "rekeyd_account_usable_keys" ["account"] "Stored keys of an account that are active, valid and not on their way out.";
    FROZEN Gauge "rekeyd_frozen" ["account"] "1 while nothing may be changed at the account.";
    DESTINATION_GENERATION Gauge "rekeyd_destination_generation" ["destination"] "The generation that was last written there.";
    DESTINATION_LAG Gauge "rekeyd_destination_lag" ["destination"] "Generations that it is behind the current key.";
    ALERTS_OPEN Gauge "rekeyd_alerts_open" ["kind", "severity"] "Open alerts.";
    NOTICES_PENDING Gauge "rekeyd_notices_pending" [] "Notices that are not delivered yet.";
    NOTICE_OLDEST Gauge "rekeyd_notice_oldest_timestamp_seconds" [] "When the oldest of them was written.";
    PASS_LAST_SUCCESS Gauge "rekeyd_pass_last_success_timestamp_seconds" ["pass"] "When a pass of this process last came to its end.";
    FENCE_REJECTIONS Counter "rekeyd_fence_rejections_total" [] "Writes of this process that were refused because another had taken over.";
    HTTP_REQUESTS Counter "rekeyd_http_requests_total" ["route", "status"] "Requests that this process answered.";
    HTTP_SECONDS Histogram "rekeyd_http_request_seconds" [] "How long answers of this process took to begin.";
    BUILD_INFO Gauge "rekeyd_build_info" ["version"] "1.";
    CPU Counter "process_cpu_seconds_total" [] "Processor time of this process.";
    OPEN_FDS Gauge "process_open_fds" [] "File descriptors that are open.";
    MAX_FDS Gauge "process_max_fds" [] "File descriptors that may be open.";
    RESIDENT Gauge "process_resident_memory_bytes" [] "Memory that is in use.";
    VIRTUAL Gauge "process_virtual_memory_bytes" [] "Addresses that are taken.";
    STARTED Gauge "process_start_time_seconds" [] "When this process began.";
}

/// A histogram so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// How many were at most as long as each of [`BUCKETS`].
    pub counts: [u64; BUCKETS.len()],
    /// How many there were.
    pub count: u64,
    /// How long they took together, in seconds.
    pub sum: f64,
}

#[derive(Default)]
struct Meter {
    counts: BTreeMap<(&'static Metric, Vec<String>), u64>,
    times: BTreeMap<&'static Metric, Times>,
}

static METER: Mutex<Meter> = Mutex::new(Meter { counts: BTreeMap::new(), times: BTreeMap::new() });

fn meter() -> MutexGuard<'static, Meter> {
    METER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more. Labels take few values, and never what a stranger may choose.
pub fn count(metric: &'static Metric, labels: &[&str]) {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    *meter().counts.entry((metric, labels)).or_default() += 1;
}

/// It took so long.
pub fn time(metric: &'static Metric, seconds: f64) {
    let mut meter = meter();
    let times = meter.times.entry(metric).or_default();
    for (count, bound) in times.counts.iter_mut().zip(BUCKETS) {
        *count += u64::from(seconds <= bound);
    }
    times.count += 1;
    times.sum += seconds;
}

/// What was counted since the process began.
pub fn counted() -> Vec<Sample> {
    let meter = meter();
    let sample = |((metric, labels), count): (&(&'static Metric, Vec<String>), &u64)| Sample {
        metric,
        labels: labels.clone(),
        value: as_number(*count),
    };
    meter.counts.iter().map(sample).collect()
}

/// What was measured since the process began; nothing where it never was.
pub fn timed(metric: &'static Metric) -> Times {
    meter().times.get(metric).cloned().unwrap_or_default()
}

/// Exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "a metric is a double in both formats")]
pub fn as_number(count: u64) -> f64 {
    count as f64
}
