//! What an emergency takes over: the keys of the run that it supersedes, on their way out and on their way in, and a
//! create whose outcome nobody knows (rotation.md, "Emergency" and "Self-healing").

use super::facts::{KeyFacts, TestResult};
use super::{Inheritance, Issuing, KeyRef, Phase, Policy, Retiree, Run, State, Trigger};
use crate::domain::time::{Span, Stamp, Timestamp};

/// True when healing takes this run over: it cannot itself bring a working key. An emergency at work can, and one that
/// was published turns round by itself.
pub fn gives_way_to_healing(run: &Run) -> bool {
    let before_publish = match &run.state {
        State::Parked { .. } => return true,
        State::Publishing => !run.published,
        state => matches!(
            state,
            State::Planned | State::Issuing { .. } | State::Verifying { .. } | State::Aborting { .. }
        ),
    };
    before_publish && !run.trigger.is_emergency()
}

/// An emergency that is about to start.
#[derive(Debug)]
pub struct Emergency<'a> {
    /// The id of its run.
    pub id: String,
    /// The rotation's name.
    pub rotation: &'a str,
    /// Identity of the account (R8).
    pub account: &'a str,
    /// Leak or healing.
    pub trigger: Trigger,
    /// The rotation's policy now.
    pub policy: &'a Policy,
    /// The key that is leaked or dead.
    pub target: KeyRef,
    /// It is already on its way out.
    pub retiring: bool,
    /// Every living key of the rotation.
    pub living: Vec<KeyRef>,
    /// The key in use.
    pub current: Option<KeyRef>,
    /// The run that it supersedes.
    pub open: Option<&'a Run>,
    /// What is known of that run's new key.
    pub candidate: Option<&'a KeyFacts>,
    /// The present moment.
    pub now: Stamp,
}

impl Emergency<'_> {
    /// Its run. A leaked key that is already retiring needs no new key: a run that brings one in goes on as it is, and
    /// without one the current key is only proved again.
    pub fn run(self) -> Run {
        if let Some(open) = self.open.filter(|open| self.retiring && carries_on(open)) {
            return self.escalate(open);
        }
        let policy = self.policy.clone();
        let mut run = Run::new(
            self.id.clone(),
            self.rotation.to_owned(),
            self.account.to_owned(),
            self.trigger,
            policy,
        );
        run.predecessor = Some(self.target.clone());
        run.retirees = self.living.iter().map(|key| self.retiree(key)).collect();
        run.retirees.sort_by_key(|retiree| !retiree.urgent);
        let proved_again = self.current.clone().filter(|_| self.retiring);
        if let Some(current) = proved_again {
            bring_in(&mut run, current, State::Publishing);
            run.published = true;
        } else if let Some((key, since)) = self.inherited() {
            run.asked = self.open.and_then(|open| open.asked.clone());
            run.inheritance = self.inheritance();
            bring_in(&mut run, key, State::Verifying { since });
        } else if let Some(name) = self.open.and_then(in_doubt) {
            let issuing = Issuing::Recover { name: name.to_owned(), looked: None };
            run.state = State::Issuing { issuing };
        }
        run
    }

    /// The new key of the superseded run, when it may still be brought in, and since when it is stored: no further key
    /// is made for nothing.
    fn inherited(&self) -> Option<(KeyRef, Stamp)> {
        let open = self.open?;
        let key = open.candidate.clone().filter(|key| key.has_secret && key.id != self.target.id)?;
        let since = match open.state.underlying() {
            State::Verifying { since } => *since,
            State::Publishing if !open.published => self.now,
            State::Aborting { .. } => self.now,
            _ => return None,
        };
        let untouched = |retiree: &Retiree| matches!(retiree.phase, Phase::Live { .. });
        let going = open.retirees.iter().find(|retiree| retiree.key.id == key.id);
        let is_living = self.living.iter().any(|living| living.id == key.id);
        let works = self.candidate.is_none_or(|known| {
            let wrong = matches!(known.tested, Some((TestResult::WrongKind { .. }, _)));
            // One that is being verified may be refused for a while yet: verifying itself says when that is over.
            let fresh = matches!(open.state.underlying(), State::Verifying { .. });
            !wrong && (fresh || !known.refused(open.policy.confirm_after))
        });
        (is_living && going.is_none_or(untouched) && works).then_some((key, since))
    }

    /// How far that key has come, as the successor of the same old one.
    fn inheritance(&self) -> Inheritance {
        let same = |open: &&Run| open.predecessor.as_ref().is_some_and(|old| old.id == self.target.id);
        self.open.filter(same).map_or(Inheritance::Open, |open| open.inheritance)
    }

    fn retiree(&self, key: &KeyRef) -> Retiree {
        let known = self.open.and_then(|open| open.retirees.iter().find(|retiree| retiree.key.id == key.id));
        let mut retiree =
            known.cloned().unwrap_or_else(|| Retiree::new(key.clone(), false, self.policy.observe));
        if let Phase::Revived { .. } = retiree.phase {
            // It was on its way back and is on its way out again: it must go quiet like any other.
            retiree.phase = Phase::Live { quiet: None };
        }
        let leaked = key.id == self.target.id && self.trigger == Trigger::Leak;
        if leaked || self.is_dropped(&retiree) {
            hurry(&mut retiree);
        }
        if leaked {
            retiree.leaked.get_or_insert(self.now);
        }
        retiree
    }

    /// A new key that nobody was given and that does not work: nobody waits for it.
    fn is_dropped(&self, retiree: &Retiree) -> bool {
        let of_run = |open: &Run| open.candidate.as_ref().is_some_and(|key| key.id == retiree.key.id);
        let used =
            matches!(&retiree.phase, Phase::Live { quiet: Some((figures, _)) } if figures.may_be_used());
        self.open.is_some_and(|open| of_run(open) && !open.published)
            && !used
            && retiree.key.id != self.target.id
    }

    /// The same run under a new id, with the leaked key in a hurry.
    fn escalate(&self, open: &Run) -> Run {
        let mut run = open.clone();
        run.id.clone_from(&self.id);
        run.trigger = self.trigger;
        run.state = open.state.underlying().clone();
        run.waits.clear();
        if !run.retirees.iter().any(|retiree| retiree.key.id == self.target.id) {
            run.retirees.push(Retiree::new(self.target.clone(), true, Span::ZERO));
        }
        for retiree in run.retirees.iter_mut().filter(|retiree| retiree.key.id == self.target.id) {
            hurry(retiree);
            retiree.leaked.get_or_insert(self.now);
        }
        if let State::Observing = run.state {
            // Urgent keys are worked in grace, where nobody waits for them.
            let long_ago = Stamp { ours: Timestamp(0), theirs: Some(Timestamp(0)) };
            run.state = State::Grace { since: long_ago, overlap_told: true };
        }
        run
    }
}

/// A run whose new key is there and goes on being brought in: an emergency of its old key continues it.
fn carries_on(run: &Run) -> bool {
    let state = run.state.underlying();
    run.candidate.is_some() && matches!(state, State::Publishing | State::Grace { .. } | State::Observing)
}

/// The name of a create whose outcome nobody knows.
fn in_doubt(run: &Run) -> Option<&str> {
    match run.state.underlying() {
        State::Issuing { issuing: Issuing::Sent { name } | Issuing::Recover { name, .. } } => Some(name),
        _ => None,
    }
}

fn bring_in(run: &mut Run, key: KeyRef, state: State) {
    run.retirees.retain(|retiree| retiree.key.id != key.id);
    run.candidate = Some(key);
    run.state = state;
}

/// No grace, no quiet, no observing.
fn hurry(retiree: &mut Retiree) {
    (retiree.urgent, retiree.observe) = (true, Span::ZERO);
}
