//! What of an account names keys by their hash, as it is now; and one name on one of them, added or taken away: read,
//! write, read back, each write journalled, under one lock for each guardrail and credential (R23).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::domain::inherit::{self, Inherit, Put, Roll, Rolls};
use crate::domain::outcome::{Failure, FailureKind};
use crate::engine::EngineError;
use crate::engine::session::{Session, listing};
use crate::provider::{Cursor, MAX_PAGES, RollKeeper, Rows};
use crate::store::{Change, EffectKind, EffectRow, EffectStatus, NewEffect, new_id};

/// Somebody who writes at the same time is given way to so often.
const WRITES: usize = 3;

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is added.
    Join,
    /// It is taken away, unless it is the last one.
    Leave,
}

/// The pages of one listing, by what each row is about.
struct Gathered<V> {
    rows: BTreeMap<String, V>,
    pages: usize,
    next: Option<Cursor>,
    /// The account has no such thing.
    none: bool,
}

impl<V> Gathered<V> {
    fn new() -> Self {
        Self { rows: BTreeMap::new(), pages: 0, next: None, none: false }
    }

    /// Takes a page in. True when it was the last; what was cut or moved meanwhile is no answer.
    fn take<T>(&mut self, page: Option<Rows<T>>, row: impl Fn(T) -> (String, V)) -> Result<bool, Failure> {
        let unclear = |text: &str| Err(Failure::new(FailureKind::Unclear, text));
        self.pages += 1;
        let Some(page) = page else {
            self.none = self.pages == 1;
            return if self.none { Ok(true) } else { unclear("a list ends with a refusal") };
        };
        self.rows.extend(page.rows.into_iter().map(row));
        self.next = page.next;
        match (&self.next, self.rows.len() == page.total) {
            (Some(_), _) if self.pages >= MAX_PAGES => unclear("a list has no end"),
            (Some(_), _) => Ok(false),
            (None, true) => Ok(true),
            (None, false) => unclear("a list changed while it was read, or a page of it was cut"),
        }
    }

    fn rows(self) -> Option<BTreeMap<String, V>> {
        (!self.none).then_some(self.rows)
    }
}

/// Everything of these kinds that names keys now.
pub(crate) async fn look(
    session: &mut Session<'_>,
    kinds: Inherit,
) -> Result<Result<Rolls, Failure>, EngineError> {
    let Some(keeper) = session.account.issuer.rolls() else { return Ok(Ok(Rolls::default())) };
    let mut rolls = Rolls::default();
    if kinds.guardrails {
        match guardrails(session, keeper).await? {
            Ok(rows) => rolls.guardrails = rows,
            Err(failure) => return Ok(Err(failure)),
        }
    }
    if kinds.byok {
        match allow_lists(session, keeper).await? {
            Ok(rows) => rolls.byok = rows,
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(rolls))
}

async fn guardrails(
    session: &mut Session<'_>,
    keeper: &dyn RollKeeper,
) -> Result<Result<Option<BTreeMap<String, String>>, Failure>, EngineError> {
    let mut gathered = Gathered::new();
    loop {
        let deadline = session.deadline().await?;
        let called = keeper.assignments(gathered.next.as_ref(), deadline).await;
        let page = session.noting(called);
        match page.and_then(|page| gathered.take(page, |row| (row.hash, row.guardrail))) {
            Ok(false) => {}
            Ok(true) => return Ok(Ok(gathered.rows())),
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

async fn allow_lists(
    session: &mut Session<'_>,
    keeper: &dyn RollKeeper,
) -> Result<Result<Option<BTreeMap<String, Vec<String>>>, Failure>, EngineError> {
    let mut gathered = Gathered::new();
    loop {
        let deadline = session.deadline().await?;
        let called = keeper.credentials(gathered.next.as_ref(), deadline).await;
        let page = session.noting(called);
        match page.and_then(|page| gathered.take(page, |row| (row.id, row.keys))) {
            Ok(false) => {}
            Ok(true) => {
                let restricted = |rows: BTreeMap<String, Option<Vec<String>>>| {
                    rows.into_iter().filter_map(|(id, keys)| Some((id, keys?))).collect()
                };
                return Ok(Ok(gathered.rows().map(restricted)));
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Adds a key's name to a roll, or takes it away, and proves it. One that is as it should be is not written.
pub(crate) async fn write(
    session: &mut Session<'_>,
    run: Option<&str>,
    roll: &Roll,
    hash: &str,
    way: Way,
) -> Result<Result<(), Failure>, EngineError> {
    let store = &session.engine.parts.store;
    let resource = format!("roll:{}:{roll}", session.account.provider);
    let Some(lock) =
        store.acquire(&resource, &session.engine.parts.owner, session.engine.parts.lease).await?
    else {
        return Ok(Err(Failure::new(FailureKind::NotSent, format!("another process writes {roll}"))));
    };
    let written = write_locked(session, run, roll, hash, way).await;
    store.release(&lock).await?;
    written
}

async fn write_locked(
    session: &mut Session<'_>,
    run: Option<&str>,
    roll: &Roll,
    hash: &str,
    way: Way,
) -> Result<Result<(), Failure>, EngineError> {
    let mut open = left_open(session, run, roll).await?;
    let mut answered = Ok(());
    for writes in 0..=WRITES {
        let put = match wished(session, roll, hash, way).await? {
            Ok(put) => put,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(put) = put else {
            settle(session, open, EffectStatus::Done, "read back").await?;
            return Ok(Ok(()));
        };
        if writes > 0 {
            let late = matches!(&answered, Err(Failure { kind: FailureKind::Unclear, .. }));
            let status = if late { EffectStatus::Unknown } else { EffectStatus::Failed };
            settle(session, open.take(), status, "it is not there").await?;
            if let Err(failure) = answered {
                return Ok(Err(failure));
            }
        }
        if writes == WRITES {
            break;
        }
        let effect = NewEffect {
            id: open.take().map_or_else(new_id, |effect| effect.id),
            run: run.map(str::to_owned),
            account: session.identity.clone(),
            kind: EffectKind::Publish,
            target: roll.to_string(),
            address: None,
        };
        answered = call(session, &effect, &put).await?;
        open = Some(effect);
    }
    let text = format!("{roll} is written by somebody else at the same time");
    Ok(Err(Failure::new(FailureKind::Unclear, text)))
}

/// The write of this roll whose outcome nobody noted: another try of it is another attempt.
async fn left_open(
    session: &Session<'_>,
    run: Option<&str>,
    roll: &Roll,
) -> Result<Option<NewEffect>, EngineError> {
    let store = &session.engine.parts.store;
    let effects = match run {
        Some(run) => store.effects(run).await?,
        None => store.unproved_without_run(&session.identity).await?,
    };
    let is_open = |effect: &EffectRow| {
        effect.kind == EffectKind::Publish
            && effect.target == roll.to_string()
            && matches!(effect.status, EffectStatus::Intended | EffectStatus::Unknown)
    };
    Ok(effects.into_iter().find(is_open).map(|effect| NewEffect {
        id: effect.id,
        run: effect.run,
        account: effect.account,
        kind: effect.kind,
        target: effect.target,
        address: None,
    }))
}

/// What is to be written so that the roll is as it should be; `None` when it is.
async fn wished(
    session: &mut Session<'_>,
    roll: &Roll,
    hash: &str,
    way: Way,
) -> Result<Result<Option<Put>, Failure>, EngineError> {
    let is_list = matches!(roll, Roll::Byok(_));
    let kinds = Inherit { limits: false, guardrails: !is_list, byok: is_list };
    let rolls = match look(session, kinds).await? {
        Ok(rolls) => rolls,
        Err(failure) => return Ok(Err(failure)),
    };
    let gone = match gone(session, roll, &rolls, hash).await? {
        Ok(gone) => gone,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(match way {
        Way::Join => inherit::join(roll, &rolls, hash, &gone)
            .map_err(|reason| Failure::new(FailureKind::Refused, reason)),
        Way::Leave => Ok(inherit::leave(roll, &rolls, hash, &gone)),
    })
}

/// Hashes on a list whose keys no longer exist. The provider refuses a list that names one. Only what the complete
/// listing lacks, and what the account does not know when it is asked for by its hash, is gone: a list of the whole
/// account may name keys of other workspaces.
async fn gone(
    session: &mut Session<'_>,
    roll: &Roll,
    rolls: &Rolls,
    but: &str,
) -> Result<Result<BTreeSet<String>, Failure>, EngineError> {
    let mut gone = BTreeSet::new();
    let (Roll::Byok(id), Some(lists)) = (roll, &rolls.byok) else { return Ok(Ok(gone)) };
    for hash in lists.get(id).into_iter().flatten().filter(|hash| *hash != but) {
        if session.listing.is_none()
            && let Err(failure) = listing::list(session).await?
        {
            return Ok(Err(failure));
        }
        if session.listing.as_ref().is_some_and(|listing| listing.key(hash).is_some()) {
            continue;
        }
        let deadline = session.deadline().await?;
        let called = session.account.issuer.read(hash, deadline).await;
        match session.noting(called) {
            Ok(None) => drop(gone.insert(hash.clone())),
            Ok(Some(_)) => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(gone))
}

/// R1: the intent is committed alone, then the provider is asked once.
async fn call(
    session: &mut Session<'_>,
    effect: &NewEffect,
    put: &Put,
) -> Result<Result<(), Failure>, EngineError> {
    let Some(keeper) = session.account.issuer.rolls() else { return Ok(Ok(())) };
    let deadline = session.deadline().await?;
    session.commit(&[Change::Intend(effect.clone())]).await?;
    let called = match put {
        Put::Assign { guardrail, hash } => keeper.assign(guardrail, hash, deadline).await,
        Put::Allow { credential, list } => keeper.allow(credential, list, deadline).await,
    };
    Ok(session.noting(called))
}

async fn settle(
    session: &Session<'_>,
    effect: Option<NewEffect>,
    status: EffectStatus,
    seen: &str,
) -> Result<(), EngineError> {
    let Some(effect) = effect else { return Ok(()) };
    let evidence = json!({ "settled_by": "looking", "seen": seen });
    session.commit(&[Change::Settle { id: effect.id, status, evidence }]).await
}
