//! `doctor`: what is wrong, and the next move. It looks at the files first, then at the database, then at all that the
//! engine depends on; what depends on something broken is not looked at.

use super::output::{Column, column, column_of_lines};
use super::{Context, advice};
use crate::app;
use crate::cli::output::say;
use crate::config::settings::{DatabaseAddress, Listen};
use crate::config::{Settings, load};
use crate::engine::commands::{self, FindingView, Health};

const FINDINGS: &[Column<FindingView>] = &[
    column("health", |row| row.health.word().to_owned()),
    column("part", |row| row.part.clone()),
    column_of_lines("seen", |row| {
        std::iter::once(row.seen.clone()).chain(row.remedy.iter().map(|next| format!("→ {next}"))).collect()
    }),
];

pub(super) async fn run(context: &Context) -> anyhow::Result<u8> {
    let found = examine(context).await;
    context.out.rows(&found, FINDINGS)?;
    let count = |health: Health| found.iter().filter(|one| one.health == health).count();
    let (broken, warnings) = (count(Health::Broken), count(Health::Warning));
    say!("{} parts looked at: {broken} broken, {warnings} to think about; nothing was changed", found.len());
    Ok(u8::from(broken > 0))
}

async fn examine(context: &Context) -> Vec<FindingView> {
    let (settings, mut found) = match configuration(context) {
        Ok(read) => read,
        Err(broken) => return vec![broken],
    };
    found.push(listener(&settings));
    found.extend(metrics(&settings));
    found.push(proxy(&settings, |name| std::env::var_os(name).is_some()));
    match database(&settings).await {
        Ok(seen) => found.push(seen),
        Err(broken) => {
            found.push(broken);
            return found;
        }
    }
    let examined = match context.engine().await {
        Ok(engine) => commands::examine(&engine).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match examined {
        Ok(more) => found.extend(more),
        Err(error) => found.push(broken("engine", &error)),
    }
    found
}

fn broken(part: &str, error: &anyhow::Error) -> FindingView {
    FindingView::broken(part, format!("{error:#}"), advice(error).0)
}

fn configuration(context: &Context) -> Result<(Settings, Vec<FindingView>), FindingView> {
    const PART: &str = "configuration";
    let loaded = load(context.config.as_deref()).map_err(|error| broken(PART, &error.into()))?;
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let problems: Vec<String> = loaded.settings.check_references().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(FindingView::broken(PART, problems.join("; "), Some(READABLE.to_owned())));
    }
    app::check_places(&loaded.settings).map_err(|error| broken(PART, &error))?;
    Ok((loaded.settings, vec![FindingView::ok(PART, files.join(", "))]))
}

/// Problems come with their own hints; what is left to say is who may read them.
const READABLE: &str = "mend what is named, or look as the service's user: `sudo -u rekeyd rekeyd doctor`";

/// Who else can reach the daemon, and what they would read on the way.
fn listener(settings: &Settings) -> FindingView {
    const PART: &str = "listener";
    match &settings.server.listen {
        Listen::Unix(path) => FindingView::ok(PART, format!("listens on {}", path.display())),
        Listen::Tcp(address) if address.ip().is_loopback() => {
            FindingView::ok(PART, format!("listens on {address}, for this machine only"))
        }
        Listen::Tcp(address) => FindingView::warning(
            PART,
            format!(
                "listens on {address} without TLS: passwords and keys pass readable to whoever is on the way"
            ),
            "listen on 127.0.0.1 and let a proxy on this machine speak https, with `public_url` as people call it",
        ),
    }
}

fn metrics(settings: &Settings) -> Option<FindingView> {
    let open = matches!(settings.server.listen, Listen::Tcp(address) if !address.ip().is_loopback());
    (open && settings.metrics.is_none()).then(|| {
        FindingView::warning("metrics", "whoever reaches the listener reads /metrics", "[metrics] token")
    })
}

/// Names only: an address of a proxy may hold a password.
fn proxy(settings: &Settings, is_set: impl Fn(&str) -> bool) -> FindingView {
    const VARIABLES: [&str; 6] =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let seen = match VARIABLES.into_iter().find(|name| is_set(name)) {
        _ if settings.network.proxy.is_some() => "calls go through the one of [network] proxy".to_owned(),
        Some(name) => format!("calls of this shell go through ${name}; the service sees its own environment"),
        None => "none: calls go out directly".to_owned(),
    };
    FindingView::ok("proxy", seen)
}

/// A missing file is not made: who only looks makes nothing.
async fn database(settings: &Settings) -> Result<FindingView, FindingView> {
    const PART: &str = "database";
    let address = settings.database.url.resolve(settings.database.insecure_tls);
    if let Ok(DatabaseAddress::Sqlite(path)) = &address
        && !path.exists()
    {
        let seen = format!("there is no {}", path.display());
        return Err(FindingView::broken(
            PART,
            seen,
            Some("`rekeyd db migrate`, or start the daemon".to_owned()),
        ));
    }
    let view = app::database(settings).await.map_err(|error| broken(PART, &error))?;
    let seen = format!("{}, schema version {} of {}", view.database, view.applied, view.known);
    if view.applied < view.known {
        let remedy = "make a backup, then `rekeyd db migrate`; the daemon does it at its start";
        return Err(FindingView::broken(PART, seen, Some(remedy.to_owned())));
    }
    Ok(FindingView::ok(PART, seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;

    #[test]
    fn a_listener_that_others_reach_is_told_of() {
        let open = settings("[server]\nlisten = \"0.0.0.0:8080\"\n");
        assert_eq!(listener(&open).health, Health::Warning);
        assert_eq!(metrics(&open).map(|one| one.health), Some(Health::Warning));
        let own = settings("[server]\nlisten = \"127.0.0.1:8080\"\n");
        assert_eq!(listener(&own).health, Health::Ok);
        assert!(metrics(&own).is_none());
    }

    #[test]
    fn a_proxy_of_the_environment_is_named_and_not_shown() {
        let plain = settings("");
        assert!(proxy(&plain, |_| false).seen.contains("directly"));
        assert!(proxy(&plain, |name| name == "https_proxy").seen.contains("$https_proxy"));
    }
}
