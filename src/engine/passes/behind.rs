//! Tests that come late: more keys of a provider are due than its pace and the places of all processes let through. The
//! keys are looked at all the same, those that wait longest first, so each is looked at less often, and people are told.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Lease};

const MEMORY: &str = "tests behind";
/// Late by less than this, or for less long, is nothing to be told of: after a standstill all keys are late for a while.
const LEAST: Span = Span::minutes(5);

/// Since when tests of each provider are late.
type Late = BTreeMap<String, Timestamp>;

/// Opens and resolves the alerts, so that they say what is so now.
pub(crate) async fn tell(engine: &Engine, lease: &Lease) -> Result<(), EngineError> {
    let store = &engine.parts.store;
    let now = engine.clock().now();
    let before: Late = store.memory_or_anew(MEMORY).await?;
    let told = store.open_subjects(Kind::TestsBehind).await?;
    let (mut late, mut changes) = (Late::new(), Vec::new());
    for waiting in store.waiting().await? {
        let provider = waiting.lane.provider;
        if !is_late(waiting.first, now, engine.parts.tests.interval) {
            continue;
        }
        let since = before.get(&provider).copied().filter(|at| *at <= now).unwrap_or(now);
        let subject = Subject::Provider(provider.clone());
        let first = late.insert(provider.clone(), since).is_none();
        if first && now.since(since) >= LEAST && !told.contains(&subject) {
            let detail = text(&provider, lateness(waiting.first, since, now, engine.parts.tests.interval));
            changes.push(Change::Alert(NewAlert::new(Kind::TestsBehind, subject, detail)));
        }
    }
    let over = told.into_iter().filter(|subject| !late.keys().any(|name| is_of(subject, name)));
    changes.extend(over.map(|subject| Change::Resolve { kind: Kind::TestsBehind, subject }));
    if late != before {
        changes.push(Change::Remember { subject: MEMORY.to_owned(), doc: json!(late) });
    }
    if changes.is_empty() { Ok(()) } else { Ok(store.commit(lease, &changes).await?) }
}

fn is_of(subject: &Subject, provider: &str) -> bool {
    matches!(subject, Subject::Provider(name) if name == provider)
}

/// The first key of a lane is late by a whole period of the schedule.
fn is_late(first: Timestamp, now: Timestamp, period: Span) -> bool {
    now.since(first) > period.max(LEAST)
}

/// How late they are. What was never looked at, or noted long ago by a clock that was wrong, is late since it was seen to be.
fn lateness(first: Timestamp, since: Timestamp, now: Timestamp, period: Span) -> Span {
    now.since(first).min(Span(now.since(since).0.saturating_add(period.max(LEAST).0)))
}

fn text(provider: &str, late: Span) -> String {
    format!(
        "Tests of keys of provider {provider} are {} minutes late: more of them are due than host_spacing and \
         per_provider_concurrency let through. Each is tested all the same, less often than [tests] schedule says.",
        late.0 / 60_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_period_is_late_and_moments_never_are() {
        let now = Timestamp(1_800_000_000_000);
        let behind = |late: Span, period| is_late(now.plus(Span(-late.0)), now, period);
        assert!(!behind(Span::minutes(14), Span::minutes(15)));
        assert!(behind(Span::minutes(16), Span::minutes(15)));
        assert!(!behind(Span::minutes(4), Span::seconds(2)));
        assert!(!behind(Span::minutes(-60), Span::seconds(2)), "not due yet");
    }

    #[test]
    fn late_since_1970_is_late_since_it_was_seen() {
        let now = Timestamp(1_800_000_000_000);
        let (seen, period) = (now.plus(Span::minutes(-6)), Span::minutes(15));
        let late = |first| lateness(first, seen, now, period);
        assert_eq!(late(Timestamp(0)), Span::minutes(21));
        assert_eq!(late(now.plus(Span::minutes(-18))), Span::minutes(18));
    }
}
