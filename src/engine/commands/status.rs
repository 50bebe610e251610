//! What the daemon says of itself: what runs, what comes next, and whether it can write at all.

use crate::domain::rotation::State;
use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::StoreError;

/// The resource whose lease is taken and given back to prove that leases can be had.
const PROBE: &str = "probe:readiness";

/// A picture of all rotations, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Rotations of the configuration.
    pub rotations: usize,
    /// State of each open run, and until when it waits.
    pub running: Vec<(&'static str, Option<Timestamp>)>,
    /// The rotation that is due next, and when.
    pub next: Option<(String, Timestamp)>,
}

impl std::fmt::Display for Status {
    /// One line of prose, as `systemctl status` shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", counted(self.rotations, "rotation"))?;
        match self.running.as_slice() {
            [] => {}
            [(state, until)] => {
                write!(f, ", 1 run in {state}")?;
                if let Some(until) = until {
                    write!(f, " until {}", minute(*until))?;
                }
            }
            many => write!(f, ", {} open", counted(many.len(), "run"))?,
        }
        let parked = self.running.iter().filter(|(state, _)| *state == "parked").count();
        if parked > 0 && self.running.len() > 1 {
            write!(f, " ({parked} parked)")?;
        }
        match &self.next {
            Some((name, at)) => write!(f, ", next rotation {name} {}", minute(*at)),
            None => write!(f, ", nothing scheduled"),
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// To the minute, in UTC.
fn minute(at: Timestamp) -> String {
    let text = at.rfc3339();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.get(..5).unwrap_or_default())
}

/// What runs and what comes next.
pub async fn status(engine: &Engine) -> Result<Status, EngineError> {
    let now = engine.clock().now();
    let open = engine.store().open_runs().await?;
    let rows = engine.store().rotations().await?;
    let running = open.iter().map(|row| {
        let until = match &row.run.state {
            State::Grace { since, .. } => Some(since.ours.plus(row.run.grace())),
            _ => None,
        };
        (row.run.state.word(), until.filter(|at| *at > now))
    });
    let scheduled = rows
        .iter()
        .filter(|row| !row.paused && engine.parts.rotations.contains_key(&row.name))
        .filter_map(|row| Some((row.name.clone(), row.next_due_at?)));
    Ok(Status {
        rotations: engine.parts.rotations.len(),
        running: running.collect(),
        next: scheduled.min_by_key(|(_, at)| *at),
    })
}

/// Proves that the database takes writes and that leases can be had. A probe that another process holds is
/// proof enough.
pub async fn prove_writable(engine: &Engine) -> Result<(), StoreError> {
    let lease = engine.store().acquire(PROBE, &engine.parts.owner, Span::seconds(5)).await?;
    match lease {
        Some(lease) => engine.store().release(&lease).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_prose() {
        let at = Timestamp::parse_rfc3339("2026-12-01T03:00:30Z").unwrap();
        let mut status = Status { rotations: 1, running: Vec::new(), next: None };
        assert_eq!(status.to_string(), "1 rotation, nothing scheduled");
        status.next = Some(("production".to_owned(), at));
        assert_eq!(status.to_string(), "1 rotation, next rotation production 2026-12-01 03:00 UTC");
        status.rotations = 2;
        status.running = vec![("grace", Some(at))];
        status.next = None;
        assert_eq!(
            status.to_string(),
            "2 rotations, 1 run in grace until 2026-12-01 03:00 UTC, nothing scheduled"
        );
        status.running = vec![("grace", Some(at)), ("parked", None)];
        assert_eq!(status.to_string(), "2 rotations, 2 runs open (1 parked), nothing scheduled");
    }
}
