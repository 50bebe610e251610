//! What the system says of this process.

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use crate::meter::{self, Metric, Sample, as_number};

/// `process_*`, as far as `/proc` can be read.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |metric: &'static Metric, value: f64| {
        samples.push(Sample { metric, labels: Vec::new(), value });
    };
    if let Some(status) = Status::read() {
        add(&meter::CPU, status.cpu_seconds);
        add(&meter::RESIDENT, status.resident_bytes);
        add(&meter::VIRTUAL, status.virtual_bytes);
        add(&meter::STARTED, status.started);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        add(&meter::OPEN_FDS, as_number(open.count() as u64));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        add(&meter::MAX_FDS, as_number(soft));
    }
    samples
}

struct Status {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    started: f64,
}

impl Status {
    /// proc(5): fields of `stat` after the name, which may hold anything, are counted from the third.
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(as_number);
        let of_system = |var| sysconf(var).ok().flatten().and_then(|n| u64::try_from(n).ok()).map(as_number);
        let ticks = of_system(SysconfVar::CLK_TCK)?;
        let booted = std::fs::read_to_string("/proc/stat").ok()?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * of_system(SysconfVar::PAGE_SIZE)?,
            started: as_number(booted.trim().parse().ok()?) + field(22)? / ticks,
        })
    }
}
