//! One directive at a time: load → facts → [`next`] → perform → commit.

use crate::domain::rotation::facts::{Facts, Holding, KeyFacts, proved_now};
use crate::domain::rotation::{Blocker, Directive, Event, KeyRef, Run, State, next};
use crate::domain::time::{Span, Timestamp};
use crate::domain::turn::Class;
use crate::engine::run::perform;
use crate::engine::session::commit::Performed;
use crate::engine::session::standing::{Outdated, Standing};
use crate::engine::session::{Session, commit, standing};
use crate::engine::{EngineError, budget};
use crate::store::{Change, EffectKind, EffectRow, HoldingRow, RunRow};

/// What one step did, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The run's state after the step.
    pub state: &'static str,
    /// What was done, in a few words; `None` when nothing was.
    pub did: Option<String>,
    /// What comes now.
    pub progress: Progress,
    /// It only looked: what it saw is for the step that comes now.
    pub looked: bool,
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another step, at once.
    Again,
    /// Nothing before this moment on our clock, and why.
    Wait(Timestamp, Vec<String>),
    /// The run is over.
    Finished,
    /// It is another process's: by a newer configuration (R14), or with the encryption key (R24); and what to say of it.
    Left(String),
}

/// Does the next thing for a run of this account.
pub async fn step(session: &mut Session<'_>, run_id: &str) -> Result<Report, EngineError> {
    if !session.claimed.iter().any(|id| id == run_id) {
        session.engine.parts.store.claim_run(&session.lease, run_id).await?;
        session.claimed.push(run_id.to_owned());
    }
    let row = session.engine.parts.store.run(run_id).await?.ok_or_else(|| EngineError::Usage {
        text: format!("there is no run {run_id}"),
        hint: Some("`rekeyd runs list` shows them".to_owned()),
    })?;
    session.engine.open_runs.saw(run_id);
    let class = Class::of_run(row.run.trigger, false);
    budget::working_for(class, Box::pin(step_of(session, row))).await
}

async fn step_of(session: &mut Session<'_>, row: RunRow) -> Result<Report, EngineError> {
    if let (Some(outdated), true) =
        (standing::outdated(session, &row.run).await?, !row.run.state.is_terminal())
    {
        return left(session, &row, outdated).await;
    }
    let facts = facts(session, &row.run).await?;
    let directive = next(&row.run, &facts);
    tracing::debug!(run = row.run.id, state = row.run.state.word(), directive = ?commit::kind_of(&directive), "step");
    match directive {
        Directive::Finished => {
            Ok(Report { state: row.run.state.word(), did: None, progress: Progress::Finished, looked: false })
        }
        Directive::Wait { span, blockers } => wait(session, &row, span, blockers).await,
        acting => {
            let looked = acting.is_look();
            let done = match performed(session, &row.run, acting).await? {
                Ok(done) => done,
                Err(outdated) => return left(session, &row, outdated).await,
            };
            let progress = if done.run.state.is_terminal() { Progress::Finished } else { Progress::Again };
            Ok(Report { state: done.run.state.word(), did: Some(done.did), progress, looked })
        }
    }
}

/// The run is left to another process, and the log says so once. When no such process comes, nobody works it: it is
/// parked, so that people are told what to do and healing need not wait for it.
async fn left(session: &mut Session<'_>, row: &RunRow, outdated: Outdated) -> Result<Report, EngineError> {
    let Outdated { why, alone } = outdated;
    if session.engine.open_runs.leave(&row.run.id, session.engine.clock().monotonic()) {
        tracing::warn!(run = %row.run.id, rotation = %row.run.rotation, why, "left to another process");
    }
    let mut state = row.run.state.word();
    if alone && !matches!(row.run.state, State::Parked { .. }) {
        let id = &row.run.id;
        let reason = format!(
            "{why}, and no such process comes: `systemctl reload rekeyd`, then `rekeyd runs resume {id}`"
        );
        let parked = commit::record(session, &row.run, &Event::Parked { reason }, Vec::new()).await?;
        state = parked.state.word();
    }
    Ok(Report { state, did: None, progress: Progress::Left(why), looked: false })
}

/// What the engine refuses, or cannot open, is tried again ever more rarely, and holds up this step alone (R16, R21);
/// unless what it lacks is the encryption key, and somebody else can go on (R24).
async fn performed(
    session: &mut Session<'_>,
    run: &Run,
    acting: Directive,
) -> Result<Result<Performed, Outdated>, EngineError> {
    let (call, seals) = (acting.clone(), matches!(acting, Directive::Preflight | Directive::Create));
    if seals && let Some(outdated) = standing::without_the_key(session.engine, run).await? {
        return Ok(Err(outdated));
    }
    match perform::perform(session, run, acting).await {
        Err(error @ EngineError::Store(_)) => Err(error),
        Err(error) => {
            if let (EngineError::Crypto(_), Some(outdated)) =
                (&error, standing::without_the_key(session.engine, run).await?)
            {
                return Ok(Err(outdated));
            }
            tracing::warn!(run = %run.id, call = call.call(), %error, "step");
            let run =
                session.engine.parts.store.run(&run.id).await?.map_or_else(|| run.clone(), |row| row.run);
            let error = error.to_string();
            commit::postpone(session, &run, &call, error, None, Vec::new()).await.map(Ok)
        }
        done => done.map(Ok),
    }
}

async fn wait(
    session: &Session<'_>,
    row: &RunRow,
    span: Span,
    blockers: Vec<Blocker>,
) -> Result<Report, EngineError> {
    let texts = blockers.iter().map(|blocker| blocker.text.clone()).collect();
    let until = session.engine.clock().now().plus(span);
    let change = Change::Run {
        run: Box::new(row.run.clone()),
        wake: session.until(span),
        blockers,
        error: row.error.clone(),
    };
    session.commit(&[change]).await?;
    let progress = Progress::Wait(until, texts);
    Ok(Report { state: row.run.state.word(), did: None, progress, looked: false })
}

/// Everything that the decision may look at, as this session knows it.
async fn facts(session: &Session<'_>, run: &Run) -> Result<Facts, EngineError> {
    let store = &session.engine.parts.store;
    let rotation = store.rotation(&run.rotation).await?;
    let keys = run_keys(run);
    let holdings = store.holdings(&run.rotation).await?;
    let Standing { detached, dropped } = standing::of(session, run);
    Ok(Facts {
        now: session.now(),
        clock: session.clock(),
        frozen: store.freeze_of(&session.identity).await?.is_some(),
        paused: rotation.is_some_and(|rotation| rotation.paused),
        detached,
        dropped,
        request: store.open_request(&run.id).await?,
        strays: session.listing.as_ref().map(|listing| listing.strays_left),
        candidate: key_facts(session, run.candidate.as_ref()).await?,
        predecessor: key_facts(session, run.predecessor.as_ref()).await?,
        disable_in_doubt: disable_in_doubt(session, run.predecessor.as_ref()).await?,
        remote: session.remote.clone(),
        lacking: session
            .lacking
            .as_ref()
            .filter(|seen| seen.run == run.id)
            .map(|seen| (seen.rolls.clone(), seen.at)),
        // A released destination does not count for the keys it was released for.
        holdings: proved_now(holdings.iter().map(|row| row.fact.clone()))
            .into_iter()
            .filter(|fact| keys.contains(&fact.key) && !released(&holdings, fact))
            .collect(),
        handed_out: store.handed_out(&run.rotation).await?,
    })
}

async fn key_facts(session: &Session<'_>, key: Option<&KeyRef>) -> Result<KeyFacts, EngineError> {
    let Some(key) = key else { return Ok(KeyFacts::default()) };
    Ok(session.engine.parts.store.key(&key.id).await?.map(|row| row.facts).unwrap_or_default())
}

/// Only what was settled by looking, or can no longer land, is out of doubt, see `session`.
async fn disable_in_doubt(session: &Session<'_>, key: Option<&KeyRef>) -> Result<bool, EngineError> {
    let Some(key) = key else { return Ok(false) };
    let open = session.engine.parts.store.open_toggles(&session.identity).await?;
    let may_land = |effect: &&EffectRow| effect.finished_at.is_none();
    Ok(open
        .iter()
        .filter(may_land)
        .any(|effect| effect.kind == EffectKind::Disable && effect.target == key.hash))
}

fn released(rows: &[HoldingRow], fact: &Holding) -> bool {
    rows.iter().any(|row| row.released && row.fact.address == fact.address && row.fact.key == fact.key)
}

/// Ids of all keys that a run deals with.
fn run_keys(run: &Run) -> Vec<String> {
    let retirees = run.retirees.iter().map(|retiree| &retiree.key);
    run.candidate.iter().chain(run.predecessor.iter()).chain(retirees).map(|key| key.id.clone()).collect()
}
