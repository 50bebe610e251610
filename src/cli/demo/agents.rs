//! Production: agents that call the provider with the key that they were given, and notice when it is dead.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Clock;
use crate::domain::time::Span;
use crate::sim::openrouter::OpenRouter;

/// How many of them there are.
pub(super) const COUNT: usize = 15;
/// Between two calls of one agent.
const PACE: Span = Span(300);

/// All agents together.
#[derive(Debug, Clone, Default)]
pub(super) struct Agents {
    calls: Arc<AtomicU64>,
    dark: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Agents {
    /// Starts agents that read their key from `file` before each call, as a process started anew would.
    pub(super) fn start(clock: &Arc<dyn Clock>, openrouter: &OpenRouter, file: &std::path::Path) -> Self {
        let agents = Self::default();
        for _ in 0..COUNT {
            let (agents, clock) = (agents.clone(), Arc::clone(clock));
            let (openrouter, file) = (openrouter.clone(), file.to_owned());
            tokio::spawn(async move { agents.work(clock, openrouter, file).await });
        }
        agents
    }

    async fn work(self, clock: Arc<dyn Clock>, openrouter: OpenRouter, file: PathBuf) {
        while !self.stop.load(Ordering::SeqCst) {
            let key = std::fs::read_to_string(&file).ok().and_then(|text| key_in(&text));
            let served = key.is_some_and(|key| openrouter.use_key(&key, 0.0001));
            self.calls.fetch_add(1, Ordering::SeqCst);
            if !served {
                self.dark.fetch_add(1, Ordering::SeqCst);
            }
            clock.sleep(PACE).await;
        }
    }

    /// Calls made so far, and how many of them were refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::SeqCst), self.dark.load(Ordering::SeqCst))
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The key in an env file.
pub(super) fn key_in(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("OPENROUTER_API_KEY="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}
