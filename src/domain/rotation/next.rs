//! The decision: from a run and the facts to the one thing to do now.
//!
//! [`next`] first settles what holds in every state (a person's request, a park, a freeze), then asks the
//! state. A directive is either an event to apply as it is, one look, one effect, or a wait with the
//! sentences that `rekeyd why` shows.

use super::agenda::{Agenda, Step};
use super::deliver;
use super::directive::{Blocker, Cause, Directive};
use super::facts::{Facts, Request, TestResult};
use super::inherit;
use super::retire;
use super::{Event, Issuing, KeyRef, MAX_UNCLEAR, Rollback, Run, State, WayOut};
use crate::domain::time::{Span, Stamp, Until};

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
    let mut agenda = Agenda::new(run, facts);
    let step = match &run.state {
        State::Planned => agenda.ask(Directive::Preflight),
        State::Issuing { issuing } => issue(&mut agenda, issuing),
        State::Verifying { since } => verify(&mut agenda, *since),
        State::Publishing => publish(&mut agenda),
        State::Grace { since, overlap_told } => retire::grace(&mut agenda, *since, *overlap_told),
        State::Observing => retire::observe(&mut agenda),
        State::Aborting { .. } => abort(&mut agenda),
        State::RollingBack { stage, .. } => roll_back(&mut agenda, stage),
        State::Parked { .. }
        | State::Done
        | State::Aborted { .. }
        | State::RolledBack { .. }
        | State::Superseded { .. } => Err(Directive::Finished),
    };
    step.err().unwrap_or_else(|| agenda.wait())
}

/// What a person's request turns into: the event, or a refusal that says why.
fn answer(run: &Run, facts: &Facts, id: &str, request: &Request) -> Event {
    let id = id.to_owned();
    let refused = |reason: &str| Event::RequestRefused { id: id.clone(), reason: reason.to_owned() };
    match request {
        Request::Abort | Request::Rollback => {
            match run.way_out(*request == Request::Rollback, facts.candidate_may_be_held(run)) {
                Ok(WayOut::Stop) => Event::AbortAsked { id },
                Ok(WayOut::Back) => Event::RollbackAsked { id },
                Err(why) => refused(&why),
            }
        }
        Request::Resume => Event::Resumed { id },
        Request::Release { destination } => match may_release(run, facts, destination) {
            Ok(()) => Event::Released { id, destination: destination.clone() },
            Err(why) => refused(&why),
        },
    }
}

/// A person may accept that a dead optional destination keeps a dead key (the guard), and that one which left the
/// configuration no longer counts (R14, R20). One that is required holds the old key's life (I7), unless that is leaked
/// and has lived for too long: then a person may accept that its consumers stop.
fn may_release(run: &Run, facts: &Facts, destination: &str) -> Result<(), String> {
    let named = |name: &str, address: &str| name == destination || address == destination;
    match run.policy.targets.iter().find(|target| named(&target.name, &target.address)) {
        Some(_) if facts.is_exposed(run) => Ok(()),
        Some(target) if target.required && !facts.dropped.contains(&target.name) => Err(format!(
            "{destination} is required, and may still hold the old key: mend it, or take it out of the configuration, \
             or set `required = false` there, and release it then"
        )),
        Some(_) => Ok(()),
        None if facts.holdings.iter().any(|h| h.may_hold() && named(&h.destination, &h.address)) => Ok(()),
        None => Err(format!("the run does not publish to {destination}, and no key of it may be there")),
    }
}

/// What holds a run in whatever state it is.
fn held(run: &Run, facts: &Facts) -> Option<Directive> {
    if let State::Parked { reason, .. } = &run.state {
        let blocker = Blocker::cause(Cause::Person, format!("parked: {reason}"));
        return Some(Directive::wait(Span::hours(1), blocker));
    }
    // What was never published needs no destination to be taken back.
    let taken_back = matches!(run.state, State::Aborting { .. });
    if let (Some(reason), false) = (&facts.detached, taken_back) {
        return Some(Agenda::park(reason));
    }
    facts.frozen.then(|| {
        let why =
            "the account is frozen: the provider shows keys of this instance that the journal does not know";
        Directive::wait(Span::minutes(5), Blocker::cause(Cause::Account, why))
    })
}

fn issue(agenda: &mut Agenda<'_>, issuing: &Issuing) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    match issuing {
        Issuing::Ready { .. } if run.abort_asked => {
            Err(Directive::Apply(Event::AbortReady { reason: super::ASKED.to_owned() }))
        }
        Issuing::Ready { .. } if run.unclear >= MAX_UNCLEAR && !run.trigger.is_emergency() => {
            Err(Agenda::park(format!("{MAX_UNCLEAR} attempts to issue a key had an unknown outcome")))
        }
        Issuing::Ready { .. } if facts.strays != Some(0) => agenda.ask(Directive::Reconcile),
        Issuing::Ready { until } => {
            let Some(left) = agenda.left(*until) else { return Err(Directive::Create) };
            let text = "waiting before the next attempt to issue a key";
            agenda.tried_again(*until, left, Cause::Account, text);
            Ok(())
        }
        // Only a crash leaves this state behind: the outcome of the call is unknown.
        Issuing::Sent { .. } => {
            Err(Directive::Apply(Event::CreateUnclear { reason: "the process died".to_owned() }))
        }
        Issuing::Recover { looked: None, .. } => agenda.ask(Directive::Reconcile),
        Issuing::Recover { looked: Some(at), .. } => {
            if facts.now.passed(*at, run.policy.settle) {
                return agenda.ask(Directive::Reconcile);
            }
            let text = "the outcome of a create is unknown: looking for the key by its name once more";
            // The account's, not the policy's: what never comes to an outcome goes round through here.
            agenda.note_until(*at, run.policy.settle, Blocker::cause(Cause::Account, text));
            Ok(())
        }
        Issuing::Doubt { refused_since: Some(at), reason }
            if !facts.now.passed(*at, run.policy.confirm_after) =>
        {
            let text = format!("the provisioning key was refused ({reason}): looking again");
            agenda.note_until(*at, run.policy.confirm_after, Blocker::cause(Cause::Account, text));
            Ok(())
        }
        Issuing::Doubt { .. } => agenda.ask(Directive::CheckProvisioning),
    }
}

/// An emergency does not die of what an ordinary run may wait for: limits that differ are told, and a refused billed
/// probe is left out.
fn verify(agenda: &mut Agenda<'_>, since: Stamp) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let Some(key) = run.candidate.clone() else { return Err(lost_key()) };
    if !inherit::is_settled(agenda, since)? {
        return Ok(());
    }
    let Some((result, at)) = &facts.candidate.tested else { return agenda.ask(Directive::Test(key)) };
    let failed = |reason: &str| Err(Directive::Apply(Event::VerifyFailed { reason: reason.to_owned() }));
    let emergency = run.trigger.is_emergency();
    match result {
        TestResult::Valid if facts.candidate.valid_now(facts.now) => {
            Err(Directive::Apply(Event::Verified { at: facts.now }))
        }
        TestResult::Valid => agenda.ask(Directive::Test(key)),
        TestResult::Unlike { reason } if emergency && run.asked.is_some() => {
            Err(Directive::Apply(Event::LimitsWaived { reason: reason.clone() }))
        }
        TestResult::ProbeRefused { reason } if emergency && run.policy.chat_model.is_some() => {
            Err(Directive::Apply(Event::ProbeWaived { reason: reason.clone() }))
        }
        TestResult::Unlike { .. } | TestResult::ProbeRefused { .. } if emergency => {
            agenda.ask(Directive::Test(key))
        }
        TestResult::WrongKind { reason }
        | TestResult::Unlike { reason }
        | TestResult::ProbeRefused { reason } => failed(reason),
        TestResult::Unauthorized
            if facts.now.passed(since, run.policy.propagation)
                && facts.candidate.refused(run.policy.confirm_after.min(run.policy.propagation)) =>
        {
            failed("the provider does not accept the new key")
        }
        TestResult::Unauthorized => {
            let left = facts.left(since, run.policy.propagation);
            again(agenda, key, *at, Blocker::policy("the new key is not accepted yet").over_in(left))
        }
        TestResult::Inconclusive { reason } => {
            let text = format!("the new key could not be tested: {reason}");
            again(agenda, key, *at, Blocker::cause(Cause::Account, text))
        }
    }
}

/// Tests `key` again once [`VERIFY_RETRY`] has passed since the test at `at`.
fn again(agenda: &mut Agenda<'_>, key: KeyRef, at: Stamp, blocker: Blocker) -> Step {
    let age = agenda.facts.now.ours.since(at.ours);
    if age >= VERIFY_RETRY || age < Span::ZERO {
        return agenda.ask(Directive::Test(key));
    }
    agenda.note(Span(VERIFY_RETRY.0 - age.0), blocker);
    Ok(())
}

fn publish(agenda: &mut Agenda<'_>) -> Step {
    let Some(key) = &agenda.run.candidate else { return Err(lost_key()) };
    retire::candidate_health(agenda, key)?;
    let reached = deliver::everywhere(agenda, key, &agenda.facts.candidate)?;
    if reached == deliver::Reached::Behind {
        return retire::tell_exposure(agenda, key);
    }
    Err(Directive::Apply(Event::PublishedEverywhere { at: agenda.facts.now }))
}

/// The new key is disabled and deleted; the old one was never touched. One that was used is not taken away from whoever
/// uses it: it goes quiet and is observed like any other.
fn abort(agenda: &mut Agenda<'_>) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let until = Until::after(facts.clock, run.pause_between_keys());
    let finished = Directive::Apply(Event::AbortFinished { until });
    let Some(key) = &run.candidate else { return Err(finished) };
    let Some(doomed) = run.retirees.iter().find(|r| r.key.id == key.id) else { return Err(lost_track()) };
    if !retire::may_be_taken_back(agenda, doomed)? {
        return Ok(());
    }
    // The breaker does not hold an emergency, which cannot go on before this.
    retire::kill(agenda, doomed, run.trigger.is_emergency())?;
    if agenda.is_waiting() { Ok(()) } else { Err(finished) }
}

/// The new key is on its way out, but the run does not say so: no rule covers it.
fn lost_track() -> Directive {
    Agenda::park("the new key is not among the keys to retire")
}

fn lost_key() -> Directive {
    Agenda::park("the new key is not in the store")
}

fn roll_back(agenda: &mut Agenda<'_>, stage: &Rollback) -> Step {
    let (run, facts) = (agenda.run, agenda.facts);
    let (Some(old), Some(new)) = (&run.predecessor, &run.candidate) else {
        return Err(Agenda::park("a key of the rollback is not in the store"));
    };
    match stage {
        Rollback::Reviving => return retire::revive(agenda, old),
        Rollback::Retiring { .. } if !run.retirees.iter().any(|r| r.key.id == new.id) => {
            return Err(lost_track());
        }
        Rollback::Republishing | Rollback::Retiring { .. } => {}
    }
    // A disable that was under way when the run turned round may land late: enable again.
    if matches!(facts.predecessor.tested, Some((TestResult::Unauthorized, _))) {
        return Err(Directive::Apply(Event::ReviveAgain));
    }
    // Production runs with the old key again: what becomes of it must not go unseen.
    retire::due_test(agenda, old, &facts.predecessor)?;
    let reached = deliver::everywhere(agenda, old, &facts.predecessor)?;
    match stage {
        Rollback::Retiring { since } => {
            retire::all_but(agenda, old, *since)?;
            if agenda.is_waiting() {
                return Ok(());
            }
            Err(Directive::Apply(Event::RollbackFinished))
        }
        _ if reached == deliver::Reached::Behind => Ok(()),
        _ => Err(Directive::Apply(Event::RepublishedEverywhere { at: facts.now })),
    }
}
