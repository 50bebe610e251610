//! What a person asks for that needs an account for itself, from the wait for it to the end of the session: the same for
//! every surface.

use tokio_util::sync::CancellationToken;

use super::view::{
    AccountView, AdoptedView, HandledKeyView, IssuedKeyView, PlanView, PublishedView, RemoteKeyView,
    ThawedView, account_view, adopted_view, issued_key_view, remote_key_views, thawed_view,
};
use super::{Adoption, by_hand, destinations, mirror, runs};
use crate::domain::guard::Kill;
use crate::domain::key::MicroUsd;
use crate::domain::rotation::Trigger;
use crate::domain::rotation::facts::Request;
use crate::domain::time::Span;
use crate::domain::turn::Class;
use crate::engine::run::start::{Start, start_emergency, start_run};
use crate::engine::session::keys::rotation_of_destination;
use crate::engine::session::provisioning::account_credits;
use crate::engine::session::wait_for_session_or_stop;
use crate::engine::{Engine, EngineError};

/// Works with the account for itself, and gives it back whatever came of it.
macro_rules! alone {
    ($engine:expr, $account:expr, $patience:expr, |$session:ident| $work:expr) => {
        alone!($engine, $account, Class::Person, $patience, |$session| $work)
    };
    ($engine:expr, $account:expr, $class:expr, $patience:expr, |$session:ident| $work:expr) => {{
        let mut $session =
            wait_for_session_or_stop($engine, $account, $class, $patience, &CancellationToken::new())
                .await?;
        let outcome = $work.await;
        // What was done is done: a lease that cannot be given back runs out by itself.
        if let Err(error) = $session.close().await {
            tracing::warn!(%error, "an account could not be given back");
        }
        outcome
    }};
}

/// A key that strangers know.
#[derive(Debug, Clone, Copy)]
pub struct Leaked {
    /// Which generation; else the current one.
    pub generation: Option<i64>,
}

/// What is done to a key of an account, by its hash.
#[derive(Debug, Clone, Copy)]
pub enum Handling {
    /// Not honoured any more, until it is enabled again.
    Disable,
    /// Honoured again.
    Enable,
    /// Gone for good.
    Delete,
    /// May spend this much; `None` as much as there is.
    Limit(Option<MicroUsd>),
}

/// Every call that a rotation would make.
pub async fn plan_of(engine: &Engine, name: &str, patience: Span) -> Result<PlanView, EngineError> {
    let account = &engine.rotation(name)?.account;
    alone!(engine, account, patience, |session| super::plan(&mut session, name))
}

/// Starts a run; the passes, or whoever asked, work it. Answers its id.
///
/// # Errors
/// A conflict while an ordinary run is asked for and one is open, or an emergency of that generation is.
pub async fn rotate(
    engine: &Engine,
    name: &str,
    leaked: Option<Leaked>,
    patience: Span,
) -> Result<String, EngineError> {
    let account = &engine.rotation(name)?.account;
    not_in_the_way(engine, name, leaked).await?;
    let run = match leaked {
        Some(leaked) => alone!(engine, account, patience, |session| start_emergency(
            &mut session,
            Trigger::Leak,
            name,
            leaked.generation,
            "a person says so"
        ))?,
        None => alone!(engine, account, patience, |session| start_run(&mut session, name, Start::Manual))?,
    };
    Ok(run.id)
}

async fn not_in_the_way(engine: &Engine, name: &str, leaked: Option<Leaked>) -> Result<(), EngineError> {
    let Some(open) = engine.store().open_run(name).await? else { return Ok(()) };
    let same = |leaked: Leaked| {
        let of_this = leaked.generation.is_none() || open.previous_generation == leaked.generation;
        open.run.trigger == Trigger::Leak && of_this
    };
    if leaked.is_some_and(|leaked| !same(leaked)) {
        return Ok(());
    }
    let id = &open.run.id;
    Err(EngineError::Conflict {
        text: format!("a run of rotation {name} is open: {id}"),
        hint: Some(format!("follow it with `rekeyd runs watch {id}`")),
    })
}

/// Takes a key that production uses already into a rotation.
pub async fn adopt_into(
    engine: &Engine,
    name: &str,
    adoption: Adoption,
    patience: Span,
) -> Result<AdoptedView, EngineError> {
    let account = &engine.rotation(name)?.account;
    let key = alone!(engine, account, patience, |session| super::adopt(&mut session, name, adoption))?;
    Ok(adopted_view(name, key))
}

/// Asks the open run of a rotation to bring the previous key back. Answers the run and a ticket.
pub async fn roll_back(engine: &Engine, name: &str) -> Result<(String, String), EngineError> {
    let open = run_to_roll_back(engine, name).await?;
    let ticket = ask_of(engine, &open, &Request::Rollback).await?;
    Ok((open, ticket))
}

/// The run that can bring the previous key back.
pub async fn run_to_roll_back(engine: &Engine, name: &str) -> Result<String, EngineError> {
    engine.rotation(name)?;
    runs::open_run_of(engine, name).await?.ok_or_else(|| EngineError::Conflict {
        text: format!("no run of rotation {name} is open: its previous key is gone"),
        hint: Some(format!("`rekeyd rotations run {name}` issues a new one")),
    })
}

/// Asks something of an open run. Answers a ticket: [`runs::answer`] tells what came of it.
pub async fn ask_of(engine: &Engine, id: &str, request: &Request) -> Result<String, EngineError> {
    runs::account_of_run(engine, id).await?;
    if let Some(over) = runs::run_status(engine, id).await?.filter(|run| !run.is_open) {
        return Err(EngineError::Conflict { text: format!("run {id} is over: {}", over.state), hint: None });
    }
    runs::ask(engine, id, request).await
}

/// Writes what a destination should hold, whatever it holds.
pub async fn publish_now(engine: &Engine, name: &str, patience: Span) -> Result<PublishedView, EngineError> {
    let result = match destinations::any_destination(engine, name)? {
        (_, Some(account)) => {
            let account = &account.name;
            alone!(engine, account, patience, |session| destinations::publish_copy_by_hand(
                &mut session,
                name
            ))?
        }
        (_, None) => publish_keys(engine, name, patience).await?,
    };
    Ok(PublishedView { destination: name.to_owned(), result })
}

async fn publish_keys(engine: &Engine, name: &str, patience: Span) -> Result<String, EngineError> {
    let mut did = Vec::new();
    if let Some(rotation) = rotation_of_destination(engine, name) {
        did.push(alone!(engine, &rotation.account, patience, |session| destinations::publish_by_hand(
            &mut session,
            &rotation.name,
            name
        ))?);
    }
    if did.is_empty() || mirror::mirrors(engine, name) {
        did.push(mirror::mirror_by_hand(engine, name, patience).await?);
    }
    Ok(did.join("; "))
}

/// One account, live.
pub async fn account_now(engine: &Engine, name: &str, patience: Span) -> Result<AccountView, EngineError> {
    engine.account(name)?;
    alone!(engine, name, patience, |session| async {
        let keys = by_hand::account_keys(&mut session).await?;
        let credits = account_credits(&mut session).await?;
        Ok(account_view(&session, &keys, &credits))
    })
}

/// The keys of an account, live. Who only looks is in the way of nobody who works on it.
pub async fn keys_at(engine: &Engine, name: &str, patience: Span) -> Result<Vec<RemoteKeyView>, EngineError> {
    engine.account(name)?;
    let keys =
        alone!(engine, name, Class::Watching, patience, |session| by_hand::account_keys(&mut session))?;
    Ok(remote_key_views(&keys))
}

/// Issues a key that belongs to no rotation, and stores it.
pub async fn create_at(
    engine: &Engine,
    name: &str,
    limit: Option<MicroUsd>,
    patience: Span,
) -> Result<IssuedKeyView, EngineError> {
    engine.account(name)?;
    let key = alone!(engine, name, patience, |session| by_hand::create_by_hand(&mut session, limit))?;
    Ok(issued_key_view(key))
}

/// Does something to a key of an account, through the guard.
pub async fn handle_at(
    engine: &Engine,
    name: &str,
    hash: &str,
    handling: Handling,
    patience: Span,
) -> Result<HandledKeyView, EngineError> {
    engine.account(name)?;
    alone!(engine, name, patience, |session| async {
        match handling {
            Handling::Disable => by_hand::kill_by_hand(&mut session, hash, Kill::Disable).await?,
            Handling::Delete => by_hand::kill_by_hand(&mut session, hash, Kill::Delete).await?,
            Handling::Enable => by_hand::enable_by_hand(&mut session, hash).await?,
            Handling::Limit(limit) => by_hand::limit_by_hand(&mut session, hash, limit).await?,
        }
        Ok::<_, EngineError>(())
    })?;
    let hash = hash.to_owned();
    Ok(match handling {
        Handling::Disable => HandledKeyView::Disabled(hash),
        Handling::Enable => HandledKeyView::Enabled(hash),
        Handling::Delete => HandledKeyView::Deleted(hash),
        Handling::Limit(_) => HandledKeyView::Limited(hash),
    })
}

/// Ends the freeze of an account.
pub async fn thaw_account(engine: &Engine, name: &str, patience: Span) -> Result<ThawedView, EngineError> {
    engine.account(name)?;
    let foreign = alone!(engine, name, patience, |session| super::thaw(&mut session))?;
    Ok(thawed_view(name, foreign))
}
