//! No silence (rotation.md, R17): tells people of waits that nobody else tells of, and when those are over.
//!
//! Who waits is gathered here: open runs as they stored it, runs whose account cannot be worked on ([`note_visit`]), and
//! keys that no run looks after. What of that is told, `domain::stall` decides. All by the database's clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::alert::{Kind, Severity, Subject};
use crate::domain::rotation::{Cause, Retiree, State, Trigger, Waiting};
use crate::domain::stall::{Decision, Memory, Told, Waiter, decide};
use crate::domain::time::{Span, Timestamp};
use crate::engine::passes::runs;
use crate::engine::{Engine, EngineError};
use crate::store::{Change, KeyRow, Role, RunRow};

/// Looks for waits that nobody tells of.
const QUEUE: &str = "queue:stalled";

/// What one look leaves to the next.
const MEMORY: &str = "stalled";

/// Visits that fail come at most a minute one after the other. What is older than this says nothing of now: no run was
/// awake since then, or no daemon was there.
const FRESH: Span = Span::minutes(10);

/// Why an account could not be worked on, since the first of the visits that failed one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trouble {
    since: Timestamp,
    seen: Timestamp,
    text: String,
}

impl Trouble {
    fn is_fresh(&self, now: Timestamp) -> bool {
        !self.seen.is_future(now) && now.since(self.seen) <= FRESH
    }
}

fn trouble_of(account: &str) -> String {
    format!("trouble:{account}")
}

/// Notes how a visit to an account ended: its runs cannot say it themselves when nobody comes as far as to them.
pub async fn note_visit(engine: &Engine, account: &str, failure: Option<&str>) -> Result<(), EngineError> {
    let store = engine.store();
    let subject = trouble_of(account);
    let known: Option<Trouble> = store.memory_or_anew(&subject).await?;
    let now = store.now().await?;
    let since = known.as_ref().filter(|known| known.is_fresh(now)).map_or(now, |known| known.since);
    let trouble = failure.map(|text| Trouble { since, seen: now, text: text.to_owned() });
    if trouble != known {
        store.note(&subject, &json!(trouble)).await?;
    }
    Ok(())
}

/// One look at everything that waits. Nothing is written while nothing is new.
pub async fn tell_stalled(engine: &Engine) -> Result<(), EngineError> {
    let store = engine.store();
    let now = store.now().await?;
    let before: Memory = store.memory_or_anew(MEMORY).await?;
    let alone = store.keys_alone().await?;
    let mut memory = before.clone();
    memory.keep_alone(&alone.iter().map(|key| key.id.clone()).collect::<Vec<_>>(), now);
    let mut waiters = of_runs(engine, now).await?;
    waiters.extend(alone.iter().filter_map(|key| of_key(engine, key, &memory)));
    let decision = decide(&waiters, &told(engine).await?, &memory.over, now);
    let changes = changes(decision, memory, &before);
    if changes.is_empty() {
        return Ok(());
    }
    let lease = store.acquire(QUEUE, &engine.parts.owner, engine.parts.lease).await?;
    let Some(lease) = lease else { return Ok(()) };
    let done = store.commit(&lease, &changes).await;
    store.release(&lease).await?;
    Ok(done?)
}

fn changes(decision: Decision, memory: Memory, before: &Memory) -> Vec<Change> {
    let memory = Memory { over: decision.over, ..memory };
    let mut changes: Vec<Change> = decision.open.into_iter().map(Change::Alert).collect();
    let kind = Kind::RunStalled;
    changes.extend(decision.resolve.into_iter().map(|subject| Change::Resolve { kind, subject }));
    if memory != *before {
        changes.push(Change::Remember { subject: MEMORY.to_owned(), doc: json!(memory) });
    }
    changes
}

/// The alerts that are open.
async fn told(engine: &Engine) -> Result<Vec<Told>, EngineError> {
    let rows = engine.store().alerts(false).await?;
    let told = rows.into_iter().filter_map(|row| {
        Some(Told {
            kind: Kind::parse(&row.kind)?,
            subject: Subject::parse(&row.subject),
            severity: Severity::parse(&row.severity)?,
            detail: row.detail,
        })
    });
    Ok(told.collect())
}

async fn of_runs(engine: &Engine, now: Timestamp) -> Result<Vec<Waiter>, EngineError> {
    let mut troubles: BTreeMap<String, Option<Trouble>> = BTreeMap::new();
    let mut waiters = Vec::new();
    for row in engine.store().open_runs().await? {
        // The account's identity when no entry of the configuration works it.
        let account = runs::account_of(engine, &row).await?.unwrap_or_else(|| row.run.account.clone());
        if !troubles.contains_key(&account) {
            let trouble = engine.store().memory_or_anew(&trouble_of(&account)).await?;
            troubles.insert(account.clone(), trouble);
        }
        let trouble = troubles
            .get(&account)
            .and_then(Option::as_ref)
            .filter(|trouble| trouble.is_fresh(now) && row.wake.left(now).is_none());
        let waits = row.blockers.iter().cloned().chain(trouble.map(visited_in_vain));
        waiters.extend(waits.map(|wait| of_run(engine, &row, &account, wait)));
    }
    Ok(waiters)
}

fn visited_in_vain(trouble: &Trouble) -> Waiting {
    let text = format!("the account cannot be worked on: {}", trouble.text);
    Waiting { text, cause: Some(Cause::Account), since: trouble.since, until: None }
}

fn of_run(engine: &Engine, row: &RunRow, account: &str, wait: Waiting) -> Waiter {
    let (run, state) = (&row.run, row.run.state.word());
    Waiter {
        rotation: run.rotation.clone(),
        account: account.to_owned(),
        provider: provider_of(engine, account),
        who: format!("Run {} of rotation {} ({state})", run.id, run.rotation),
        emergency: run.trigger.is_emergency(),
        in_danger: is_in_danger(row),
        help: help(&run.id, account, wait.cause.as_ref()),
        wait,
    }
}

/// What a person can do about it.
fn help(run: &str, account: &str, cause: Option<&Cause>) -> String {
    match cause {
        Some(Cause::Account) => {
            format!("Mend what it names; `rekeyd accounts show {account}` asks the account.")
        }
        Some(Cause::Destination(name)) => {
            format!("Mend {name}, then `rekeyd destinations check {name}` and `rekeyd runs resume {run}`.")
        }
        _ => format!("Settle it, then `rekeyd runs resume {run}` or `rekeyd runs abort {run}`."),
    }
}

/// A leaked key that may be enabled, or a dead one that nothing replaced yet.
fn is_in_danger(row: &RunRow) -> bool {
    let leaked = |retiree: &Retiree| retiree.urgent && retiree.is_enabled();
    let replaced = row.run.published && !matches!(row.run.state.underlying(), State::Publishing);
    row.run.retirees.iter().any(leaked) || (row.run.trigger == Trigger::Heal && !replaced)
}

fn provider_of(engine: &Engine, account: &str) -> Option<String> {
    engine.parts.accounts.get(account).map(|account| account.provider.clone())
}

/// A dead key in use, or one on its way out, that no run looks after.
fn of_key(engine: &Engine, key: &KeyRow, memory: &Memory) -> Option<Waiter> {
    let rotation = key.rotation.clone()?;
    let since = *memory.alone.get(&key.id)?;
    let entry = engine.parts.rotations.get(&rotation).map(|rotation| rotation.account.clone());
    let account = entry.or_else(|| key.account.clone()).unwrap_or_default();
    let generation = key.generation.unwrap_or_default();
    let is_current = key.role == Role::Current;
    let (text, help) = if is_current {
        let help = format!("`rekeyd rotations run {rotation} --leaked` replaces it.");
        ("it is in use, its provider refuses it, and no run replaces it", help)
    } else {
        let help = if engine.parts.rotations.contains_key(&rotation) {
            format!("`rekeyd rotations run {rotation}` retires it together with the key in use.")
        } else {
            format!("Put rotation {rotation} back into the configuration; its next run retires it.")
        };
        ("it is on its way out, and no run retires it", help)
    };
    Some(Waiter {
        provider: provider_of(engine, &account),
        who: format!("Generation {generation} of rotation {rotation}"),
        emergency: is_current,
        in_danger: is_current,
        help,
        wait: Waiting { text: text.to_owned(), cause: Some(Cause::Person), since, until: None },
        rotation,
        account,
    })
}
