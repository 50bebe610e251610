//! What a run waits for as it is remembered: with its cause, since when, and until when where that is known (R17); and
//! the moments that its policy names.

use serde::{Deserialize, Serialize};

use super::directive::{Blocker, Cause};
use super::{Phase, Retiree, Rollback, Run, State};
use crate::domain::time::{Span, Timestamp, Until};

/// One thing that a run waits for, on the database's clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waiting {
    /// In one sentence, for people.
    pub text: String,
    /// Who or what must change first; `None` for a wait that the policy names.
    pub cause: Option<Cause>,
    /// Since when it has been waited for.
    pub since: Timestamp,
    /// When the run can go on without anybody else's doing; `None` when nobody knows.
    pub until: Option<Until>,
}

impl Waiting {
    /// What is waited for from `now` on. A cause that stays keeps its beginning, and so does a wait that the policy names
    /// while its words stay.
    pub fn carried(blockers: &[Blocker], before: &[Self], now: Timestamp) -> Vec<Self> {
        let carry = |blocker: &Blocker| Self {
            text: blocker.text.clone(),
            cause: blocker.cause.clone(),
            since: before
                .iter()
                .filter(|known| known.is_about(blocker))
                .map(|known| known.since)
                .min()
                // The clock went back: nothing began in the future (R18).
                .filter(|since| !since.is_future(now))
                .unwrap_or(now),
            until: blocker.left.map(|left| Until::after(now, left)),
        };
        blockers.iter().map(carry).collect()
    }

    fn is_about(&self, blocker: &Blocker) -> bool {
        self.cause == blocker.cause && (self.cause.is_some() || self.text == blocker.text)
    }
}

/// Something that a run does by itself once its moment has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// In a few words, for people.
    pub what: String,
    /// Not before this, on our own clock.
    pub at: Timestamp,
}

/// What the policy of a run lets happen next, in the order of time. Each is the earliest moment: a key in use or a
/// destination that fails moves it.
pub fn moments(run: &Run) -> Vec<Moment> {
    let grace = match &run.state {
        State::Grace { since, .. } => Some(since.ours.plus(run.grace())),
        State::RollingBack { stage: Rollback::Retiring { since }, .. } => {
            Some(since.ours.plus(run.policy.grace))
        }
        _ => None,
    };
    let mut moments: Vec<Moment> =
        grace.map(|at| Moment { what: "grace ends".to_owned(), at }).into_iter().collect();
    let on_the_way = grace.is_some() || matches!(run.state, State::Observing | State::Aborting { .. });
    let retirees = run.retirees.iter().filter(|retiree| on_the_way && !stays(run, retiree));
    moments.extend(retirees.flat_map(|retiree| of_key(run, retiree, grace)));
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// True of the key that production runs with again.
fn stays(run: &Run, retiree: &Retiree) -> bool {
    let going_back = matches!(run.state, State::RollingBack { .. });
    going_back && run.predecessor.as_ref().is_some_and(|old| old.id == retiree.key.id)
}

fn of_key(run: &Run, retiree: &Retiree, grace: Option<Timestamp>) -> Vec<Moment> {
    let key = format!("generation {}", retiree.key.generation);
    let moment = |what: &str, at: Timestamp| Moment { what: format!("{key} {what}"), at };
    match &retiree.phase {
        Phase::Live { quiet: Some((_, since)) } if !retiree.urgent => {
            let quiet = since.ours.plus(run.policy.quiet);
            let disabled = grace.map_or(quiet, |grace| grace.max(quiet));
            vec![
                moment("has been quiet long enough", quiet),
                moment("is disabled", disabled),
                moment("is deleted", disabled.plus(retiree.observe)),
            ]
        }
        Phase::Disabled { since, .. } => vec![moment("is deleted", since.ours.plus(retiree.observe))],
        _ => Vec::new(),
    }
}

/// So long a wait without a named moment may last untold; and in an emergency one with a moment.
const PATIENCE: Span = Span::minutes(30);

/// The same of a moment that an ordinary run waits for.
const LONG_PATIENCE: Span = Span::hours(24);

impl Waiting {
    /// True when people must be told of this wait (R17): it has no moment for too long, or one that is too far from where
    /// the wait began, be it because it is put off again and again. What the policy names is never told.
    pub fn is_stalled(&self, emergency: bool, now: Timestamp) -> bool {
        if self.cause.is_none() {
            return false;
        }
        let Some(until) = self.until else { return now.since(self.since) >= PATIENCE };
        if until.left(now).is_some() {
            let patience = if emergency { PATIENCE } else { LONG_PATIENCE };
            return until.at.since(self.since) > patience;
        }
        // A moment that came and went without anything done is none any more.
        now.since(self.since.max(until.at.min(now))) >= PATIENCE
    }
}
