//! One switch a defence: it takes that defence away, in the model only, by editing what the real functions are
//! shown or what the shell does around them.

use rekeyd::domain::inherit::Inherit;
use rekeyd::domain::key::MicroUsd;
use rekeyd::domain::rotation::facts::{Facts, Remote};
use rekeyd::domain::rotation::{Directive, Figures, Run, State, Usage, next};
use rekeyd::domain::time::{Span, Stamp};

use super::Story;
use super::world::NOW;

/// A defence that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Without {
    /// Guard 1: one usable key remains.
    LastKey,
    /// Guard 1: the provisioning key is not one of them.
    Provisioning,
    /// Guard: the listing is fresh.
    FreshListing,
    /// Guard 2: nobody holds the target.
    Holders,
    /// Guard 2, R19: no write of the target may still land.
    Landing,
    /// Guard 2: only a leaked key is taken from a destination that is not required.
    Leaked,
    /// A required destination is let go of only when a leaked key has lived for too long.
    Exposure,
    /// Guard 3: no other kill intent is open.
    OpenKill,
    /// Guard 4, I9: the target is ours.
    Ours,
    /// Guard 4, R9: the account is not frozen.
    Frozen,
    /// Guard 4, R11, I13: the clocks agree.
    Clocks,
    /// Guard 4, R12.
    Breaker,
    /// R1: the intent is committed before the call.
    IntentFirst,
    /// R3, I4: a create is sent once.
    CreateOnce,
    /// R4, I6.
    Fence,
    /// R4: a call is not written after its deadline.
    Deadline,
    /// R5: strays are looked for before another key is made.
    LookFirst,
    /// R11: waits pass on both clocks.
    BothClocks,
    /// R13: published on a fresh test.
    FreshTest,
    /// R23: the new key is named before anybody is given it.
    Inheritance,
    /// R23: an emergency does not wait for that.
    InheritanceInTime,
    /// R23: both keys are compared before grace ends.
    Comparison,
    /// R14: a run works by the places of its snapshot, or parks.
    Detached,
    /// Both keys live for a while.
    Grace,
    /// The old key went quiet.
    Quiet,
    /// Time between disable and delete.
    Observe,
    /// R7, I7: a required place that does not take the new key keeps the old one alive (and the guard's own look
    /// at the places is gone too: either alone is enough).
    Required,
}

impl Story {
    pub(super) fn lacks(&self, defence: Without) -> bool {
        self.without == Some(defence)
    }

    /// The real decision, on what the missing defence lets through.
    pub(super) fn next(&self, run: &Run, facts: &Facts) -> Directive {
        let Some(without) = self.without else { return next(run, facts) };
        let (mut run, mut facts) = (run.clone(), facts.clone());
        match without {
            Without::Frozen => facts.frozen = false,
            Without::Exposure => run.policy.max_exposure = Span::ZERO,
            Without::Detached => facts.detached = None,
            Without::Required => {
                let candidate = run.candidate.as_ref().map(|key| key.id.clone());
                run.policy.targets.iter_mut().for_each(|target| target.required = false);
                facts.holdings.retain(|row| Some(&row.key) == candidate.as_ref());
            }
            Without::Inheritance => {
                run.policy.inherit = Inherit { limits: true, guardrails: false, byok: false }
            }
            Without::InheritanceInTime => {
                if let State::Verifying { since } = &mut run.state {
                    *since = NOW;
                }
            }
            Without::Comparison => facts.lacking = Some((Vec::new(), NOW)),
            Without::Grace => run.policy.grace = Span::ZERO,
            Without::Observe => run.retirees.iter_mut().for_each(|retiree| retiree.observe = Span::ZERO),
            Without::FreshTest => {
                for known in [&mut facts.candidate, &mut facts.predecessor] {
                    known.tested.iter_mut().for_each(|(_, at)| *at = NOW);
                }
            }
            Without::Quiet => facts.remote.iter_mut().for_each(|seen| {
                if let Remote::Enabled(Usage::Figures(figures)) = &mut seen.remote {
                    *figures = Figures { usage: MicroUsd(0), ..*figures };
                }
            }),
            Without::BothClocks => {
                facts.remote.iter_mut().for_each(|seen| seen.at = ours_alone(seen.at));
                run = self.on_our_clock(run);
            }
            _ => {}
        }
        next(&run, &facts)
    }

    fn on_our_clock(&self, mut run: Run) -> Run {
        super::world::run_stamps(&mut run, &mut |at| *at = ours_alone(*at));
        run
    }
}

fn ours_alone(at: Stamp) -> Stamp {
    Stamp { theirs: Some(at.ours), ..at }
}
