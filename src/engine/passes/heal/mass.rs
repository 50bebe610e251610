//! Many keys of one account dead at once: the first rotation is healed, the others follow when its new key was
//! verified and the account lists it. Whatever killed so many may kill the new ones as well.

use std::collections::BTreeSet;

use crate::domain::rotation::{Run, State, Trigger};
use crate::domain::time::Span;
use crate::engine::passes::heal::Wishes;
use crate::engine::session::{Session, listing};
use crate::engine::{Engine, EngineError, Rotation};
use crate::store::HEALING;

/// More than so many, and more than half of the account's.
const MANY: usize = 3;
/// They want it within this time.
const WITHIN: Span = Span::minutes(10);

/// Healing runs of the same wave, and what the others wait for.
pub(super) struct Wave {
    healing: Vec<Run>,
    pub(super) why: String,
}

/// The wave that this rotation would be a part of, when somebody else of it was healed first. `identity`: of its account.
pub(super) async fn wave(
    engine: &Engine,
    rotation: &Rotation,
    identity: &str,
) -> Result<Option<Wave>, EngineError> {
    let store = &engine.parts.store;
    let since = store.now().await?.plus(Span(-WITHIN.0));
    let healing = store.runs_since(identity, Trigger::Heal, since).await?;
    let Some(first) = healing.first() else { return Ok(None) };
    let account = &rotation.account;
    let all: BTreeSet<&str> = engine
        .parts
        .rotations
        .values()
        .filter(|rotation| &rotation.account == account)
        .map(|rotation| rotation.name.as_str())
        .collect();
    // Those that were refused once, and those that were healed lately, belong to it.
    let wishes: Wishes = store.memory_or_anew(HEALING).await?;
    let dead = store.dead_currents(identity).await?;
    let healed = healing.iter().map(|run| &run.rotation);
    let dead: BTreeSet<&str> = dead.iter().chain(wishes.keys()).chain(healed).map(String::as_str).collect();
    let (many, all) = (dead.intersection(&all).count(), all.len());
    let why = format!(
        "{many} of {all} rotations of account {account} have a dead key; the new key of rotation {} must be verified first",
        first.rotation
    );
    Ok((many > MANY && many * 2 > all).then_some(Wave { healing, why }))
}

impl Wave {
    /// The new key of a rotation of this wave was verified.
    pub(super) fn verified(&self) -> impl Iterator<Item = &str> {
        let beyond = |run: &&Run| {
            let state = run.state.underlying();
            matches!(state, State::Publishing | State::Grace { .. } | State::Observing | State::Done)
        };
        self.healing
            .iter()
            .filter(beyond)
            .filter_map(|run| run.candidate.as_ref())
            .map(|key| key.hash.as_str())
    }

    /// One of those is listed by the account.
    pub(super) async fn is_proved(&self, session: &mut Session<'_>) -> Result<bool, EngineError> {
        if self.verified().next().is_none() {
            return Ok(false);
        }
        if session.listing.is_none()
            && let Err(failure) = listing::list(session).await?
        {
            return Err(EngineError::outside("the account could not be listed", failure));
        }
        let listing = session.listing.as_ref();
        Ok(self.verified().any(|hash| listing.is_some_and(|listing| listing.key(hash).is_some())))
    }
}
