//! Which runs are awake, and what becomes of those that nobody can work any more.

use std::collections::BTreeSet;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::rotation::{Event, State, apply};
use crate::domain::time::Until;
use crate::domain::turn::Class;
use crate::engine::{Engine, EngineError};
use crate::store::{Change, RunRow};

/// Names of accounts with a run that is awake. One whose rotation and account are both gone from the configuration is
/// parked (R14).
pub async fn accounts_awake(engine: &Engine) -> Result<BTreeSet<String>, EngineError> {
    let mut accounts = BTreeSet::new();
    for row in &awake(engine).await? {
        if let Some(account) = account_of(engine, row).await? {
            accounts.insert(account);
        } else {
            park_orphan(engine, row).await?;
            engine.open_runs.saw(&row.run.id);
        }
    }
    Ok(accounts)
}

/// Runs of an account that are awake, with what their next step is for: the most urgent at the front, and of equals the
/// one that woke first.
pub async fn runs_awake(engine: &Engine, account: &str) -> Result<Vec<(String, Class)>, EngineError> {
    let asked = engine.store().asked_runs().await?;
    let mut mine = Vec::new();
    for row in &awake(engine).await? {
        if account_of(engine, row).await?.as_deref() == Some(account) {
            let class = Class::of_run(row.run.trigger, asked.contains(&row.run.id));
            mine.push((row.run.id.clone(), class));
        }
    }
    mine.sort_by_key(|(_, class)| std::cmp::Reverse(*class));
    Ok(mine)
}

/// Runs that are awake or that this configuration has not looked at yet (R14), those aside that it has just left to
/// another process.
async fn awake(engine: &Engine) -> Result<Vec<RunRow>, EngineError> {
    let mut rows = engine.store().runs_awake().await?;
    for id in unseen(engine).await? {
        match engine.store().run(&id).await? {
            _ if rows.iter().any(|row| row.run.id == id) => {}
            Some(row) if !row.run.state.is_terminal() => rows.push(row),
            _ => engine.open_runs.saw(&id),
        }
    }
    let (now, a_while) = (engine.clock().monotonic(), engine.parts.lease);
    rows.retain(|row| !engine.open_runs.has_left(&row.run.id, now, a_while));
    Ok(rows)
}

/// A new configuration takes up every open run, whatever it waits for: it may say something else of it.
async fn unseen(engine: &Engine) -> Result<Vec<String>, EngineError> {
    if let Some(unseen) = engine.open_runs.unseen() {
        return Ok(unseen);
    }
    let open = engine.store().open_runs().await?;
    engine.open_runs.are(open.into_iter().map(|row| row.run.id));
    Ok(engine.open_runs.unseen().unwrap_or_default())
}

/// The entry that works a run: its rotation's; when the configuration dropped the rotation, one that showed the
/// run's identity, so that the run is parked (R14) and not forgotten.
pub(super) async fn account_of(engine: &Engine, row: &RunRow) -> Result<Option<String>, EngineError> {
    if let Some(rotation) = engine.parts.rotations.get(&row.run.rotation) {
        return Ok(Some(rotation.account.clone()));
    }
    let entries = engine.store().entries_of(&row.run.account).await?;
    Ok(entries.into_iter().find(|entry| engine.parts.accounts.contains_key(entry)))
}

/// Nobody has a provisioning key for it, so nothing outside is asked or changed: its keys stay alive, and people are
/// told.
async fn park_orphan(engine: &Engine, row: &RunRow) -> Result<(), EngineError> {
    let (store, run) = (&engine.parts.store, &row.run);
    if matches!(run.state, State::Parked { .. }) {
        return Ok(());
    }
    let resource = format!("account:{}", run.account);
    let lease = store.acquire(&resource, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    store.claim_run(&lease, &run.id).await?;
    let name = &run.rotation;
    let reason = format!("the configuration has neither rotation {name} nor its account any more");
    let after = apply(run, &Event::Parked { reason: reason.clone() })?;
    let detail = format!(
        "Rotation {name} needs a person: {reason}. All its keys stay alive, and nobody watches them. Put rotation and \
         account back into the configuration, then `rekeyd runs resume {}` or `rekeyd runs abort {}`.",
        run.id, run.id
    );
    let alert = NewAlert::new(Kind::RotationParked, Subject::Rotation(name.clone()), detail);
    let entry = engine.entry("run.parked", format!("rotation {name} run {}", run.id), reason.clone());
    let changes = [
        Change::Run { run: Box::new(after), wake: Until::OVER, blockers: Vec::new(), error: Some(reason) },
        Change::Alert(alert.rotation(name.clone())),
        Change::Audit(entry),
    ];
    let parked = store.commit(&lease, &changes).await;
    store.release(&lease).await?;
    Ok(parked?)
}
