//! The daemon put together: engine, listener, router, passes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::encryption::prove_every_row;
use super::{engine, http, rebuilt, resolve};
use crate::config::{self, Settings, settings};
use crate::daemon::{self, Heartbeat, Live, Reload, Service, Signals};
use crate::domain::actor::Actor;
use crate::engine::{Engine, passes};
use crate::http::{Api, Engines, Listener, Readiness, Unready, router};

/// What requests began is finished within this once the passes are.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Runs the daemon until a signal stops it. Ready only when the store is migrated, the encryption key proved and
/// the listener bound.
pub async fn serve(path: Option<&Path>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let settings = config::load(path)?.settings;
    daemon::log(&settings.log)?;
    let (service, listener) = tokio::select! {
        started = start(&settings) => started?,
        () = signals.asked_to_stop() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    let running = Arc::new(Running(Arc::clone(&service)));
    let api = Api::new(Arc::clone(&running) as Arc<dyn Engines>, service.stopping());
    let answers = router(running, api.clone());
    let answering = tokio::spawn(listener.serve(answers, service.stopping()));
    let all = Arc::clone(&service);
    daemon::run(service, reload(path.map(Path::to_owned), settings), signals).await?;
    answering.await?;
    tokio::time::timeout(LAST_WORK, api.finished()).await.ok();
    // Last: what was asked for over HTTP is stored, too.
    tokio::time::timeout(LAST_WORK, all.live().engine.store().close()).await.ok();
    Ok(())
}

/// All that can refuse: the store, the encryption key, the listener.
async fn start(settings: &Settings) -> anyhow::Result<(Arc<Service>, Listener)> {
    let live = Live { engine: engine(settings, Actor::daemon()).await?, heartbeat: heartbeat(settings)? };
    prove_every_row(&live.engine, &settings.encryption.keys).await?;
    passes::announce(&live.engine).await?;
    let listener = match &settings.server.listen {
        settings::Listen::Tcp(address) => Listener::tcp(*address).await?,
        settings::Listen::Unix(path) => Listener::unix(path).await?,
    };
    tracing::info!(address = listener.address(), "listening");
    Ok((Service::new(live), listener))
}

/// The daemon in the words of the HTTP room.
struct Running(Arc<Service>);

impl Engines for Running {
    fn engine(&self) -> Engine {
        self.0.live().engine.clone()
    }

    fn passes(&self) -> Vec<(&'static str, f64)> {
        self.0.passes()
    }
}

#[async_trait]
impl Readiness for Running {
    async fn unready(&self) -> Vec<Unready> {
        let reasons = self.0.not_ready().await;
        reasons.into_iter().map(|reason| Unready { what: reason.what, why: reason.why }).collect()
    }
}

/// `started` is what the process was started with: parts that only a restart changes are compared with that.
fn reload(path: Option<PathBuf>, started: Settings) -> Reload {
    let started = Arc::new(started);
    Box::new(move |live| {
        let (path, started) = (path.clone(), Arc::clone(&started));
        Box::pin(async move {
            let settings = config::load(path.as_deref()).map_err(|error| error.to_string())?.settings;
            let said = |error: anyhow::Error| format!("{error:#}");
            let engine = rebuilt(&settings, Actor::daemon(), &live.engine).await.map_err(said)?;
            let heartbeat = heartbeat(&settings).map_err(said)?;
            passes::announce(&engine).await.map_err(|error| error.to_string())?;
            Ok((Live { engine, heartbeat }, needs_restart(&started, &settings)))
        })
    })
}

/// What differs and was not taken over.
fn needs_restart(started: &Settings, now: &Settings) -> Vec<String> {
    let parts = [
        ("[server] listen", started.server.listen != now.server.listen),
        ("[database]", started.database != now.database),
        ("[log]", started.log != now.log),
    ];
    parts.iter().filter(|(_, changed)| *changed).map(|(name, _)| (*name).to_owned()).collect()
}

fn heartbeat(settings: &Settings) -> anyhow::Result<Option<Arc<Heartbeat>>> {
    let Some(entry) = &settings.heartbeat else { return Ok(None) };
    let secret = resolve(&entry.url, "[heartbeat] url")?;
    let url = settings::values::parse_secret_url(&secret).map_err(|error| super::Misconfigured {
        text: format!("[heartbeat] url: {error}"),
        hint: error.hint,
    })?;
    Ok(Some(Arc::new(Heartbeat { http: http(settings)?, url, every: entry.every })))
}
