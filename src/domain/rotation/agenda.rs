//! What a run would do next, in the order of its importance: the first call that need not wait is made; what has to wait
//! is said, each with its own reason (rotation.md, R17, R18).

use super::directive::{Blocker, Cause, Directive, SHORTEST};
use super::facts::Facts;
use super::{Event, Run, Wait};
use crate::domain::time::{Span, Stamp, Until};

/// `Err` is what to do now; `Ok` goes on to what is less important.
pub(super) type Step<T = ()> = Result<T, Directive>;

/// An emergency asks again after so long, whatever was asked of it (R18).
const EMERGENCY_PATIENCE: Span = Span::minutes(15);

/// A wait that is longer than any backoff of ours was named by a vendor.
const LONGEST_BACKOFF: Span = Span::minutes(15);

/// The longest sleep of a run that waits for others.
const NEXT_LOOK: Span = Span::minutes(10);

/// A run, what is known, and what was found to be waited for so far.
pub(super) struct Agenda<'a> {
    pub(super) run: &'a Run,
    pub(super) facts: &'a Facts,
    sleep: Span,
    blockers: Vec<Blocker>,
}

impl<'a> Agenda<'a> {
    pub(super) fn new(run: &'a Run, facts: &'a Facts) -> Self {
        Self { run, facts, sleep: NEXT_LOOK, blockers: Vec::new() }
    }

    /// What is left of a wait, for this run.
    pub(super) fn left(&self, until: Until) -> Option<Span> {
        let until = if self.run.trigger.is_emergency() { until.at_most(EMERGENCY_PATIENCE) } else { until };
        until.left(self.facts.clock)
    }

    /// The wait before another try of this call, and what is left of it; `None` when it may go out.
    pub(super) fn waits_for(&self, directive: &Directive) -> Option<(&'a Wait, Span)> {
        let wait = self.run.waits.get(&directive.call())?;
        Some((wait, self.left(wait.until)?))
    }

    /// This call, unless it waits for another try: then that is noted.
    pub(super) fn call(&mut self, directive: Directive, cause: Cause) -> Step {
        let Some((wait, left)) = self.waits_for(&directive) else { return Err(directive) };
        if wait.by_policy {
            self.note(left, Blocker::policy(&wait.reason));
        } else {
            self.tried_again(wait.until, left, cause, &wait.reason);
        }
        Ok(())
    }

    /// This call to the provider, unless it waits for another try.
    pub(super) fn ask(&mut self, directive: Directive) -> Step {
        self.call(directive, Cause::Account)
    }

    /// Something failed because of `cause` and is tried again after `left`: a moment that counts only when the vendor
    /// named it.
    pub(super) fn tried_again(&mut self, until: Until, left: Span, cause: Cause, text: impl Into<String>) {
        let named = until.at.since(until.set_at) > LONGEST_BACKOFF;
        // An emergency asks sooner, but that is a look, not the vendor's moment.
        let moment = until.left(self.facts.clock).filter(|_| named);
        self.note(left, Blocker { left: moment, ..Blocker::cause(cause, text) });
    }

    /// Something to wait for; there is nothing to look at before `sleep` has passed.
    pub(super) fn note(&mut self, sleep: Span, blocker: Blocker) {
        self.look_within(sleep);
        self.blockers.push(blocker);
    }

    /// A wait with a moment: until `span` has passed since `at`.
    pub(super) fn note_until(&mut self, at: Stamp, span: Span, blocker: Blocker) {
        self.note(self.facts.remaining(at, span), blocker.over_in(self.facts.left(at, span)));
    }

    /// There will be something to look at after so long.
    pub(super) fn look_within(&mut self, span: Span) {
        self.sleep = self.sleep.min(span);
    }

    /// True when something was found that must be waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.blockers.is_empty()
    }

    /// Nothing can be done now.
    pub(super) fn wait(self) -> Directive {
        Directive::Wait { span: self.sleep.max(SHORTEST), blockers: self.blockers }
    }

    /// No rule covers this: a person must look.
    pub(super) fn park(reason: impl Into<String>) -> Directive {
        Directive::Apply(Event::Parked { reason: reason.into() })
    }
}
