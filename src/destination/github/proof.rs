//! What counts as proof that GitHub holds what we sent, although it never shows a value.
//!
//! The rule (rotation.md, "confirmed"): after the `PUT`, `updated_at` is at or after the `Date` of the
//! public-key answer that preceded it; that exact value is kept, and any other value later is drift.
//!
//! `updated_at` has whole seconds, which leaves three holes that the bare rule would call proof:
//!
//! 1. *A write of somebody else in the same second, before ours, and ours swallowed* (fault 16). So
//!    `updated_at` is read before the `PUT` as well, and must have moved. When it has not, because both writes
//!    fell into one second, nothing can tell the cases apart: the look answers *accepted*, and the publish is
//!    repeated. To make that rare, a publish that finds itself in that second waits until it is over.
//! 2. *A write of somebody else between our `PUT` and the first look.* The `PUT`'s own `Date` bounds ours
//!    from above: what was changed later than [`SETTLING`] after it is theirs, hence drift.
//! 3. *A write of somebody else within the same second after ours*, or inside that bound: cannot be seen.
//!    The same is true of any later look: a second write within the kept second is invisible. This hole stays.

use serde::{Deserialize, Serialize};

use crate::destination::Standing;
use crate::domain::time::{Span, Timestamp};

/// How far GitHub's database clock may run ahead of the `Date` of its front end.
const SETTLING: Span = Span::seconds(10);

/// The grain of `updated_at` and of `Date`.
pub(super) const SECOND: Span = Span::seconds(1);

/// True when a write now could carry the same `updated_at` as the one before it.
pub(super) fn same_second(before: Option<&str>, date: Timestamp) -> bool {
    let before = before.and_then(Timestamp::parse_rfc3339);
    before.is_some_and(|before| (0..=SECOND.0).contains(&before.since(date).0))
}

/// What is remembered of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// The generation that was sent.
    pub(super) generation: i64,
    /// `Date` of the public-key answer before the `PUT`.
    pub(super) key_date: String,
    /// `Date` of the `PUT`'s answer.
    pub(super) put_date: Option<String>,
    /// `updated_at` before the `PUT`; `None` when there was no such secret.
    pub(super) before: Option<String>,
    /// `updated_at` once it proved our write.
    pub(super) updated_at: Option<String>,
    /// Whether the dispatch event for this write was sent.
    #[serde(default)]
    pub(super) dispatched: bool,
}

/// What `updated_at` proves about `generation`, and the evidence to keep.
pub(super) fn judge(generation: i64, evidence: Option<Evidence>, seen: &str) -> (Standing, Option<Evidence>) {
    let Some(evidence) = evidence else { return (Standing::Unprovable, None) };
    let standing = match &evidence.updated_at {
        // Not drift either: a write of ours whose answer was lost leaves the evidence of the one before.
        _ if evidence.generation != generation => Standing::Unprovable,
        Some(kept) if !same(kept, seen) => {
            Standing::Drift(format!("somebody wrote it at {seen}; our own write was at {kept}"))
        }
        Some(_) => Standing::Confirmed,
        None => first_look(&evidence, seen),
    };
    let proved = standing == Standing::Confirmed;
    let updated_at = if proved { Some(seen.to_owned()) } else { evidence.updated_at.clone() };
    (standing, Some(Evidence { updated_at, ..evidence }))
}

/// What it means that there is no such secret: gone, unless a first write of ours has yet to show.
pub(super) fn absent(generation: i64, evidence: Option<&Evidence>) -> Standing {
    match evidence {
        Some(sent) if sent.generation == generation && sent.updated_at.is_none() => {
            Standing::Accepted("GitHub took the write and shows no such secret".to_owned())
        }
        _ => Standing::Missing,
    }
}

fn first_look(evidence: &Evidence, seen: &str) -> Standing {
    let times = Timestamp::parse_rfc3339(seen).zip(Timestamp::parse_rfc3339(&evidence.key_date));
    let Some((at, key_date)) = times else {
        return Standing::Accepted("GitHub's clock or `updated_at` cannot be read".to_owned());
    };
    let unmoved = evidence.before.as_deref().is_some_and(|before| same(before, seen));
    if at < key_date {
        let text = if unmoved { "GitHub took the write and still shows" } else { "GitHub shows" };
        return Standing::Accepted(format!("{text} the one of {seen}, which is older"));
    }
    if unmoved {
        let text = format!("there was a write in the same second, {seen}: publish again to tell them apart");
        return Standing::Accepted(text);
    }
    match evidence.put_date.as_deref().and_then(Timestamp::parse_rfc3339) {
        Some(put) if at > put.plus(SETTLING) => {
            Standing::Drift(format!("somebody wrote it at {seen}, after our own write at {}", put.rfc3339()))
        }
        _ => Standing::Confirmed,
    }
}

/// One instant, however it is spelled.
fn same(one: &str, two: &str) -> bool {
    one == two || Timestamp::parse_rfc3339(one).is_some_and(|at| Timestamp::parse_rfc3339(two) == Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + second * 1000)
    }

    fn text(second: i64) -> String {
        at(second).rfc3339().replace(".000Z", "Z")
    }

    /// A publish of generation 3 whose public key came at second 10 and whose answer at second 11.
    fn published(before: Option<i64>) -> Evidence {
        Evidence {
            generation: 3,
            key_date: text(10),
            put_date: Some(text(11)),
            before: before.map(text),
            updated_at: None,
            dispatched: false,
        }
    }

    #[test]
    fn the_first_look() {
        let rows = [
            (None, 10, "confirmed"),
            (None, 11, "confirmed"),
            (Some(5), 10, "confirmed"),
            (Some(5), 11, "confirmed"),
            (Some(10), 11, "confirmed"),
            (Some(5), 5, "still shows"),    // Swallowed.
            (Some(5), 9, "which is older"), // Somebody else's, between our two reads, or a slow clock.
            (Some(10), 10, "same second"),  // Swallowed after another write, or not: nobody can tell.
            (Some(12), 12, "same second"),  // A write in the future of GitHub's front end.
            (Some(5), 21, "confirmed"),     // The database's clock is a little ahead.
            (Some(5), 22, "drift"),
            (None, 500, "drift"),
        ];
        for (before, seen, expected) in rows {
            let (standing, kept) = judge(3, Some(published(before)), &text(seen));
            let found = match &standing {
                Standing::Confirmed => "confirmed",
                Standing::Accepted(text) if text.contains(expected) => expected,
                Standing::Drift(_) => "drift",
                other => panic!("{before:?} {seen}: {other:?}"),
            };
            assert_eq!(found, expected, "{before:?} {seen}");
            let proved = kept.unwrap().updated_at;
            assert_eq!(proved, (expected == "confirmed").then(|| text(seen)), "{before:?} {seen}");
        }
    }

    #[test]
    fn later_looks() {
        let proved = Evidence { updated_at: Some(text(11)), ..published(Some(5)) };
        let judged = |generation, seen: &str| judge(generation, Some(proved.clone()), seen);
        assert_eq!(judged(3, &text(11)), (Standing::Confirmed, Some(proved.clone())));
        let respelled = text(11).replace('Z', "+00:00");
        assert_eq!(judged(3, &respelled).0, Standing::Confirmed);
        for seen in [text(10), text(12), "never".to_owned()] {
            let (standing, kept) = judged(3, &seen);
            assert!(matches!(standing, Standing::Drift(_)), "{seen}");
            assert_eq!(kept, Some(proved.clone()), "the proof of our write stays");
        }
        assert_eq!(judged(4, &text(11)).0, Standing::Unprovable, "it holds generation 3");
        assert_eq!(judged(4, &text(20)).0, Standing::Unprovable, "perhaps ours, its answer lost");
    }

    #[test]
    fn seconds_that_could_collide() {
        let rows = [(None, false), (Some(9), false), (Some(10), true), (Some(11), true), (Some(12), false)];
        for (before, expected) in rows {
            assert_eq!(same_second(before.map(text).as_deref(), at(10)), expected, "{before:?}");
        }
    }

    #[test]
    fn absence() {
        let sent = published(None);
        let proved = Evidence { updated_at: Some(text(11)), ..sent.clone() };
        assert!(matches!(absent(3, Some(&sent)), Standing::Accepted(_)));
        for (generation, evidence) in [(4, Some(&sent)), (3, Some(&proved)), (3, None)] {
            assert_eq!(absent(generation, evidence), Standing::Missing);
        }
    }

    #[test]
    fn without_evidence_nothing_is_proved() {
        assert_eq!(judge(3, None, &text(11)), (Standing::Unprovable, None));
        let other = judge(4, Some(published(Some(5))), &text(11)).0;
        assert_eq!(other, Standing::Unprovable);
        let timeless = Evidence { key_date: String::new(), ..published(None) };
        assert!(matches!(judge(3, Some(timeless), &text(11)).0, Standing::Accepted(_)));
        assert!(matches!(judge(3, Some(published(None)), "soon").0, Standing::Accepted(_)));
    }
}
