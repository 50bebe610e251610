//! `serve`: the daemon.

use super::Context;
use crate::{app, daemon};

pub(super) async fn run(context: &Context) -> anyhow::Result<u8> {
    let settings = context.settings()?;
    daemon::log(&settings.log)?;
    let engine = app::engine(&settings, "daemon").await?;
    daemon::run(engine).await?;
    Ok(0)
}
