//! What counts as proof that Vercel holds what we sent.
//!
//! An entry whose value can be read is proved by the value. A `sensitive` one never shows it: its `updatedAt`
//! (milliseconds) must have moved since before our write, to the time that the answer to our write gave. Any
//! other time is somebody else's write. What cannot be told: a write of somebody else within [`SETTLING_MS`]
//! after ours, before our first look.

use super::evidence::{Evidence, Written};
use super::variables::Variable;
use crate::destination::Standing;
use crate::domain::time::Timestamp;

/// An answer and the listing may differ by this many milliseconds on the time of one write.
const SETTLING_MS: i64 = 2000;

/// What an entry shows. `equal`: whether its value is the delivered one, where it can be read. `written`: our
/// record of it, when there is evidence of a publish of this very generation.
pub(super) fn judge(
    entry: &Variable,
    equal: Option<bool>,
    ours: bool,
    written: Option<&Written>,
) -> Standing {
    match (equal, written) {
        (Some(true), _) => Standing::Confirmed,
        _ if !ours => Standing::Unprovable,
        (_, None) => Standing::Drift(format!("the entry {} is not the one that was written", entry.id)),
        (Some(false), Some(written)) if written.proved.is_none() && !moved(entry, written) => {
            Standing::Accepted("Vercel took the write and still gives the older value".to_owned())
        }
        (Some(false), Some(_)) => Standing::Drift(format!("another value was written{}", at(entry))),
        (None, Some(written)) => by_time(entry, written),
    }
}

/// What it means that a target has no entry: gone, unless a first write of ours has yet to show.
pub(super) fn absent(ours: Option<&Evidence>) -> Standing {
    match ours {
        Some(sent) if sent.proved_at().is_none() => {
            Standing::Accepted("Vercel took the write and shows no such variable".to_owned())
        }
        _ => Standing::Missing,
    }
}

fn by_time(entry: &Variable, written: &Written) -> Standing {
    let seen = entry.written_at();
    match (seen, written.proved, written.sent) {
        (None, _, _) => Standing::Accepted("Vercel does not say when it was last written".to_owned()),
        (Some(seen), Some(kept), _) if seen == kept => Standing::Confirmed,
        (Some(_), Some(_), _) => {
            Standing::Drift(format!("somebody wrote it{}, after our own write", at(entry)))
        }
        (Some(_), None, _) if !moved(entry, written) => {
            Standing::Accepted("Vercel took the write and still shows the time of the one before".to_owned())
        }
        (Some(seen), None, Some(sent)) if (seen - sent).abs() > SETTLING_MS => {
            Standing::Drift(format!("somebody wrote it{}, not at the time of our own write", at(entry)))
        }
        (Some(_), None, _) => Standing::Confirmed,
    }
}

fn moved(entry: &Variable, written: &Written) -> bool {
    entry.written_at() != written.before
}

fn at(entry: &Variable) -> String {
    entry.written_at().map(|at| format!(" at {}", Timestamp(at).rfc3339())).unwrap_or_default()
}

/// The standing of several entries: the first that is not proved, the worst before the less bad.
pub(super) fn together(standings: Vec<Standing>) -> Standing {
    let rank = |standing: &Standing| match standing {
        Standing::Missing => 0,
        Standing::Drift(_) => 1,
        Standing::Accepted(_) => 2,
        Standing::Unprovable => 3,
        Standing::Confirmed | Standing::Held(_) | Standing::Effective => 4,
    };
    standings.into_iter().min_by_key(rank).unwrap_or(Standing::Missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str, updated_at: Option<i64>) -> Variable {
        serde_json::from_value(json!({"id": "1", "type": kind, "updatedAt": updated_at})).unwrap()
    }

    fn written(before: Option<i64>, sent: Option<i64>, proved: Option<i64>) -> Written {
        Written { id: "1".into(), before, sent, proved }
    }

    fn word(standing: &Standing) -> &'static str {
        match standing {
            Standing::Accepted(_) => "accepted",
            Standing::Confirmed => "confirmed",
            Standing::Drift(_) => "drift",
            Standing::Unprovable => "unprovable",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readable_entries_are_proved_by_value() {
        let rows = [
            (true, true, Some(written(Some(5), Some(9), None)), 5, "confirmed"),
            (true, false, None, 9, "confirmed"),
            (false, false, None, 9, "unprovable"),
            (false, true, None, 9, "drift"),
            (false, true, Some(written(Some(5), Some(9), None)), 5, "accepted"),
            (false, true, Some(written(Some(5), Some(9), None)), 9, "drift"),
            (false, true, Some(written(Some(5), Some(9), Some(9))), 9, "drift"),
        ];
        for (equal, ours, written, seen, expected) in rows {
            let standing = judge(&entry("encrypted", Some(seen)), Some(equal), ours, written.as_ref());
            assert_eq!(word(&standing), expected, "{equal} {ours} {written:?} {seen}");
        }
    }

    #[test]
    fn sensitive_entries_are_proved_by_time() {
        let rows = [
            (Some(5), Some(9000), None, Some(9000), "confirmed"),
            (Some(5), Some(9000), None, Some(9001), "confirmed"),
            (None, Some(9000), None, Some(9000), "confirmed"),
            (Some(5), None, None, Some(9000), "confirmed"),
            (Some(5), Some(9000), None, Some(5), "accepted"),
            (Some(5), Some(5), None, Some(5), "accepted"),
            (Some(5), Some(9000), None, None, "accepted"),
            (Some(5), Some(9000), None, Some(11_001), "drift"),
            (Some(5), Some(9000), Some(9000), Some(9000), "confirmed"),
            (Some(5), Some(9000), Some(9000), Some(9001), "drift"),
        ];
        for (before, sent, proved, seen, expected) in rows {
            let written = written(before, sent, proved);
            let standing = judge(&entry("sensitive", seen), None, true, Some(&written));
            assert_eq!(word(&standing), expected, "{written:?} {seen:?}");
            let other = judge(&entry("sensitive", seen), None, false, Some(&written));
            assert_eq!(other, Standing::Unprovable);
        }
    }

    #[test]
    fn the_worst_entry_counts() {
        use Standing::{Accepted, Confirmed, Drift, Missing, Unprovable};
        let (accepted, drift) = (Accepted(String::new()), Drift(String::new()));
        assert_eq!(together(vec![Confirmed, accepted.clone(), Confirmed]), accepted);
        assert_eq!(together(vec![accepted.clone(), drift.clone(), Confirmed]), drift);
        assert_eq!(together(vec![drift, Missing]), Missing);
        assert_eq!(together(vec![Confirmed, Unprovable]), Unprovable);
        assert_eq!(together(vec![Confirmed]), Confirmed);
        assert_eq!(together(vec![]), Missing);
    }
}
