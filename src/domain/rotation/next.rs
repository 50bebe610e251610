//! The decision: from a run and the facts to the one thing to do now.
//!
//! [`next`] first settles what holds in every state (a person's request, a freeze, patience), then asks the
//! state. A directive is either an event to apply as it is, one look, one effect, or a wait with the
//! sentences that `rekeyd why` shows.

use super::deliver::{self, Delivery};
use super::directive::Directive;
use super::facts::{Facts, Request, TestResult};
use super::retire;
use super::{Event, Issuing, KeyRef, MAX_CREATES, Retiree, Rollback, Run, State, TEST_FRESH};
use crate::domain::time::{Span, Stamp};

/// Waits longer than this in the store come from a clock that jumped; they count as over (I13).
const LONGEST_PATIENCE: Span = Span::hours(2);
/// Time between two tests of a fresh key that is not accepted yet.
const VERIFY_RETRY: Span = Span::seconds(5);

/// Decides. Total: every run with every facts has an answer.
pub fn next(run: &Run, facts: &Facts) -> Directive {
    if run.state.is_terminal() {
        return Directive::Finished;
    }
    if let Some((id, request)) = &facts.request {
        return Directive::Apply(answer(run, facts, id, request));
    }
    if let Some(hold) = held(run, facts) {
        return hold;
    }
    match &run.state {
        State::Planned => Directive::Preflight,
        State::Issuing { issuing } => issue(run, facts, issuing),
        State::Verifying { since } => verify(run, facts, *since),
        State::Publishing => publish(run, facts),
        State::Grace { since, overlap_told } => retire::grace(run, facts, *since, *overlap_told),
        State::Observing => retire::observe(run, facts),
        State::Aborting { .. } => abort(run, facts),
        State::RollingBack { stage, .. } => roll_back(run, facts, stage),
        State::Parked { .. }
        | State::Done
        | State::Aborted { .. }
        | State::RolledBack { .. }
        | State::Superseded { .. } => Directive::Finished,
    }
}

/// What a person's request turns into: the event, or a refusal that says why.
fn answer(run: &Run, facts: &Facts, id: &str, request: &Request) -> Event {
    let id = id.to_owned();
    let refused = |reason: &str| Event::RequestRefused { id: id.clone(), reason: reason.to_owned() };
    match request {
        Request::Abort if run.can_abort() => Event::AbortAsked { id },
        Request::Abort => {
            refused("a destination may already hold the new key: use rollback instead of abort")
        }
        Request::Rollback if !run.published => {
            refused("nothing was published yet: use abort instead of rollback")
        }
        Request::Rollback => match run.can_roll_back() {
            Ok(()) => Event::RollbackAsked { id },
            Err(why) => refused(why),
        },
        Request::Resume => Event::Resumed { id },
        Request::Release { destination } => match may_release(run, facts, destination) {
            Ok(()) => Event::Released { id, destination: destination.clone() },
            Err(why) => refused(&why),
        },
    }
}

/// A person may accept that a dead optional destination keeps a dead key (the guard), and that one which left the
/// configuration no longer counts (R14). One that is required holds the old key's life (I7).
fn may_release(run: &Run, facts: &Facts, destination: &str) -> Result<(), String> {
    match run.policy.targets.iter().find(|target| target.name == destination) {
        None => Err(format!("the run does not publish to {destination}")),
        Some(target) if target.required && !facts.dropped.contains(&target.name) => Err(format!(
            "{destination} is required, and may still hold the old key: mend it, or take it out of the configuration, \
             or set `required = false` there, and release it then"
        )),
        Some(_) => Ok(()),
    }
}

/// What holds a run in whatever state it is.
fn held(run: &Run, facts: &Facts) -> Option<Directive> {
    if let State::Parked { reason, .. } = &run.state {
        return Some(Directive::wait(facts.now, Span::hours(1), format!("parked: {reason}")));
    }
    // What was never published needs no destination to be taken back.
    let taken_back = matches!(run.state, State::Aborting { .. });
    if let (Some(reason), false) = (&facts.detached, taken_back) {
        return Some(Directive::Apply(Event::Parked { reason: reason.clone() }));
    }
    if facts.frozen {
        let blocker =
            "the account is frozen: the provider shows keys of this instance that the journal does not know";
        return Some(Directive::wait(facts.now, Span::minutes(5), blocker));
    }
    let left = run.patience.not_before.since(facts.now.ours);
    (left > Span::ZERO && left < LONGEST_PATIENCE).then(|| {
        let reason =
            run.patience.reason.clone().unwrap_or_else(|| "waiting before the next attempt".to_owned());
        Directive::wait(facts.now, left, reason)
    })
}

fn issue(run: &Run, facts: &Facts, issuing: &Issuing) -> Directive {
    match issuing {
        Issuing::Ready { .. } if run.abort_asked => {
            Directive::Apply(Event::AbortReady { reason: "a person asked for it".to_owned() })
        }
        Issuing::Ready { .. } if run.creates >= MAX_CREATES => Directive::Apply(Event::Parked {
            reason: format!("{MAX_CREATES} attempts to issue a key failed"),
        }),
        Issuing::Ready { .. } if facts.strays != Some(0) => Directive::Reconcile,
        Issuing::Ready { not_before } => {
            let left = not_before.since(facts.now.ours);
            if left > Span::ZERO && left < LONGEST_PATIENCE {
                return Directive::wait(facts.now, left, "waiting before the next attempt to issue a key");
            }
            Directive::Create
        }
        // Only a crash leaves this state behind: the outcome of the call is unknown.
        Issuing::Sent { .. } => {
            Directive::Apply(Event::CreateUnclear { reason: "the process died".to_owned() })
        }
        Issuing::Recover { looked: None, .. } => Directive::Reconcile,
        Issuing::Recover { looked: Some(at), .. } => {
            if facts.now.passed(*at, run.policy.settle) {
                return Directive::Reconcile;
            }
            let blocker = "the outcome of a create is unknown: looking for the key by its name once more";
            Directive::wait(facts.now, facts.remaining(*at, run.policy.settle), blocker)
        }
        Issuing::Doubt { refused_since: Some(at), reason }
            if !facts.now.passed(*at, run.policy.confirm_after) =>
        {
            let left = facts.remaining(*at, run.policy.confirm_after);
            Directive::wait(
                facts.now,
                left,
                format!("the provisioning key was refused ({reason}): looking again"),
            )
        }
        Issuing::Doubt { .. } => Directive::CheckProvisioning,
    }
}

fn verify(run: &Run, facts: &Facts, since: Stamp) -> Directive {
    let Some(key) = run.candidate.clone() else {
        return Directive::Apply(Event::Parked { reason: "the new key is not in the store".to_owned() });
    };
    let Some((result, at)) = &facts.candidate.tested else { return Directive::Test(key) };
    match result {
        TestResult::Valid if facts.candidate.valid_now(facts.now) => {
            Directive::Apply(Event::Verified { at: facts.now })
        }
        TestResult::Valid => Directive::Test(key),
        TestResult::Unlike { reason } => Directive::Apply(Event::VerifyFailed { reason: reason.clone() }),
        TestResult::Unauthorized
            if facts.now.passed(since, run.policy.propagation)
                && facts.candidate.refused(run.policy.confirm_after.min(run.policy.propagation)) =>
        {
            let reason = "the provider does not accept the new key".to_owned();
            Directive::Apply(Event::VerifyFailed { reason })
        }
        TestResult::Unauthorized => again(facts, key, *at, "the new key is not accepted yet"),
        TestResult::Inconclusive { reason } => {
            again(facts, key, *at, &format!("the new key could not be tested: {reason}"))
        }
    }
}

/// Tests `key` again once [`VERIFY_RETRY`] has passed since the test at `at`.
fn again(facts: &Facts, key: KeyRef, at: Stamp, blocker: &str) -> Directive {
    let age = facts.now.ours.since(at.ours);
    if age >= VERIFY_RETRY || age < Span::ZERO {
        return Directive::Test(key);
    }
    Directive::wait(facts.now, Span(VERIFY_RETRY.0 - age.0), blocker)
}

fn publish(run: &Run, facts: &Facts) -> Directive {
    let Some(key) = &run.candidate else {
        return Directive::Apply(Event::Parked { reason: "the new key is not in the store".to_owned() });
    };
    if let Some(trouble) = facts.candidate_trouble(run) {
        return trouble;
    }
    match deliver::step(run, facts, key, &facts.candidate) {
        Delivery::Do(directive) => directive,
        Delivery::Blocked { required: false, .. } | Delivery::Complete => {
            Directive::Apply(Event::PublishedEverywhere { at: facts.now })
        }
        Delivery::Blocked { until, blockers, .. } => Directive::Wait { until, blockers },
    }
}

fn abort(run: &Run, facts: &Facts) -> Directive {
    let finished = Directive::Apply(Event::AbortFinished { at: facts.now });
    let Some(key) = &run.candidate else { return finished };
    match run.retirees.iter().find(|r| r.key.id == key.id) {
        // The breaker does not hold an emergency, which cannot go on before this.
        Some(doomed) => {
            let doomed = Retiree { urgent: run.trigger.is_emergency(), ..doomed.clone() };
            retire::kill(run, facts, &doomed).unwrap_or(finished)
        }
        None => lost_track(),
    }
}

/// The new key is on its way out, but the run does not say so: no rule covers it.
fn lost_track() -> Directive {
    Directive::Apply(Event::Parked { reason: "the new key is not among the keys to retire".to_owned() })
}

fn roll_back(run: &Run, facts: &Facts, stage: &Rollback) -> Directive {
    let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) else {
        return Directive::Apply(Event::Parked {
            reason: "a key of the rollback is not in the store".to_owned(),
        });
    };
    let refused = matches!(facts.predecessor.tested, Some((TestResult::Unauthorized, _)));
    match stage {
        Rollback::Reviving => retire::revive(run, facts, old),
        // A disable that was under way when the run turned round may land late: enable again.
        Rollback::Republishing | Rollback::Retiring { .. } if refused => Directive::Apply(Event::ReviveAgain),
        Rollback::Republishing => match deliver::step(run, facts, old, &facts.predecessor) {
            Delivery::Do(directive) => directive,
            Delivery::Blocked { required: false, .. } | Delivery::Complete => {
                Directive::Apply(Event::RepublishedEverywhere { at: facts.now })
            }
            Delivery::Blocked { until, blockers, .. } => Directive::Wait { until, blockers },
        },
        Rollback::Retiring { since } => {
            let Some(doomed) = run.retirees.iter().find(|r| r.key.id == new.id) else {
                return lost_track();
            };
            // Production runs with the old key again: a disable that lands late must not go unseen.
            let interval = retire::watch_interval(run).min(TEST_FRESH);
            if let Some(test) = facts.due_test(old, &facts.predecessor, interval) {
                return test;
            }
            // An optional destination that was down still holds the new key: the guard waits for it.
            if let Delivery::Do(directive) = deliver::step(run, facts, old, &facts.predecessor) {
                return directive;
            }
            if let Some(wait) = retire::still_used(run, facts, doomed, *since) {
                return wait;
            }
            retire::kill(run, facts, doomed).unwrap_or(Directive::Apply(Event::RollbackFinished))
        }
    }
}
