//! A paste between its preview and its import: it waits sealed in the store, bound to the session that pasted it, and is
//! used once. So no form carries a key back.

use serde::{Deserialize, Serialize};

use super::given;
use super::import::{Import, Imported, import, preview, read_pasted};
use crate::crypto::{Purpose, Use};
use crate::domain::paste::{Pasted, Said};
use crate::domain::secret::Secret;
use crate::engine::{Engine, EngineError};
use crate::store::{About, new_id};

/// What a person says of all that they paste.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pasting {
    /// Whose all of it is; else each line says so.
    pub of: Option<String>,
    /// What holds for each key that does not say otherwise.
    pub said: Said,
    /// Ask the providers before anything is stored.
    pub test: bool,
}

/// Keeps a paste for its preview. Answers its id.
///
/// # Errors
/// A usage error for what is said of it and cannot be.
pub async fn keep_paste(
    engine: &Engine,
    session: &str,
    pasting: &Pasting,
    text: &Secret,
) -> Result<String, EngineError> {
    if text.expose().trim().is_empty() {
        return Err(EngineError::usage("nothing was pasted", "one key a line, a .env file, JSON or CSV"));
    }
    may_be_said(engine, pasting).await?;
    let id = new_id();
    let sealing = engine.sealing_key().await?;
    let whole =
        Secret::new(format!("{}\n{}", serde_json::to_string(pasting).unwrap_or_default(), text.expose()));
    let sealed = engine.seal(&sealing, &Purpose::of(Use::Paste, &id), &whole)?;
    engine.parts.store.keep_paste(&id, session, &sealed).await?;
    Ok(id)
}

async fn may_be_said(engine: &Engine, pasting: &Pasting) -> Result<(), EngineError> {
    let said = &pasting.said;
    if let Some(of) = &pasting.of {
        given::provider_of(engine, of).await?;
    }
    let about = About { owner: said.owner.clone(), note: said.note.clone(), expires_at: said.expires_at };
    let shown =
        given::Said { name: said.name.as_deref(), about: Some(&about), settings: said.settings.as_ref() };
    given::may_be_shown(shown, &[])?;
    said.settings.as_ref().map_or(Ok(()), given::is_object)?;
    said.priority.map_or(Ok(()), given::in_range)
}

/// What would become of each line, without asking any provider; nothing is stored.
pub async fn preview_paste(
    engine: &Engine,
    session: &str,
    id: &str,
) -> Result<(Pasting, Vec<Imported>), EngineError> {
    let (pasting, rows) = open(engine, session, id, false).await?;
    Ok((pasting, preview(engine, rows).await?))
}

/// Takes a paste out of the store, for the only time.
pub async fn take_paste(engine: &Engine, session: &str, id: &str) -> Result<Import, EngineError> {
    let (pasting, rows) = open(engine, session, id, true).await?;
    Ok(Import { rows, test: pasting.test, dry_run: false })
}

/// Stores what can be stored of a paste that was taken.
pub async fn import_paste(engine: &Engine, taken: Import) -> Result<Vec<Imported>, EngineError> {
    import(engine, taken, &mut |_| {}).await
}

async fn open(
    engine: &Engine,
    session: &str,
    id: &str,
    take: bool,
) -> Result<(Pasting, Vec<Pasted>), EngineError> {
    let over = || {
        EngineError::not_there(
            "this paste is over: it waits for 15 minutes, for whoever pasted it, and is used once".to_owned(),
            "paste it again",
        )
    };
    let token = engine.parts.store.paste(id, session, take).await?.ok_or_else(over)?;
    let whole = engine.parts.ring.open(&token, &Purpose::of(Use::Paste, id)).map_err(EngineError::Crypto)?;
    let (head, text) = whole.expose().split_once('\n').ok_or_else(over)?;
    let pasting: Pasting = serde_json::from_str(head).map_err(|_| over())?;
    let rows = read_pasted(engine, text, pasting.of.as_deref()).await?;
    let filled = rows.into_iter().map(|row| Pasted { key: row.key.map(|key| key.or(&pasting.said)), ..row });
    let rows = filled.collect();
    Ok((pasting, rows))
}
