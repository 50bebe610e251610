//! A daemon says that it lives, so that a command line leaves the work to it (R22).

use crate::domain::time::Span;
use crate::engine::session::standing;
use crate::engine::{Engine, EngineError};

/// How often it is said.
pub const EVERY: Span = Span::seconds(5);
/// A daemon that was silent for so long has died.
pub(crate) const SILENT: Span = Span::seconds(15);

/// Says that this daemon lives, and by which configuration.
pub async fn announce(engine: &Engine) -> Result<(), EngineError> {
    let policies = engine.rotations().map(|rotation| {
        let name = &rotation.name;
        (name.clone(), standing::fingerprint(engine, name))
    });
    Ok(engine.store().announce(&engine.parts.owner, &policies.collect()).await?)
}

/// It stops: from now on commands work by themselves.
pub async fn take_leave(engine: &Engine) -> Result<(), EngineError> {
    Ok(engine.store().take_leave(&engine.parts.owner, SILENT).await?)
}

/// True while a daemon that lives works the runs of this rotation as the present configuration says.
pub async fn is_served(engine: &Engine, rotation: &str) -> Result<bool, EngineError> {
    let mine = standing::fingerprint(engine, rotation);
    let daemons = engine.store().daemons(SILENT).await?;
    Ok(daemons.iter().any(|policies| policies.get(rotation) == Some(&mine)))
}
