//! `serve`: the daemon.

use super::Context;
use crate::app;

pub(super) async fn run(context: &Context) -> anyhow::Result<u8> {
    app::serve(context.config.as_deref()).await?;
    Ok(0)
}
