//! Where leaked keys are reported: `[leaks]` becomes scanners.

use std::sync::Arc;

use super::notifier::next;
use super::{Misconfigured, resolve};
use crate::config::Settings;
use crate::destination::LeakSource;
use crate::destination::github::{Auth, Scanning};
use crate::engine::LeakWatch;
use crate::net::Http;

/// One scanner a repository.
pub(super) fn leaks(settings: &Settings, http: &Http) -> anyhow::Result<Option<LeakWatch>> {
    let Some(leaks) = &settings.leaks else { return Ok(None) };
    let token = resolve(&leaks.token, "[leaks] token")?;
    let scanner = |(owner, name): &(String, String)| {
        let auth = Auth::Token(token.clone());
        let scanning = Scanning::new(leaks.api_url.as_str(), owner, name, auth, http);
        let scanning = scanning
            .map_err(|failure| Misconfigured { text: format!("[leaks] {failure}"), hint: failure.hint })?;
        Ok::<Arc<dyn LeakSource>, Misconfigured>(Arc::new(scanning))
    };
    let sources = leaks.repositories.iter().map(scanner).collect::<Result<_, _>>()?;
    let schedule = leaks.schedule.clone();
    Ok(Some(LeakWatch { sources, next: Arc::new(move |after| next(&schedule, after)) }))
}
